//! `cargo xtask ha [FAILOVERS] [SEED]`: fail-overs under load, and what became of what was acknowledged.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::chance::Chance;
use super::config::TTL;
use super::ensemble::Ensemble;
use super::fault::Fault;
use super::program::Program;
use super::{Watch, pause};

/// How often, and by which chance.
pub(super) struct Plan {
    failovers: usize,
    seed: u64,
}

impl Plan {
    /// # Errors
    /// Not two numbers.
    pub(super) fn of(arguments: &[&str]) -> anyhow::Result<Self> {
        ensure!(arguments.len() <= 2, "at most two numbers: cargo xtask ha [FAILOVERS] [SEED]");
        let failovers = arguments.first().map_or(Ok(FAILOVERS), |text| text.parse()).context("FAILOVERS")?;
        let seed = arguments.get(1).map_or_else(|| Ok(Chance::seed()), |text| text.parse()).context("SEED")?;
        Ok(Self { failovers, seed })
    }
}

/// Nothing is lost with synchronous replication, and with asynchronous replication something is: else we would not
/// notice if it were.
///
/// # Errors
/// Something does not work at all. What does not work as it should is said at the end, and is one, too.
pub(super) fn run(ensemble: &mut Ensemble, plan: &Plan, logs: PathBuf) -> anyhow::Result<()> {
    println!("{} fail-overs with the seed {}: cargo xtask ha {0} {1}", plan.failovers, plan.seed);
    ensemble.wait_until_healthy()?;
    let mut trial = Trial { ensemble, chance: Chance::new(plan.seed), logs, watch: Watch::start(), faults: Vec::new() };
    trial.synchronous(plan)?;
    trial.asynchronous(plan)?;
    ensure!(trial.faults.is_empty(), "not as promised:\n  {}", trial.faults.join("\n  "));
    Ok(())
}

/// One fail-over.
struct Round {
    /// What the load tells of it.
    told: Value,
    /// How long the leader was broken before there was one that had a standby; nothing if none has.
    standby: Option<Duration>,
}

struct Trial<'a> {
    ensemble: &'a mut Ensemble,
    chance: Chance,
    logs: PathBuf,
    watch: Watch,
    /// What was not as promised.
    faults: Vec<String>,
}

impl Trial<'_> {
    fn synchronous(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let mut program = self.program("synchronous", plan, &["--require-durable"])?;
        let mut outages = Vec::new();
        for (number, fault) in self.chance.faults(plan.failovers).into_iter().enumerate() {
            let title = format!("{:2}. {}", number + 1, fault.name());
            let Round { told, standby } = self.round(&mut program, fault, &title)?;
            let standby = standby.with_context(|| format!("{title}: acknowledged without a standby"))?;
            self.judge(&title, fault, &told, standby)?;
            outages.push((fault, seconds(&told["unavailable"])?));
        }
        self.ensemble.wait_until_healthy()?;
        let verdict = program.ask("end")?;
        drop(program);
        println!("\n{}", table(&outages));
        let lost = report("synchronous replication", &verdict)?;
        if lost > 0 {
            self.faults.push(format!("{lost} lost: {}", verdict["examples"]));
        }
        if verdict["broken_count"] != 0 {
            self.faults.push(format!("{} promises broken: {}", verdict["broken_count"], verdict["broken"]));
        }
        Ok(())
    }

    /// Where a fail-over loses what no standby had, that must show.
    fn asynchronous(&mut self, plan: &Plan) -> anyhow::Result<()> {
        self.ensemble.set_synchronous(false)?;
        self.ensemble.wait_until_healthy()?;
        for attempt in 1..=ATTEMPTS_MAX {
            let mut program = self.program(&format!("asynchronous{attempt}"), plan, &[])?;
            let fault = Fault::NodeCutOffAndKilled;
            self.round(&mut program, fault, &format!("asynchronous, {}", fault.name()))?;
            self.ensemble.wait_until_healthy()?;
            let verdict = program.ask("end")?;
            if report("asynchronous replication", &verdict)? > 0 {
                let examples = verdict["examples"].as_array().into_iter().flatten().take(3);
                examples.for_each(|example| println!("  for example {example}"));
                return Ok(());
            }
        }
        self.faults.push(format!("asynchronous replication lost nothing in {ATTEMPTS_MAX} fail-overs"));
        Ok(())
    }

    fn program(&self, name: &str, plan: &Plan, arguments: &[&str]) -> anyhow::Result<Program> {
        Program::start(&self.ensemble.url(), name, plan.seed, &self.logs, arguments)
    }

    /// Breaks the leader once, and waits until writes are acknowledged again.
    fn round(&mut self, program: &mut Program, fault: Fault, title: &str) -> anyhow::Result<Round> {
        self.ensemble.wait_until_healthy()?;
        let leader = self.ensemble.wait_for_leader(|_| true)?;
        pause(BETWEEN);
        program.ask("hold")?;
        // At any moment of Patroni's loop.
        pause(Duration::from_millis(self.chance.below(2000)));
        fault.strike(self.ensemble, leader)?;
        let broken = Watch::start();
        let told = program.ask("broken")?;
        // Before there may be two that think they lead.
        let had_one_for = self.ensemble.has_a_standby_for()?;
        let standby = had_one_for.map(|time| broken.0.elapsed().saturating_sub(time));
        fault.undo(self.ensemble, leader)?;
        self.watch.tell(&format!("{title} (node {leader}): {}", summary(&told)?));
        Ok(Round { told, standby })
    }

    /// Another primary has to be there in Patroni's time. When it has a standby, without which it acknowledges nothing,
    /// is a matter of the database alone: one that was further than the new primary has to go back first.
    fn judge(&mut self, title: &str, fault: Fault, told: &Value, standby: Duration) -> anyhow::Result<()> {
        let margin = MARGIN + fault.besides();
        for (what, limit) in [("unreadable", TTL + margin), ("unavailable", TTL.max(standby) + margin)] {
            let (was, limit) = (seconds(&told[what])?, limit.as_secs_f64());
            if was > limit {
                self.faults.push(format!("{title}: {what} for {was:.1} s, more than {limit:.1} s"));
            }
        }
        if standby > TTL + margin {
            println!("          its primary had a standby after {:.1} s only", standby.as_secs_f64());
        }
        if told["why"].as_array().is_none_or(|why| !why.is_empty()) {
            self.faults.push(format!("{title}: {}", told["why"]));
        }
        Ok(())
    }
}

