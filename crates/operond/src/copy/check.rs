//! Whether a copy may begin, or go on.

use anyhow::{Result, bail};
use operond_store::{Bookmark, Counts, Standing};

use super::named;

/// How far a copy is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It is to be begun.
    Not,
    /// Everything up to here is copied.
    UpTo(Bookmark),
    /// Only the word that it is complete was not heard: whoever gives the command again hears it.
    Finished,
}

/// How far the copy is.
///
/// # Errors
/// One of the stores is in use, or the target is not empty and no copy of this source as it is.
pub(super) fn begun(source: &str, from: &Standing, target: &str, to: &Standing, there: &Counts) -> Result<Begun> {
    if let Some((first, _)) = from.unfinished() {
        bail!("{source} is itself an unfinished copy; finish it first: operond copy --from {first} --to {source}");
    }
    unserved(source, from)?;
    unserved(target, to)?;
    let same = from.identity.seal_key == to.identity.seal_key;
    match to.unfinished() {
        Some((_, place)) if from.identity == to.identity => Ok(Begun::UpTo(place.clone())),
        Some(_) if same => bail!(
            "a server has written to {source} since it began to be copied to {target}: name an empty target, and copy \
             it anew"
        ),
        Some((other, _)) => {
            bail!("{target} is an unfinished copy of another store, {other}: finish that one, or name an empty target")
        }
        // One store that is named twice says the same of its source twice.
        None if from.identity == to.identity && to.copy.is_some() && from.copy != to.copy => Ok(Begun::Finished),
        None if same => bail!("{}", same_store(source, target)),
        None if there.rows() > 0 => bail!("{target} is not empty: it has {}; name an empty target", list(there)),
        None => Ok(Begun::Not),
    }
}

/// Refuses a store that is being served. What was read of it one after the other would not fit
/// together, and what a server writes behind the place where the copy is would be lost: that is worth
/// more than the half minute for which a server that was killed is still believed to be there.
///
/// # Errors
/// A server serves it, or did a moment ago.
pub(super) fn unserved(url: &str, standing: &Standing) -> Result<()> {
    let Some(ago) = standing.served else { return Ok(()) };
    bail!(
        "a server was serving {url} {} s ago: stop every one that does, and copy then; one that was killed is not \
         waited for longer than half a minute",
        ago.as_secs()
    )
}

/// What to say when both are one.
pub(super) fn same_store(source: &str, target: &str) -> String {
    format!("{source} and {target} are the same store, or one is a copy of the other already: name another target")
}

/// What there is some of.
fn list(counts: &Counts) -> String {
    let some = named(counts).into_iter().filter(|(_, rows)| *rows > 0);
    some.map(|(name, rows)| format!("{name} ({rows})")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use operond_core::Timestamp;
    use operond_store::{CopyOf, Identity};

    use super::*;

    const SOME: Counts = Counts { operations: 3, tombstones: 0, keys: 1, documents: 0 };
    const NONE: Counts = Counts { operations: 0, tombstones: 0, keys: 0, documents: 0 };

    fn store(key: u8, newest: i64) -> Standing {
        let identity = Identity { seal_key: [key; 32], newest: Some(Timestamp::from_micros(newest)) };
        Standing { identity, copy: None, served: None }
    }

    fn marked(standing: Standing) -> Standing {
        let copy = CopyOf { source: "sqlite:a".into(), place: Some(Bookmark::Keys(None)) };
        Standing { copy: Some(copy), ..standing }
    }

    fn finished(standing: Standing, source: &str) -> Standing {
        Standing { copy: Some(CopyOf { source: source.into(), place: None }), ..standing }
    }

    fn served(standing: Standing) -> Standing {
        Standing { served: Some(Duration::from_secs(4)), ..standing }
    }

    fn refused(from: &Standing, to: &Standing, there: Counts, expected: &str) {
        let said = begun("sqlite:x", from, "sqlite:y", to, &there).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }

    #[test]
    fn a_copy_begins_in_an_empty_store_goes_on_behind_its_mark_and_is_finished_once() {
        let check = |to: &Standing, there| begun("sqlite:x", &store(1, 5), "sqlite:y", to, &there).unwrap();
        assert_eq!(check(&store(2, 9), NONE), Begun::Not);
        assert_eq!(check(&marked(store(1, 5)), SOME), Begun::UpTo(Bookmark::Keys(None)));
        assert_eq!(check(&finished(store(1, 5), "sqlite:x"), SOME), Begun::Finished);
    }

    #[test]
    fn every_refusal_says_what_is_in_the_way() {
        refused(
            &store(1, 5),
            &store(2, 9),
            SOME,
            "sqlite:y is not empty: it has operations (3), keys (1); name an empty",
        );
        refused(&store(1, 5), &store(1, 5), SOME, "the same store");
        let copy = finished(store(1, 5), "sqlite:a");
        refused(&copy, &copy, SOME, "the same store");
        refused(
            &store(1, 5),
            &finished(store(1, 6), "sqlite:x"),
            SOME,
            "the same store, or one is a copy of the other",
        );
        refused(&store(1, 6), &marked(store(1, 5)), SOME, "a server has written to sqlite:x since");
        refused(&store(2, 5), &marked(store(1, 5)), SOME, "an unfinished copy of another store, sqlite:a");
        refused(&marked(store(1, 5)), &store(2, 5), NONE, "operond copy --from sqlite:a --to sqlite:x");
        refused(&served(store(1, 5)), &store(2, 5), NONE, "a server was serving sqlite:x 4 s ago");
        refused(&store(1, 5), &served(store(2, 5)), NONE, "a server was serving sqlite:y 4 s ago");
    }
}
