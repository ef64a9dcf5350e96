//! The SQLite store from outside: the suite of every store, and what only a file can suffer.
#![expect(clippy::unwrap_used, reason = "a test may unwrap, and so may what it calls: the panic is the report")]

mod archive;
mod crash;
mod damage;
mod file;
mod fixture;
mod full_disk;
mod log;
mod suite;
