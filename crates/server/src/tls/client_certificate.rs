//! What is read out of a client's certificate, after the handshake has verified it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A client's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The alternative names of its subject, in their order. The common name is not among them: what is in it means
    /// whatever an authority likes.
    pub names: Vec<SanName>,
    /// The last moment at which it is valid; the connection may live longer.
    pub expires: SystemTime,
}

/// A name that somebody's certificate has for them. Visible ASCII, exactly as it stands there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SanName {
    /// A host name.
    Dns(String),
    /// A URI, such as a SPIFFE id.
    Uri(String),
    /// An email address.
    Email(String),
}

/// A certificate that was verified and is of no use all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Its structure is broken somewhere that verifying does not look at.
    #[error("the client's certificate cannot be read: {0}")]
    Broken(String),
    /// It would have to be compared with too much at each call.
    #[error("the client's certificate has {0} names; at most {NAMES_MAX} are read")]
    TooManyNames(usize),
}

impl ClientCertificate {
    /// Reads a certificate. A name that is no visible ASCII (it may hold a NUL, after which others stop reading) or
    /// over 2048 bytes long is left out: names only ever give something, so that nobody gains by that.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, Unreadable> {
        let broken = |problem: &dyn fmt::Display| Unreadable::Broken(problem.to_string());
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|problem| broken(&problem))?;
        let names = parsed.subject_alternative_name().map_err(|problem| broken(&problem))?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        if names.len() > NAMES_MAX {
            return Err(Unreadable::TooManyNames(names.len()));
        }
        Ok(Self {
            names: names.iter().filter_map(SanName::read).collect(),
            expires: time(parsed.validity().not_after.timestamp()),
        })
    }
}

impl SanName {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Dns(name) | Self::Uri(name) | Self::Email(name) => name,
        }
    }

    fn read(name: &GeneralName<'_>) -> Option<Self> {
        let (sort, text): (fn(String) -> Self, &str) = match name {
            GeneralName::DNSName(name) => (Self::Dns, name),
            GeneralName::URI(name) => (Self::Uri, name),
            GeneralName::RFC822Name(name) => (Self::Email, name),
            _ => return None,
        };
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        (plain && (1..=NAME_BYTES_MAX).contains(&text.len())).then(|| sort(text.to_owned()))
    }
}

impl fmt::Display for SanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn time(unix_seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(unix_seconds.unsigned_abs());
    if unix_seconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// As long as a SPIFFE id may be.
const NAME_BYTES_MAX: usize = 2048;
/// Names in one certificate.
const NAMES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair, SanType};

    use super::*;

    /// A certificate with these in it, and with a common name that counts for nothing.
    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "common.example");
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    fn names(change: impl FnOnce(&mut CertificateParams)) -> Vec<SanName> {
        ClientCertificate::read(&certificate(change)).unwrap().names
    }

    fn ia5(text: &str) -> Ia5String {
        text.try_into().unwrap()
    }

    /// The names extension, written byte by byte: tag (1 email, 2 DNS, 6 URI) and content.
    fn raw(entries: &[(u8, &[u8])]) -> CustomExtension {
        fn element(tag: u8, content: &[u8]) -> Vec<u8> {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            [&[tag, 0x82][..], &length, content].concat()
        }
        let short = |tag, content: &[u8]| match u8::try_from(content.len()) {
            Ok(length @ 0..0x80) => [&[tag, length][..], content].concat(),
            Ok(length) => [&[tag, 0x81, length][..], content].concat(),
            Err(_) => element(tag, content),
        };
        let entries: Vec<u8> = entries.iter().flat_map(|(tag, content)| short(0x80 | tag, content)).collect();
        CustomExtension::from_oid_content(&[2, 5, 29, 17], short(0x30, &entries))
    }

    #[test]
    fn names_are_read_by_their_sort_and_in_their_order_and_the_common_name_is_none() {
        assert_eq!(names(|_| {}), []);
        let read = names(|params| {
            params.subject_alt_names = vec![
                SanType::URI(ia5("spiffe://a.example/ns/x/sa/Y")),
                SanType::DnsName(ia5("Worker.Example")),
                SanType::IpAddress([127, 0, 0, 1].into()),
                SanType::Rfc822Name(ia5("a@b.example")),
                SanType::DnsName(ia5("*.example")),
            ];
        });
        let expected = [
            SanName::Uri("spiffe://a.example/ns/x/sa/Y".into()),
            SanName::Dns("Worker.Example".into()),
            SanName::Email("a@b.example".into()),
            SanName::Dns("*.example".into()),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_name_that_readers_could_read_differently_is_left_out_and_the_others_stay() {
        let long = [b'a'; NAME_BYTES_MAX + 1];
        let weird: &[&[u8]] =
            &[b"a.example\0.evil.example", b"", b"a b", b"a\n", "ä.example".as_bytes(), b"\xff\xfe", b"a\x7f", &long];
        for content in weird {
            for tag in [1, 2, 6] {
                let read =
                    names(|params| params.custom_extensions = vec![raw(&[(tag, content), (2, b"good.example")])]);
                assert_eq!(read, [SanName::Dns("good.example".into())], "{tag} {content:?}");
            }
        }
        let longest = &long[1..];
        let read = names(|params| params.custom_extensions = vec![raw(&[(6, longest)])]);
        assert_eq!(read, [SanName::Uri(String::from_utf8(longest.to_vec()).unwrap())]);
    }

    #[test]
    fn more_names_than_are_read_are_refused() {
        let many = |count: usize| {
            let entries: Vec<(u8, &[u8])> = vec![(2, b"a.example"); count];
            ClientCertificate::read(&certificate(|params| params.custom_extensions = vec![raw(&entries)]))
        };
        assert_eq!(many(NAMES_MAX).unwrap().names.len(), NAMES_MAX);
        assert_eq!(many(NAMES_MAX + 1), Err(Unreadable::TooManyNames(NAMES_MAX + 1)));
    }

    #[test]
    fn what_is_no_certificate_or_names_somebody_in_a_broken_way_is_told() {
        let broken = |certificate: CertificateDer<'static>| {
            matches!(ClientCertificate::read(&certificate), Err(Unreadable::Broken(_)))
        };
        assert!(broken(CertificateDer::from_slice(b"nonsense")));
        let cut = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0x7f, 0x82, 1, b'a']);
        assert!(broken(certificate(|params| params.custom_extensions = vec![cut])));
        let twice = vec![raw(&[(2, b"a.example")]), raw(&[(2, b"b.example")])];
        assert!(broken(certificate(|params| params.custom_extensions = twice)));
    }

    #[test]
    fn the_end_of_validity_is_that_of_the_certificate() {
        let read = |end| {
            let certificate = certificate(|params| params.not_after = end);
            ClientCertificate::read(&certificate).unwrap()
        };
        let later = UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        assert_eq!(read(later.into()).expires, later);
        assert_eq!(read(rcgen::date_time_ymd(1960, 1, 1)).expires, UNIX_EPOCH - Duration::from_secs(315_619_200));
    }
}
