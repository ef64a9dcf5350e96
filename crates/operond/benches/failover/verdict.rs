//! The end: is all there that was acknowledged?

use std::collections::HashMap;

use anyhow::{Result, bail};
use futures::TryStreamExt;
use operond_client::{Client, Error, ListOptions, Operation, Outcome};
use serde::Serialize;

use crate::ledger::Known;
use crate::scene::Scene;

/// What was acknowledged, and what of it is lost.
#[derive(Default, Serialize)]
pub(crate) struct Verdict {
    creates: Count,
    /// Results that workers handed in, or that callers were told.
    results: Count,
    /// Failures that were reported.
    failures: Count,
    cancels: Count,
    deletes: Count,
    /// Acknowledged writes of which nothing is looked for: leases, heartbeats, what was given back.
    passing: usize,
    /// Operations that are there although nobody heard that they were created.
    unheard: usize,
    /// Examples of what is lost.
    examples: Vec<String>,
    /// Other promises that were broken, and how many in all.
    broken: Vec<String>,
    broken_count: usize,
    /// What failed while nothing was broken, and how often.
    calm_failures: HashMap<String, usize>,
}

#[derive(Default, Serialize)]
struct Count {
    acknowledged: usize,
    lost: usize,
}

/// Looks for everything.
pub(crate) async fn judge(scene: &Scene) -> Result<Verdict> {
    // What one server has acknowledged, the other one knows.
    let client = scene.client(1);
    let mut stored = HashMap::new();
    for kind in ["quick", "long"].map(|kind| scene.kind(kind)) {
        let options = ListOptions { filter: format!("kind = \"{kind}\""), page_size: Some(1000), oldest_first: true };
        let mut operations = Box::pin(client.list_all(options));
        while let Some(operation) = operations.try_next().await? {
            stored.insert(operation.id.clone(), operation);
        }
    }
    let (known, broken, passing, calm_failures) = {
        let mut book = scene.ledger.book();
        let known = std::mem::take(&mut book.operations);
        (known, std::mem::take(&mut book.broken), book.passing, std::mem::take(&mut book.calm_failures))
    };
    let heard = |id: &String| known.get(id).is_some_and(|known| known.created.is_some());
    let unheard = stored.keys().filter(|id| !heard(id)).count();
    let mut judge =
        Judge { client, verdict: Verdict { passing, calm_failures, broken, unheard, ..Verdict::default() } };
    judge.look_for_twins(&known, &stored);
    for (id, known) in &known {
        let found = stored.remove(id);
        judge.operation(id, known, found).await?;
    }
    let mut verdict = judge.verdict;
    verdict.broken_count = verdict.broken.len();
    verdict.broken.truncate(EXAMPLES_MAX);
    Ok(verdict)
}

struct Judge {
    client: Client,
    verdict: Verdict,
}

impl Judge {
    /// A key stands for one operation.
    fn look_for_twins(&mut self, known: &HashMap<String, Known>, stored: &HashMap<String, Operation>) {
        let mut ids: HashMap<&str, Vec<&str>> = HashMap::new();
        for operation in stored.values() {
            ids.entry(&operation.description).or_default().push(&operation.id);
        }
        for (description, ids) in ids.iter().filter(|(_, ids)| ids.len() > 1) {
            if ids.iter().any(|id| known.get(*id).is_some_and(|known| known.keyed)) {
                self.verdict.broken.push(format!("{description} was created more than once: {ids:?}"));
            }
        }
    }

    async fn operation(&mut self, id: &str, known: &Known, found: Option<Operation>) -> Result<()> {
        let Some(operation) = found else { return self.missing(id, known).await };
        // One that is there has not been deleted.
        self.count(|verdict| &mut verdict.deletes, known.deleted, false, || format!("{id} was deleted"));
        let created = known.created.as_ref();
        let same = created.is_none_or(|description| *description == operation.description);
        self.count(|verdict| &mut verdict.creates, created.is_some(), same, || format!("{id} is another one"));
        let result = operation.result.as_ref().filter(|_| operation.done);
        let is = |expected: &Option<Outcome>| expected.is_none() || expected.as_ref() == result;
        let differs = |what: &str, expected: &Option<Outcome>| format!("{id}: {what} {expected:?}, is {result:?}");
        self.count(
            |verdict| &mut verdict.results,
            known.ended.is_some(),
            is(&known.ended),
            || differs("the result was", &known.ended),
        );
        self.count(
            |verdict| &mut verdict.failures,
            known.failed.is_some(),
            is(&known.failed),
            || differs("the failure was", &known.failed),
        );
        let cancel = operation.cancel_requested.is_some();
        self.count(|verdict| &mut verdict.cancels, known.cancelled, cancel, || format!("{id} was cancelled"));
        if !operation.done {
            self.verdict.broken.push(format!("{id} is not done"));
        }
        if let Some(result @ Outcome::Response(_)) = result
            && !known.offered.contains(result)
        {
            self.verdict.broken.push(format!("{id} has the result {result:?}, which nobody gave it"));
        }
        Ok(())
    }

    async fn missing(&mut self, id: &str, known: &Known) -> Result<()> {
        match self.client.get(id).await {
            Err(Error::NotFound { .. }) => {}
            Ok(_) => {
                self.verdict.broken.push(format!("{id} is there, and in no list"));
                return Ok(());
            }
            Err(error) => bail!("cannot read {id}: {error}"),
        }
        // Who was not told that it is deleted may have deleted it all the same.
        let deleted = known.delete_tried;
        self.count(|verdict| &mut verdict.deletes, known.deleted, true, String::new);
        self.count(|verdict| &mut verdict.creates, known.created.is_some(), deleted, || format!("{id} was created"));
        self.count(|verdict| &mut verdict.results, known.ended.is_some(), deleted, || format!("{id} was done"));
        self.count(|verdict| &mut verdict.failures, known.failed.is_some(), deleted, || format!("{id} had failed"));
        self.count(|verdict| &mut verdict.cancels, known.cancelled, deleted, || format!("{id} was cancelled"));
        Ok(())
    }

    fn count(
        &mut self,
        which: impl Fn(&mut Verdict) -> &mut Count,
        acknowledged: bool,
        kept: bool,
        example: impl Fn() -> String,
    ) {
        if !acknowledged {
            return;
        }
        which(&mut self.verdict).acknowledged += 1;
        if !kept {
            which(&mut self.verdict).lost += 1;
            if self.verdict.examples.len() < EXAMPLES_MAX {
                self.verdict.examples.push(example());
            }
        }
    }
}

const EXAMPLES_MAX: usize = 20;
