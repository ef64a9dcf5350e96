//! What can be said on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The operations daemon: keeps long-running operations, and hands them to workers.
#[derive(Debug, Parser)]
#[command(name = "operond", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server for your own machine: data kept in one folder, TLS with an own CA, no questions asked
    Dev(Dev),
    /// Run a server on a store of your choice
    Serve(Serve),
}

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Where to keep operond.db, ca.pem and the server's certificate
    #[arg(long, value_name = "DIR", default_value = "operond-data")]
    pub(crate) data: PathBuf,
    /// Address for plaintext gRPC and REST; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7467")]
    pub(crate) listen: SocketAddr,
    /// Address for the same with TLS; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7468")]
    pub(crate) tls_listen: SocketAddr,
    /// What clients are told to connect to; `localhost` and the TLS port unless said
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,
    /// Serve the kinds demo.render, demo.fail and demo.slow-cancel by workers of its own
    #[arg(long)]
    pub(crate) demo: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where operations are kept: sqlite:PATH
    #[arg(long, value_name = "URL")]
    pub(crate) store: String,
    /// Address for plaintext gRPC and REST; loopback only, until there is authentication
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7467")]
    pub(crate) listen: SocketAddr,
    /// Address for the same with TLS; loopback only, until there is authentication
    #[arg(long, value_name = "ADDRESS", requires = "tls_cert")]
    pub(crate) tls_listen: Option<SocketAddr>,
    /// Certificate chain in PEM, the server's own first
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of that certificate in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// What clients are told to connect to; the TLS address (else the plaintext one) unless said
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,
}
