//! What goes wrong, and when: drawn from a seed before anything begins, so that it can be drawn again.

use std::collections::BTreeMap;
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
    /// The process of a session stands still for a while, whatever it has locked.
    Pause { which: usize, length: Duration },
    /// The process of a session is killed, whereupon PostgreSQL ends all of them, recovers and begins anew.
    Kill { which: usize },
}

/// Faults with when each begins, from the beginning on, and when the one before is over: without a while between them a
/// server would stand still for longer than any pause.
pub(crate) type Plan<F> = Vec<(Duration, F)>;

/// How often each sort of fault happened.
pub(crate) type Happened = BTreeMap<&'static str, usize>;

/// Sorts of faults, each with how often it is drawn among the others.
type Sorts<F> = [(usize, fn(&mut Random) -> F)];

/// Faults of one server for so long.
pub(crate) fn of_a_server(random: &mut Random, length: Duration) -> Plan<ServerFault> {
    let sorts: &Sorts<_> = &[
        (1, |random| ServerFault::Kill { down: random.millis(50, 1_000) }),
        (1, |random| ServerFault::Pause { length: random.millis(200, 4_000) }),
    ];
    let lasts = |fault: &ServerFault| match *fault {
        ServerFault::Kill { down } => down,
        ServerFault::Pause { length } => length,
    };
    plan(random, length, (1_500, 4_000), sorts, lasts)
}

/// Faults of the database for so long: sessions are ended often, the whole of it goes down now and then.
pub(crate) fn of_the_database(random: &mut Random, length: Duration) -> Plan<DatabaseFault> {
    let sorts: &Sorts<_> = &[
        (9, |random| DatabaseFault::Terminate { first: random.below(100), count: 1 + random.below(3) }),
        (2, |random| DatabaseFault::Pause { which: random.below(100), length: random.millis(200, 3_000) }),
        (1, |random| DatabaseFault::Kill { which: random.below(100) }),
    ];
    let lasts = |fault: &DatabaseFault| match *fault {
        DatabaseFault::Pause { length, .. } => length,
        DatabaseFault::Terminate { .. } | DatabaseFault::Kill { .. } => Duration::ZERO,
    };
    plan(random, length, (300, 2_000), sorts, lasts)
}

/// Each sort once at first, in any order, and then what chance gives.
fn plan<F>(
    random: &mut Random,
    length: Duration,
    (least, most): (u64, u64),
    sorts: &Sorts<F>,
    lasts: impl Fn(&F) -> Duration,
) -> Plan<F> {
    let often: Vec<usize> = (0..sorts.len()).flat_map(|sort| vec![sort; sorts[sort].0]).collect();
    let mut first: Vec<usize> = (0..sorts.len()).collect();
    let mut at = Duration::ZERO;
    let next = || {
        at += random.millis(least, most);
        let sort = if first.is_empty() {
            often[random.below(often.len())]
        } else {
            first.swap_remove(random.below(first.len()))
        };
        (at < length).then(|| {
            let fault = sorts[sort].1(random);
            let begins = at;
            at += lasts(&fault);
            (begins, fault)
        })
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
pub(crate) fn harm_server(mut server: Served, plan: Plan<ServerFault>) -> Harm<(Served, Happened)> {
    harm(move |stopped| {
        let (began, mut happened) = (Instant::now(), Happened::new());
        for (at, fault) in plan {
            if !pass(stopped, at.saturating_sub(began.elapsed())) {
                break;
            }
            match fault {
                ServerFault::Kill { down } => {
                    server.kill();
                    pass(stopped, down);
                    start(&mut server);
                    *happened.entry(SERVER_KILLED).or_default() += 1;
                }
                ServerFault::Pause { length } => {
                    server.pause();
                    pass(stopped, length);
                    server.resume();
                    *happened.entry(SERVER_PAUSED).or_default() += 1;
                }
            }
        }
        (server, happened)
    })
}

/// Does to the sessions of servers in the database at `url` what is planned.
pub(crate) fn harm_database(url: String, plan: Plan<DatabaseFault>) -> Harm<Happened> {
    harm(move |stopped| {
        let (began, mut happened) = (Instant::now(), Happened::new());
        for (at, fault) in plan {
            if !pass(stopped, at.saturating_sub(began.elapsed())) {
                break;
            }
            let Some((mut psql, sessions)) = sessions(&url, stopped) else { break };
            let session = |n: usize| sessions[n % sessions.len()].as_str();
            let (what, count) = match fault {
                DatabaseFault::Terminate { first, count } => {
                    let terminate = |n| format!("SELECT pg_terminate_backend({})", session(n));
                    let ended = |n: &usize| psql.try_run(&terminate(*n)).as_deref() == Some("t");
                    (SESSION_ENDED, (first..first + count).filter(ended).count())
                }
                DatabaseFault::Pause { which, length } => {
                    let paused = signal(session(which), Signal::STOP);
                    pass(stopped, length);
                    signal(session(which), Signal::CONT);
                    (SESSION_PAUSED, usize::from(paused))
                }
                DatabaseFault::Kill { which } => (SESSION_KILLED, usize::from(signal(session(which), Signal::KILL))),
            };
            *happened.entry(what).or_default() += count;
        }
        happened
    })
}

/// The servers' sessions, and one of our own, as soon as the database has recovered from the fault before; none when
/// there is no more time.
fn sessions(url: &str, stopped: &Receiver<()>) -> Option<(Psql, Vec<String>)> {
    while pass(stopped, AGAIN) {
        let Some(mut psql) = Psql::open(url) else { continue };
        let sessions = psql.try_run(SESSIONS).unwrap_or_default();
        if !sessions.is_empty() {
            return Some((psql, sessions.lines().map(str::to_owned).collect()));
        }
    }
    None
}

/// False when it has ended of its own accord.
fn signal(session: &str, signal: Signal) -> bool {
    kill_process(session.parse().ok().and_then(Pid::from_raw).unwrap(), signal).is_ok()
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

/// Everything that can happen, by its name.
pub(crate) const SORTS: [&str; 5] = [SERVER_KILLED, SERVER_PAUSED, SESSION_ENDED, SESSION_PAUSED, SESSION_KILLED];
const SERVER_KILLED: &str = "server killed";
const SERVER_PAUSED: &str = "server stood still";
const SESSION_ENDED: &str = "session ended";
const SESSION_PAUSED: &str = "session stood still";
const SESSION_KILLED: &str = "session killed";
/// How often a database that recovers is looked for.
const AGAIN: Duration = Duration::from_millis(20);
const SESSIONS: &str =
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'operond' ORDER BY backend_start, pid";
const START_MAX: Duration = Duration::from_secs(30);
