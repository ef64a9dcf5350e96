//! What can be said on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use operond_core::limits::WAIT_MAX;
use operond_server::auth::{Limits, Rate, Role};

use crate::exec::args::Exec;
use crate::store::Address;

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
    /// Look at the settings of a server without running one
    #[command(subcommand)]
    Config(Config),
    /// See to the schema of a database that servers share
    #[command(subcommand)]
    Migrate(Migrate),
    /// Copy everything in a store into another, empty one, while no server has either
    Copy(Copy),
    /// Record an operation for a worker to carry out
    Create(Create),
    /// Show an operation
    Get(Get),
    /// List operations, the newest first
    List(List),
    /// Wait until operations are done, and exit by how they ended
    Wait(Wait),
    /// Print an operation at each change until it is done
    Watch(Watch),
    /// Ask for an operation to be cancelled
    Cancel(Cancel),
    /// Forget finished operations
    Delete(Delete),
    /// Make the server know message types, so that it shows payloads as JSON
    #[command(subcommand)]
    Types(Types),
    /// Say what is usual for operations of a kind: what a create leaves out, it has from here
    #[command(subcommand)]
    Kinds(Kinds),
    /// Say who may call
    #[command(subcommand)]
    Keys(Keys),
    /// Say who you are to the server, and what you may do
    Whoami(WhoAmI),
    /// Carry out operations
    #[command(subcommand)]
    Worker(Worker),
}

/// Takes what `serve` takes.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Say whether `serve` could begin: reads every file that is named, and opens neither store nor address
    Check(Serve),
    /// Print every setting, its value, and where it comes from
    Explain(Serve),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Migrate {
    /// Say which version the schema has, and which one this release needs
    Status(Database),
    /// Bring the schema to the version of this release; servers of the release before go on working
    Up(Database),
}

/// Which database.
#[derive(Debug, Args)]
pub(crate) struct Database {
    /// postgres://USER@HOST:PORT/DATABASE; a file of SQLite is migrated by the server that opens it
    #[arg(long, value_name = "URL", env = "OPEROND_STORE", hide_env_values = true)]
    pub(crate) store: Address,
}

