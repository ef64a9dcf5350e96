//! What a call costs: server CPU per Get, per durable create and per whole life of an operation, beside a null
//! call over the same transport in the same run.
//!
//! `cargo xtask bench [SECONDS]`. With `--postgres`: whole lives in a PostgreSQL database, beside SQLite and beside what
//! one would write by hand instead. Machines are shared and noisy: read the CPU and the ratios, not the rates.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time, and spawns callers")]

mod life;
mod load;
mod null;
mod postgres;
mod process;
mod table;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use operond_proto::operond::v1::operations_client::OperationsClient;
use operond_proto::operond::v1::{CreateRequest, GetOperationRequest};

use load::{Measured, channels, measure};
use process::Process;

/// How many callers at the same time.
const CONCURRENCIES: [usize; 3] = [1, 64, 256];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.first().map(String::as_str) {
        Some("null-server") => runtime.block_on(null::serve()),
        Some("--postgres") => runtime.block_on(postgres::bench(length(arguments.get(1))?)),
        _ => runtime.block_on(bench(length(arguments.first())?)),
    }
}

/// How long each figure is measured.
fn length(seconds: Option<&String>) -> Result<Duration> {
    Ok(Duration::from_secs(seconds.map_or(Ok(3), |seconds| seconds.parse())?))
}

async fn bench(length: Duration) -> Result<()> {
    let data = tempfile::tempdir()?;
    let null = Process::start(std::env::current_exe()?.as_path(), &["null-server"])?;
    let operond = start_operond(&sqlite_in(data.path()))?;
    println!("idle resident memory of the server: {:.1} MB\n", operond.resident_bytes()? as f64 / 1e6);
    println!("{}", Measured::HEADER);
    for concurrency in CONCURRENCIES {
        let baseline = get(&null, "null", concurrency, length).await?;
        let print = |name: &str, measured: &Measured| {
            let ratio = measured.cpu_micros / baseline.cpu_micros;
            println!("{}   {ratio:5.2} × null", measured.row(name, concurrency));
        };
        print("null call", &baseline);
        let id = create(&operond).await?;
        print("get", &get(&operond, &id, concurrency, length).await?);
        print("durable create", &creates(&operond, concurrency, length).await?);
        let (life, woken) = life::lives(&operond, concurrency, length).await?;
        print("whole life", &life);
        println!("{:>29} waiter answered {woken:?} after the completion was (median)", "");
    }
    Ok(())
}

fn sqlite_in(data: &Path) -> String {
    format!("sqlite:{}", data.join("bench.db").display())
}

fn start_operond(store: &str) -> Result<Process> {
    Process::start(
        Path::new(env!("CARGO_BIN_EXE_operond")),
        &["serve", "--store", store, "--insecure-no-auth", "--listen", "127.0.0.1:0"],
    )
}

async fn create(server: &Process) -> Result<String> {
    let request = CreateRequest { kind: "read".into(), ..CreateRequest::default() };
    let mut operations = OperationsClient::new(channels(&server.url, 1).remove(0));
    Ok(operations.create(request).await?.into_inner().id)
}

async fn get(server: &Process, id: &str, concurrency: usize, length: Duration) -> Result<Measured> {
    measure(server, concurrency, length, |channel| {
        let operations = OperationsClient::new(channel);
        let request = GetOperationRequest { id: id.to_owned(), ..GetOperationRequest::default() };
        move || {
            let (mut operations, request) = (operations.clone(), request.clone());
            async move { Ok(operations.get(request).await.map(drop)?) }
        }
    })
    .await
}

async fn creates(server: &Process, concurrency: usize, length: Duration) -> Result<Measured> {
    measure(server, concurrency, length, |channel| {
        let operations = OperationsClient::new(channel);
        move || {
            let mut operations = operations.clone();
            let request = CreateRequest { kind: "bench".into(), ..CreateRequest::default() };
            async move { Ok(operations.create(request).await.map(drop)?) }
        }
    })
    .await
}
