//! PostgreSQL clusters of one's own, for tests and benchmarks: on loopback, in a temporary directory, and gone with
//! the process that started them, however that process ends.
//!
//! ```no_run
//! use operond_store_postgres::cluster::{Cluster, Kind};
//!
//! let url = Cluster::shared(Kind::Fast).fresh_schema();
//! ```
//!
//! It needs PostgreSQL's programs, and Linux's `/proc`. What cannot be done panics, for a test has no other use for it.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A PostgreSQL server and its data. Dropping it stops the server and removes the data.
#[derive(Debug)]
pub struct Cluster {
    keeper: Keeper,
    port: u16,
    /// The server's first process; none while it is stopped.
    postmaster: Option<u32>,
    schemas: AtomicUsize,
}

/// What a cluster is started with: `Settings { hba: vec![…], ..Settings::of(Kind::Fast) }`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Does it write to disk before it says so?
    pub kind: Kind,
    /// Connections at the same time, 200 unless changed.
    pub max_connections: u16,
    /// Lines for `postgresql.conf`. The last of two that set the same wins, and these come last.
    pub configuration: Vec<String>,
    /// Lines for `pg_hba.conf`. The first that fits a connection wins, and these come first; the others trust everyone.
    pub hba: Vec<String>,
    /// Files for the data directory by name, such as the `server.crt` and `server.key` that `ssl = on` wants.
    pub files: Vec<(String, Vec<u8>)>,
}

/// Does a cluster write to disk before it says so?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No: it is quick, and says nothing of what writing costs. What it has committed outlives its processes all the
    /// same, for the kernel has it: `synchronous_commit` stays on, which costs little without the disk.
    Fast,
    /// Yes, as it would in production.
    Durable,
}

impl Settings {
    /// What every cluster of a kind has.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        Self { kind, max_connections: 200, configuration: Vec::new(), hba: Vec::new(), files: Vec::new() }
    }

    fn configuration(&self) -> String {
        let mut text = format!("{CONFIGURATION}max_connections = {}\n", self.max_connections);
        if self.kind == Kind::Fast {
            text.push_str("fsync = off\nfull_page_writes = off\n");
        }
        text + &lines(&self.configuration)
    }

    fn hba(&self) -> String {
        lines(&self.hba) + HBA
    }
}

