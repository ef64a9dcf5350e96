//! Certificates that are replaced while the server runs.
//!
//! The files are looked at every few seconds, and what is in them is compared, not their dates: whatever way they
//! are replaced (written over, renamed, a symbolic link turned), it is noticed, and what is judged is what was compared.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::pem::PemFile;
use super::{ClientAuth, ClientTrust, Error, identity};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// For so long a certificate and a key may differ without a word: one was replaced, the other is about to be.
const MISMATCH_MAX: Duration = Duration::from_secs(60);

/// The files that a TLS listener is made from, all PEM.
#[derive(Debug, Clone)]
pub struct Files {
    /// The server's certificate chain, its own certificate first.
    pub certificate: PathBuf,
    /// The private key of that certificate.
    pub key: PathBuf,
    /// Clients are asked for certificates if set.
    pub clients: Option<ClientFiles>,
}

/// Whose signature clients need.
#[derive(Debug, Clone)]
pub struct ClientFiles {
    /// The authorities that sign for clients.
    pub authorities: PathBuf,
    /// What they have revoked. With it, every certificate but an authority of the other file needs a list by who signed
    /// it there: one that cannot be looked up is refused. A list that is out of date still counts: it is better than none.
    pub revoked: Option<PathBuf>,
    /// Whether a client without a certificate is refused.
    pub required: bool,
}

/// What a listener makes its next handshake with. A cheap handle.
#[derive(Debug, Clone)]
pub struct Current(watch::Receiver<Arc<ServerConfig>>);

/// A configuration that follows its files.
#[derive(Debug)]
pub struct Reloading {
    files: Files,
    current: watch::Sender<Arc<ServerConfig>>,
    /// Of the contents that are served.
    served: blake3::Hash,
    /// While the files hold something else.
    trouble: Option<Trouble>,
}

/// Files that cannot be used.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    /// Of their contents, if they could be read.
    contents: Option<blake3::Hash>,
    told: bool,
}

/// What a look at the files came to.
#[derive(Debug)]
#[must_use]
pub enum Look {
    /// They hold what is served.
    Same,
    /// They hold something new, which is served from now on.
    Replaced,
    /// What they hold cannot be served; what was served before still is.
    Unusable {
        /// Why not.
        error: Error,
        /// Whether an operator must be told: of each content once, and of two files that do not belong together only
        /// after a minute.
        tell: bool,
    },
}

impl From<Arc<ServerConfig>> for Current {
    /// A configuration that stays.
    fn from(config: Arc<ServerConfig>) -> Self {
        Self(watch::channel(config).1)
    }
}

impl Current {
    /// The configuration of this moment.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.borrow())
    }
}

impl Reloading {
    /// Loads the files for the first time.
    ///
    /// # Errors
    /// A file that cannot be read or used, or a certificate and a key that do not belong together.
    pub fn load(files: Files) -> Result<Self, Error> {
        let contents = Contents::read(&files)?;
        let current = watch::Sender::new(contents.config()?);
        Ok(Self { files, current, served: contents.hash(), trouble: None })
    }

    /// For a listener.
    #[must_use]
    pub fn current(&self) -> Current {
        Current(self.current.subscribe())
    }

    /// Looks at the files every five seconds, until `stopping`. Connections that are there go on as they are.
    pub async fn follow(mut self, stopping: CancellationToken) {
        while stopping.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            // A file system may be slow to answer, and this thread has calls to serve.
            let looked = tokio::task::spawn_blocking(move || {
                let look = self.look(Instant::now());
                (self, look)
            });
            let look;
            (self, look) = match stopping.run_until_cancelled(looked).await {
                None => return,
                Some(Ok(looked)) => looked,
                Some(Err(error)) => return tracing::error!(%error, "certificates are looked at no more"),
            };
            self.log(&look);
        }
    }

    /// Looks at the files once.
    pub fn look(&mut self, now: Instant) -> Look {
        let contents = match Contents::read(&self.files) {
            Ok(contents) => contents,
            Err(error) => return self.unusable(error, None, now),
        };
        let hash = contents.hash();
        if hash == self.served {
            self.trouble = None;
            return Look::Same;
        }
        match contents.config() {
            Ok(config) => {
                self.current.send_replace(config);
                (self.served, self.trouble) = (hash, None);
                Look::Replaced
            }
            Err(error) => self.unusable(error, Some(hash), now),
        }
    }

    /// Other contents than a moment ago are to be told of anew; what time there is for two files to match is not.
    fn unusable(&mut self, error: Error, contents: Option<blake3::Hash>, now: Instant) -> Look {
        let trouble = self.trouble.get_or_insert(Trouble { since: now, contents, told: false });
        if trouble.contents != contents {
            (trouble.contents, trouble.told) = (contents, false);
        }
        let may_pass = matches!(error, Error::Mismatch { .. }) && now - trouble.since <= MISMATCH_MAX;
        let tell = !may_pass && !std::mem::replace(&mut trouble.told, true);
        Look::Unusable { error, tell }
    }

    fn log(&self, look: &Look) {
        let certificate = self.files.certificate.display();
        match look {
            Look::Replaced => tracing::info!(%certificate, "new certificates are served from now on"),
            Look::Unusable { error, tell: true } => {
                let error = error as &dyn std::error::Error;
                tracing::error!(error, "new certificates cannot be used: the old ones are still served");
            }
            Look::Same | Look::Unusable { tell: false, .. } => {}
        }
    }
}

