//! Operations in a PostgreSQL database that many servers share.

#[cfg(any(test, feature = "cluster"))]
pub mod cluster;
