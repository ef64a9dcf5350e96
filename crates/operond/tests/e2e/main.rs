//! The real binary, driven from outside: one test program, so that it is linked once.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that fails may panic, and spawns callers")]

mod support;

mod attacks;
mod auth;
mod bad_database;
mod bad_input;
mod cancel;
mod chaos;
mod cli;
mod config_check;
mod copy;
mod crash;
mod exec;
mod google;
mod locked_rows;
mod mutual_tls;
mod outcome;
mod postgres_tls;
mod readme;
mod sdk;
mod server;
mod stuck_reads;
mod two_servers;
mod types;
