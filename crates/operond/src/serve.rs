//! The composition root: which store, which listeners, which faces, and in which order they stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use operond_engine::{Engine, Options};
use operond_server::http::{GuardOptions, layers};
use operond_server::json::Types;
use operond_server::net::{Listen, SHUTDOWN_GRACE, Server};
use operond_server::tls::{ClientFiles, DevIdentity, Files, Reloading};
use operond_server::{Faces, Health, Settings, router};
use operond_store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::banner;
use crate::cli::args;
use crate::demo;
use crate::store::Address;

/// `operond dev`: everything on loopback, with an own CA, for one person's machine.
pub(crate) async fn dev(args: args::Dev) -> Result<ExitCode> {
    let names: Vec<&str> = args.advertise.iter().map(|address| host(address)).collect();
    let identity = DevIdentity::open_or_create(&args.data, &names, now())?;
    let server =
        Server::bind(vec![Listen::plaintext(args.listen), Listen::tls(args.tls_listen, identity.server_config())])
            .await?;
    let [plain, tls] = two(&server);
    let advertised = args.advertise.unwrap_or_else(|| format!("localhost:{}", tls.port()));
    let settings = settings(&args.faces, &advertised)?;
    let store = Address::Sqlite(args.data.join("operond.db")).open(false).await?;
    let running = Running::start(store, server, settings).await?;
    print!("{}", banner::dev(plain, &advertised, identity.ca_path(), args.demo));
    let demo = args.demo.then(|| demo::serve(format!("http://{plain}"), running.stopping.clone()));
    running.serve(demo).await
}

/// `operond serve`: one server on one store, as an operator runs it.
pub(crate) async fn serve(args: args::Serve) -> Result<ExitCode> {
    let mut listens = vec![Listen::plaintext(args.listen)];
    let certificates = certificates(&args)?.map(Reloading::load).transpose()?;
    if let (Some(address), Some(certificates)) = (args.tls_listen, &certificates) {
        listens.push(Listen::tls(address, certificates.current()));
    }
    let server = Server::bind(listens).await?;
    let addresses: Vec<SocketAddr> = server.addresses().collect();
    let public = addresses.last().context("a server listens somewhere")?;
    let advertised = args.advertise.unwrap_or_else(|| public.to_string());
    let settings = settings(&args.faces, &advertised)?;
    let running = Running::start(args.store.open(args.require_durable).await?, server, settings).await?;
    print!("{}", banner::serve(&addresses, &advertised, &args.store));
    let follow = certificates.map(|certificates| certificates.follow(running.stopping.clone()));
    running.serve(follow).await
}

/// The files of the TLS listener, if there is one.
fn certificates(args: &args::Serve) -> Result<Option<Files>> {
    if args.tls_listen.is_none() {
        return Ok(None);
    }
    let (Some(certificate), Some(key)) = (args.tls_cert.clone(), args.tls_key.clone()) else {
        bail!("--tls-listen needs --tls-cert and --tls-key: a certificate chain and its key, in PEM files");
    };
    let clients = args.tls_client_ca.clone().map(|authorities| ClientFiles {
        authorities,
        revoked: args.tls_client_crl.clone(),
        required: args.tls_client_required,
    });
    Ok(Some(Files { certificate, key, clients }))
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
    async fn start(store: Arc<dyn Store>, server: Server, settings: Settings) -> Result<Self> {
        let engine = Engine::start(store, Options::default());
        let health = settings.health.clone();
        let guards = GuardOptions { advertised: Some(settings.advertised.clone()) };
        let faces = layers(router(engine.clone(), settings).await?, &guards);
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