impl Cluster {
    /// The cluster of a kind that this process has for all its tests, each in a [schema](Self::fresh_schema) of its
    /// own. It starts when it is first asked for. Nobody can stop it: it lives as long as the process.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[must_use]
    pub fn shared(kind: Kind) -> &'static Self {
        static FAST: OnceLock<Cluster> = OnceLock::new();
        static DURABLE: OnceLock<Cluster> = OnceLock::new();
        let cluster = match kind {
            Kind::Fast => &FAST,
            Kind::Durable => &DURABLE,
        };
        cluster.get_or_init(|| Self::start(&Settings::of(kind)))
    }

    /// Starts a cluster, and returns when it takes connections.
    ///
    /// # Panics
    /// There is no PostgreSQL, or it does not start.
    #[must_use]
    pub fn start(settings: &Settings) -> Self {
        let mut keeper = Keeper::start();
        keeper.ask("init");
        let data = keeper.data();
        keeper.append(&data.join("postgresql.conf"), settings.configuration().as_bytes());
        fs::write(data.join("pg_hba.conf"), settings.hba()).expect("initdb has made this file");
        for (name, content) in &settings.files {
            keeper.append(&data.join(name), content);
        }
        Self::serve(keeper)
    }

    /// Starts a copy of `primary` that follows it and takes reads, and returns when it does both. A primary waits for
    /// it at each commit after `primary.configure("synchronous_standby_names", "*")`.
    ///
    /// # Panics
    /// As [`Cluster::start`]; or `primary` does not run.
    #[must_use]
    pub fn standby_of(primary: &Self) -> Self {
        let mut keeper = Keeper::start();
        keeper.ask(&format!("copy host=127.0.0.1 port={} user=operond", primary.port));
        let standby = Self::serve(keeper);
        standby.until("streams", || {
            standby.psql("select count(*) from pg_stat_wal_receiver where status = 'streaming'") == "1"
        });
        standby
    }

    /// Where clients connect: `postgres://operond@127.0.0.1:PORT/postgres`, as a superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://operond@127.0.0.1:{}/postgres", self.port)
    }

    /// Makes a schema, and returns where clients connect that shall find it first. `name` is a plain lower-case word.
    ///
    /// # Panics
    /// There is such a schema, or the cluster does not run.
    #[must_use]
    pub fn url_in_schema(&self, name: &str) -> String {
        self.psql(&format!("create schema {name}"));
        format!("{}?options=-c%20search_path%3D{name}", self.url())
    }

    /// [`Cluster::url_in_schema`] by a name that this cluster has not had.
    ///
    /// # Panics
    /// The cluster does not run.
    #[must_use]
    pub fn fresh_schema(&self) -> String {
        let number = self.schemas.fetch_add(1, Ordering::Relaxed);
        self.url_in_schema(&format!("schema_{number}"))
    }

    /// The port on 127.0.0.1, the same as long as the cluster lives.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The data directory. As root it belongs to the user `postgres`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.keeper.data()
    }

    /// User and system CPU time that the server's processes have used since it was started, those that have ended
    /// included.
    ///
    /// # Panics
    /// The cluster does not run.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let postmaster = self.running();
        let ticks = |process, field| stat(process, field).and_then(|ticks| ticks.parse().ok()).unwrap_or(0_u64);
        // Its own, and that of the children whose end it has seen; then of those that live.
        let ended: u64 = CPU_WITH_ENDED.map(|field| ticks(postmaster, field)).sum();
        let living = children_of(postmaster).into_iter().flat_map(|child| CPU.map(move |field| (child, field)));
        let living: u64 = living.map(|(child, field)| ticks(child, field)).sum();
        Duration::from_millis((ended + living) * 1000 / TICKS_PER_SECOND)
    }

    /// What the server has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.keeper.log()
    }

    /// Runs SQL, statements after each other in one transaction; returns the rows, a line each, `|` between values.
    ///
    /// # Panics
    /// SQL that fails, or a cluster that does not run.
    pub fn psql(&self, sql: &str) -> String {
        psql(&self.url(), sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Changes a setting of the running server that needs no restart.
    ///
    /// # Panics
    /// There is no such setting or value, or the cluster does not run.
    pub fn configure(&self, setting: &str, value: &str) {
        self.psql(&format!("alter system set {setting} = '{value}'"));
        self.psql("select pg_reload_conf()");
        // The server's processes take it up one by one, those of new connections among the last.
        self.until("has taken up a setting", || self.psql(&format!("show {setting}")) == value);
    }

    /// Stops the server in good order: connections are cut, what is committed is kept. A standby that is paused holds
    /// it up.
    ///
    /// # Panics
    /// It does not run.
    pub fn stop(&mut self) {
        let postmaster = self.running();
        self.keeper.ask(&format!("signal INT {postmaster}"));
        self.reap();
    }

    /// Kills all of the server's processes at once.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        // A stopped postmaster starts no process behind our back. Those that it leaves behind would live on for a
        // while, and keep a new server from its data.
        self.pause();
        let postmaster = self.running();
        let children = children_of(postmaster);
        self.signal("KILL", &children);
        self.reap();
        self.until("is killed", || children.iter().all(|child| has_ended(*child)));
    }

    /// Starts a stopped or killed server, on the same port and data.
    ///
    /// # Panics
    /// It runs, or does not start.
    pub fn start_again(&mut self) {
        assert!(self.postmaster.is_none(), "the cluster runs");
        self.until("has its port", || TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).is_ok());
        assert!(self.launch(), "port {} was taken", self.port);
    }

    /// Freezes all of the server's processes: connections stay open, nothing answers.
    ///
    /// # Panics
    /// It does not run.
    pub fn pause(&mut self) {
        let postmaster = self.running();
        self.keeper.ask(&format!("signal STOP {postmaster}"));
        self.signal("STOP", &children_of(postmaster));
    }

    /// Undoes [`Cluster::pause`].
    ///
    /// # Panics
    /// The server does not run.
    pub fn resume(&mut self) {
        let children = children_of(self.running());
        self.signal("CONT", &children);
    }

    /// The first start, for which any port will do.
    fn serve(keeper: Keeper) -> Self {
        let mut cluster = Self { keeper, port: 0, postmaster: None, schemas: AtomicUsize::new(0) };
        for _ in 0..PORT_ATTEMPTS {
            cluster.port = free_port();
            if cluster.launch() {
                return cluster;
            }
        }
        panic!("no port stays free: {}", cluster.log());
    }

    /// Starts the server and waits until it takes connections; false if somebody has taken its port.
    fn launch(&mut self) -> bool {
        let logged = self.log().len();
        let postmaster = self.keeper.ask(&format!("start {}", self.port));
        let mut ended = false;
        self.until("is ready", || {
            ended = has_ended(postmaster);
            ended || self.keeper.is_ready(postmaster)
        });
        self.postmaster = Some(postmaster);
        if ended {
            self.reap();
            let log = self.log().split_off(logged);
            assert!(log.contains("Address already in use"), "PostgreSQL did not start: {log}");
        }
        !ended
    }

    fn running(&self) -> u32 {
        self.postmaster.expect("the cluster runs")
    }

    fn signal(&mut self, signal: &str, children: &[u32]) {
        let postmaster = self.running();
        let children: String = children.iter().map(|child| format!(" {child}")).collect();
        // A child that has ended of its own accord is no failure.
        self.keeper.try_ask(&format!("signal {signal} {postmaster}{children}"));
    }

    fn reap(&mut self) {
        self.keeper.ask("wait");
        self.postmaster = None;
    }

    /// Waits until `condition` holds.
    #[expect(clippy::disallowed_methods, reason = "other processes tell nobody that they have changed")]
    fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "not in {PATIENCE:?}: the cluster {what}\n{}", self.log());
            thread::sleep(POLL);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.postmaster.is_some() && !thread::panicking() {
            // Processes that are paused do not heed a signal to stop.
            self.resume();
        }
    }
}

