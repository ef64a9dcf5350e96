//! Three PostgreSQL servers on loopback of which Patroni makes one the primary, and ways to break them.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::config::{self, Ports};
use super::http;
use super::install::Programs;
use super::keeper::Keeper;
use super::link::Network;

/// Three nodes, each Patroni with a PostgreSQL of its own, and one etcd. All of it ends when this process does.
///
/// A commit is acknowledged when one standby has it on disk, too; without a standby, never.
pub(super) struct Ensemble {
    keeper: Keeper,
    network: Network,
    nodes: [Node; 3],
    psql: PathBuf,
    synchronous: bool,
}

struct Node {
    name: &'static str,
    directory: PathBuf,
    ports: Ports,
}

impl Ensemble {
    /// Starts everything; [`Ensemble::wait_until_healthy`] says when it is there.
    ///
    /// # Errors
    /// A program does not start, or a port is taken by others at the same time.
    pub(super) fn start(programs: &Programs) -> anyhow::Result<Self> {
        let mut keeper = Keeper::start(programs)?;
        let mut ports = free_ports(11)?.into_iter();
        let mut port = || ports.next().expect("there are as many as are taken");
        let etcd = port();
        let directory = keeper.home.join("etcd");
        write(&directory, &config::etcd(&directory, etcd, port()))?;
        keeper.ask("etcd")?;
        let nodes = ["node0", "node1", "node2"].map(|name| Node {
            name,
            directory: keeper.home.join(name),
            ports: Ports { postgres: port(), link: port(), patroni: port() },
        });
        let network = Network::default();
        for node in &nodes {
            network.link(node.ports.link, node.ports.postgres)?;
            let config = config::patroni(node.name, &node.directory, &node.ports, etcd, &programs.postgres);
            write(&node.directory, &config)?;
            keeper.ask(&format!("patroni {}", node.name))?;
        }
        Ok(Self { keeper, network, nodes, psql: programs.postgres.join("psql"), synchronous: true })
    }