/// Operations, leases, idempotency keys, types, kinds and page tokens go on at the target as they were. Stop every
/// server of both stores first. A copy that was cut off goes on when the same command is given again; until it is
/// complete, no server opens the target.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The store to copy, which stays as it is: sqlite:PATH or postgres://USER@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL")]
    pub(crate) from: Address,
    /// The empty store to copy to: a file is made, a database needs `operond migrate up` before
    #[arg(long, value_name = "URL")]
    pub(crate) to: Address,
    /// Say what would be copied, and whether the target can be used; write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Types {
    /// Register the files of descriptor sets, as `protoc --include_imports --descriptor_set_out` writes them
    Register(RegisterTypes),
    /// List the files that the server knows, and the messages in them
    List(ListTypes),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Kinds {
    /// List the kinds that have defaults
    List(ListKinds),
    /// Show the defaults of a kind
    Get(GetKind),
    /// Change defaults of a kind; those that are not named stay as they are
    Set(SetKind),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make an API key, and print it: it is never shown again
    Create(CreateKey),
    /// List keys, without what is secret of them
    List(ListKeys),
    /// Make a key useless, at once and for good
    Revoke(RevokeKey),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Worker {
    /// Make a program a worker: it runs once for each operation
    Exec(Exec),
}

/// How to reach the server.
#[derive(Debug, Clone, Args)]
pub(crate) struct Server {
    /// Where the server is: http://HOST:PORT or https://HOST:PORT
    #[arg(long, value_name = "URL", env = "OPEROND_ENDPOINT", default_value = ENDPOINT_DEFAULT)]
    pub(crate) endpoint: String,
    /// With https: the only authority to trust, in PEM; the system's own ones unless said
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Who you are: an API key, a token of an issuer that the server believes, or @FILE with one in it; others on this
    /// machine can read a command line, but not a file that is yours alone, nor the variable
    #[arg(long, value_name = "TOKEN|@FILE", env = "OPEROND_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<Secret>,
    /// With https: your own certificate in PEM, for a server that asks for one
    #[arg(long, value_name = "FILE", env = "OPEROND_CERT", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Private key of that certificate in PEM
    #[arg(long, value_name = "FILE", env = "OPEROND_KEY", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

/// What must not be printed.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// How to print operations.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Printing {
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// The JSON of the REST interface, indented
    Json,
    /// The same, one operation to a line
    Jsonl,
    /// Ids alone
    Id,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What sort of work it is: workers ask for it
    pub(crate) kind: String,
    /// What the worker is given: JSON, or @FILE with JSON in it, or - for JSON on stdin
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    pub(crate) input: Option<String>,
    /// What it does, for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) description: String,
    /// Whose it is; your own tenant's unless said
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// A mark to find it by; may be given many times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// The same key and content is the same operation, however often it is created
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Wait until it is done, and exit by how it ended
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Which operation
    pub(crate) id: String,
    /// With its input and what happened to it
    #[arg(long)]
    pub(crate) full: bool,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Which ones, such as: kind = demo.render AND (state = RUNNING OR labels.urgent = yes)
    #[arg(long, value_name = "EXPRESSION", default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
    /// Print how many there are instead
    #[arg(long, conflicts_with_all = ["watch", "limit", "oldest_first"])]
    pub(crate) count: bool,
    /// Go on, and print what comes or changes among them, until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
    /// How many at most; 0 means all
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    /// The oldest first
    #[arg(long)]
    pub(crate) oldest_first: bool,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Which operations
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Longest time to wait, such as 90s, 10m, 2h; for ever unless said
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Which operation
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Which operation
    pub(crate) id: String,
    /// Why, for whoever looks at it later
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Which operations
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct RegisterTypes {
    /// Encoded FileDescriptorSets; each is registered whole or not at all
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

#[derive(Debug, Args)]
pub(crate) struct ListTypes {
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

#[derive(Debug, Args)]
pub(crate) struct ListKinds {
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

#[derive(Debug, Args)]
pub(crate) struct GetKind {
    /// Which kind
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

#[derive(Debug, Args)]
pub(crate) struct SetKind {
    /// Which kind
    pub(crate) name: String,
    /// Forget what was set before, and set only this
    #[arg(long)]
    pub(crate) anew: bool,
    /// What the kind is, for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Whether operations can be cancelled
    #[arg(long, value_name = "true|false")]
    pub(crate) cancellable: Option<bool>,
    /// Whether a worker cleans up what is cancelled while nobody has it
    #[arg(long, value_name = "true|false")]
    pub(crate) clean_up_on_cancel: Option<bool>,
    /// Longest wait for a worker, such as 90s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) queue_timeout: Option<Duration>,
    /// Longest time from the first attempt on
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) run_timeout: Option<Duration>,
    /// How often workers may try
    #[arg(long, value_name = "N")]
    pub(crate) max_attempts: Option<u32>,
    /// How long a worker has to stop when asked to
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) cancel_grace: Option<Duration>,
    /// How long operations that succeeded are kept; 0s for ever
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) keep_succeeded: Option<Duration>,
    /// How long operations that failed are kept; 0s for ever
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) keep_failed: Option<Duration>,
    /// How long operations that were cancelled are kept; 0s for ever
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) keep_cancelled: Option<Duration>,
    /// Full name of the message that responses must be
    #[arg(long, value_name = "NAME")]
    pub(crate) response_type: Option<String>,
    /// Full name of the message that metadata must be
    #[arg(long, value_name = "NAME")]
    pub(crate) metadata_type: Option<String>,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

#[derive(Debug, Args)]
pub(crate) struct CreateKey {
    /// Who calls with it; a second key of a name may be made to take the place of the first one
    pub(crate) name: String,
    /// Whose operations it reaches; * means those of all tenants
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: String,
    /// What it may do; may be given many times
    #[arg(long = "role", value_name = "viewer|operator|producer|worker|admin", required = true)]
    pub(crate) roles: Vec<Role>,
    /// Operations of which kinds it reaches; all unless said; may be given many times
    #[arg(long = "kind", value_name = "KIND")]
    pub(crate) kinds: Vec<String>,
    /// How long it is good, such as 90d; until it is revoked unless said
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) expires: Option<Duration>,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct ListKeys {
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeKey {
    /// Which keys: their ids, as `operond keys list` shows them, or whole keys, or @FILE with one in it. Only the id is
    /// sent; others on this machine can read a command line, but not a file that is yours alone
    #[arg(required = true, value_name = "ID|KEY|@FILE")]
    pub(crate) keys: Vec<Secret>,
    /// Even where no key of an admin of all tenants and kinds would be good any more; it is this command that looks, by
    /// listing the keys before, and not the server
    #[arg(long)]
    pub(crate) last: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct WhoAmI {
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) printing: Printing,
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
    #[command(flatten)]
    pub(crate) faces: Faces,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Settings: TOML, with the names of these flags as keys; the command line and the environment win
    #[arg(long, value_name = "FILE", env = "OPEROND_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where operations are kept: sqlite:PATH for this server alone, or postgres://USER@HOST:PORT/DATABASE for as many
    /// servers as share it; several hosts, separated by commas, are tried until one takes writes
    #[arg(long, value_name = "URL", env = "OPEROND_STORE", hide_env_values = true)]
    pub(crate) store: Address,
    /// Refuse to serve a database that can lose what it acknowledged: without a synchronous standby, with fsync off
    #[arg(long)]
    pub(crate) require_durable: bool,
    /// Address for plaintext gRPC and REST; beyond loopback only with --behind-tls-proxy
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7467")]
    pub(crate) listen: SocketAddr,
    /// Address for the same with TLS
    #[arg(long, value_name = "ADDRESS", requires = "tls_cert")]
    pub(crate) tls_listen: Option<SocketAddr>,
    /// Where workers are served, and nowhere else; with https:// by TLS. The addresses above serve them unless said
    #[arg(long, value_name = "[https://]ADDRESS")]
    pub(crate) worker_listen: Option<ListenAt>,
    /// Where keys, types, kinds and reflection are served, and nowhere else; with https:// by TLS. The addresses above
    /// serve them unless said, but for reflection
    #[arg(long, value_name = "[https://]ADDRESS")]
    pub(crate) admin_listen: Option<ListenAt>,
    /// A proxy in front of this server ends TLS: plaintext may be listened for beyond loopback
    #[arg(long)]
    pub(crate) behind_tls_proxy: bool,
    /// Ask nobody who they are; on loopback only
    #[arg(long)]
    pub(crate) insecure_no_auth: bool,
    /// Where the first key is written when the store has none, an admin of everything: admin.key beside the file of
    /// SQLite unless said
    #[arg(long, value_name = "FILE", conflicts_with = "insecure_no_auth")]
    pub(crate) admin_key_file: Option<PathBuf>,
    /// Where to write the audit, a line of JSON for everything that happens to an operation or a key and for every call
    /// that is refused for who makes it or how much they ask: a file to append to, or - for stdout
    #[arg(long, value_name = "FILE|-")]
    pub(crate) audit_log: Option<PathBuf>,
    /// Certificate chain in PEM, the server's own first; this and the other TLS files may be replaced at any time
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of that certificate in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Ask TLS clients for a certificate by one of these authorities, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// What those authorities have revoked, in PEM; every certificate needs a list by who signed it
    #[arg(long, value_name = "FILE", requires = "tls_client_ca")]
    pub(crate) tls_client_crl: Option<PathBuf>,
    /// Refuse TLS clients without a certificate
    #[arg(long, requires = "tls_client_ca")]
    pub(crate) tls_client_required: bool,
    /// What clients are told to connect to; the TLS address (else the plaintext one) unless said. It has to be said where
    /// that is 0.0.0.0 or [::]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,
    #[command(flatten)]
    pub(crate) limits: CallerLimits,
    #[command(flatten)]
    pub(crate) faces: Faces,
}

/// How much callers may ask of one server; what is not said is not limited.
#[derive(Debug, Args)]
pub(crate) struct CallerLimits {
    /// Calls a second of each principal, but for what keeps and ends work that it has leased; not limited unless said
    #[arg(long, value_name = "N", conflicts_with = "insecure_no_auth")]
    pub(crate) calls_per_second: Option<Rate>,
    /// Creates a second of each tenant; not limited unless said
    #[arg(long, value_name = "N", conflicts_with = "insecure_no_auth")]
    pub(crate) creates_per_second: Option<Rate>,
    /// Operations of each tenant that are not done; not limited unless said
    #[arg(long, value_name = "N", conflicts_with = "insecure_no_auth", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) active_operations: Option<u64>,
}

impl From<CallerLimits> for Limits {
    fn from(limits: CallerLimits) -> Self {
        let CallerLimits { calls_per_second, creates_per_second, active_operations } = limits;
        Self { calls_per_second, creates_per_second, active_operations, ..Self::default() }
    }
}

/// An address, and whether it speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenAt {
    pub(crate) tls: bool,
    pub(crate) address: SocketAddr,
}

impl FromStr for ListenAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tls, address) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(address), _) => (true, address),
            (None, Some(address)) => (false, address),
            (None, None) => (false, text),
        };
        let address = address.parse().map_err(|_| "it must be an address and a port, such as https://0.0.0.0:7469")?;
        Ok(Self { tls, address })
    }
}

