//! `operond migrate`: the schema of a database that servers share is changed by command, not by them.

use std::process::ExitCode;

use anyhow::{Result, bail};
use operond_store_postgres::PostgresStore;

use crate::store::Address;

/// Says how the schema stands; fails unless this release can serve it.
pub(crate) async fn status(store: &Address) -> Result<ExitCode> {
    let schema = PostgresStore::schema(database(store)?).await?;
    println!("{store}");
    println!("  schema version         {}", schema.version);
    println!("  this release knows     {}", schema.known);
    if schema.is_too_new() {
        bail!("the schema needs a release that knows version {}; use the newer release", schema.serves);
    }
    if schema.is_too_old() {
        bail!("the schema is not there, or older than this release needs; run: operond migrate up --store URL");
    }
    println!("  this release serves it");
    Ok(ExitCode::SUCCESS)
}

/// Takes the steps that are missing.
pub(crate) async fn up(store: &Address) -> Result<ExitCode> {
    let taken = PostgresStore::migrate(database(store)?).await?;
    match taken {
        0 => println!("{store} has the newest schema already"),
        1 => println!("{store} took 1 step to the newest schema"),
        steps => println!("{store} took {steps} steps to the newest schema"),
    }
    Ok(ExitCode::SUCCESS)
}

fn database(store: &Address) -> Result<&str> {
    match store {
        Address::Postgres(url) => Ok(url),
        Address::Sqlite(path) => {
            bail!("{} is a file of SQLite, which the server brings to its schema when it opens it", path.display())
        }
    }
}
