//! The operations daemon: server, client and worker in one binary.

mod banner;
mod cli;
mod demo;
mod serve;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use cli::args::{Cli, Command};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("OPEROND_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Dev(args) => serve::dev(args).await,
            Command::Serve(args) => serve::serve(args).await,
        }
    })
}
