//! Calls in closed loops, and what they cost the server.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::process::Process;

/// What a load came to.
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    /// In µs.
    pub(crate) latency: Histogram<u64>,
    /// Server CPU a call, in µs.
    pub(crate) cpu_micros: f64,
}

impl Measured {
    pub(crate) const HEADER: &str = "                callers      calls/s    p50 ms    p99 ms   server CPU µs a call";

    pub(crate) fn new(calls: u64, took: Duration, cpu: Duration, latency: Histogram<u64>) -> Self {
        let per_second = calls as f64 / took.as_secs_f64();
        Self { per_second, latency, cpu_micros: cpu.as_secs_f64() * 1e6 / calls as f64 }
    }

    pub(crate) fn row(&self, name: &str, concurrency: usize) -> String {
        let quantile = |q| self.latency.value_at_quantile(q) as f64 / 1e3;
        format!(
            "{name:<15} {concurrency:>7} {:>12.0} {:>9.2} {:>9.2} {:>10.1}",
            self.per_second,
            quantile(0.5),
            quantile(0.99),
            self.cpu_micros
        )
    }
}

/// A few connections, as a fleet of clients would have.
pub(crate) fn channels(url: &str, concurrency: usize) -> Vec<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("the server printed a URL").tcp_nodelay(true);
    std::iter::repeat_with(|| endpoint.connect_lazy()).take(concurrency.min(CONNECTIONS_MAX)).collect()
}

/// Calls in `concurrency` loops for `length`; latencies in µs.
pub(crate) async fn measure<Make, Call, Answer>(
    server: &Process,
    concurrency: usize,
    length: Duration,
    make: Make,
) -> Result<Measured>
where
    Make: Fn(Channel) -> Call,
    Call: Fn() -> Answer + Send + 'static,
    Answer: Future<Output = Result<()>> + Send + 'static,
{
    let channels = channels(&server.url, concurrency);
    let (cpu, began) = (server.cpu()?, Instant::now());
    let latency = loops(concurrency, length, |caller| make(channels[caller % channels.len()].clone())).await?;
    Ok(Measured::new(latency.len(), began.elapsed(), server.cpu()? - cpu, latency))
}

/// Calls of any sort in `concurrency` loops for `length`; latencies in µs.
pub(crate) async fn loops<Make, Call, Answer>(
    concurrency: usize,
    length: Duration,
    make: Make,
) -> Result<Histogram<u64>>
where
    Make: Fn(usize) -> Call,
    Call: Fn() -> Answer + Send + 'static,
    Answer: Future<Output = Result<()>> + Send + 'static,
{
    let began = Instant::now();
    let mut loops = JoinSet::new();
    for caller in 0..concurrency {
        let call = make(caller);
        loops.spawn(async move {
            let mut latency = new_histogram();
            while began.elapsed() < length {
                let called = Instant::now();
                call().await?;
                latency.saturating_record(called.elapsed().as_micros() as u64);
            }
            Ok::<_, anyhow::Error>(latency)
        });
    }
    let mut latency = new_histogram();
    for one in loops.join_all().await {
        latency.add(one?)?;
    }
    Ok(latency)
}

/// Microseconds up to a minute, three digits.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000, 3).expect("the bounds are right")
}

const CONNECTIONS_MAX: usize = 8;
