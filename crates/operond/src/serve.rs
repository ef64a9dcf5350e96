//! The composition root: which store, which listeners, which faces, and in which order they stop.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use operond_engine::{Engine, Options};
use operond_server::auth::token::Tokens;
use operond_server::auth::{Audit, Auth, Keys, Limits, Planes};
use operond_server::http::{GuardOptions, audited};
use operond_server::json::Types;
use operond_server::net::{Listen, SHUTDOWN_GRACE, Server, is_loopback};
use operond_server::tls::{ClientFiles, DevIdentity, Files, Reloading};
use operond_server::{Faces, Health, Settings, router};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin_key;
use crate::banner;
use crate::cli::args::{self, ListenAt};
use crate::config::Rules;
use crate::demo;
use crate::store::Address;

/// `operond dev`: everything on loopback, with an own CA, for one person's machine.
pub(crate) async fn dev(args: args::Dev) -> Result<ExitCode> {
    let names: Vec<&str> = args.advertise.iter().map(|address| host(address)).collect();
    let identity = DevIdentity::open_or_create(&args.data, &names, now())?;
    let listens = [Listen::plaintext(args.listen), Listen::tls(args.tls_listen, identity.server_config())];
    for listen in &listens {
        if !is_loopback(listen.address) {
            bail!("refusing to listen on {}: `operond dev` asks nobody who they are; use 127.0.0.1", listen.address);
        }
    }
    take_all_files();
    let everything = listens.map(|listen| Listen { planes: Planes::ALL.and(Planes::REFLECTION), ..listen });
    let server = Server::bind(everything.into()).await?;
    let [plain, tls] = two(&server);
    let advertised = args.advertise.unwrap_or_else(|| format!("localhost:{}", tls.port()));
    let settings = settings(&args.faces, &advertised)?;
    let store = Address::Sqlite(args.data.join("operond.db")).open(false).await?;
    let engine = Engine::start(store, Options::default());
    let keys = Keys::load(engine.clone()).await?;
    let running = Running::start(engine, keys, None, server, settings).await?;
    print!("{}", banner::dev(plain, &advertised, identity.ca_path(), args.demo));
    let demo = args.demo.then(|| demo::serve(format!("http://{plain}"), running.stopping.clone()));
    running.serve(demo).await
}

/// `operond serve`: one server on one store, as an operator runs it.
pub(crate) async fn serve(args: args::Serve, rules: Rules) -> Result<ExitCode> {
    agree(&args, &rules)?;
    let certificates = certificates(&args)?.map(Reloading::load).transpose()?;
    let listens = listens(&args, certificates.as_ref())?;
    take_all_files();
    let server = Server::bind(listens.clone()).await?;
    let addresses: Vec<SocketAddr> = server.addresses().collect();
    let advertised = advertised(args.advertise, &listens, &addresses)?;
    let audit = args.audit_log.as_deref().map(audit).transpose()?;
    let settings = Settings { audit: audit.clone(), ..settings(&args.faces, &advertised)? };
    let told = audit.clone().map(|audit| Arc::new(audit) as Arc<dyn operond_engine::Audit>);
    let options = Options { audit: told, ..Options::default() };
    let engine = Engine::start(args.store.open(args.require_durable).await?, options);
    let keys = Keys::load(engine.clone()).await?;
    let first_key = match args.insecure_no_auth {
        true => None,
        false => admin_key::make(&keys, &args.store, args.admin_key_file).await?,
    };
    let auth = match args.insecure_no_auth {
        true => None,
        false => Some(auth(keys.clone(), args.limits.into(), rules).await?),
    };
    let running = Running::start(engine, keys, auth, server, settings).await?;
    let listening: Vec<_> = listens.iter().zip(addresses).map(|(listen, at)| (listen.tls.is_some(), at)).collect();
    print!("{}", banner::serve(&listening, &advertised, &args.store, first_key.as_deref(), args.insecure_no_auth));
    let follow = certificates.map(|certificates| certificates.follow(running.stopping.clone()));
    let stopped = running.serve(follow).await;
    if let Some(audit) = audit {
        tokio::task::spawn_blocking(move || audit.close()).await?;
    }
    stopped
}

