//! Bearer tokens: JWTs that an OpenID Connect issuer signs for its people and machines.
//!
//! The order of the checks is the point. A token is measured before it is parsed, and its issuer is looked up before
//! any key. Who issued it decides where the keys come from, and the key decides how it is verified; what the token says
//! about that can only be refused. Its claims mean nothing before the signature is verified.
//!
//! The library verifies signatures and nothing else: its reading of claims has a clock that no test can move, and takes
//! the last of two equal names.

mod algorithm;
mod claims;
mod fetch;
mod issuer;
mod json;
mod jwk;
mod keeper;
mod parts;
mod refused;

use std::fmt;
use std::sync::Arc;

use operond_store::{Clock, SystemClock};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use claims::{CLOCK_SKEW_SECONDS, ClaimPath, NoClaimPath};
pub use fetch::without_secrets;
pub use issuer::{Issuer, IssuerError, IssuerProblem, JwksSource, KindsFrom, RolesFrom, TenantFrom};
pub use keeper::{KEYS_AGE_MAX, REFRESH_INTERVAL, REFRESH_INTERVAL_MIN};
pub use parts::TOKEN_BYTES_MAX;
pub use refused::Refused;

use super::Identity;
use issuer::Source;
use keeper::Keeper;
use parts::Parts;

/// Turns tokens into identities. A handle: clones share keys.
#[derive(Clone)]
pub struct Tokens(Arc<Shared>);

struct Shared {
    believed: Vec<Believed>,
    clock: Arc<dyn Clock>,
    /// The tasks that fetch keys; they end with the last handle.
    _tasks: JoinSet<()>,
}

/// An issuer and its keys.
struct Believed {
    issuer: Issuer,
    keeper: Keeper,
}

/// What can be said about a token at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is good.
    Identity(Identity),
    /// It is not, and will not be.
    Refused(Refused),
    /// Its key is not known, or not yet: ask [`Tokens::verify_patiently`].
    Unsure,
}

impl Tokens {
    /// Believes these issuers from now on. Does not wait for their keys: an issuer that is away stops nobody from
    /// starting.
    ///
    /// # Errors
    /// A configuration that can never work, and files of certificates that cannot be read.
    pub async fn start(issuers: Vec<Issuer>) -> Result<Self, IssuerError> {
        Self::start_with_clock(issuers, SystemClock::new()).await
    }

    /// Whether [`Tokens::start`] would take these; asks nobody.
    ///
    /// # Errors
    /// The same.
    pub async fn check(issuers: &[Issuer]) -> Result<(), IssuerError> {
        for (issuer, source) in issuers.iter().zip(issuer::check(issuers)?) {
            connector(issuer, &source).await?;
        }
        Ok(())
    }

    /// [`Tokens::start`] with another clock: the wall decides what has expired, the elapsed time how old keys are.
    ///
    /// # Errors
    /// The same.
    pub async fn start_with_clock(issuers: Vec<Issuer>, clock: impl Clock) -> Result<Self, IssuerError> {
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let sources = issuer::check(&issuers)?;
        let mut believed = Vec::with_capacity(issuers.len());
        let mut tasks = JoinSet::new();
        for (issuer, source) in issuers.into_iter().zip(sources) {
            let tls = connector(&issuer, &source).await?;
            let (keeper, task) = Keeper::new(issuer.issuer.clone(), source, tls, Arc::clone(&clock));
            tasks.spawn(task.run());
            believed.push(Believed { issuer, keeper });
        }
        Ok(Self(Arc::new(Shared { believed, clock, _tasks: tasks })))
    }

    /// What can be said about `token` without waiting: in the usual case everything.
    #[must_use]
    pub fn verify(&self, token: &str) -> Verdict {
        let judged = match self.0.read(token) {
            Ok((parts, believed)) => self.0.judge(&parts, believed),
            Err(refused) => Some(Err(refused)),
        };
        match judged {
            Some(Ok(identity)) => Verdict::Identity(identity),
            Some(Err(refused)) => Verdict::Refused(refused),
            None => Verdict::Unsure,
        }
    }

    /// Whom `token` names, asking its issuer for keys if its own is not known. Issuers are asked at most once in
    /// [`REFRESH_INTERVAL_MIN`], by all callers together.
    ///
    /// # Errors
    /// Why it is not believed.
    pub async fn verify_patiently(&self, token: &str) -> Result<Identity, Refused> {
        let (parts, believed) = self.0.read(token)?;
        if let Some(judged) = self.0.judge(&parts, believed) {
            return judged;
        }
        believed.keeper.refreshed().await;
        self.0.judge(&parts, believed).unwrap_or_else(|| Err(believed.missing()))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.believed.iter().map(|believed| &believed.issuer.issuer)).finish()
    }
}

impl Shared {
    fn read<'t>(&self, token: &'t str) -> Result<(Parts<'t>, &Believed), Refused> {
        let parts = Parts::of(token)?;
        let issuer = parts.issuer()?;
        let believed = self.believed.iter().find(|believed| believed.issuer.issuer == issuer).ok_or(Refused::Issuer)?;
        if !believed.issuer.algorithms.contains(&parts.algorithm) {
            return Err(Refused::Algorithm);
        }
        Ok((parts, believed))
    }

    /// Nothing, if the key is not known.
    fn judge(&self, parts: &Parts<'_>, believed: &Believed) -> Option<Result<Identity, Refused>> {
        let verified = believed.keeper.keys()?.verify(parts)?;
        let now = u64::try_from(self.clock.wall().micros() / 1_000_000).unwrap_or(0);
        Some(verified.and_then(|()| claims::identity(&parts.claims, &believed.issuer, now)))
    }
}

impl Believed {
    /// What it means that a key is not known.
    fn missing(&self) -> Refused {
        if self.keeper.keys().is_none() || self.keeper.is_behind() {
            Refused::IssuerUnavailable
        } else {
            Refused::UnknownKey
        }
    }
}

/// What the server of `issuer` is verified with; nothing, if it is not asked through TLS.
async fn connector(issuer: &Issuer, source: &Source) -> Result<TlsConnector, IssuerError> {
    let (ca, encrypted) = (issuer.ca.clone(), source.is_encrypted());
    let problem = |problem| IssuerError { issuer: issuer.issuer.clone(), problem: IssuerProblem::Roots(problem) };
    tokio::task::spawn_blocking(move || fetch::connector(ca.as_deref(), encrypted))
        .await
        .map_err(|error| problem(error.to_string()))?
        .map_err(problem)
}
