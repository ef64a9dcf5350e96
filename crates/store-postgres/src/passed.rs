//! What of the indexes is passed: where nothing is left, only entries of what was claimed or settled.
//!
//! A claim, and every timer that is settled, leaves a dead entry at the head of an index. While anybody holds an old
//! snapshot (a dump, a forgotten transaction, a standby that feeds back) PostgreSQL can remove none of them, and each look
//! for work would step over all. So where a look was slow, [`crate::look`] finds out where the first living entry is, and
//! what is asked from then on begins there.
//!
//! This is a hint, and can be wrong: what is committed later than [`LATE_MAX`] after its instant, or put back in an old
//! place by another server (a lease that lapsed, a release), is before a bound that did not expect it. What this server
//! writes lowers the bounds at once. For the rest, everything is looked through again without bounds, after a second or
//! twenty times what that takes, whichever is longer: nothing is hidden for longer than that and one look.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use operond_core::{Kind, Operation, Phase, Stored, Tenant, Timer, Timestamp};
use operond_store::{Accepted, Applied};
use tokio::sync::Notify;

/// What this server knows of that, all its connections together.
#[derive(Debug)]
pub(crate) struct Passed {
    /// What takes longer is slow.
    slow: Duration,
    noticed: Notify,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    queues: BTreeMap<Kind, BTreeMap<Tenant, Queue>>,
    /// From all of them.
    claimed: u64,
    timers: Timers<Bound>,
}

/// The operations of a kind and tenant that can be claimed.
#[derive(Debug, Default)]
struct Queue {
    /// So many were claimed: so many entries may be dead.
    claimed: u64,
    /// Only of those from which most was claimed.
    bound: Option<Bound>,
}

/// Each has an index of its own, for all kinds and tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timers<T> {
    pub(crate) backoff: T,
    pub(crate) due: T,
    pub(crate) expires: T,
}

/// Where to begin, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Bound {
    at: i64,
    /// The first instant that was written since a look began: it may not have been seen.
    written: i64,
}

/// What is to be looked for: the first instants that are not before these.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) queues: Vec<(Kind, Tenant, i64)>,
    pub(crate) timers: Timers<i64>,
}

/// What was found: the first instants, where there is one; the queues in the order of the search.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) queues: Vec<Option<i64>>,
    pub(crate) timers: Timers<Option<i64>>,
}

/// Parts of the index of what can be claimed, in columns; what is between them is passed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Spans<'k> {
    pub(crate) kinds: Vec<&'k str>,
    /// A span begins with this tenant and instant …
    pub(crate) tenants: Vec<String>,
    pub(crate) from: Vec<i64>,
    /// … and ends before this tenant.
    pub(crate) until: Vec<Option<String>>,
}

impl Passed {
    /// Nothing yet.
    pub(crate) fn new(slow: Duration) -> Self {
        Self { slow, noticed: Notify::new(), known: Mutex::default() }
    }

    /// Takes in how long it took to find work.
    pub(crate) fn took(&self, time: Duration) {
        if self.is_slow(time) {
            self.noticed.notify_one();
        }
    }

    pub(crate) fn is_slow(&self, time: Duration) -> bool {
        time > self.slow
    }

    /// Between two looks. What is claimed meanwhile is stepped over.
    pub(crate) fn pause(&self) -> Duration {
        self.slow.saturating_mul(PAUSE_SHARE).clamp(PAUSE_MIN, PAUSE_MAX)
    }

    /// Ready when something was slow since it was ready last.
    pub(crate) async fn noticed(&self) {
        self.noticed.notified().await;
    }

    /// Takes in what is committed now.
    pub(crate) fn note(&self, applied: &Applied) {
        let mut known = self.known();
        for changed in &applied.changed {
            if let Stored::Live(operation) = &changed.stored {
                known.written(operation, applied.at);
            }
        }
        for reply in &applied.replies {
            let Ok(Accepted::Claimed(operations)) = reply else { continue };
            operations.iter().for_each(|operation| known.claimed(&operation.spec.kind, &operation.spec.tenant));
        }
    }

