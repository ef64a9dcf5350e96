//! `host[:port]`, as it stands in `Host`, `:authority`, `Origin` and in the advertised address.

/// A host, as written, and its port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Authority<'a> {
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// None for anything but a host name or IP address with an optional port: no user, no path, no blanks.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = split(text)?;
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let allowed = |byte: u8| match address {
            Some(_) => byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'),
            None => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'),
        };
        let name = address.unwrap_or(host);
        (!name.is_empty() && name.bytes().all(allowed)).then_some(Self { host, port })
    }
}

/// The host of `host[:port]`, without the brackets of an IPv6 address; none if that is not what it is.
#[must_use]
pub fn host_of(authority: &str) -> Option<&str> {
    let host = Authority::parse(authority)?.host;
    Some(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
}

fn split(text: &str) -> Option<(&str, Option<u16>)> {
    let end_of_host = text.rfind(']').map_or(0, |bracket| bracket + 1);
    match text[end_of_host..].rfind(':') {
        None => Some((text, None)),
        Some(colon) => {
            let (host, port) = text.split_at(end_of_host + colon);
            let port = &port[1..];
            // `parse` alone would accept a sign.
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            Some((host, Some(digits.then(|| port.parse().ok())??)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_split() {
        let cases = [
            ("localhost", Some(("localhost", None))),
            ("localhost:7467", Some(("localhost", Some(7467)))),
            ("127.0.0.1:1", Some(("127.0.0.1", Some(1)))),
            ("[::1]", Some(("[::1]", None))),
            ("[::1]:80", Some(("[::1]", Some(80)))),
            ("", None),
            (":80", None),
            ("::1", None),
            ("localhost:", None),
            ("localhost:+80", None),
            ("localhost:65536", None),
            ("localhost:80:80", None),
            ("user@localhost", None),
            ("localhost/x", None),
            ("evil.example#[::1]", None),
            ("local host", None),
            ("[::1", None),
            ("[]", None),
            ("локальный", None),
        ];
        for (text, expected) in cases {
            let parsed = Authority::parse(text).map(|authority| (authority.host, authority.port));
            assert_eq!(parsed, expected, "{text:?}");
        }
    }

    #[test]
    fn host_of_drops_port_and_brackets() {
        assert_eq!(host_of("Operond.Example:443"), Some("Operond.Example"));
        assert_eq!(host_of("[fd00::1]:443"), Some("fd00::1"));
        assert_eq!(host_of("https://operond.example"), None);
    }
}