/// A shell that starts the server's processes and outlives us by so much as it needs to end them and remove the data.
/// It learns from the end of its input that we are gone. As root, all of this is done by the user `postgres`.
#[derive(Debug)]
struct Keeper {
    shell: Child,
    answers: BufReader<ChildStdout>,
    home: PathBuf,
    /// Who shall own the files, unless it is who we are.
    owner: Option<(u32, u32)>,
}

impl Keeper {
    fn start() -> Self {
        let mut command = Command::new("sh");
        let bin = programs();
        command.args(["-c", KEEPER, "keeper"]).arg(&bin).current_dir("/");
        let owner = (id(&["-u"]) == Some(0)).then(postgres_user);
        if let Some((user, group)) = owner {
            command.uid(user).gid(group);
        }
        // In a group of its own, for a terminal sends its interrupts to all processes of ours.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().expect("there is a shell");
        let mut answers = BufReader::new(shell.stdout.take().expect("it is piped"));
        let home = PathBuf::from(line(&mut answers).expect("the shell has made a directory"));
        Self { shell, answers, home, owner }
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// Has the shell do something; returns the process that it last started.
    fn ask(&mut self, request: &str) -> u32 {
        self.try_ask(request).unwrap_or_else(|| panic!("PostgreSQL: `{request}` failed: {}", self.log()))
    }

    fn try_ask(&mut self, request: &str) -> Option<u32> {
        let requests = self.shell.stdin.as_mut().expect("it is piped");
        let answer = writeln!(requests, "{request}").ok().and_then(|()| line(&mut self.answers));
        let answer = answer.expect("the shell lives as long as we do");
        let (status, process) = answer.split_once(' ').expect("it answers by two words");
        (status == "0").then(|| process.parse().unwrap_or(0))
    }

    /// Adds to a file, or makes one that the server will accept for a key.
    fn append(&self, path: &Path, content: &[u8]) {
        let file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        let written = file.and_then(|mut file| file.write_all(content));
        written.and_then(|()| self.give(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        self.owner.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)))
    }

    /// The postmaster tells it by a file, as it tells `pg_ctl`; one that was killed leaves its file behind.
    fn is_ready(&self, postmaster: u32) -> bool {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = file.lines().map(str::trim);
        lines.next() == Some(&postmaster.to_string()) && lines.nth(6) == Some("ready")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // This closes its input first.
        let _ended = self.shell.wait();
    }
}