    /// The node that is the primary. Patroni says so a little before PostgreSQL takes writes: both have to.
    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |node: &usize| {
            let answer = http::get(self.nodes[*node].ports.patroni, "/primary");
            answer.is_ok_and(|answer| answer.status == 200)
                && self.psql(*node, "select pg_is_in_recovery()").is_ok_and(|recovers| recovers == "f")
        };
        (0..self.nodes.len()).find(leads)
    }

    /// Where clients connect, whichever node leads: to a database of the user `postgres`.
    pub(super) fn url(&self) -> String {
        let hosts = self.nodes.each_ref().map(|node| format!("127.0.0.1:{}", node.ports.postgres));
        format!("postgres://postgres@{}/postgres?target_session_attrs=read-write", hosts.join(","))
    }

    /// Waits for a leader that `is_it`, and returns it.
    ///
    /// # Errors
    /// There is none in two minutes.
    pub(super) fn wait_for_leader(&self, is_it: impl Fn(usize) -> bool) -> anyhow::Result<usize> {
        let mut leader = None;
        until("there is a leader", || {
            leader = self.leader().filter(|node| is_it(*node));
            leader.is_some()
        })?;
        leader.context("there is a leader")
    }

    /// Waits until one node leads, two follow, and commits wait for one of these if they shall.
    ///
    /// # Errors
    /// They do not in two minutes.
    pub(super) fn wait_until_healthy(&self) -> anyhow::Result<()> {
        until("the ensemble is healthy", || self.is_healthy())
    }

    fn is_healthy(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let Ok(cluster) = http::get(self.nodes[leader].ports.patroni, "/cluster") else { return false };
        let count = |what: &str, value: &str| {
            let members = cluster.body["members"].as_array().into_iter().flatten();
            members.filter(|member| member[what] == value).count()
        };
        let synchronous = usize::from(self.synchronous);
        count("role", "leader") == 1
            && count("state", "streaming") == 2
            && count("role", "sync_standby") == synchronous
            // Patroni wants it so; PostgreSQL must have done it, too.
            && self.psql(leader, FOLLOWERS).is_ok_and(|followers| followers == format!("2|{synchronous}"))
    }

    /// What one node tells of the cluster.
    pub(super) fn roles(&self) -> Vec<(String, String)> {
        let answers = self.nodes.iter().filter_map(|node| http::get(node.ports.patroni, "/cluster").ok());
        let members = answers.map(|answer| answer.body["members"].clone()).next().unwrap_or_default();
        let text = |member: &Value, what: &str| member[what].as_str().unwrap_or("none").to_owned();
        members.as_array().into_iter().flatten().map(|member| (text(member, "name"), text(member, "role"))).collect()
    }

    /// The node whose acknowledgement commits wait for.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn synchronous_standby(&self) -> anyhow::Result<usize> {
        let roles = self.roles();
        let standby = roles.iter().find(|(_, role)| role == "sync_standby");
        let position = self.nodes.iter().position(|node| standby.is_some_and(|(name, _)| name == node.name));
        position.with_context(|| format!("no synchronous standby among {roles:?}"))
    }

    /// For how long the leader has had a standby; nothing if it has none.
    ///
    /// # Errors
    /// There is no leader.
    pub(super) fn has_a_standby_for(&self) -> anyhow::Result<Option<Duration>> {
        let seconds = self.psql_at_leader(FOLLOWED_FOR)?;
        Ok(seconds.parse().ok().map(Duration::from_secs_f64))
    }

    /// Does a standby receive what the leader writes?
    ///
    /// # Errors
    /// There is no leader.
    pub(super) fn is_up_to_date(&self, standby: usize) -> anyhow::Result<bool> {
        let leader = self.leader().context("there is no leader")?;
        let sql = format!(
            "select count(*) from pg_stat_replication \
             where application_name = '{}' and flush_lsn = pg_current_wal_flush_lsn()",
            self.nodes[standby].name
        );
        Ok(self.psql(leader, &sql)? == "1")
    }

    /// Kills Patroni and PostgreSQL of a node, as when its machine dies.
    ///
    /// # Errors
    /// The node was not up.
    pub(super) fn kill_node(&mut self, node: usize) -> anyhow::Result<()> {
        let directory = self.nodes[node].directory.clone();
        self.kill(&directory)
    }

    /// Kills PostgreSQL of a node. Its Patroni starts it again.
    ///
    /// # Errors
    /// It was not up.
    pub(super) fn kill_postgres(&mut self, node: usize) -> anyhow::Result<()> {
        let directory = self.nodes[node].directory.join("data");
        self.kill(&directory)
    }

    fn kill(&mut self, directory: &Path) -> anyhow::Result<()> {
        let mut killed = 0;
        // Again, for one that was about to start another.
        loop {
            match self.keeper.signal("KILL", directory)? {
                0 => break,
                some => killed += some,
            }
        }
        ensure!(killed > 0, "nothing runs in {}", directory.display());
        Ok(())
    }

    /// Freezes all of a node, which lives on and knows nothing of what happens meanwhile.
    ///
    /// # Errors
    /// The node was not up.
    pub(super) fn pause_node(&mut self, node: usize) -> anyhow::Result<()> {
        let processes = self.keeper.signal("STOP", &self.nodes[node].directory)?;
        ensure!(processes > 0, "node {node} is not up");
        Ok(())
    }

    /// Undoes [`Ensemble::pause_node`].
    ///
    /// # Errors
    /// The node was killed meanwhile.
    pub(super) fn resume_node(&mut self, node: usize) -> anyhow::Result<()> {
        let processes = self.keeper.signal("CONT", &self.nodes[node].directory)?;
        ensure!(processes > 0, "node {node} is not up");
        Ok(())
    }

    /// Starts a killed node again.
    ///
    /// # Errors
    /// The shell that does it is gone.
    pub(super) fn restart_node(&mut self, node: usize) -> anyhow::Result<()> {
        self.keeper.ask(&format!("patroni {}", self.nodes[node].name))?;
        Ok(())
    }

    /// Loses all that is replicated to a node. Nobody is told.
    pub(super) fn cut_replication(&self, to: usize) {
        self.network.cut(self.nodes[to].name);
    }

    /// Undoes [`Ensemble::cut_replication`].
    pub(super) fn mend_replication(&self, to: usize) {
        self.network.mend(self.nodes[to].name);
    }

    /// Shall commits wait for a standby? It holds when the ensemble is healthy the next time.
    ///
    /// # Errors
    /// No leader answers.
    pub(super) fn set_synchronous(&mut self, synchronous: bool) -> anyhow::Result<()> {
        let leader = self.leader().context("there is no leader")?;
        let change = json!({ "synchronous_mode": synchronous, "synchronous_mode_strict": synchronous });
        let answer = http::patch(self.nodes[leader].ports.patroni, "/config", &change)?;
        ensure!(answer.status == 200, "Patroni refuses to change its settings: {}", answer.status);
        self.synchronous = synchronous;
        Ok(())
    }

    /// Runs SQL at a node; returns the rows, a line each, `|` between values.
    ///
    /// # Errors
    /// The node is not up, or has not answered in a minute, or the SQL fails.
    pub(super) fn psql(&self, node: usize, sql: &str) -> anyhow::Result<String> {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.nodes[node].ports.postgres);
        self.psql_at(&url, sql)
    }

    /// Runs SQL at whichever node leads.
    ///
    /// # Errors
    /// As [`Ensemble::psql`].
    pub(super) fn psql_at_leader(&self, sql: &str) -> anyhow::Result<String> {
        self.psql_at(&self.url(), sql)
    }

    fn psql_at(&self, url: &str, sql: &str) -> anyhow::Result<String> {
        // No timeout of PostgreSQL's own ends a commit that waits for a standby.
        let output = Command::new("timeout")
            .arg("60")
            .arg(&self.psql)
            .args(["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"])
            .args(["--dbname", url, "--command", sql])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("PGCONNECT_TIMEOUT", "2")
            .stdin(Stdio::null())
            .output()
            .context("starting psql")?;
        if !output.status.success() {
            bail!("{sql}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Copies what the programs have logged.
    ///
    /// # Errors
    /// A log cannot be copied.
    pub(super) fn keep_logs(&self, directory: &Path) -> std::io::Result<()> {
        fs::create_dir_all(directory)?;
        for name in ["etcd", "node0", "node1", "node2"] {
            fs::copy(self.keeper.home.join(name).join("log"), directory.join(format!("{name}.log")))?;
        }
        Ok(())
    }
}

/// Waits until `condition` holds.
///
/// # Errors
/// It does not in two minutes.
#[expect(clippy::disallowed_methods, reason = "other processes tell nobody that they have changed")]
pub(super) fn until(what: &str, mut condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        ensure!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
        thread::sleep(POLL);
    }
    Ok(())
}

fn write(directory: &Path, config: &Value) -> anyhow::Result<()> {
    let file = directory.join("config.json");
    fs::write(&file, config.to_string()).with_context(|| format!("writing {}", file.display()))
}

/// Ports below those that the kernel gives to clients: one of these could have the port of a node that is down.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").context("this is not Linux")?;
    let first: u16 = range.split_whitespace().next().unwrap_or_default().parse().context("the kernel's ports")?;
    // Not all ensembles of a machine look at the same ports first.
    let offset = std::process::id() as usize % usize::from(first / 2);
    let below = (1024..first).rev().skip(offset);
    let free = below.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    let ports: Vec<u16> = free.take(count).collect();
    ensure!(ports.len() == count, "not enough ports below {first} are free");
    Ok(ports)
}

/// Standbys that stream, and those of them that commits wait for.
const FOLLOWERS: &str = "select count(*) filter (where state = 'streaming'), \
    count(*) filter (where state = 'streaming' and sync_state = 'sync') \
    from pg_stat_replication where application_name like 'node_'";
const FOLLOWED_FOR: &str = "select extract(epoch from clock_timestamp() - min(backend_start)) \
    from pg_stat_replication where application_name like 'node_' and state = 'streaming'";
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