/// An audit in a file, which is added to, or on stdout.
fn audit(path: &Path) -> Result<Audit> {
    if path == Path::new("-") {
        return Ok(Audit::to(std::io::stdout())?);
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    Ok(Audit::to(file.with_context(|| cannot_audit(path))?)?)
}

fn cannot_audit(path: &Path) -> String {
    format!("cannot open the audit log {}", path.display())
}

/// Reads all that [`serve`] reads before it opens anything.
pub(crate) async fn rehearse(args: &args::Serve, rules: &Rules) -> Result<()> {
    agree(args, rules)?;
    Tokens::check(&rules.issuers).await?;
    let certificates = certificates(args)?.map(Reloading::load).transpose()?;
    let listens = listens(args, certificates.as_ref())?;
    let addresses: Vec<SocketAddr> = listens.iter().map(|listen| listen.address).collect();
    settings(&args.faces, &advertised(args.advertise.clone(), &listens, &addresses)?)?;
    if let Some(path) = args.audit_log.as_deref().filter(|path| *path != Path::new("-")) {
        has_folder(path).with_context(|| cannot_audit(path))?;
    }
    if let Address::Sqlite(path) = &args.store {
        has_folder(path).with_context(|| format!("cannot open the store {}", path.display()))?;
    }
    if args.insecure_no_auth { Ok(()) } else { admin_key::rehearse(&args.store, args.admin_key_file.as_deref()) }
}

/// Whether a file could be there.
pub(crate) fn has_folder(path: &Path) -> Result<()> {
    let folder = folder(path);
    match folder.is_dir() {
        true => Ok(()),
        false => bail!("there is no folder {}: make it first", folder.display()),
    }
}

/// The folder that a file is in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses rules that could never come to anything.
fn agree(args: &args::Serve, rules: &Rules) -> Result<()> {
    if args.insecure_no_auth && rules.recognise() {
        bail!("--insecure-no-auth asks nobody who they are, but the configuration says whom to believe");
    }
    if rules.certificates.is_some() && args.tls_client_ca.is_none() {
        bail!("the configuration has rules for client certificates: --tls-client-ca says whose are to be asked for");
    }
    Ok(())
}

/// Who is asked who they are, and believed what.
async fn auth(keys: Keys, limits: Limits, rules: Rules) -> Result<Auth> {
    let mut auth = Auth::new(keys).limited(Limits { tenants: rules.tenants, ..limits });
    if !rules.issuers.is_empty() {
        auth = auth.believing(Tokens::start(rules.issuers).await?);
    }
    if let Some(certificates) = rules.certificates {
        auth = auth.recognising(certificates);
    }
    Ok(auth)
}

/// Where to listen, and what is served there: an address of its own takes its calls away from the others.
fn listens(args: &args::Serve, certificates: Option<&Reloading>) -> Result<Vec<Listen>> {
    let plain = |address| Listen::plaintext(address);
    let encrypted = |address| match certificates {
        Some(certificates) => Ok(Listen::tls(address, certificates.current())),
        None => bail!("{address} is to speak TLS: --tls-cert and --tls-key name a certificate chain and its key"),
    };
    let at = |at: ListenAt| if at.tls { encrypted(at.address) } else { Ok(plain(at.address)) };
    let (worker, admin) = (args.worker_listen.map(at).transpose()?, args.admin_listen.map(at).transpose()?);
    let taken = |listen: &Option<Listen>, planes| if listen.is_some() { planes } else { Planes::NONE };
    let rest = Planes::ALL.without(taken(&worker, Planes::WORKER)).without(taken(&admin, Planes::ADMIN));
    let mut listens = vec![plain(args.listen)];
    listens.extend(args.tls_listen.map(encrypted).transpose()?);
    listens.iter_mut().for_each(|listen| listen.planes = rest);
    listens.extend(worker.map(|listen| Listen { planes: Planes::WORKER, ..listen }));
    listens.extend(admin.map(|listen| Listen { planes: Planes::ADMIN.and(Planes::REFLECTION), ..listen }));
    listens.iter().try_for_each(|listen| check(listen, args))?;
    let addresses: Vec<SocketAddr> = listens.iter().map(|listen| listen.address).collect();
    apart(&addresses)?;
    Ok(listens)
}

/// Refuses addresses that cannot be listened on together.
fn apart(addresses: &[SocketAddr]) -> Result<()> {
    for (index, one) in addresses.iter().enumerate() {
        let all = |address: &SocketAddr| address.ip().is_unspecified();
        let meets = |other: &&SocketAddr| {
            let is_same = one.ip() == other.ip() || one.is_ipv4() == other.is_ipv4() && (all(one) || all(other));
            one.port() != 0 && one.port() == other.port() && is_same
        };
        if let Some(other) = addresses[..index].iter().find(meets) {
            bail!("cannot listen on {one} and on {other} at once: each of the listeners needs a port of its own");
        }
    }
    Ok(())
}

/// The files of TLS listeners, if there are any.
fn certificates(args: &args::Serve) -> Result<Option<Files>> {
    let (Some(certificate), Some(key)) = (args.tls_cert.clone(), args.tls_key.clone()) else { return Ok(None) };
    let clients = args.tls_client_ca.clone().map(|authorities| ClientFiles {
        authorities,
        revoked: args.tls_client_crl.clone(),
        required: args.tls_client_required,
    });
    Ok(Some(Files { certificate, key, clients }))
}

/// Refuses addresses where credentials could be read on their way, or where nobody would be asked for any.
fn check(listen: &Listen, args: &args::Serve) -> Result<()> {
    let address = listen.address;
    if is_loopback(address) {
        return Ok(());
    }
    if args.insecure_no_auth {
        bail!("refusing to listen on {address} with --insecure-no-auth: other machines can reach it; use 127.0.0.1");
    }
    if listen.tls.is_none() && !args.behind_tls_proxy {
        bail!(
            "refusing to listen on {address} without TLS: keys and tokens could be read on their way; use --tls-listen, \
             or --behind-tls-proxy if a proxy in front of this server ends TLS"
        );
    }
    Ok(())
}

/// What callers are told to connect to: what was `said`, else the address that serves them, with TLS if there is one.
fn advertised(said: Option<String>, listens: &[Listen], addresses: &[SocketAddr]) -> Result<String> {
    if let Some(said) = said {
        return Ok(said);
    }
    let mut public = listens.iter().zip(addresses).filter(|(listen, _)| listen.planes.meet(Planes::PUBLIC));
    let (_, address) = public.next_back().context("no address serves callers")?;
    if address.ip().is_unspecified() {
        bail!("{address} is no address to connect to: say with --advertise HOST:PORT how callers reach this server");
    }
    Ok(address.to_string())
}

/// Lets this process have as many files open as it may: by default many systems allow fewer, and each connection is one.
fn take_all_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%error, "the limit of open files stays as it is, and so does that of connections");
    }
}

