//! The PostgreSQL store, driven through the trait on real clusters.

mod fixture;
mod suite;
