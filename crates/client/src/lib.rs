//! Typed client and worker for operond, the server side of asynchronous API calls.
//!
//! A *producer* records an operation, a *worker* carries it out, a *caller* waits for it:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use operond_client::{Client, NewOperation, Options, json, payload};
//! use serde_json::json;
//!
//! # async fn example() -> Result<(), operond_client::Error> {
//! let client = Client::connect(Options::new("http://127.0.0.1:7467"))?;
//!
//! let input = payload::from_json(json!({"pages": 3}));
//! let operation = client.create(NewOperation::new("report.print").input(input)).await?;
//!
//! // Ends the moment the result is there; rides out a restart of the server.
//! let operation = client.wait(&operation.id).timeout(Duration::from_secs(600)).await?;
//! match operation.result {
//!     Some(operond_client::Outcome::Response(response)) => println!("{}", json::plain(&response)),
//!     Some(operond_client::Outcome::Error(error)) => println!("failed: {}", error.message),
//!     None => println!("not done yet"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The other side is a [`Worker`]. Calls that may be repeated are, while the server does not answer;
//! [`Error`] tells apart what to do about the rest. All messages are the wire's own ([`proto`]).
//!
//! This crate holds no rules: what may happen to an operation is decided by the server alone. It needs
//! a tokio runtime.

mod client;
mod error;
pub mod json;
mod keys;
mod new_operation;
mod operations;
pub mod payload;
mod retry;
mod types;
mod wait;
mod watch;
mod work;
mod worker;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use client::{Client, IdentityPem, Options, Token};
pub use error::{Error, Rejection};
pub use new_operation::NewOperation;
pub use operations::ListOptions;
pub use operond_proto::google::rpc::{Code, Status};
pub use operond_proto::operond::v1 as proto;
pub use operond_proto::operond::v1::operation::{Result as Outcome, State};
pub use operond_proto::operond::v1::{Operation, Progress};
pub use prost_types::Any;
pub use wait::{WaitEvent, WaitFor};
pub use worker::{Assignment, Completion, Failure, Stop, Worker};