/// What is in the files.
struct Contents {
    certificate: PemFile,
    key: PemFile,
    clients: Option<ClientContents>,
}

struct ClientContents {
    authorities: PemFile,
    revoked: Option<PemFile>,
    required: bool,
}

impl ClientContents {
    fn read(files: &ClientFiles) -> Result<Self, Error> {
        Ok(Self {
            authorities: PemFile::read(&files.authorities)?,
            revoked: files.revoked.as_deref().map(PemFile::read).transpose()?,
            required: files.required,
        })
    }
}

impl Contents {
    fn read(files: &Files) -> Result<Self, Error> {
        Ok(Self {
            certificate: PemFile::read(&files.certificate)?,
            key: PemFile::read(&files.key)?,
            clients: files.clients.as_ref().map(ClientContents::read).transpose()?,
        })
    }

    fn config(&self) -> Result<Arc<ServerConfig>, Error> {
        let identity = identity(&self.certificate, &self.key)?;
        let clients = match &self.clients {
            None => ClientAuth::None,
            Some(clients) => {
                let trust = ClientTrust::of(&clients.authorities, clients.revoked.as_ref())?;
                if clients.required { ClientAuth::Required(trust) } else { ClientAuth::Optional(trust) }
            }
        };
        Ok(identity.server_config(&clients))
    }

    fn hash(&self) -> blake3::Hash {
        let clients = self.clients.iter().flat_map(|clients| [Some(&clients.authorities), clients.revoked.as_ref()]);
        let files = [Some(&self.certificate), Some(&self.key)].into_iter().chain(clients).flatten();
        let mut hasher = blake3::Hasher::new();
        for file in files {
            hasher.update(blake3::hash(&file.text).as_bytes());
        }
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::UNIX_EPOCH;

    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;

    /// A certificate of its own, and its key.
    fn pair() -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        [certificate.pem(), key.serialize_pem()]
    }

    fn files(dir: &Path) -> Files {
        Files { certificate: dir.join("cert.pem"), key: dir.join("key.pem"), clients: None }
    }

    fn write(files: &Files, [certificate, key]: &[String; 2]) {
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
    }

    /// Files that are served, and what was served first.
    struct Served {
        files: Files,
        reloading: Reloading,
        first: Arc<ServerConfig>,
        began: Instant,
        _dir: TempDir,
    }

    impl Served {
        fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let files = files(dir.path());
            write(&files, &pair());
            let reloading = Reloading::load(files.clone()).unwrap();
            let first = reloading.current().config();
            Self { files, reloading, first, began: Instant::now(), _dir: dir }
        }

        /// Looks at the files `after` the start; none if what was served first is not served any more.
        fn look(&mut self, after: u64) -> Option<Look> {
            let look = self.reloading.look(self.began + Duration::from_secs(after));
            Arc::ptr_eq(&self.first, &self.reloading.current().config()).then_some(look)
        }

