//! The network between primaries and standbys: connections go through us, so that those of one standby can be cut.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use anyhow::Context;

/// All links, and whom they are cut for. A connection belongs to the `application_name` it begins by.
#[derive(Clone, Default)]
pub(super) struct Network {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cut: BTreeSet<String>,
    lines: Vec<Arc<Line>>,
}

/// One connection.
struct Line {
    whose: OnceLock<String>,
    ends: [TcpStream; 2],
}

impl Network {
    /// Passes on what comes to one port of loopback to another, as long as this process lives.
    ///
    /// # Errors
    /// The port is taken.
    pub(super) fn link(&self, from: u16, to: u16) -> anyhow::Result<()> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, from)).with_context(|| format!("listening on {from}"))?;
        let network = self.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Nobody there: the client sees its connection closed.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) {
                    network.join(client, server);
                }
            }
        });
        Ok(())
    }

    /// Loses whatever `whose` connections carry from now on. Nobody is told, as when a network breaks.
    pub(super) fn cut(&self, whose: &str) {
        self.state().cut.insert(whose.to_owned());
    }

    /// Lets new connections through. Those that have lost something end.
    pub(super) fn mend(&self, whose: &str) {
        let mut state = self.state();
        state.cut.remove(whose);
        let (lost, others) = state.lines.drain(..).partition(|line: &Arc<Line>| line.is_of(whose));
        state.lines = others;
        lost.iter().for_each(|line| line.close());
    }

    fn join(&self, client: TcpStream, server: TcpStream) {
        let (Ok(client_end), Ok(server_end)) = (client.try_clone(), server.try_clone()) else { return };
        let line = Arc::new(Line { whose: OnceLock::new(), ends: [client_end, server_end] });
        self.state().lines.push(Arc::clone(&line));
        for (from, to, is_client) in [(client.try_clone(), server.try_clone(), true), (Ok(server), Ok(client), false)] {
            let (network, line) = (self.clone(), Arc::clone(&line));
            thread::spawn(move || {
                if let (Ok(from), Ok(to)) = (from, to) {
                    network.carry(from, to, &line, is_client);
                }
                network.end(&line);
            });
        }
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, line: &Line, is_client: bool) {
        let mut buffer = vec![0; 1 << 16];
        let mut seen = 0;
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            let bytes = &buffer[..bytes];
            if is_client && seen < START_BYTES_MAX {
                seen += bytes.len();
                application_name(bytes).into_iter().for_each(|name| line.is_claimed_by(name));
            }
            if !self.is_cut(line) && to.write_all(bytes).is_err() {
                break;
            }
        }
    }

    /// One end has closed. The other learns of it, unless the line is cut.
    fn end(&self, line: &Arc<Line>) {
        if !self.is_cut(line) {
            line.close();
            self.state().lines.retain(|other| !Arc::ptr_eq(other, line));
        }
    }

    fn is_cut(&self, line: &Line) -> bool {
        let state = self.state();
        line.whose.get().is_some_and(|whose| state.cut.contains(whose))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn is_of(&self, whose: &str) -> bool {
        self.whose.get().is_some_and(|name| name == whose)
    }

    fn is_claimed_by(&self, name: String) {
        // The first name counts.
        let _ = self.whose.set(name);
    }

    fn close(&self) {
        for end in &self.ends {
            let _closed_already = end.shutdown(Shutdown::Both);
        }
    }
}

/// The client's name, in the packet that starts a session: pairs of words, each ended by a zero.
fn application_name(packet: &[u8]) -> Option<String> {
    let key = b"\0application_name\0";
    let at = packet.windows(key.len()).position(|window| window == key)?;
    let name = packet[at + key.len()..].split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Requests of encryption and the packet that starts the session are shorter together.
const START_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_cut_loses_what_one_client_says_and_mending_ends_its_connection() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = server.local_addr().unwrap().port();
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let from = probe.local_addr().unwrap().port();
        drop(probe);
        let network = Network::default();
        network.link(from, to).unwrap();
        let connect = |name: &str| {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, from)).unwrap();
            let start = format!("\0\0\0\x50\0\x03\0\0user\0replicator\0application_name\0{name}\0\0");
            client.write_all(start.as_bytes()).unwrap();
            let mut accepted = server.accept().unwrap().0;
            accepted.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            accepted.read_exact(&mut vec![0; start.len()]).unwrap();
            (client, accepted)
        };
        let (mut one, mut one_there) = connect("node1");
        let (mut two, mut two_there) = connect("node2");

        network.cut("node1");
        one.write_all(b"lost").unwrap();
        two.write_all(b"kept").unwrap();
        let mut kept = [0; 4];
        two_there.read_exact(&mut kept).unwrap();
        assert_eq!(&kept, b"kept");

        // What has been lost is not delivered late: the next that comes is the end.
        network.mend("node1");
        assert_eq!(one_there.read(&mut [0; 4]).unwrap(), 0);
        let (mut again, mut again_there) = connect("node1");
        again.write_all(b"heard").unwrap();
        again_there.read_exact(&mut [0; 5]).unwrap();
    }
}
