//! The defaults of a kind, in the shape that create needs them in.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{Description, Invalid, Kind, Retention, Spec};
use operond_proto::operond::v1;

use crate::wire::{Open, parse_duration, type_name};

/// What a create of a kind gets where it says nothing itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Defaults {
    cancellable: Option<bool>,
    clean_up_on_cancel: Option<bool>,
    queue_timeout: Option<Duration>,
    run_timeout: Option<Duration>,
    max_attempts: Option<u32>,
    cancel_grace: Option<Duration>,
    /// Zero keeps for ever.
    succeeded: Option<Duration>,
    failed: Option<Duration>,
    cancelled: Option<Duration>,
    response_type: Option<Arc<str>>,
    metadata_type: Option<Arc<str>>,
}

impl Defaults {
    /// Reads them with the same checks as a create that says all of it itself.
    pub(crate) fn parse(kind: &v1::Kind) -> Result<Self, Invalid> {
        let retention = kind.retention.unwrap_or_default();
        let defaults = Self {
            cancellable: kind.cancellable,
            clean_up_on_cancel: kind.clean_up_on_cancel,
            queue_timeout: parse_duration("queueTimeout", kind.queue_timeout.as_ref())?,
            run_timeout: parse_duration("runTimeout", kind.run_timeout.as_ref())?,
            max_attempts: kind.max_attempts,
            cancel_grace: parse_duration("cancelGrace", kind.cancel_grace.as_ref())?,
            succeeded: parse_duration("retention.succeeded", retention.succeeded.as_ref())?,
            failed: parse_duration("retention.failed", retention.failed.as_ref())?,
            cancelled: parse_duration("retention.cancelled", retention.cancelled.as_ref())?,
            response_type: type_name("responseType", kind.response_type.clone())?,
            metadata_type: type_name("metadataType", kind.metadata_type.clone())?,
        };
        Description::parse("description", &kind.description)?;
        let nothing_said = Spec::new(Kind::parse("name", &kind.name)?);
        let all = Open { cancellable: true, clean_up_on_cancel: true, max_attempts: true, cancel_grace: true };
        defaults.fill(&nothing_said, all, Retention::default()).check()?;
        Ok(defaults)
    }

    /// `said` with these defaults in what it leaves open; `retention` is for outcomes that have no default here.
    pub(crate) fn fill(&self, said: &Spec, open: Open, retention: Retention) -> Spec {
        let kept = |usual: Option<Duration>, server: Option<Duration>| match usual {
            None => server,
            Some(length) => Some(length).filter(|length| !length.is_zero()),
        };
        let or = |usual: Option<bool>, open: bool, said: bool| usual.filter(|_| open).unwrap_or(said);
        Spec {
            cancellable: or(self.cancellable, open.cancellable, said.cancellable),
            clean_up_on_cancel: or(self.clean_up_on_cancel, open.clean_up_on_cancel, said.clean_up_on_cancel),
            queue_timeout: said.queue_timeout.or(self.queue_timeout),
            run_timeout: said.run_timeout.or(self.run_timeout),
            max_attempts: self.max_attempts.filter(|_| open.max_attempts).unwrap_or(said.max_attempts),
            cancel_grace: self.cancel_grace.filter(|_| open.cancel_grace).unwrap_or(said.cancel_grace),
            retention: Retention {
                succeeded: kept(self.succeeded, retention.succeeded),
                failed: kept(self.failed, retention.failed),
                cancelled: kept(self.cancelled, retention.cancelled),
            },
            response_type: said.response_type.clone().or_else(|| self.response_type.clone()),
            metadata_type: said.metadata_type.clone().or_else(|| self.metadata_type.clone()),
            ..said.clone()
        }
    }
}