/// A server that is ready to answer.
struct Running {
    engine: Engine,
    server: Server,
    faces: Faces,
    health: Health,
    /// Cancelled when the server is to stop.
    stopping: CancellationToken,
}

impl Running {
    async fn start(engine: Engine, keys: Keys, auth: Option<Auth>, server: Server, settings: Settings) -> Result<Self> {
        let health = settings.health.clone();
        let guards = GuardOptions { advertised: Some(settings.advertised.clone()) };
        let audit = settings.audit.clone();
        let faces = audited(router(engine.clone(), keys, settings).await?, &guards, auth, audit);
        Ok(Self { engine, server, faces, health, stopping: CancellationToken::new() })
    }

    /// Answers until a signal or a failure of the store; `beside` is carried on meanwhile.
    async fn serve(self, beside: Option<impl Future<Output = ()>>) -> Result<ExitCode> {
        let serving = self.server.serve(self.faces, self.stopping.clone(), SHUTDOWN_GRACE);
        let beside = async {
            if let Some(beside) = beside {
                beside.await;
            }
        };
        let (stopped, (), ()) = tokio::join!(stop(&self.engine, &self.health, &self.stopping), serving, beside);
        stopped
    }
}

/// Waits for a reason to stop, then: NOT_SERVING, held calls answered, what is queued committed (DESIGN "The server").
async fn stop(engine: &Engine, health: &Health, stopping: &CancellationToken) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let failed = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = engine.failed() => true,
    };
    info!("stopping");
    health.stop_serving();
    stopping.cancel();
    engine.shutdown().await;
    if failed {
        bail!("the store failed to keep what it was given; start again to recover from what is on disk");
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(faces: &args::Faces, advertised: &str) -> Result<Settings> {
    let collection = faces.google_collection.clone();
    let types = types(&faces.descriptors)?;
    Ok(Settings { held_get: faces.held_get, collection, types, ..Settings::new(advertised) })
}

/// The types to begin with: what is built in, and what is in these descriptor sets.
fn types(descriptors: &[PathBuf]) -> Result<Types> {
    descriptors.iter().try_fold(Types::builtin(), |types, path| {
        let set = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        types.with_descriptor_set(&set).with_context(|| format!("cannot use the message types in {}", path.display()))
    })
}

fn two(server: &Server) -> [SocketAddr; 2] {
    let addresses: Vec<SocketAddr> = server.addresses().collect();
    addresses.try_into().expect("two listeners were bound")
}

/// The host in `host:port`.
fn host(address: &str) -> &str {
    operond_server::http::host_of(address).unwrap_or(address)
}

#[expect(clippy::disallowed_methods, reason = "certificates are judged by the calendar")]
fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn callers_are_told_an_address_that_they_can_connect_to() {
        let listen = |address: &str| Listen::plaintext(address.parse().unwrap());
        let told = |said: Option<&str>, last: &str| {
            let listens = [listen("127.0.0.1:1"), listen(last)];
            let addresses = listens.each_ref().map(|listen| listen.address);
            advertised(said.map(str::to_owned), &listens, &addresses).map_err(|error| error.to_string())
        };
        assert_eq!(told(None, "192.0.2.1:2").unwrap(), "192.0.2.1:2");
        assert_eq!(told(Some("a.example:443"), "0.0.0.0:2").unwrap(), "a.example:443");
        for nowhere in ["0.0.0.0:2", "[::]:2"] {
            let said = told(None, nowhere).unwrap_err();
            assert!(said.contains(nowhere) && said.contains("--advertise"), "{said}");
        }
    }

    #[test]
    fn beyond_loopback_it_takes_tls_or_the_word_for_a_proxy_that_ends_it() {
        let served = |address: &str, flags: &[&str]| {
            let line = ["operond", "serve", "--store", "sqlite:x", "--listen", address]
                .into_iter()
                .chain(flags.iter().copied());
            let args::Command::Serve(args) = args::Cli::try_parse_from(line).unwrap().command else { panic!() };
            listens(&args, None).map(drop).map_err(|error| error.to_string())
        };
        served("127.0.0.1:1", &[]).unwrap();
        served("127.0.0.1:1", &["--insecure-no-auth"]).unwrap();
        assert!(served("192.0.2.1:1", &[]).unwrap_err().contains("--behind-tls-proxy"));
        served("192.0.2.1:1", &["--behind-tls-proxy"]).unwrap();
        let open = served("192.0.2.1:1", &["--insecure-no-auth"]).unwrap_err();
        assert!(open.contains("--insecure-no-auth"), "{open}");
    }

    #[test]
    fn listeners_need_addresses_of_their_own() {
        let check = |one: &str, other: &str, good: bool| {
            let addresses = [one, other].map(|address| address.parse().unwrap());
            assert_eq!(apart(&addresses).is_ok(), good, "{one} {other}");
            assert_eq!(apart(&[addresses[1], addresses[0]]).is_ok(), good, "{other} {one}");
        };
        check("127.0.0.1:7467", "127.0.0.1:7467", false);
        check("0.0.0.0:7467", "127.0.0.1:7467", false);
        check("[::]:7467", "[::1]:7467", false);
        check("127.0.0.1:7467", "127.0.0.1:7468", true);
        check("127.0.0.1:7467", "127.0.0.2:7467", true);
        check("127.0.0.1:7467", "[::]:7467", true);
        check("127.0.0.1:0", "127.0.0.1:0", true);
    }
}