/// How a server answers.
#[derive(Debug, Args)]
pub(crate) struct Faces {
    /// Hold each Get of an unfinished operation for its next change, so long at most (up to 60s): clients that poll
    /// learn of it at once
    #[arg(long, value_name = "TIME", value_parser = held_get, default_value = "0s", hide_default_value = true)]
    pub(crate) held_get: Duration,
    /// What stands before the id in lists of google.longrunning that are asked for by no name: `operations`, or
    /// PARENT/operations
    #[arg(long, value_name = "NAME", value_parser = collection, default_value = "operations")]
    pub(crate) google_collection: String,
    /// Message types to know from the start on: encoded FileDescriptorSets, as `protoc --include_imports
    /// --descriptor_set_out` writes them
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) descriptors: Vec<PathBuf>,
}

/// Where `operond dev` listens.
pub(crate) const ENDPOINT_DEFAULT: &str = "http://127.0.0.1:7467";

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be NAME=VALUE".to_owned()),
    }
}

fn held_get(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        held if held <= WAIT_MAX => Ok(held),
        _ => Err(format!("a Get is held for {WAIT_MAX:?} at most")),
    }
}

fn collection(text: &str) -> Result<String, String> {
    if operond_server::is_collection(text) {
        return Ok(text.to_owned());
    }
    Err("it must be `operations` or end in `/operations`, without empty segments".to_owned())
}

