//! How much callers may ask for. Two things are limited, for two reasons: calls, so that one principal leaves room for
//! the others (refused as UNAVAILABLE, which every client repeats); creates and active operations, which are what a tenant
//! is given (refused as RESOURCE_EXHAUSTED, which is for creates alone: it ends Google's pollers, CONTRACT §4).

mod active;
mod rate;
mod recent;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use operond_core::{Principal, Tenant};
use operond_engine::{Engine, Error};
use operond_store::{CountQuery, Face, Filter};
use tokio::time::Instant;

use super::identity::Identity;
use super::method::Method;
use crate::error::{ApiError, Reason, http_status, quote};
use crate::http::Refusal;

pub use rate::{NoRate, Rate};

pub(crate) use active::Reservation;

use active::Active;
pub(super) use rate::Bucket;
use recent::Recent;

/// How much callers may ask for who are asked who they are. Nothing is limited unless said: what is right depends on
/// the machine and on who calls, and a limit that nobody has chosen is found out when it hurts.
///
/// Each server has its own buckets: of several, each lets in so much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls of each principal; of what keeps and ends leased work, those that came to nothing, apart from the others.
    pub calls_per_second: Option<Rate>,
    /// Creates and starts of each tenant, repeats among them.
    pub creates_per_second: Option<Rate>,
    /// Operations of each tenant that are not done.
    pub active_operations: Option<u64>,
    /// Tenants that have limits of their own, instead of the two above.
    pub tenants: BTreeMap<Tenant, TenantLimits>,
}

/// What a tenant may do. Absent means that it is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// Its creates and starts, repeats among them.
    pub creates_per_second: Option<Rate>,
    /// Its operations that are not done.
    pub active_operations: Option<u64>,
}

impl Limits {
    /// What `tenant` may do.
    #[must_use]
    pub fn of_tenant(&self, tenant: &Tenant) -> TenantLimits {
        let usual =
            || TenantLimits { creates_per_second: self.creates_per_second, active_operations: self.active_operations };
        self.tenants.get(tenant).copied().unwrap_or_else(usual)
    }
}

/// Who calls: a name is somebody within their tenants, and may be somebody else's in others.
type Caller = (Option<Tenant>, Principal);

/// Holds callers to [`Limits`].
pub(crate) struct Limiter {
    limits: Limits,
    callers: Recent<Caller, Bucket>,
    /// Of what callers said of leases that they do not have.
    misses: Recent<Caller, Bucket>,
    tenants: Recent<Tenant, Arc<Account>>,
}

/// What a tenant has used.
struct Account {
    creates: Mutex<Option<Bucket>>,
    active: Arc<Active>,
}

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Self {
        let (callers, misses) = (Recent::new(CALLER_IDLE), Recent::new(CALLER_IDLE));
        Self { limits, callers, misses, tenants: Recent::new(TENANT_IDLE) }
    }

    /// Whether `identity` may call now. What keeps, ends or gives back leased work is let in without being counted: were it
    /// refused, leases would lapse, and work that is done would be done again, which is more load and not less. There
    /// is only so much of it, as claims are counted, and starts; and what is [`missed`](Self::missed). Held calls count
    /// once, when they begin.
    pub(crate) fn let_in(&self, method: Option<Method>, identity: &Identity) -> Result<(), Refusal> {
        let Some(rate) = self.limits.calls_per_second else { return Ok(()) };
        let now = Instant::now();
        let allowed = match method.is_some_and(Method::is_report) {
            false => of(&self.callers, identity, rate, now, |bucket| bucket.take(rate, now)),
            true => of(&self.misses, identity, rate, now, |bucket| bucket.look(rate, now)),
        };
        allowed.map_err(|delay| too_many_calls(rate, delay))
    }

    /// Counts a report of `identity` that came to nothing, which is not bounded by what they have leased.
    pub(crate) fn missed(&self, identity: &Identity) {
        if let Some(rate) = self.limits.calls_per_second {
            let now = Instant::now();
            let _may_be_empty = of(&self.misses, identity, rate, now, |bucket| bucket.take(rate, now));
        }
    }

    /// Whether anything is limited.
    pub(crate) fn limits_anything(&self) -> bool {
        self.limits != Limits::default()
    }

    /// Room for one more operation of `tenant`; none is needed where nothing is limited. `engine` reaches all that is the
    /// tenant's.
    pub(crate) async fn reserve(&self, tenant: &Tenant, engine: &Engine) -> Result<Option<Reservation>, ApiError> {
        let limits = self.limits.of_tenant(tenant);
        if limits == TenantLimits::default() {
            return Ok(None);
        }
        let account =
            self.tenants.with(tenant, Instant::now(), || Arc::new(Account::new()), |account| Arc::clone(account));
        let reservation = match limits.active_operations {
            None => None,
            Some(max) => {
                let reserved = account.active.reserve(max, || count(engine, max)).await?;
                Some(reserved.ok_or_else(|| too_many_active(tenant, max))?)
            }
        };
        if let Some(rate) = limits.creates_per_second
            && let Err(delay) = account.create(rate)
        {
            reservation.into_iter().for_each(Reservation::give_back);
            return Err(too_many_creates(tenant, rate, delay));
        }
        Ok(reservation)
    }
}

