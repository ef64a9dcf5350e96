//! The listening sockets: one accept loop for plaintext and TLS, HTTP/1.1 and HTTP/2.
//!
//! Binding and serving are two steps, so that a port chosen by the system (port 0) can be announced before
//! the first call arrives, and so that an occupied port fails before anything else is started.
//! What is served is any tower service of `http::Request<axum::body::Body>`; this module knows no routes.

mod calls;
mod connection;
mod first_bytes;
mod lifetime;
pub(crate) mod pace;
mod paced_writes;
mod room;
mod seldom;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::auth::Planes;
use crate::http::Arrived;
use crate::tls::{ClientCertificate, Current};
use calls::Untaken;
use room::Room;
use seldom::Seldom;

/// How long calls in flight may go on after a shutdown was asked for (DESIGN "The server": out within 2 s).
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Pause after an accept that failed for want of file descriptors or memory: without it the loop would spin,
/// for the connection that could not be taken stays in the queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One address to listen on.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Address and port; port 0 lets the system choose one.
    pub address: SocketAddr,
    /// TLS if set (see [`crate::tls`]), else plaintext: HTTP/1.1, and HTTP/2 with prior knowledge.
    pub tls: Option<Current>,
    /// What is served there.
    pub planes: Planes,
}

impl Listen {
    /// Listens without TLS.
    #[must_use]
    pub fn plaintext(address: SocketAddr) -> Self {
        Self { address, tls: None, planes: Planes::ALL }
    }

    /// Listens with TLS; ALPN chooses between HTTP/2 and HTTP/1.1. A configuration that stays is an
    /// `Arc<rustls::ServerConfig>`, one that follows its files is [`crate::tls::Reloading::current`].
    #[must_use]
    pub fn tls(address: SocketAddr, config: impl Into<Current>) -> Self {
        Self { address, tls: Some(config.into()), planes: Planes::ALL }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refused.
    #[error("cannot listen on {address}")]
    Io {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Whether only this machine can reach an address.
#[must_use]
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The peer of a connection; every request carries it as an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The address the connection came from.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// What is served at the address that it came to.
    pub planes: Planes,
    /// The client's certificate, if it was asked for one and has shown one. It was verified when the connection was
    /// made; whether it has expired since is for whoever relies on it to see.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// Bound sockets that do not answer yet: the system queues connections until [`Server::serve`].
#[derive(Debug)]
pub struct Server {
    bound: Vec<Bound>,
}

impl Server {
    /// Binds every address, in order.
    ///
    /// # Errors
    /// The first address that the system refuses; nothing stays bound then.
    pub async fn bind(listens: Vec<Listen>) -> Result<Self, BindError> {
        let mut bound = Vec::with_capacity(listens.len());
        for listen in listens {
            bound.push(Bound::open(listen).await?);
        }
        Ok(Self { bound })
    }

    /// The addresses listened on, in the order given to [`Server::bind`], with the ports the system chose.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.bound.iter().map(|bound| bound.address)
    }

    /// Answers calls until `shutdown` is cancelled; then stops accepting, tells clients to go elsewhere
    /// (GOAWAY, `connection: close`) and lets calls in flight end for up to `grace`. What is left after that is
    /// dropped. Returns when no task of it is left; dropping the future ends everything at once.
    pub async fn serve<S>(self, service: S, shutdown: CancellationToken, grace: Duration)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let kill = CancellationToken::new();
        let _kill_when_dropped = kill.clone().drop_guard();
        let scope = Scope {
            tracker: TaskTracker::new(),
            shutdown: shutdown.clone(),
            kill: kill.clone(),
            arrived: Arrived::default(),
            untaken: Untaken::default(),
        };
        let room = Arc::new(Room::of_this_process());
        for bound in self.bound {
            scope.spawn(accept_loop(bound, service.clone(), Arc::clone(&room), scope.clone()));
        }
        scope.tracker.close();

        shutdown.cancelled().await;
        let finished = tokio::time::timeout(grace, scope.tracker.wait()).await;
        if finished.is_err() {
            tracing::warn!(left = scope.tracker.len(), "calls in flight outlived the shutdown grace");
        }
        kill.cancel();
        scope.tracker.wait().await;
    }
}

/// What the tasks of one server share. `shutdown` asks them to end, `kill` ends them.
#[derive(Debug, Clone)]
struct Scope {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    kill: CancellationToken,
    arrived: Arrived,
    untaken: Untaken,
}

impl Scope {
    /// The only place that starts tasks: each is counted, and ends with `kill` at the latest. A panic ends the
    /// task it happened in and nothing else.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let kill = self.kill.clone();
        self.tracker.spawn(async move {
            kill.run_until_cancelled(task).await;
        });
    }

    /// A scope whose tasks end no later than this one's, without every one of them being known to `self.kill`:
    /// the many calls of many connections would contend for its lock.
    fn child(&self) -> Self {
        Self { kill: self.kill.child_token(), ..self.clone() }
    }
}

struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Current>,
    planes: Planes,
}

impl Bound {
    async fn open(listen: Listen) -> Result<Self, BindError> {
        let address = listen.address;
        let failed = |source| BindError::Io { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { address, listener, tls: listen.tls, planes: listen.planes })
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("address", &self.address)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

async fn accept_loop<S>(bound: Bound, service: S, room: Arc<Room>, scope: Scope)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let (turned_away, failed) = (Seldom::default(), Seldom::default());
    while let Some(accepted) = scope.shutdown.run_until_cancelled(bound.listener.accept()).await {
        match accepted {
            Ok((stream, address)) => {
                let Some(place) = room.enter(address.ip()) else {
                    if let Some(count) = turned_away.again() {
                        tracing::warn!(count, address = %bound.address, "connections closed: there are too many");
                    }
                    continue;
                };
                let scope = scope.child();
                let peer = Peer { address, tls: bound.tls.is_some(), planes: bound.planes, certificate: None };
                // In a box of its own: what wraps it would be several times its size, for every connection there is.
                let task = Box::pin(serve_stream(stream, peer, bound.tls.clone(), service.clone(), scope.clone()));
                scope.spawn(async move {
                    task.await;
                    drop(place);
                });
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if let Some(count) = failed.again() {
                    tracing::warn!(%error, count, address = %bound.address, "cannot accept connections for the moment");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_stream<S>(stream: TcpStream, peer: Peer, tls: Option<Current>, service: S, scope: Scope)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    // Without this, small answers wait for the peer's delayed acknowledgement. It fails only when the peer is gone.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some(tls) = tls else {
        connection::serve(stream, peer, service, scope).await;
        return;
    };
    let acceptor = TlsAcceptor::from(tls.config());
    if let Some((stream, certificate)) = connection::handshake(&acceptor, stream, &scope).await {
        connection::serve(stream, Peer { certificate, ..peer }, service, scope).await;
    }
}

/// Whether an accept error says that the connection was lost while it waited, not that accepting is impossible.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
