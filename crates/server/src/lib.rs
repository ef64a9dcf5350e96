//! The faces of operond over one engine: gRPC, REST, health and reflection; and the listener they are served by.
//!
//! ```no_run
//! use std::sync::Arc;
//! use operond_engine::{Engine, Options};
//! use operond_server::auth::{Auth, Keys};
//! use operond_server::http::{GuardOptions, layers};
//! use operond_server::net::{Listen, SHUTDOWN_GRACE, Server};
//! use operond_server::{Settings, router};
//! use operond_store::MemoryStore;
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::start(Arc::new(MemoryStore::default()), Options::default());
//! let server = Server::bind(vec![Listen::plaintext("127.0.0.1:7467".parse()?)]).await?;
//!
//! let keys = Keys::load(engine.clone()).await?;
//! let faces = router(engine, keys.clone(), Settings::new("localhost:7467")).await?;
//! let guards = GuardOptions { advertised: Some("localhost:7467".into()) };
//! server.serve(layers(faces, &guards, Some(Auth::new(keys))), CancellationToken::new(), SHUTDOWN_GRACE).await;
//! # Ok(())
//! # }
//! ```
//!
//! A call passes [`net`] (connection), [`http`] (guards, deadline), then a face: gRPC services and REST map messages
//! to the domain and back, and call the same functions. Errors have one table, by reason.
//!
//! What it is not: a place for the rules of operations (`operond_core`), for waiting or batching
//! (`operond_engine`), or for anything that knows a store.

pub mod auth;
mod error;
mod follow;
mod google;
mod grpc;
mod health;
pub mod http;
pub mod json;
mod kinds;
mod listing;
mod metrics;
mod names;
mod native;
pub mod net;
mod page_token;
mod poll_interval;
mod readiness;
mod rest;
mod service;
pub mod tls;
mod types;
mod wire;
mod yandex;

pub use google::is_collection;
pub use health::Health;
pub use service::{RouterError, Settings, router};
pub use types::{Conflict, TypesError};

/// Every face with its layers around it: what a [`net::Server`] serves.
pub type Faces = http::Layered<axum::Router>;