    /// What to search for those of these kinds who can be claimed; `None` where nothing is passed.
    pub(crate) fn spans<'k>(&self, kinds: &BTreeSet<&'k str>) -> Option<Spans<'k>> {
        let known = self.known();
        let mut spans = Spans::default();
        for kind in kinds {
            spans.begin(kind, "", i64::MIN);
            for (tenant, at) in known.bounds(kind) {
                spans.end(tenant.as_str());
                spans.begin(kind, tenant.as_str(), at);
            }
        }
        (spans.kinds.len() > kinds.len()).then_some(spans)
    }

    /// Where to begin in the queue of each of these kinds and this tenant.
    pub(crate) fn of_tenant(&self, kinds: &BTreeSet<&str>, tenant: &Tenant) -> Vec<i64> {
        let known = self.known();
        let at = |kind: &&str| known.queues.get(*kind)?.get(tenant)?.bound.map(|bound| bound.at);
        kinds.iter().map(|kind| at(kind).unwrap_or(i64::MIN)).collect()
    }

    /// Where to begin to look for timers.
    pub(crate) fn timers(&self) -> Timers<i64> {
        self.known().timers.map(|bound| bound.at)
    }

    /// What to search when all is to be looked through: the queues from which most was claimed. Until it is
    /// [found](Self::take_in), the bounds of before hold.
    pub(crate) fn search_whole(&self) -> Search {
        let mut known = self.known();
        known.choose(|queue| queue.claimed);
        known.begin();
        let queues = known.bounded().map(|(kind, tenant, _)| (kind.clone(), tenant.clone(), i64::MIN)).collect();
        Search { queues, timers: Timers::default().map(|()| i64::MIN) }
    }

    /// What to search when only what is new is looked for: what was passed meanwhile, and in other queues as long as
    /// few have bounds.
    pub(crate) fn search_on(&self) -> Search {
        let mut known = self.known();
        known.choose(|queue| (queue.bound.is_some(), queue.claimed));
        known.begin();
        let queues = known.bounded().map(|(kind, tenant, bound)| (kind.clone(), tenant.clone(), bound.at)).collect();
        Search { queues, timers: known.timers.map(|bound| bound.at) }
    }

    /// Takes in what was found by the search that was begun last, at `now`.
    pub(crate) fn take_in(&self, search: &Search, found: &Found, now: Timestamp) {
        let latest = now.before(LATE_MAX).micros();
        let first = |found: Option<i64>| found.map_or(latest, |first| latest.min(first));
        // A claim ends backoffs first, and must find what they belong to.
        let backoff = first(found.timers.backoff);
        let mut known = self.known();
        for ((kind, tenant, _), found) in search.queues.iter().zip(&found.queues) {
            if let Some(bound) = known.bound(kind, tenant) {
                bound.move_to(backoff.min(first(*found)));
            }
        }
        known.timers.backoff.move_to(backoff);
        known.timers.due.move_to(first(found.timers.due));
        known.timers.expires.move_to(first(found.timers.expires));
    }

    /// Nothing is passed.
    pub(crate) fn forget(&self) {
        let mut known = self.known();
        known.queues.values_mut().flat_map(BTreeMap::values_mut).for_each(|queue| queue.bound = None);
        known.timers = Timers::default();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// An operation is stored: wherever it is to be found from now on, it is not passed.
    fn written(&mut self, operation: &Operation, now: Timestamp) {
        if matches!(operation.phase, Phase::Queued { .. }) {
            let available_at = operation.available_at.micros();
            if operation.available_at > now {
                self.timers.backoff.lower(available_at);
            }
            if let Some(bound) = self.bound(&operation.spec.kind, &operation.spec.tenant) {
                bound.lower(available_at);
            }
        }
        match operation.next_timer() {
            Some((at, Timer::Retention)) => self.timers.expires.lower(at.micros()),
            Some((at, _)) => self.timers.due.lower(at.micros()),
            None => {}
        }
    }

    fn bound(&mut self, kind: &Kind, tenant: &Tenant) -> Option<&mut Bound> {
        self.queues.get_mut(kind)?.get_mut(tenant)?.bound.as_mut()
    }

    fn claimed(&mut self, kind: &Kind, tenant: &Tenant) {
        self.claimed += 1;
        if self.claimed > CLAIMED_MAX {
            self.age();
        }
        if let Some(queue) = self.queues.get_mut(kind).and_then(|queues| queues.get_mut(tenant)) {
            queue.claimed += 1;
            return;
        }
        if self.queues.values().map(BTreeMap::len).sum::<usize>() >= QUEUES_MAX {
            self.make_room();
        }
        let queue = Queue { claimed: 1, bound: None };
        self.queues.entry(kind.clone()).or_default().insert(tenant.clone(), queue);
    }

    /// What was claimed long ago counts for less.
    fn age(&mut self) {
        self.claimed /= 2;
        self.queues.values_mut().flat_map(BTreeMap::values_mut).for_each(|queue| queue.claimed /= 2);
    }

    /// Those from which little was claimed are not remembered.
    fn make_room(&mut self) {
        let mut claimed: Vec<u64> =
            self.queues.values().flat_map(BTreeMap::values).map(|queue| queue.claimed).collect();
        let middle = claimed.len() / 2;
        let (_, &mut most, _) = claimed.select_nth_unstable(middle);
        for queues in self.queues.values_mut() {
            queues.retain(|_, queue| queue.claimed > most);
        }
        self.queues.retain(|_, queues| !queues.is_empty());
    }

    /// Gives bounds to the queues that are first in this order.
    fn choose<O: Ord>(&mut self, order: impl Fn(&Queue) -> O) {
        let mut queues: Vec<&mut Queue> = self.queues.values_mut().flat_map(BTreeMap::values_mut).collect();
        queues.sort_by_key(|queue| Reverse(order(queue)));
        let few = queues.len().min(BOUNDS_MAX);
        let (most, others) = queues.split_at_mut(few);
        most.iter_mut().for_each(|queue| queue.bound = Some(queue.bound.unwrap_or_default()));
        others.iter_mut().for_each(|queue| queue.bound = None);
    }

    /// From now on what is written is remembered until the search has ended.
    fn begin(&mut self) {
        self.queues
            .values_mut()
            .flat_map(BTreeMap::values_mut)
            .filter_map(|queue| queue.bound.as_mut())
            .for_each(Bound::begin);
        let Timers { backoff, due, expires } = &mut self.timers;
        [backoff, due, expires].into_iter().for_each(Bound::begin);
    }

    fn bounded(&self) -> impl Iterator<Item = (&Kind, &Tenant, Bound)> {
        let of_kind = |(kind, queues)| std::iter::repeat(kind).zip::<&BTreeMap<Tenant, Queue>>(queues);
        self.queues.iter().flat_map(of_kind).filter_map(|(kind, (tenant, queue))| Some((kind, tenant, queue.bound?)))
    }

    /// Of one kind, those that pass anything, in the order of the tenants.
    fn bounds(&self, kind: &str) -> impl Iterator<Item = (&Tenant, i64)> {
        let queues = self.queues.get(kind).into_iter().flatten();
        let bounds = queues.filter_map(|(tenant, queue)| Some((tenant, queue.bound?.at)));
        bounds.filter(|(_, at)| *at > i64::MIN)
    }
}

