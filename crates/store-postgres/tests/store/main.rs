//! The PostgreSQL store, driven through the trait on real clusters.

mod fixture;
mod outcome;
mod proxy;
mod suite;
