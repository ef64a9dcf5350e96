//! An issuer: a real HTTP server on loopback, and the clock that its tokens are judged by.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::LOCATION;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use operond_core::Timestamp;
use operond_server::auth::token::{Issuer, TenantFrom, Tokens};
use operond_store::ManualClock;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// When everything happens, in seconds since the Unix epoch.
pub(crate) const NOW: u64 = 2_000_000_000;
pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";

/// A server that says what it is told to say.
pub(crate) struct Site {
    pub(crate) url: String,
    pages: Arc<Pages>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Pages {
    pages: Mutex<HashMap<String, Page>>,
    fetched: Mutex<HashMap<String, usize>>,
    released: tokio::sync::Notify,
}

#[derive(Clone)]
pub(crate) enum Page {
    Text(String),
    /// Leads there, and would be good itself.
    Redirect(String, String),
    Broken,
    /// Answers when it is released.
    Held(String),
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(crate) async fn start_encrypted(config: Arc<ServerConfig>) -> Self {
        Self::start_with(Some(TlsAcceptor::from(config))).await
    }

    async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let pages = Arc::new(Pages::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, tls, Arc::clone(&pages)));
        Self { url, pages, _tasks: tasks }
    }

    /// An issuer with these keys, found through its discovery document.
    pub(crate) async fn publishing(keys: String) -> Self {
        let site = Self::start().await;
        site.publish(keys);
        site
    }

    pub(crate) fn publish(&self, keys: String) {
        self.say(DISCOVERY, Page::Text(self.discovery()));
        self.say("/keys", Page::Text(keys));
    }

    pub(crate) fn discovery(&self) -> String {
        json!({"issuer": self.url, "jwks_uri": format!("{}/keys", self.url)}).to_string()
    }

    pub(crate) fn say(&self, path: &str, page: Page) {
        self.pages.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    pub(crate) fn fetched(&self, path: &str) -> usize {
        self.pages.fetched.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    pub(crate) fn release(&self) {
        self.pages.released.notify_one();
    }

    /// What a server that believes it is told.
    pub(crate) fn issuer(&self) -> Issuer {
        Issuer::new(&self.url, vec!["operond".into()], TenantFrom::All)
    }

    /// What its tokens say when nobody asks for something else.
    pub(crate) fn claims(&self) -> Value {
        claims(&self.url)
    }
}

pub(crate) fn claims(issuer: &str) -> Value {
    json!({"iss": issuer, "aud": "operond", "exp": NOW + 300, "sub": "alice"})
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, pages: Arc<Pages>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, pages) = (tls.clone(), Arc::clone(&pages));
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&pages), request));
            match tls {
                None => drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            }
        });
    }
}

async fn answer(pages: Arc<Pages>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    *pages.fetched.lock().unwrap().entry(path.clone()).or_default() += 1;
    let page = pages.pages.lock().unwrap().get(&path).cloned().unwrap_or(Page::Broken);
    let response = match page {
        Page::Text(text) => Response::new(Full::from(text)),
        Page::Redirect(to, text) => {
            Response::builder().status(302).header(LOCATION, to).body(Full::from(text)).unwrap()
        }
        Page::Broken => Response::builder().status(503).body(Full::default()).unwrap(),
        Page::Held(text) => {
            pages.released.notified().await;
            Response::new(Full::from(text))
        }
    };
    Ok(response)
}

/// A clock at [`NOW`].
pub(crate) fn clock() -> Arc<ManualClock> {
    let now = Duration::from_secs(NOW);
    Arc::new(ManualClock::new(Timestamp::default().after(now)))
}

pub(crate) async fn tokens(issuers: Vec<Issuer>, clock: &Arc<ManualClock>) -> Tokens {
    Tokens::start_with_clock(issuers, Arc::clone(clock)).await.unwrap()
}