impl Default for Bound {
    /// Nothing is passed.
    fn default() -> Self {
        Self { at: i64::MIN, written: i64::MAX }
    }
}

impl Bound {
    fn begin(&mut self) {
        self.written = i64::MAX;
    }

    fn lower(&mut self, to: i64) {
        self.at = self.at.min(to);
        self.written = self.written.min(to);
    }

    fn move_to(&mut self, at: i64) {
        self.at = at.min(self.written);
    }
}

impl<T> Timers<T> {
    pub(crate) fn map<U>(self, mut to: impl FnMut(T) -> U) -> Timers<U> {
        Timers { backoff: to(self.backoff), due: to(self.due), expires: to(self.expires) }
    }
}

impl<'k> Spans<'k> {
    fn begin(&mut self, kind: &'k str, tenant: &str, at: i64) {
        self.kinds.push(kind);
        self.tenants.push(tenant.into());
        self.from.push(at);
        self.until.push(None);
    }

    fn end(&mut self, before: &str) {
        if let Some(until) = self.until.last_mut() {
            *until = Some(before.into());
        }
    }
}

/// Later than this after its instant nothing is committed as a rule: what is younger is never passed.
const LATE_MAX: Duration = Duration::from_millis(250);
/// The pause between two looks is so many times what is slow, and between these: a few hundred entries are claimed in the
/// longest one.
const PAUSE_SHARE: u32 = 20;
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// So many kinds and tenants are remembered, to see from which of them most is claimed …
const QUEUES_MAX: usize = 1_024;
/// … by the last claims, of which there were so many; older ones count for less and less …
const CLAIMED_MAX: u64 = 1_000_000;
/// … and so many of them have bounds: dead entries of more are few for each, and every claim carries the bounds of its
/// kinds.
const BOUNDS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use operond_core::{Any, Gone, NewOperation, OperationId, Outcome, Spec, create};
    use operond_store::Changed;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(second: u32) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).after(SECOND * second)
    }

    fn micros(second: u32) -> i64 {
        at(second).micros()
    }

    /// An operation of a tenant, queued at `second`.
    fn queued(tenant: &str, second: u32) -> Operation {
        let tenant = Tenant::parse("tenant", tenant).unwrap();
        let spec = Spec { tenant, queue_timeout: Some(SECOND), ..Spec::new(Kind::new("k").unwrap()) };
        let new = NewOperation { spec: Arc::new(spec), metadata: None, claim: None };
        create(&new, OperationId::generate(0, [0; 13]), at(second))
    }

    fn stored(operation: Operation, now: Timestamp) -> Applied {
        let operation = Arc::new(operation);
        let changed = Changed { stored: Stored::Live(Arc::clone(&operation)), operation, bare: false };
        Applied { at: now, changed: vec![changed], ..Applied::default() }
    }

    fn claimed(tenants: &[&str]) -> Applied {
        let operations = tenants.iter().map(|tenant| Arc::new(queued(tenant, 0))).collect();
        Applied { replies: vec![Ok(Accepted::Claimed(operations))], ..Applied::default() }
    }

    /// After claims of `a` and `b`, and a search that was begun at second 100 and found nothing.
    fn all_passed() -> Passed {
        let passed = Passed::new(SECOND);
        passed.note(&claimed(&["b", "a", "a"]));
        let search = passed.search_whole();
        passed.take_in(&search, &nothing(&search), at(100));
        passed
    }

    fn nothing(search: &Search) -> Found {
        Found { queues: vec![None; search.queues.len()], timers: Timers::default() }
    }

    fn kinds() -> BTreeSet<&'static str> {
        ["j", "k"].into()
    }

    fn from(passed: &Passed, tenant: &str) -> i64 {
        passed.of_tenant(&["k"].into(), &Tenant::parse("tenant", tenant).unwrap())[0]
    }

    fn young() -> i64 {
        at(100).before(LATE_MAX).micros()
    }

    #[test]
    fn nothing_is_passed_until_it_was_looked_for() {
        let passed = Passed::new(SECOND);
        passed.note(&claimed(&["a"]));
        assert_eq!(passed.spans(&kinds()), None);
        let search = passed.search_whole();
        assert_eq!((search.queues.len(), search.timers), (1, Timers::default().map(|()| i64::MIN)));
        assert_eq!(passed.spans(&kinds()), None);
        assert_eq!((from(&passed, "a"), passed.timers()), (i64::MIN, search.timers));
    }

    #[test]
    fn what_is_young_is_never_passed() {
        let passed = all_passed();
        assert_eq!((from(&passed, "a"), from(&passed, "b")), (young(), young()));
        assert_eq!(passed.timers(), Timers::default().map(|()| young()));
    }

    #[test]
    fn what_was_found_is_not_passed() {
        let passed = all_passed();
        let search = passed.search_on();
        assert_eq!(search.queues[0].2, young());
        let timers = Timers { backoff: None, due: Some(micros(150)), expires: Some(micros(300)) };
        passed.take_in(&search, &Found { queues: vec![Some(micros(120)), None], timers }, at(200));
        let young = at(200).before(LATE_MAX).micros();
        assert_eq!((from(&passed, "a"), from(&passed, "b")), (micros(120), young));
        assert_eq!(passed.timers(), Timers { backoff: young, due: micros(150), expires: young });
    }

    #[test]
    fn what_waits_for_its_backoff_is_not_passed_in_any_queue() {
        let passed = all_passed();
        let search = passed.search_on();
        let timers = Timers { backoff: Some(micros(110)), ..Timers::default() };
        passed.take_in(&search, &Found { queues: vec![Some(micros(120)), None], timers }, at(200));
        assert_eq!((from(&passed, "a"), from(&passed, "b")), (micros(110), micros(110)));
    }

    #[test]
    fn a_look_at_everything_begins_before_everything_and_what_was_passed_stays_so_meanwhile() {
        let passed = all_passed();
        let search = passed.search_whole();
        assert_eq!((search.queues[0].2, search.timers.due), (i64::MIN, i64::MIN));
        assert_eq!(from(&passed, "a"), young());
        passed.take_in(&search, &Found { queues: vec![Some(micros(7)), None], ..Found::default() }, at(200));
        assert_eq!(from(&passed, "a"), micros(7), "it was committed late");
    }

    #[test]
    fn what_is_written_is_not_passed_at_once() {
        let passed = all_passed();
        passed.note(&stored(queued("a", 50), at(100)));
        assert_eq!((from(&passed, "a"), from(&passed, "b")), (micros(50), young()));
        assert_eq!(passed.timers(), Timers { due: micros(51), ..Timers::default().map(|()| young()) });
        passed.note(&stored(queued("b", 60), at(55)));
        assert_eq!((from(&passed, "b"), passed.timers().backoff), (micros(60), micros(60)), "it has a backoff");
    }

    #[test]
    fn what_is_done_has_a_timer_of_its_own() {
        let passed = all_passed();
        let (finished_at, expires_at) = (at(30), Some(at(40)));
        let phase = Phase::Done { outcome: Outcome::Response(Any::empty()), finished_at, expires_at };
        passed.note(&stored(Operation { phase, ..queued("a", 20) }, at(100)));
        assert_eq!(passed.timers(), Timers { expires: micros(40), ..Timers::default().map(|()| young()) });
        assert_eq!(from(&passed, "a"), young());
    }

    #[test]
    fn what_is_gone_is_passed() {
        let passed = all_passed();
        let mut applied = stored(queued("a", 50), at(100));
        applied.changed[0].stored = Stored::Gone(Gone::Deleted);
        passed.note(&applied);
        assert_eq!((from(&passed, "a"), passed.timers().due), (young(), young()));
    }

    #[test]
    fn what_is_written_while_a_look_is_under_way_is_not_passed_by_it() {
        let passed = all_passed();
        let search = passed.search_on();
        passed.note(&stored(queued("a", 50), at(100)));
        passed.take_in(&search, &nothing(&search), at(200));
        assert_eq!((from(&passed, "a"), passed.timers().due), (micros(50), micros(51)));
        let search = passed.search_on();
        assert_eq!((search.queues[0].2, search.timers.due), (micros(50), micros(51)));
        passed.take_in(&search, &nothing(&search), at(200));
        assert_eq!(from(&passed, "a"), at(200).before(LATE_MAX).micros(), "the next one has seen it");
        passed.note(&stored(queued("a", 50), at(200)));
        let search = passed.search_whole();
        passed.take_in(&search, &nothing(&search), at(200));
        assert_eq!(from(&passed, "a"), at(200).before(LATE_MAX).micros(), "and so has one that looks at everything");
    }

    #[test]
    fn spans_are_all_there_is_but_for_what_is_passed() {
        let passed = all_passed();
        passed.note(&stored(queued("b", 50), at(100)));
        let spans = passed.spans(&kinds()).expect("something is passed");
        assert_eq!(spans.kinds, ["j", "k", "k", "k"]);
        assert_eq!(spans.tenants, ["", "", "a", "b"]);
        assert_eq!(spans.from, [i64::MIN, i64::MIN, young(), micros(50)]);
        assert_eq!(spans.until, [None, Some("a".into()), Some("b".into()), None]);
        assert_eq!(passed.spans(&["j"].into()), None, "nothing of these kinds");
        passed.forget();
        assert_eq!((passed.spans(&kinds()), passed.timers().due), (None, i64::MIN));
    }

    #[test]
    fn queues_from_which_most_was_claimed_have_bounds() {
        let passed = Passed::new(SECOND);
        let names: Vec<String> = (0..=BOUNDS_MAX).map(|n| format!("tenant {n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        passed.note(&claimed(&names));
        passed.note(&claimed(&names[1..]));
        let search = passed.search_whole();
        assert_eq!(search.queues.len(), BOUNDS_MAX);
        assert!(search.queues.iter().all(|(_, tenant, _)| tenant.as_str() != "tenant 0"));
        // It is more now than others.
        passed.note(&claimed(&[names[0]; 2]));
        let has = |search: &Search| search.queues.iter().any(|(_, tenant, _)| tenant.as_str() == "tenant 0");
        assert!(!has(&passed.search_on()), "the others have bounds already");
        let search = passed.search_whole();
        assert!(has(&search) && search.queues.len() == BOUNDS_MAX);
    }

    #[test]
    fn while_few_queues_have_bounds_another_one_gets_one() {
        let passed = all_passed();
        passed.note(&claimed(&["c"]));
        let search = passed.search_on();
        let from: Vec<(&str, i64)> = search.queues.iter().map(|(_, tenant, from)| (tenant.as_str(), *from)).collect();
        assert_eq!(from, [("a", young()), ("b", young()), ("c", i64::MIN)]);
    }

    #[test]
    fn what_was_claimed_long_ago_counts_for_less() {
        let passed = Passed::new(SECOND);
        let count = |tenant: &str| passed.known().queues.get("k").unwrap().get(tenant).unwrap().claimed;
        let thousand = claimed(&["a"; 1_000]);
        (0..CLAIMED_MAX / 1_000).for_each(|_| passed.note(&thousand));
        assert_eq!((count("a"), passed.known().claimed), (CLAIMED_MAX, CLAIMED_MAX));
        passed.note(&claimed(&["b"]));
        assert_eq!((count("a"), count("b"), passed.known().claimed), (CLAIMED_MAX / 2, 1, CLAIMED_MAX / 2));
    }

    #[test]
    fn queues_from_which_little_was_claimed_make_room() {
        let passed = Passed::new(SECOND);
        let known = || passed.known().queues.values().map(BTreeMap::len).sum::<usize>();
        let names: Vec<String> = (0..QUEUES_MAX).map(|n| format!("tenant {n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        passed.note(&claimed(&names));
        passed.note(&claimed(&names[..100]));
        assert_eq!(known(), QUEUES_MAX);
        passed.note(&claimed(&["one more"]));
        assert_eq!(known(), 101);
        passed.note(&claimed(&["one more"; 2]));
        assert_eq!(known(), 101, "it is known already");
    }

    #[test]
    fn slow_is_what_takes_longer() {
        let passed = Passed::new(SECOND);
        assert!(!passed.is_slow(SECOND) && passed.is_slow(SECOND + Duration::from_micros(1)));
        assert_eq!(Passed::new(Duration::ZERO).pause(), PAUSE_MIN);
        assert_eq!((passed.pause(), Passed::new(Duration::MAX).pause()), (PAUSE_MAX, PAUSE_MAX));
    }
}
