//! `operond copy`: everything that is in one store gets into another one, while nobody serves either.
//!
//! A copy that is cut off goes on where it stopped when the same command is given again: the target
//! says how far it is. It is complete when both stores, read back, have the same checksum.

mod check;
mod progress;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use blake3::{Hash, Hasher};
use futures::future::{join, try_join};
use operond_store::{Archive, Bookmark, Counts, Identity, Most, Standing, Walk};

use crate::cli::args;
use crate::cli::exit::Usage;
use crate::store::{Access, Address};
use check::Begun;
use progress::Progress;

/// Copies, or says what would be copied.
///
/// # Errors
/// A store that cannot be read or written, and whatever [`check`] refuses.
pub(crate) async fn copy(args: args::Copy) -> Result<ExitCode> {
    if args.from.is_same_file(&args.to) {
        return Err(Usage(check::same_store(&args.from.url(), &args.to.url())).into());
    }
    let source = Side::open(&args.from, Access::Read).await?;
    let target = Side::open(&args.to, if args.dry_run { Access::Look } else { Access::Write }).await?;
    let (from, to) = (source.standing().await?, target.standing().await?);
    let (all, there) = (source.counts().await?, target.counts().await?);
    let begun = check::begun(&source.url, &from, &target.url, &to, &there)?;
    if args.dry_run {
        println!("{} would be copied to {}", source.url, target.url);
        print!("{}", table(&all, &there));
        println!("the target can be used; nothing was written");
    } else {
        println!("copying {} to {}", source.url, target.url);
        print!("{}", table(&all, &there));
        let finished = begun == Begun::Finished;
        transfer(&source, &target, &from.identity, begun, all.rows().saturating_sub(there.rows())).await?;
        verify(&source, &target, all.rows()).await?;
        if !finished {
            target.archive.finish().await.with_context(|| format!("cannot finish {}", target.url))?;
        }
        println!("the copy is complete; from now on serve {}, and {} no more", target.url, source.url);
    }
    target.close().await?;
    source.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// One of the two stores, and what it is called.
struct Side {
    url: String,
    archive: Arc<dyn Archive>,
}

impl Side {
    async fn open(address: &Address, access: Access) -> Result<Self> {
        Ok(Self { url: address.url(), archive: address.archive(access).await? })
    }

    async fn standing(&self) -> Result<Standing> {
        self.archive.standing().await.with_context(|| self.unreadable())
    }

    async fn counts(&self) -> Result<Counts> {
        self.archive.counts().await.with_context(|| self.unreadable())
    }

    async fn close(&self) -> Result<()> {
        self.archive.close().await.with_context(|| format!("cannot close {}", self.url))
    }

    fn unreadable(&self) -> String {
        format!("cannot read {}", self.url)
    }

    /// Of all that it says, read anew.
    async fn checksum(&self, progress: &Progress) -> Result<Hash> {
        let mut hasher = Hasher::new();
        let mut add = |said: &[u8]| {
            hasher.update(&(said.len() as u64).to_le_bytes());
            hasher.update(said);
        };
        add(&self.standing().await?.identity.canonical());
        let mut walk = Walk::from(&*self.archive, Bookmark::START, AT_ONCE);
        loop {
            let rows = walk.next().await.with_context(|| self.unreadable())?;
            if rows.is_empty() {
                return Ok(hasher.finalize());
            }
            rows.iter().for_each(|row| add(&row.canonical()));
            progress.add(rows.len());
        }
    }
}

/// Copies what is behind the place where a copy stopped, or everything.
async fn transfer(source: &Side, target: &Side, identity: &Identity, begun: Begun, rows: u64) -> Result<()> {
    let unwritable = || format!("cannot write to {}", target.url);
    let place = match begun {
        Begun::Finished => return Ok(()),
        Begun::UpTo(place) => place,
        Begun::Not => {
            target.archive.begin(source.url.clone(), identity.clone()).await.with_context(unwritable)?;
            Bookmark::START
        }
    };
    let progress = Progress::new("copied", rows);
    let mut walk = Walk::from(&*source.archive, place, AT_ONCE);
    let mut rows = walk.next().await.with_context(|| source.unreadable())?;
    while !rows.is_empty() {
        let copied = rows.len();
        // While one store writes, the other one reads.
        let (written, next) = join(target.archive.write(rows), walk.next()).await;
        written.with_context(unwritable)?;
        progress.add(copied);
        rows = next.with_context(|| source.unreadable())?;
    }
    Ok(())
}

/// Reads both stores from their beginnings to their ends.
async fn verify(source: &Side, target: &Side, rows: u64) -> Result<()> {
    let progress = Progress::new("checked", rows.saturating_mul(2));
    let (from, to) = try_join(source.checksum(&progress), target.checksum(&progress)).await?;
    drop(progress);
    println!("  {from}  {}", source.url);
    println!("  {to}  {}", target.url);
    for side in [source, target] {
        check::unserved(&side.url, &side.standing().await?)?;
    }
    if from != to {
        bail!(
            "{} does not hold what {} does: one of them was written to meanwhile, or is damaged. No server opens the \
             target as it is; copy again into an empty one",
            target.url,
            source.url
        );
    }
    Ok(())
}

/// How many rows of each sort there are, and how many of them are copied already.
fn table(all: &Counts, there: &Counts) -> String {
    let mut text = String::new();
    for ((name, all), (_, there)) in named(all).into_iter().zip(named(there)) {
        let there = if there > 0 { format!(", {there} of them are copied already") } else { String::new() };
        text.push_str(&format!("  {name:<12} {all}{there}\n"));
    }
    text
}

fn named(counts: &Counts) -> [(&'static str, u64); 4] {
    let Counts { operations, tombstones, keys, documents } = *counts;
    [("operations", operations), ("tombstones", tombstones), ("keys", keys), ("documents", documents)]
}

/// What is in memory of each store, about twice: what is written, and what is read meanwhile.
const AT_ONCE: Most = Most { rows: 1_000, bytes: 8 << 20 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_there_is_and_what_is_there_already() {
        let all = Counts { operations: 12_345, tombstones: 7, keys: 1, documents: 0 };
        let said = table(&all, &Counts::default());
        assert_eq!(said, "  operations   12345\n  tombstones   7\n  keys         1\n  documents    0\n");
        let said = table(&all, &Counts { operations: 45, ..Counts::default() });
        assert!(said.starts_with("  operations   12345, 45 of them are copied already\n  tombstones   7\n"), "{said}");
    }
}
