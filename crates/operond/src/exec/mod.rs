//! `operond worker exec`: makes any program a worker.
//!
//! The program is started once for each attempt: the input is its standard input, its standard
//! output has reports of progress and metadata and the response ([`lines`]), the end of its standard
//! error is part of the error ([`tail`]), and its exit status decides ([`outcome`]). It leads a process
//! group that does not outlive the attempt ([`child`]).
//!
//! Not here: anything that needs more than one program for an operation. An early failure cannot be
//! reported, and neither a rollback nor a clean-up that another attempt has left is taken over: the
//! program is not started then, and the operation ends with the error, or as cancelled.

pub(crate) mod args;
mod attempt;
mod child;
mod lines;
mod outcome;
mod program;
mod tail;
mod talk;

use std::convert::Infallible;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use operond_client::Worker;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli;
use crate::cli::exit::Usage;

use attempt::Executor;
use program::Program;

/// Works until it is told to stop by a signal; a second one does not let programs finish.
///
/// # Errors
/// There is no such program ([`Usage`]), no such endpoint, or the server refuses to hand out work.
pub(crate) async fn run(args: args::Exec) -> Result<ExitCode> {
    let program = Program::new(args.command);
    if !program.is_executable(std::env::var_os("PATH").as_deref()) {
        return Err(Usage(format!("there is no program {} that may be executed", program.name())).into());
    }
    let client = cli::connect(&args.server)?;
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let (shutdown, hurry) = (CancellationToken::new(), CancellationToken::new());
    anstream::eprintln!("operond: {} works on {} at {}", program.name(), args.kinds.join(", "), client.endpoint());
    let mut worker = Worker::new(client, args.kinds)
        .concurrency(args.concurrency.into())
        .lease(args.lease)
        .grace(args.grace)
        .hurry(hurry.clone());
    if let Some(name) = args.name {
        worker = worker.name(name);
    }
    let executor = Arc::new(Executor { program, grace: args.grace });
    let handler = move |assignment| {
        let executor = Arc::clone(&executor);
        async move { executor.carry_out(assignment).await }
    };
    tokio::select! {
        ended = worker.run(handler, shutdown.clone()) => ended?,
        never = heed(signals, &shutdown, &hurry) => match never? {},
    }
    Ok(ExitCode::SUCCESS)
}

/// Fires `shutdown` at the first signal, and `hurry` at the second.
async fn heed(
    signals: [io::Result<Signal>; 2],
    shutdown: &CancellationToken,
    hurry: &CancellationToken,
) -> Result<Infallible> {
    let [terminate, interrupt] = signals;
    let (mut terminate, mut interrupt) = (terminate?, interrupt?);
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if shutdown.is_cancelled() {
            hurry.cancel();
        } else {
            shutdown.cancel();
            anstream::eprintln!("operond: stopping when the programs have ended; once more to stop them");
        }
    }
}
