//! Whole lives in a PostgreSQL database that keeps what it acknowledges, beside SQLite, and beside a table written
//! by hand whose users poll or are notified.
//!
//! Each figure is taken on a cluster of its own. The subjects take turns, several rounds of them, so that what else
//! happens on the machine hits all alike; what is printed are the medians.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use operond_store_postgres::PostgresStore;
use operond_store_postgres::cluster::{Cluster, Kind, Settings};

use crate::process::{Process, cpu_of};
use crate::table::{CONNECTIONS_MAX, Table, Way};
use crate::{CONCURRENCIES, life, sqlite_in, start_operond};

/// Measures each subject for `length` at each concurrency, and prints what it came to.
pub(crate) async fn bench(length: Duration) -> Result<()> {
    let mut taken: BTreeMap<(usize, Subject), Vec<Figures>> = BTreeMap::new();
    for round in 0..ROUNDS {
        for concurrency in CONCURRENCIES {
            for turn in 0..SUBJECTS.len() {
                let subject = SUBJECTS[(turn + round) % SUBJECTS.len()];
                eprintln!("round {} of {ROUNDS}: {}, {concurrency}", round + 1, subject.name());
                let figures = subject.measure(concurrency, length).await?;
                taken.entry((concurrency, subject)).or_default().push(figures);
            }
        }
    }
    let medians = taken.into_iter().map(|(of, figures)| (of, Figures::median(&figures))).collect();
    print(&medians);
    Ok(())
}

fn print(medians: &BTreeMap<(usize, Subject), Figures>) {
    println!("{:72}CPU µs a life", "");
    println!("{HEADER}");
    for ((concurrency, subject), figures) in medians {
        println!("{}", figures.row(subject.name(), *concurrency));
    }
    println!("\nTables have at most {CONNECTIONS_MAX} connections for callers and as many for workers.");
    let of = |concurrency, subject| &medians[&(concurrency, subject)];
    let [one, .., many] = CONCURRENCIES;
    let rates = of(many, Subject::Postgres).per_second / of(many, Subject::Polling).per_second;
    println!("lives a second, {many:>3} callers: {rates:5.2} × the polling table's (aim: at least 1.05)");
    let medians = of(one, Subject::Postgres).p50 / of(one, Subject::Notify).p50;
    println!("p50 of a life,  {one:>3} caller:  {medians:5.2} × the NOTIFY table's  (aim: at most 3.00)");
    // Beside other work a few busy processes get less of a machine than many: this does not depend on it.
    let cpu = of(many, Subject::Postgres).cpu_of_all() / of(many, Subject::Polling).cpu_of_all();
    println!("CPU of a life,  {many:>3} callers: {cpu:5.2} × the polling table's, that of all processes");
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// The server on a SQLite file.
    Sqlite,
    /// The server on PostgreSQL.
    Postgres,
    /// A table whose users ask every few milliseconds.
    Polling,
    /// A table whose users are notified.
    Notify,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "operond, SQLite",
            Self::Postgres => "operond, PostgreSQL",
            Self::Polling => "polling table",
            Self::Notify => "NOTIFY table",
        }
    }

    async fn measure(self, concurrency: usize, length: Duration) -> Result<Figures> {
        match self {
            Self::Sqlite => {
                let data = tempfile::tempdir()?;
                of_server(&start_operond(&sqlite_in(data.path()))?, None, concurrency, length).await
            }
            Self::Postgres => {
                let cluster = start_cluster();
                PostgresStore::migrate(&cluster.url()).await?;
                of_server(&start_operond(&cluster.url())?, Some(&cluster), concurrency, length).await
            }
            Self::Polling => of_table(Way::Polling, concurrency, length).await,
            Self::Notify => of_table(Way::Notify, concurrency, length).await,
        }
    }
}

async fn of_server(
    server: &Process,
    cluster: Option<&Cluster>,
    concurrency: usize,
    length: Duration,
) -> Result<Figures> {
    life::lives(server, concurrency, length / WARM_UP).await?;
    cluster.map(settle);
    let meter = Meter::start(Some(server), cluster)?;
    let (measured, _woken) = life::lives(server, concurrency, length).await?;
    meter.stop(&measured.latency)
}

