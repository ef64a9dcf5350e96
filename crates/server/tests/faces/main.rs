//! All faces over one engine, as their clients see them: in process and over real connections.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod access;
mod agreement;
mod audit;
mod bad_input;
mod conditional;
mod connections;
mod endpoints;
mod google;
mod harness;
mod kinds;
mod leases;
mod life;
mod limits;
mod list;
mod matrix;
mod others;
mod quotas;
mod refusals;
mod routes;
mod types;
mod waiting;
mod yandex;