/// The directory of PostgreSQL's programs: `OPEROND_POSTGRES_BIN`, or the newest that Debian has installed.
///
/// # Panics
/// There are none.
#[must_use]
pub fn programs() -> PathBuf {
    if let Some(directory) = env::var_os("OPEROND_POSTGRES_BIN") {
        return directory.into();
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.filter_map(|entry| {
        let bin = entry.path().join("bin");
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        bin.join("postgres").exists().then_some((version, bin))
    });
    let (_, bin) = versions.max().expect(
        "no PostgreSQL server is installed: `cargo xtask test` installs it (Debian's package `postgresql`), \
         or OPEROND_POSTGRES_BIN says in which directory `postgres` and `initdb` lie",
    );
    bin
}

/// PostgreSQL refuses to be run by root.
fn postgres_user() -> (u32, u32) {
    let ids = id(&["-u", "postgres"]).zip(id(&["-g", "postgres"]));
    ids.expect("PostgreSQL refuses to be run by root, and there is no user `postgres` to run it instead")
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn psql(url: &str, sql: &str) -> Result<String, String> {
    let output = Command::new(programs().join("psql"))
        .args(["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"])
        .args(["--dbname", url, "--command", sql])
        // What PG… variables say is meant for other servers.
        .env_clear()
        .env("PGCONNECT_TIMEOUT", "10")
        .stdin(Stdio::null())
        .output()
        .expect("psql lies beside the server");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("this is Linux").flatten();
    let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter(|process| stat(*process, 1).is_some_and(|id| id == parent.to_string())).collect()
}

/// Is it gone, or will be as soon as its parent looks?
fn has_ended(process: u32) -> bool {
    stat(process, 0).is_none_or(|state| state == "Z" || state == "X")
}

/// A field of what the kernel tells of a process, counted from the one after its name, which may hold spaces.
fn stat(process: u32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(field).map(str::to_owned)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

fn line(answers: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    answers.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    Some(line.trim_end().to_owned())
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Reads requests, and answers each by its status and the process last started.
const KEEPER: &str = r#"
bin=$1
# To answer when nobody is left to hear it must not end the shell before it has cleared up.
trap '' PIPE
umask 077
home=$(mktemp -d "${TMPDIR:-/tmp}/operond-postgres-XXXXXX") || exit 1
exec 2>"$home/log"
echo "$home"
while read -r verb arguments; do
    case $verb in
    init)
        "$bin/initdb" --pgdata="$home/data" --username=operond --auth=trust --encoding=UTF8 --locale=C --no-sync ;;
    copy)
        "$bin/pg_basebackup" --pgdata="$home/data" --dbname="$arguments" --checkpoint=fast --no-sync \
            --write-recovery-conf ;;
    start)
        "$bin/postgres" -D "$home/data" -p "$arguments" &
        postmaster=$! ;;
    signal)
        kill -$arguments ;;
    wait)
        wait "$postmaster"
        postmaster= ;;
    esac </dev/null >&2
    echo "$? ${!:-0}"
done
if [ "$postmaster" ]; then
    kill -CONT "$postmaster"
    kill -QUIT "$postmaster"
    wait "$postmaster"
fi
# A postmaster that was killed leaves this file, and a segment of shared memory that it names.
[ -f "$home/data/postmaster.pid" ] && ipcrm -m "$(sed -n '7s/.* //p' "$home/data/postmaster.pid")"
rm -rf "$home"
"#;

/// Shared memory as files of the data directory: a killed server leaves none behind in `/dev/shm`.
const CONFIGURATION: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
dynamic_shared_memory_type = mmap
shared_buffers = 64MB
huge_pages = off
max_wal_size = 1GB
timezone = 'UTC'
log_timezone = 'UTC'
";
const HBA: &str = "\
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
";

