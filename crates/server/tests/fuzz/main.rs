//! What strangers send, by chance: bodies, paths, headers and credentials through all layers and faces.
//!
//! Each target replays what is kept under `tests/corpus/`, then makes inputs up. It prints its seed; with
//! `OPEROND_SEED` and `OPEROND_FUZZ_INPUTS` the same ones come again, in the same order. An input that breaks a
//! property is printed as a file of the corpus: keep it there.
//!
//! ```sh
//! OPEROND_SEED=1 OPEROND_FUZZ_INPUTS=10000000 cargo test --release -p operond-server --test fuzz -- --nocapture rest
//! ```
//!
//! Ten million inputs of seed 1 were all answered by the contract, for each target: `grpc` (3.0 million accepted), `rest`
//! (2.0 million) and `bearer` (0.8 million let in, or not asked; tokens of issuers among the others). Each takes minutes.
//!
//! It runs in this process and on virtual time, over the in-memory store. What it cannot see is a call that spins
//! without ever letting go of its thread; and what hyper refuses before us is no input.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod bearer;
mod body;
mod controls;
mod counted;
mod grpc;
mod gzip;
mod input;
mod issuer;
mod judge;
mod mutate;
mod panics;
mod random;
mod rest;
mod rig;
mod run;
mod wire;