impl Account {
    fn new() -> Self {
        Self { creates: Mutex::default(), active: Arc::new(Active::new(Instant::now())) }
    }

    fn create(&self, rate: Rate) -> Result<(), Duration> {
        let now = Instant::now();
        let mut creates = self.creates.lock().unwrap_or_else(PoisonError::into_inner);
        creates.get_or_insert_with(|| Bucket::full(rate, now)).take(rate, now)
    }
}

/// Uses the bucket of `identity` among `buckets`.
fn of<R>(
    buckets: &Recent<Caller, Bucket>,
    identity: &Identity,
    rate: Rate,
    now: Instant,
    act: impl FnOnce(&mut Bucket) -> R,
) -> R {
    let caller = (identity.scope.tenant.clone(), identity.principal.clone());
    buckets.with(&caller, now, || Bucket::full(rate, now), act)
}

/// How many operations `engine` reaches that are not done, as far as `max`. The filter asks for nothing that an index
/// does not know, so they are counted and not looked at: of those, a store looks only at so many.
async fn count(engine: &Engine, max: u64) -> Result<u64, Error> {
    let filter = Filter::parse("done = false", Face::Native).expect("it is a filter");
    let count_max = usize::try_from(max).unwrap_or(usize::MAX);
    let query = CountQuery { filter: Arc::new(filter), count_max, ..CountQuery::default() };
    Ok(engine.count(&query).await?.count)
}

fn too_many_calls(rate: Rate, delay: Duration) -> Refusal {
    let message = format!(
        "more than {} calls a second in the name of this principal: wait as long as is said here, and call less often",
        rate.count()
    );
    let reason = Reason::RateLimited;
    Refusal::new(reason.code(), http_status(reason.code()), reason.as_str(), message)
        .with("limit", rate.count().to_string())
        .with("unit", "calls a second")
        .retry_after(delay)
}

fn too_many_creates(tenant: &Tenant, rate: Rate, delay: Duration) -> ApiError {
    let description = format!(
        "tenant {} may create {} operations a second: create fewer, or ask the operator for more",
        quote(tenant.as_str()),
        rate.count()
    );
    quota(tenant, &description, delay).fact("limit", rate.count().to_string()).fact("unit", "creates a second")
}

fn too_many_active(tenant: &Tenant, max: u64) -> ApiError {
    let description = format!(
        "tenant {} may have {max} operations that are not done, and has them: wait for some to end, cancel some, or ask \
         the operator for more",
        quote(tenant.as_str())
    );
    // Nobody knows when one ends.
    quota(tenant, &description, ACTIVE_RETRY).fact("limit", max.to_string()).fact("unit", "active operations")
}

fn quota(tenant: &Tenant, description: &str, delay: Duration) -> ApiError {
    ApiError::new(Reason::Quota, description.to_owned()).quota(&format!("tenant:{tenant}"), description, delay)
}

/// A bucket that nothing is taken from for so long is full, and can be forgotten.
const CALLER_IDLE: Duration = Duration::from_secs(1);
/// What a tenant has under way is remembered longer than any create takes.
const TENANT_IDLE: Duration = Duration::from_secs(60);
/// When to try again whose quota is used up.
const ACTIVE_RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use operond_core::Scope;

    use super::*;
    use crate::auth::identity::{Credential, Roles};

    #[tokio::test(start_paused = true)]
    async fn the_same_name_in_two_tenants_is_two_callers() {
        let calls_per_second = NonZeroU32::new(1).map(Rate::per_second);
        let limiter = Limiter::new(Limits { calls_per_second, ..Limits::default() });
        let of = |scope| Identity {
            principal: Principal::parse("name", "ci").unwrap(),
            scope,
            roles: Roles::NONE,
            credential: Credential::None,
            expires_at: None,
        };
        let [a, b] = ["a", "b"].map(|name| of(Scope::of_tenant(Tenant::parse("tenant", name).unwrap())));
        for caller in [a, b, of(Scope::default())] {
            limiter.let_in(None, &caller).unwrap();
            limiter.let_in(None, &caller).unwrap_err();
        }
    }
}
