//! Operations in a PostgreSQL database that many servers share.