/// A number with a unit: ms, s, m, h or d; without one it means seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(format!("{unit:?} is no unit; use ms, s, m, h or d")),
    };
    let number: f64 = number.parse().map_err(|_| "it must be a number and a unit, such as 90s".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "it is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &[&str]) -> Result<Command, String> {
        let words = std::iter::once(&"operond").chain(line);
        Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_numbers_with_units() {
        let check = |text: &str, millis: u64| assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        check("250ms", 250);
        check("90", 90_000);
        check("1.5s", 1_500);
        check("10m", 600_000);
        check("2h", 7_200_000);
        check("1d", 86_400_000);
        for wrong in ["", "s", "-1s", "1w", "1e400d", "..s", "99999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_create_says_all_it_can() {
        let Ok(Command::Create(create)) = parse(&[
            "create",
            "demo.render",
            "--input",
            "-",
            "--description",
            "d",
            "--label",
            "a=b=c",
            "--label",
            "x=",
            "--idempotency-key",
            "key",
            "--wait",
            "-o",
            "jsonl",
            "--endpoint",
            "https://h:1",
            "--ca",
            "ca.pem",
        ]) else {
            panic!("not understood")
        };
        assert_eq!((create.kind.as_str(), create.input.as_deref()), ("demo.render", Some("-")));
        assert_eq!(create.labels, [("a".into(), "b=c".into()), ("x".into(), String::new())]);
        assert_eq!((create.wait, create.printing.output), (true, Format::Jsonl));
        assert_eq!(create.server.endpoint, "https://h:1");
        assert!(parse(&["create", "k", "--label", "novalue"]).unwrap_err().contains("it must be NAME=VALUE"));
        assert!(parse(&["create"]).is_err());
    }

    #[test]
    fn everything_after_the_dashes_is_the_program() {
        let Ok(Command::Worker(Worker::Exec(exec))) =
            parse(&["worker", "exec", "--kind", "a", "--kind", "b", "--concurrency", "3", "--", "sh", "-c", "--x"])
        else {
            panic!("not understood")
        };
        assert_eq!((exec.kinds, exec.concurrency), (vec!["a".to_owned(), "b".to_owned()], 3));
        assert_eq!(exec.command, ["sh", "-c", "--x"]);
        assert!(parse(&["worker", "exec", "--kind", "a"]).is_err());
        assert!(parse(&["worker", "exec", "--", "sh"]).is_err());
        assert!(parse(&["worker", "exec", "--kind", "a", "--concurrency", "0", "--", "sh"]).is_err());
    }

    #[test]
    fn a_get_is_held_for_a_minute_at_most() {
        for (line, held) in [("0s", Some(0)), ("60s", Some(60)), ("1m", Some(60)), ("60001ms", None), ("2m", None)] {
            for command in [&["serve", "--store", "sqlite:x"][..], &["dev"]] {
                let faces = match parse(&[command, &["--held-get", line]].concat()) {
                    Ok(Command::Serve(serve)) => Ok(serve.faces),
                    Ok(Command::Dev(dev)) => Ok(dev.faces),
                    Ok(other) => panic!("{other:?}"),
                    Err(said) => Err(said),
                };
                match (faces, held) {
                    (Ok(faces), held) => assert_eq!(Some(faces.held_get.as_secs()), held, "{line}"),
                    (Err(said), held) => assert!(held.is_none() && said.contains("60s at most"), "{said}"),
                }
            }
        }
    }

    #[test]
    fn a_collection_ends_in_operations() {
        let serve = |collection| parse(&["serve", "--store", "sqlite:x", "--google-collection", collection]);
        for collection in ["operations", "projects/p/operations"] {
            let Ok(Command::Serve(serve)) = serve(collection) else { panic!("{collection} is not understood") };
            assert_eq!(serve.faces.google_collection, collection);
        }
        for wrong in ["", "operation", "projects/p", "/operations", "a//operations"] {
            assert!(serve(wrong).unwrap_err().contains("must be `operations`"), "{wrong}");
        }
    }

    #[test]
    fn limits_of_callers_are_whole_numbers_above_nothing_and_need_callers_who_are_asked() {
        let serve = |line: &[&str]| parse(&[&["serve", "--store", "sqlite:x"], line].concat());
        let limits = |line| match serve(line) {
            Ok(Command::Serve(serve)) => Limits::from(serve.limits),
            other => panic!("{other:?}"),
        };
        assert_eq!(limits(&[]), Limits::default());
        let said = limits(&["--calls-per-second=50", "--creates-per-second=5", "--active-operations=1000"]);
        let rate = |count: &str| Some(count.parse().unwrap());
        assert_eq!((said.calls_per_second, said.creates_per_second), (rate("50"), rate("5")));
        assert_eq!((said.active_operations, said.tenants.len()), (Some(1_000), 0));
        for flag in ["--calls-per-second", "--creates-per-second", "--active-operations"] {
            assert!(serve(&[flag, "0"]).is_err() && serve(&[flag, "1.5"]).is_err(), "{flag}");
            assert!(serve(&[flag, "1", "--insecure-no-auth"]).is_err(), "{flag}");
        }
    }

    #[test]
    fn a_wait_needs_an_operation() {
        assert!(parse(&["wait"]).is_err());
        let Ok(Command::Wait(wait)) = parse(&["wait", "op1", "op2", "--timeout", "1m"]) else {
            panic!("not understood")
        };
        assert_eq!((wait.ids.len(), wait.timeout), (2, Some(Duration::from_secs(60))));
    }
}
