//! The PostgreSQL store, driven through the trait on real clusters.
#![expect(clippy::unwrap_used, reason = "a test may unwrap, and so may what it calls: the panic is the report")]

mod archive;
mod fixture;
mod frozen;
mod outage;
mod outcome;
mod overtaken;
mod passed;
mod proxy;
mod schema;
mod shared;
mod suite;
mod trouble;