fn summary(round: &Value) -> anyhow::Result<String> {
    let of = |what: &str| format!("{} of {} {what}", round[what][1], round[what][0]);
    Ok(format!(
        "writes away {:.1} s, reads {:.1} s; {} refused, {} unanswered; kept {}, {}, {}, told after {:.2} s; {} created",
        seconds(&round["unavailable"])?,
        seconds(&round["unreadable"])?,
        round["refused"],
        round["unanswered"],
        of("leases"),
        of("waiters"),
        of("watchers"),
        seconds(&round["latest"])?,
        round["created"],
    ))
}

/// Prints what was acknowledged, and returns how much of it is lost.
fn report(title: &str, verdict: &Value) -> anyhow::Result<u64> {
    let mut sums = [0, 0];
    let mut parts = Vec::new();
    for what in ["creates", "results", "failures", "cancels", "deletes"] {
        let count = |which: &str| verdict[what][which].as_u64().with_context(|| format!("{what}: {verdict}"));
        let counts = [count("acknowledged")?, count("lost")?];
        parts.push(format!("{what} {} ({} lost)", counts[0], counts[1]));
        sums = [sums[0] + counts[0], sums[1] + counts[1]];
    }
    println!("{title}: acknowledged {}, lost {}: {}", sums[0], sums[1], parts.join(", "));
    println!("  besides {} leases and the like, {} unheard of", verdict["passing"], verdict["unheard"]);
    println!("  failed while nothing was broken: {}", verdict["calm_failures"]);
    Ok(sums[1])
}

/// How long writes were not acknowledged, by fault.
fn table(outages: &[(Fault, f64)]) -> String {
    let mut table = format!("{:26} {:>5} {:>8} {:>8} {:>8}\n", "", "times", "min s", "median s", "max s");
    for fault in Fault::ALL {
        let mut seconds: Vec<f64> = outages.iter().filter(|outage| outage.0 == fault).map(|outage| outage.1).collect();
        seconds.sort_by(f64::total_cmp);
        let Some(last) = seconds.last() else { continue };
        let (first, median) = (seconds[0], seconds[seconds.len() / 2]);
        table += &format!("{:26} {:>5} {first:>8.1} {median:>8.1} {last:>8.1}\n", fault.name(), seconds.len());
    }
    table
}

fn seconds(value: &Value) -> anyhow::Result<f64> {
    value.as_f64().with_context(|| format!("not a time: {value}"))
}

const FAILOVERS: usize = 12;
/// Fail-overs of which one must lose something.
const ATTEMPTS_MAX: usize = 5;
/// How long all goes well before the next one.
const BETWEEN: Duration = Duration::from_secs(5);
/// What it may take beyond the time after which Patroni has another node lead.
const MARGIN: Duration = Duration::from_secs(3);