        /// What is said in trouble, and whether it is to be told, while what was served first goes on.
        fn trouble(&mut self, after: u64) -> (String, bool) {
            match self.look(after).expect("the old certificate is served") {
                Look::Unusable { error, tell } => (error.to_string(), tell),
                look => panic!("{look:?}"),
            }
        }
    }

    #[test]
    fn a_new_pair_is_served_at_the_next_look_by_handles_that_were_there_before() {
        let mut served = Served::start();
        let handle = served.reloading.current();
        assert!(matches!(served.look(0), Some(Look::Same)));
        write(&served.files, &pair());
        assert!(served.look(5).is_none());
        assert!(!Arc::ptr_eq(&handle.config(), &served.first));
        assert!(matches!(served.reloading.look(served.began), Look::Same));
    }

    #[test]
    fn what_is_written_anew_and_is_the_same_changes_nothing() {
        let mut served = Served::start();
        let contents =
            [&served.files.certificate, &served.files.key].map(|file| std::fs::read_to_string(file).unwrap());
        std::fs::remove_file(&served.files.key).unwrap();
        write(&served.files, &contents);
        let other_day = UNIX_EPOCH + Duration::from_secs(1);
        std::fs::File::options().write(true).open(&served.files.key).unwrap().set_modified(other_day).unwrap();
        assert!(matches!(served.look(5), Some(Look::Same)));
    }

    #[test]
    fn a_change_of_the_same_length_and_date_is_seen() {
        let mut served = Served::start();
        let date = std::fs::metadata(&served.files.certificate).unwrap().modified().unwrap();
        let text = std::fs::read_to_string(&served.files.certificate).unwrap();
        std::fs::write(&served.files.certificate, text.replace("BEGIN", "BEGUN")).unwrap();
        std::fs::File::options().write(true).open(&served.files.certificate).unwrap().set_modified(date).unwrap();
        assert!(served.trouble(5).0.contains("holds no certificate"));
    }

    #[test]
    fn a_certificate_that_waits_for_its_key_is_a_matter_for_an_operator_after_a_minute_and_once() {
        let mut served = Served::start();
        let [one, two] = [pair(), pair()];
        std::fs::write(&served.files.certificate, &one[0]).unwrap();
        for (after, tell) in [(5, false), (60, false), (65, false), (66, true), (70, false), (1000, false)] {
            let (error, told) = served.trouble(after);
            assert!(error.contains("does not belong to the certificate") && told == tell, "{after} s: {error}");
        }
        // Another certificate without its key is news, and has no minute of its own.
        std::fs::write(&served.files.certificate, &two[0]).unwrap();
        assert!(served.trouble(1005).1 && !served.trouble(1010).1);
        std::fs::write(&served.files.key, &two[1]).unwrap();
        assert!(served.look(1015).is_none());
    }

    #[test]
    fn after_a_trouble_that_was_undone_the_next_one_is_a_new_one() {
        let mut served = Served::start();
        let text = std::fs::read_to_string(&served.files.certificate).unwrap();
        for began in [0, 1000] {
            std::fs::write(&served.files.certificate, &pair()[0]).unwrap();
            assert!(!served.trouble(began).1 && !served.trouble(began + 60).1 && served.trouble(began + 61).1);
            std::fs::write(&served.files.certificate, &text).unwrap();
            assert!(matches!(served.look(began + 62), Some(Look::Same)));
        }
    }

    #[test]
    fn a_file_that_is_of_no_use_is_told_of_at_once_and_once() {
        let mut served = Served::start();
        let [certificate, key] = pair();
        std::fs::write(&served.files.key, &key[..key.len() / 2]).unwrap();
        assert!(served.trouble(5).1 && !served.trouble(10).1);
        std::fs::remove_file(&served.files.key).unwrap();
        let (error, tell) = served.trouble(15);
        assert!(tell && error.starts_with("cannot read"), "{error}");
        assert!(!served.trouble(20).1);
        std::fs::write(&served.files.key, "nonsense").unwrap();
        assert!(served.trouble(25).1 && !served.trouble(30).1);
        write(&served.files, &[certificate, key]);
        assert!(served.look(35).is_none());
    }

    #[test]
    fn files_for_clients_are_followed_as_well() {
        let mut served = Served::start();
        let directory = served.files.certificate.parent().unwrap().to_owned();
        let clients = ClientFiles { authorities: directory.join("ca.pem"), revoked: None, required: true };
        std::fs::write(&clients.authorities, &pair()[0]).unwrap();
        served.files.clients = Some(clients.clone());
        served.reloading = Reloading::load(served.files.clone()).unwrap();
        served.first = served.reloading.current().config();
        assert!(matches!(served.look(5), Some(Look::Same)));
        std::fs::write(&clients.authorities, "").unwrap();
        assert!(served.trouble(10).0.contains("ca.pem: holds no certificate"));
        std::fs::write(&clients.authorities, &pair()[0]).unwrap();
        assert!(served.look(15).is_none());

        let revoked = directory.join("revoked.pem");
        let load = |revoked| {
            let clients = ClientFiles { revoked, ..clients.clone() };
            Reloading::load(Files { clients: Some(clients), ..served.files.clone() }).map_err(|error| error.to_string())
        };
        let problem = |text: &str| {
            std::fs::write(&revoked, text).unwrap();
            load(Some(revoked.clone())).unwrap_err()
        };
        assert!(load(Some(directory.join("absent.pem"))).unwrap_err().starts_with("cannot read"));
        assert!(problem("").contains("revoked.pem: holds no revocation list"));
        let nonsense = problem("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
        assert!(nonsense.contains("revoked.pem: unusable revocation list"), "{nonsense}");
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_looked_at_every_few_seconds_until_the_server_stops() {
        let Served { files, reloading, first, _dir, .. } = Served::start();
        let (mut current, stopping) = (reloading.current(), CancellationToken::new());
        let follow = reloading.follow(stopping.clone());
        let change = async {
            write(&files, &pair());
            let began = Instant::now();
            current.0.changed().await.unwrap();
            assert!(began.elapsed() <= LOOK_EVERY, "{:?}", began.elapsed());
            assert!(!Arc::ptr_eq(&first, &current.config()));
            stopping.cancel();
            Instant::now()
        };
        let both = tokio::time::timeout(LOOK_EVERY * 3, async { tokio::join!(follow, change).1 });
        assert_eq!(both.await.expect("it ends"), Instant::now(), "it ends at once");
    }
}
