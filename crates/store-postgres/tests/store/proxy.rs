//! A way to the database that can be cut at the worst moment.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// When to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The next commit does not reach the database.
    BeforeCommit,
    /// It does, and its answer does not come back.
    BehindCommit,
}

/// Forwards connections to a database.
pub(crate) struct Proxy {
    port: u16,
    cut: Arc<Mutex<Option<Cut>>>,
}

impl Proxy {
    /// A way to the database that listens on `port`. Its threads end with the connections.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { port: listener.local_addr().unwrap().port(), cut: Arc::default() };
        let cut = Arc::clone(&proxy.cut);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, database) = (client.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
                let (back, there) = (client.try_clone().unwrap(), database.try_clone().unwrap());
                let (cut, silenced) = (Arc::clone(&cut), Arc::new(AtomicBool::new(false)));
                let silence = Arc::clone(&silenced);
                thread::spawn(move || {
                    forward(client, database, |bytes| match cut_at(bytes, &cut) {
                        Some(Cut::BeforeCommit) => Way::Ends,
                        Some(Cut::BehindCommit) => {
                            silence.store(true, Ordering::SeqCst);
                            Way::Open
                        }
                        None => Way::Open,
                    });
                });
                thread::spawn(move || {
                    forward(there, back, |bytes| match (silenced.load(Ordering::SeqCst), commits(bytes)) {
                        (false, _) => Way::Open,
                        (true, false) => Way::Swallows,
                        (true, true) => Way::Ends,
                    });
                });
            }
        });
        proxy
    }

    /// The URL that goes this way.
    pub(crate) fn url(&self, url: &str, port: u16) -> String {
        url.replace(&format!(":{port}/"), &format!(":{}/", self.port))
    }

    /// Cuts the connection that commits next.
    pub(crate) fn cut(&self, when: Cut) {
        *self.cut.lock().unwrap() = Some(when);
    }

    /// Whether what was to be cut is.
    pub(crate) fn has_cut(&self) -> bool {
        self.cut.lock().unwrap().is_none()
    }
}

/// What becomes of bytes on their way.
enum Way {
    Open,
    Swallows,
    Ends,
}

/// Takes the order to cut when these bytes have a commit in them.
fn cut_at(bytes: &[u8], cut: &Mutex<Option<Cut>>) -> Option<Cut> {
    if commits(bytes) { cut.lock().unwrap().take() } else { None }
}

fn commits(bytes: &[u8]) -> bool {
    bytes.windows(COMMIT.len()).any(|window| window == COMMIT)
}

fn forward(mut from: TcpStream, mut to: TcpStream, way: impl Fn(&[u8]) -> Way) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..read];
        match way(bytes) {
            Way::Open if to.write_all(bytes).is_ok() => {}
            Way::Swallows => {}
            Way::Open | Way::Ends => break,
        }
    }
    let _closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// The end of a simple query as it is sent, and of the answer to it.
const COMMIT: &[u8] = b"COMMIT\0";