/// Fields of [`stat`]: user and system time, and then of the children that were waited for.
const CPU: std::ops::Range<usize> = 11..13;
const CPU_WITH_ENDED: std::ops::Range<usize> = 11..15;
/// `USER_HZ`, which Linux fixes at 100 for programs.
const TICKS_PER_SECOND: u64 = 100;
/// How often a port may be taken between our finding it free and the server's taking it.
const PORT_ATTEMPTS: u32 = 10;
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "OPEROND_TEST_OWNER";

    #[test]
    fn each_schema_has_tables_of_its_own() {
        let cluster = Cluster::shared(Kind::Fast);
        let (one, two) = (cluster.fresh_schema(), cluster.fresh_schema());
        psql(&one, "create table t as select 1 as n").unwrap();
        psql(&two, "create table t as select 2 as n").unwrap();
        assert_eq!(psql(&one, "select n from t").unwrap(), "1");
        assert_eq!(psql(&two, "select n from t").unwrap(), "2");
    }

    #[test]
    fn what_is_committed_outlives_a_stop_and_a_kill() {
        let mut cluster = Cluster::start(&Settings::of(Kind::Fast));
        let (url, home) = (cluster.url(), cluster.keeper.home.clone());
        assert_eq!(cluster.psql("show fsync; show synchronous_commit"), "off\non");
        cluster.psql("create table t (n int)");

        cluster.psql("insert into t values (1)");
        cluster.stop();
        psql(&url, "select").unwrap_err();
        cluster.start_again();

        cluster.psql("insert into t values (2)");
        cluster.kill();
        psql(&url, "select").unwrap_err();
        cluster.start_again();
        assert_eq!(cluster.psql("select n from t order by n"), "1\n2");
        assert_eq!(cluster.url(), url);

        cluster.kill();
        drop(cluster);
        assert!(!home.exists());
    }

    #[test]
    fn what_a_process_used_still_counts_when_it_has_ended() {
        let cluster = Cluster::start(&Settings::of(Kind::Fast));
        let before = cluster.cpu();
        cluster.psql("select count(*) from generate_series(1, 2000000)");
        // Its postmaster hears of the end of a process a little later than who asked it something.
        cluster.until("counts what an ended process used", || cluster.cpu() >= before + Duration::from_millis(50));
    }

    #[test]
    fn a_paused_cluster_answers_when_resumed() {
        let mut cluster = Cluster::start(&Settings::of(Kind::Fast));
        let url = cluster.url();
        cluster.pause();
        let waiting = thread::spawn(move || psql(&url, "select 1"));
        let client_waits = || {
            let connections = fs::read_to_string("/proc/net/tcp").unwrap();
            connections.contains(&format!(":{:04X} 01", cluster.port()))
        };
        cluster.until("is connected to", client_waits);
        assert!(!waiting.is_finished());
        cluster.resume();
        assert_eq!(waiting.join().unwrap().unwrap(), "1");

        // Dropped while paused, it ends none the less.
        cluster.pause();
    }

    #[test]
    fn settings_lines_and_files_reach_the_server() {
        let cluster = Cluster::start(&Settings {
            max_connections: 17,
            configuration: vec!["include = 'more.conf'".into()],
            hba: vec!["host all guarded 127.0.0.1/32 scram-sha-256".into()],
            files: vec![("more.conf".into(), b"work_mem = 5MB\n".into())],
            ..Settings::of(Kind::Fast)
        });
        assert_eq!(cluster.psql("show max_connections; show work_mem"), "17\n5MB");
        cluster.configure("work_mem", "6MB");

        cluster.psql("create role guarded login password 'secret'");
        let url = |user: &str| cluster.url().replace("operond@", user);
        assert_eq!(psql(&url("guarded:secret@"), "show work_mem").unwrap(), "6MB");
        let refused = psql(&url("guarded:guess@"), "select").unwrap_err();
        assert!(refused.contains("password authentication failed"), "{refused}");
    }

    #[test]
    fn a_standby_follows_is_waited_for_and_refuses_writes() {
        let primary = Cluster::start(&Settings::of(Kind::Durable));
        assert_eq!(primary.psql("show fsync; show full_page_writes"), "on\non");
        primary.psql("create table t as select 1 as n");
        let mut standby = Cluster::standby_of(&primary);
        assert_eq!(standby.psql("select n from t"), "1");
        let refused = psql(&standby.url(), "insert into t values (2)").unwrap_err();
        assert!(refused.contains("read-only"), "{refused}");

        primary.configure("synchronous_standby_names", "*");
        primary.until("has its standby", || primary.psql("select sync_state from pg_stat_replication") == "sync");
        standby.pause();
        let url = primary.url();
        let waiting = thread::spawn(move || psql(&url, "insert into t values (3)"));
        primary.until("waits", || primary.psql(WAITING) == "1");
        assert!(!waiting.is_finished());
        standby.resume();
        waiting.join().unwrap().unwrap();

        standby.psql("select pg_promote()");
        standby.psql("insert into t values (4)");
        assert_eq!(standby.psql("select n from t order by n"), "1\n3\n4");
    }

    #[test]
    fn nothing_outlives_a_killed_owner() {
        if env::var_os(OWNER).is_some() {
            return own();
        }
        let mut owner = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "cluster::tests::nothing_outlives_a_killed_owner"])
            .env(OWNER, "yes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(owner.stdout.take().unwrap());
        let home = loop {
            let line = line(&mut said).expect("the owner says where its cluster is");
            if let Some((_, home)) = line.split_once("cluster in ") {
                break PathBuf::from(home);
            }
        };
        let pid = fs::read_to_string(home.join("data/postmaster.pid")).unwrap();
        let postmaster: u32 = pid.lines().next().unwrap().parse().unwrap();
        assert!(!has_ended(postmaster));

        owner.kill().unwrap();
        owner.wait().unwrap();
        Cluster::shared(Kind::Fast).until("of a dead owner is gone", || has_ended(postmaster) && !home.exists());
    }

    /// Has a cluster until it is killed or its own parent is.
    fn own() {
        let cluster = Cluster::start(&Settings::of(Kind::Fast));
        println!("cluster in {}", cluster.keeper.home.display());
        let _parent_is_gone = line(&mut io::stdin().lock());
    }

    const WAITING: &str = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
}
