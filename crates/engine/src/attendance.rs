//! Which kinds workers have asked for lately, and whose operations of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use operond_core::{Kind, Tenant};
use tokio::time::Instant;

/// When workers asked last. What is not remembered for want of room counts as not asked for.
#[derive(Default)]
pub(crate) struct Attendance(Mutex<Asked>);

/// Workers of no tenant in particular take those of all.
type Which = (Option<Tenant>, Kind);

#[derive(Default)]
struct Asked {
    last: HashMap<Which, Instant>,
    /// When all that is over was forgotten last, for want of room.
    swept: Option<Instant>,
}

impl Attendance {
    /// Notes that a worker asks for operations of these kinds, of one tenant or of all.
    pub(crate) fn note(&self, tenant: Option<&Tenant>, kinds: &[Kind]) {
        let now = Instant::now();
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in kinds {
            asked.note((tenant.cloned(), kind.clone()), now);
        }
    }

    /// Whether a worker has asked lately who would take an operation of this kind and tenant.
    pub(crate) fn is_attended(&self, tenant: &Tenant, kind: &Kind) -> bool {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        [None, Some(tenant.clone())].into_iter().any(|tenant| asked.lately(&(tenant, kind.clone())))
    }
}

impl Asked {
    fn note(&mut self, which: Which, now: Instant) {
        // Seldom: whoever makes kinds up fills it, and is not to make each claim look at all of them.
        if self.last.len() >= ASKED_MAX && self.swept.is_none_or(|at| now.duration_since(at) >= SWEEP) {
            self.last.retain(|_, at| now.duration_since(*at) < ATTENDED);
            self.swept = Some(now);
        }
        if self.last.len() < ASKED_MAX || self.last.contains_key(&which) {
            self.last.insert(which, now);
        }
    }

    fn lately(&self, which: &Which) -> bool {
        self.last.get(which).is_some_and(|at| at.elapsed() < ATTENDED)
    }
}

/// A kind that was asked for within this time has a worker, most likely: claims wait up to a minute.
const ATTENDED: Duration = Duration::from_secs(2 * 60);
/// Kinds of tenants of which it is remembered that they were asked for.
const ASKED_MAX: usize = 10_000;
const SWEEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn kind(text: &str) -> Kind {
        Kind::parse("kind", text).unwrap()
    }

    fn tenant(text: &str) -> Tenant {
        Tenant::parse("tenant", text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_is_attended_for_whose_operations_a_worker_asked_and_that_long() {
        let attendance = Attendance::default();
        attendance.note(Some(&tenant("acme")), &[kind("render")]);
        attendance.note(None, &[kind("cut")]);
        let attended = || {
            [("acme", "render"), ("acme", "cut"), ("shop", "render"), ("shop", "cut"), ("acme", "mix")]
                .map(|(whose, what)| attendance.is_attended(&tenant(whose), &kind(what)))
        };
        assert_eq!(attended(), [true, true, false, true, false]);
        advance(ATTENDED).await;
        assert_eq!(attended(), [false; 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn when_it_is_full_what_is_over_makes_room_once_a_second() {
        let attendance = Attendance::default();
        let note = |text: &str| attendance.note(None, &[kind(text)]);
        let attended = |text: &str| attendance.is_attended(&tenant("acme"), &kind(text));
        (1..ASKED_MAX).for_each(|n| note(&format!("old{n}")));
        advance(ATTENDED - SWEEP / 2).await;
        note("last");
        note("beyond");
        note("old1");
        assert_eq!((attended("last"), attended("beyond"), attended("old1")), (true, false, true));
        advance(SWEEP / 2).await;
        note("beyond");
        assert!(!attended("beyond"), "it was looked through half a second ago");
        advance(SWEEP / 2).await;
        note("beyond");
        assert!(attended("beyond") && attended("last") && attended("old1"));
    }
}