async fn of_table(way: Way, concurrency: usize, length: Duration) -> Result<Figures> {
    let cluster = start_cluster();
    let table = Table::start(&cluster.url(), way, concurrency).await?;
    table.lives(concurrency, length / WARM_UP).await?;
    settle(&cluster);
    let meter = Meter::start(None, Some(&cluster))?;
    let latency = table.lives(concurrency, length).await?;
    meter.stop(&latency)
}

fn start_cluster() -> Cluster {
    Cluster::start(&Settings { max_connections: 2 * CONNECTIONS_MAX as u16 + 20, ..Settings::of(Kind::Durable) })
}

/// Nobody's plans are those of an empty table, and what the warm-up has left behind is nobody's burden.
fn settle(cluster: &Cluster) {
    cluster.psql("VACUUM ANALYZE");
    cluster.psql("CHECKPOINT");
}

/// Time and CPU from the start on.
struct Meter<'m> {
    server: Option<&'m Process>,
    cluster: Option<&'m Cluster>,
    before: Cpu,
    began: Instant,
}

/// CPU time of the server, of the database and of ourselves, who are the clients.
struct Cpu([Duration; 3]);

impl<'m> Meter<'m> {
    fn start(server: Option<&'m Process>, cluster: Option<&'m Cluster>) -> Result<Self> {
        Ok(Self { server, cluster, before: Cpu::read(server, cluster)?, began: Instant::now() })
    }

    fn stop(self, latency: &Histogram<u64>) -> Result<Figures> {
        let took = self.began.elapsed();
        let (Cpu(before), Cpu(after)) = (self.before, Cpu::read(self.server, self.cluster)?);
        let lives = latency.len() as f64;
        let cpu = |whose: usize| (after[whose] - before[whose]).as_secs_f64() * 1e6 / lives;
        let quantile = |q| latency.value_at_quantile(q) as f64 / 1e3;
        Ok(Figures {
            per_second: lives / took.as_secs_f64(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            cpu: [cpu(0), cpu(1), cpu(2)],
        })
    }
}

impl Cpu {
    fn read(server: Option<&Process>, cluster: Option<&Cluster>) -> Result<Self> {
        let server = server.map(Process::cpu).transpose()?;
        let cluster = cluster.map(Cluster::cpu);
        Ok(Self([server.unwrap_or_default(), cluster.unwrap_or_default(), cpu_of(std::process::id())?]))
    }
}

/// What lives of one sort came to.
struct Figures {
    per_second: f64,
    /// In ms.
    p50: f64,
    p99: f64,
    /// µs a life: the server's, the database's, the clients'.
    cpu: [f64; 3],
}

impl Figures {
    /// Each figure's own median.
    fn median(all: &[Self]) -> Self {
        let median = |figure: &dyn Fn(&Self) -> f64| {
            let mut values: Vec<f64> = all.iter().map(figure).collect();
            values.sort_unstable_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            per_second: median(&|figures| figures.per_second),
            p50: median(&|figures| figures.p50),
            p99: median(&|figures| figures.p99),
            cpu: [0, 1, 2].map(|whose| median(&|figures: &Self| figures.cpu[whose])),
        }
    }

    fn cpu_of_all(&self) -> f64 {
        self.cpu.iter().sum()
    }

    fn row(&self, name: &str, concurrency: usize) -> String {
        let Self { per_second, p50, p99, cpu: [server, database, clients] } = self;
        format!(
            "{name:<20} {concurrency:>7} {per_second:>10.0} {p50:>9.2} {p99:>9.2} {server:>13.0} {database:>11.0} {clients:>9.0}"
        )
    }
}

const HEADER: &str = "                     callers    lives/s    p50 ms    p99 ms       operond  PostgreSQL   clients";
const SUBJECTS: [Subject; 4] = [Subject::Sqlite, Subject::Postgres, Subject::Polling, Subject::Notify];
/// Odd, so that there is a median.
const ROUNDS: usize = 3;
/// The part of a measurement's length for which its subject runs before.
const WARM_UP: u32 = 3;
