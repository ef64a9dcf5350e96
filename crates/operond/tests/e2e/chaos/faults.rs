//! What goes wrong, and when: drawn from a seed before anything begins, so that it can be drawn again.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Psql, Random, Served};

/// Something that goes wrong with one server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ServerFault {
    /// It is killed, and started again after a while.
    Kill { down: Duration },
    /// It stands still for a while.
    Pause { length: Duration },
}

/// Something that goes wrong in the database.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DatabaseFault {
    /// Some of the servers' sessions are ended, beginning with this one of them.
    Terminate { first: usize, count: usize },
    /// The process of a session is killed, whereupon PostgreSQL ends all of them, recovers and begins anew.
    Kill { which: usize },
}

/// Faults with when each begins, from the beginning on; one that lasts until after the next one's time delays that.
pub(crate) type Plan<F> = Vec<(Duration, F)>;

/// Faults of one server for so long.
pub(crate) fn of_a_server(random: &mut Random, length: Duration) -> Plan<ServerFault> {
    plan(random, length, (1_500, 5_000), |random| match random.below(2) {
        0 => ServerFault::Kill { down: random.millis(50, 1_000) },
        _ => ServerFault::Pause { length: random.millis(200, 4_000) },
    })
}

/// Faults of the database for so long: sessions are ended often, the whole of it goes down now and then.
pub(crate) fn of_the_database(random: &mut Random, length: Duration) -> Plan<DatabaseFault> {
    plan(random, length, (300, 2_000), |random| match random.below(12) {
        0 => DatabaseFault::Kill { which: random.below(100) },
        _ => DatabaseFault::Terminate { first: random.below(100), count: 1 + random.below(3) },
    })
}

fn plan<F>(
    random: &mut Random,
    length: Duration,
    (least, most): (u64, u64),
    mut draw: impl FnMut(&mut Random) -> F,
) -> Plan<F> {
    let mut at = Duration::ZERO;
    let next = || {
        at += random.millis(least, most);
        (at < length).then(|| (at, draw(random)))
    };
    std::iter::from_fn(next).collect()
}

/// A thread that does harm until it is told to stop.
pub(crate) struct Harm<T> {
    stop: SyncSender<()>,
    thread: JoinHandle<T>,
}

impl<T> Harm<T> {
    /// Stops it; whole again is what it harmed.
    pub(crate) fn stop(self) -> T {
        drop(self.stop);
        self.thread.join().expect("no fault failed")
    }
}

/// Does to `server` what is planned.
pub(crate) fn harm_server(mut server: Served, plan: Plan<ServerFault>) -> Harm<Served> {
    harm(move |stopped| {
        let began = Instant::now();
        for (at, fault) in plan {
            if !pass(stopped, at.saturating_sub(began.elapsed())) {
                break;
            }
            match fault {
                ServerFault::Kill { down } => {
                    server.kill();
                    pass(stopped, down);
                    start(&mut server);
                }
                ServerFault::Pause { length } => {
                    server.pause();
                    pass(stopped, length);
                    server.resume();
                }
            }
        }
        server
    })
}

/// Does to the sessions of servers in the database at `url` what is planned; how many it ended and killed.
pub(crate) fn harm_database(url: String, plan: Plan<DatabaseFault>) -> Harm<(usize, usize)> {
    harm(move |stopped| {
        let began = Instant::now();
        let (mut ended, mut killed) = (0, 0);
        for (at, fault) in plan {
            if !pass(stopped, at.saturating_sub(began.elapsed())) {
                break;
            }
            // None while it recovers from the fault before.
            let Some(mut psql) = Psql::open(&url) else { continue };
            let sessions = psql.try_run(SESSIONS).unwrap_or_default();
            let sessions: Vec<&str> = sessions.lines().collect();
            match fault {
                _ if sessions.is_empty() => {}
                DatabaseFault::Terminate { first, count } => {
                    for n in first..first + count {
                        let session = sessions[n % sessions.len()];
                        let said = psql.try_run(&format!("SELECT pg_terminate_backend({session})"));
                        ended += usize::from(said.as_deref() == Some("t"));
                    }
                }
                DatabaseFault::Kill { which } => {
                    let session = sessions[which % sessions.len()].parse().ok().and_then(Pid::from_raw).unwrap();
                    killed += usize::from(kill_process(session, Signal::KILL).is_ok());
                }
            }
        }
        (ended, killed)
    })
}

fn harm<T: Send + 'static>(work: impl FnOnce(&Receiver<()>) -> T + Send + 'static) -> Harm<T> {
    let (stop, stopped) = sync_channel(0);
    Harm { stop, thread: std::thread::spawn(move || work(&stopped)) }
}

/// Lets time pass; false when there is no more of it.
fn pass(stopped: &Receiver<()>, time: Duration) -> bool {
    stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
}

/// A server does not start while the database is away: whoever runs it tries again.
fn start(server: &mut Served) {
    let began = Instant::now();
    while !server.start_again() {
        assert!(began.elapsed() < START_MAX, "no start in {START_MAX:?}: {}", server.log());
    }
}

const SESSIONS: &str =
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'operond' ORDER BY backend_start, pid";
const START_MAX: Duration = Duration::from_secs(30);
