//! `cargo xtask ha`: PostgreSQL that fails over, to see what becomes of what was acknowledged.

mod chance;
mod config;
mod ensemble;
mod failovers;
mod fault;
mod http;
mod install;
mod keeper;
mod link;
mod program;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use ensemble::{Ensemble, until};
use failovers::Plan;
use program::Program;

/// Has the leader fail under load, again and again, and says what became of what was acknowledged.
///
/// # Errors
/// The ensemble cannot be brought up or does not recover, or something is not as promised.
pub(crate) fn failovers(arguments: &[&str]) -> anyhow::Result<ExitCode> {
    let plan = Plan::of(arguments)?;
    Program::build()?;
    with_ensemble(|ensemble, logs| failovers::run(ensemble, &plan, logs.to_owned()))
}

/// Brings an ensemble up, breaks it in each of the ways that there are, and says how long it took to recover.
///
/// # Errors
/// It cannot be brought up, or does not recover.
pub(crate) fn check() -> anyhow::Result<ExitCode> {
    let start = Watch::start();
    with_ensemble(|ensemble, _logs| run(ensemble, &start))
}

/// Starts an ensemble for `what`, and takes it down behind it; the logs are kept when it fails.
fn with_ensemble(what: impl FnOnce(&mut Ensemble, &Path) -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let programs = install::set_up()?;
    let logs = crate::root().join("target/ha/logs");
    fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
    let mut ensemble = Ensemble::start(&programs)?;
    let outcome = what(&mut ensemble, &logs);
    if outcome.is_err() {
        match ensemble.keep_logs(&logs) {
            Ok(()) => eprintln!("ha: the logs are in {}", logs.display()),
            Err(error) => eprintln!("ha: the logs are lost: {error}"),
        }
    }
    let end = Watch::start();
    drop(ensemble);
    outcome?;
    end.tell("taken down");
    Ok(ExitCode::SUCCESS)
}

fn run(ensemble: &mut Ensemble, start: &Watch) -> anyhow::Result<()> {
    ensemble.wait_until_healthy()?;
    start.tell("three nodes are up and healthy");
    ensemble.psql_at_leader("create table writes (n int)")?;
    dead_leader(ensemble)?;
    dead_postgres(ensemble)?;
    frozen_leader(ensemble)?;
    cut_standby(ensemble)?;
    asynchronous(ensemble)
}

fn dead_leader(ensemble: &mut Ensemble) -> anyhow::Result<()> {
    let leader = ensemble.wait_for_leader(|_| true)?;
    let watch = Watch::start();
    ensemble.kill_node(leader)?;
    let next = ensemble.wait_for_leader(|node| node != leader)?;
    watch.tell(&format!("node {leader}, the leader, killed: node {next} leads"));
    takes_a_write(ensemble)?;
    watch.tell("  it has taken a write");
    let watch = Watch::start();
    ensemble.restart_node(leader)?;
    ensemble.wait_until_healthy()?;
    watch.tell(&format!("node {leader} started again: healthy"));
    Ok(())
}

fn dead_postgres(ensemble: &mut Ensemble) -> anyhow::Result<()> {
    let leader = ensemble.wait_for_leader(|_| true)?;
    let watch = Watch::start();
    ensemble.kill_postgres(leader)?;
    takes_a_write(ensemble)?;
    let next = ensemble.wait_for_leader(|_| true)?;
    watch.tell(&format!("PostgreSQL of node {leader}, the leader, killed: node {next} leads and has taken a write"));
    ensemble.wait_until_healthy()?;
    watch.tell("  healthy");
    Ok(())
}

fn frozen_leader(ensemble: &mut Ensemble) -> anyhow::Result<()> {
    let leader = ensemble.wait_for_leader(|_| true)?;
    let watch = Watch::start();
    ensemble.pause_node(leader)?;
    let next = ensemble.wait_for_leader(|node| node != leader)?;
    watch.tell(&format!("node {leader}, the leader, frozen: node {next} leads"));
    let watch = Watch::start();
    ensemble.resume_node(leader)?;
    ensemble.wait_until_healthy()?;
    watch.tell(&format!("node {leader} thawed: healthy"));
    Ok(())
}

fn cut_standby(ensemble: &mut Ensemble) -> anyhow::Result<()> {
    let standby = ensemble.synchronous_standby()?;
    let watch = Watch::start();
    ensemble.cut_replication(standby);
    takes_a_write(ensemble)?;
    watch.tell(&format!("replication to node {standby}, the synchronous standby, cut: a write is taken"));
    ensure!(!ensemble.is_up_to_date(standby)?, "replication to node {standby} is not cut");
    let watch = Watch::start();
    ensemble.mend_replication(standby);
    until("it is up to date", || ensemble.is_up_to_date(standby).unwrap_or(false))?;
    ensemble.wait_until_healthy()?;
    watch.tell("  mended: healthy");
    Ok(())
}

/// What must be lost is: an ensemble that loses nothing here would show nothing when it loses nothing elsewhere.
fn asynchronous(ensemble: &mut Ensemble) -> anyhow::Result<()> {
    replicate(ensemble, false)?;
    let leader = ensemble.wait_for_leader(|_| true)?;
    let standbys = [0, 1, 2].into_iter().filter(|node| *node != leader);
    standbys.clone().for_each(|node| ensemble.cut_replication(node));
    ensemble.psql_at_leader("insert into writes values (2)")?;
    let watch = Watch::start();
    ensemble.kill_node(leader)?;
    standbys.for_each(|node| ensemble.mend_replication(node));
    let next = ensemble.wait_for_leader(|node| node != leader)?;
    let found = ensemble.psql_at_leader("select count(*) from writes where n = 2")?;
    ensure!(found == "0", "a write outlived the only node that had it");
    watch.tell(&format!("node {leader}, the leader, cut off and killed: node {next} leads, a write is lost"));
    ensemble.restart_node(leader)?;
    ensemble.wait_until_healthy()?;
    replicate(ensemble, true)
}

fn replicate(ensemble: &mut Ensemble, synchronous: bool) -> anyhow::Result<()> {
    let watch = Watch::start();
    ensemble.set_synchronous(synchronous)?;
    ensemble.wait_until_healthy()?;
    watch.tell(if synchronous { "replication is synchronous" } else { "replication is asynchronous" });
    Ok(())
}

/// A leader may refuse until it knows that it leads; one that takes the write acknowledges it when a standby has it.
fn takes_a_write(ensemble: &Ensemble) -> anyhow::Result<()> {
    until("a write is taken", || ensemble.psql_at_leader("insert into writes values (1)").is_ok()).context("no leader")
}

#[expect(clippy::disallowed_methods, reason = "other processes are given time")]
fn pause(duration: Duration) {
    thread::sleep(duration);
}

struct Watch(Instant);

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "how long things take is what is asked")]
    fn start() -> Self {
        Self(Instant::now())
    }

    fn tell(&self, what: &str) {
        let took: Duration = self.0.elapsed();
        println!("{:6.1} s  {what}", took.as_secs_f64());
    }
}
