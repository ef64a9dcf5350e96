//! Create and start requests, with the defaults of CONTRACT §5 and §8.

use std::sync::Arc;
use std::time::Duration;

use operond_core::limits::{ATTEMPTS_DEFAULT, ATTEMPTS_DEFAULT_START, CANCEL_GRACE_DEFAULT, LEASE_DEFAULT};
use operond_core::{Description, IdempotencyKey, Invalid, Kind, Labels, Principal, Spec, Tenant, Worker};
use operond_engine::Create;
use operond_proto::operond::v1;

use super::payload::parse_any;
use super::time::parse_duration;

/// Which members a request leaves open that its [`Spec`] has a default of the server for. What the spec can leave
/// open, too, is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) cancellable: bool,
    pub(crate) clean_up_on_cancel: bool,
    pub(crate) max_attempts: bool,
    pub(crate) cancel_grace: bool,
}

/// Whose an operation is, and who created it, where its create does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) tenant: Tenant,
    pub(crate) created_by: Principal,
}

/// Reads a create, and what it leaves open; `key` is the one of the request header, if any.
pub(crate) fn create(request: v1::CreateRequest, key: Option<&str>, owner: &Owner) -> Result<(Create, Open), Invalid> {
    let open = Open::of(&request);
    Ok((read(request, key, owner, ATTEMPTS_DEFAULT)?, open))
}

/// Reads a start: the create, what it leaves open, who carries it out, and for how long it is leased at first.
pub(crate) fn start(
    request: v1::StartRequest,
    key: Option<&str>,
    owner: &Owner,
) -> Result<(Create, Open, Worker, Duration), Invalid> {
    let (create, worker, lease) = request.into_parts();
    // Its attempts are never open: start has a default of its own (CONTRACT §3).
    let open = Open { max_attempts: false, ..Open::of(&create) };
    let create = read(create, key, owner, ATTEMPTS_DEFAULT_START)?;
    let lease = parse_duration("leaseDuration", lease.as_ref())?.unwrap_or(LEASE_DEFAULT);
    Ok((create, open, Worker::new(&worker)?, lease))
}

impl Open {
    fn of(request: &v1::CreateRequest) -> Self {
        Self {
            cancellable: request.cancellable.is_none(),
            clean_up_on_cancel: request.clean_up_on_cancel.is_none(),
            max_attempts: request.max_attempts.is_none(),
            cancel_grace: request.cancel_grace.is_none(),
        }
    }
}

fn read(request: v1::CreateRequest, key: Option<&str>, owner: &Owner, attempts: u32) -> Result<Create, Invalid> {
    let retention = parse_duration("retention", request.retention.as_ref())?;
    let cancel_grace = parse_duration("cancelGrace", request.cancel_grace.as_ref())?;
    let spec = Spec {
        tenant: request.tenant.map_or_else(|| Ok(owner.tenant.clone()), |text| Tenant::parse("tenant", &text))?,
        description: Description::parse("description", &request.description)?,
        created_by: request
            .created_by
            .map_or_else(|| Ok(owner.created_by.clone()), |text| Principal::parse("createdBy", &text))?,
        input: request.input.map(parse_any),
        labels: Labels::parse(request.labels)?,
        cancellable: request.cancellable.unwrap_or(true),
        clean_up_on_cancel: request.clean_up_on_cancel.unwrap_or(false),
        queue_timeout: parse_duration("queueTimeout", request.queue_timeout.as_ref())?,
        run_timeout: parse_duration("runTimeout", request.run_timeout.as_ref())?,
        max_attempts: request.max_attempts.unwrap_or(attempts),
        cancel_grace: cancel_grace.unwrap_or(CANCEL_GRACE_DEFAULT),
        response_type: type_name("responseType", request.response_type)?,
        metadata_type: type_name("metadataType", request.metadata_type)?,
        ..Spec::new(Kind::new(&request.kind)?)
    };
    let key = idempotency_key(request.idempotency_key.as_deref(), key)?;
    Ok(Create { metadata: request.metadata.map(parse_any), retention, key, ..Create::new(spec) })
}

/// The member and the header mean the same, so they must say the same.
fn idempotency_key(member: Option<&str>, header: Option<&str>) -> Result<Option<IdempotencyKey>, Invalid> {
    let key = match (member, header) {
        (Some(member), Some(header)) if member != header => {
            return Err(Invalid::malformed(KEY, "differs from the idempotency-key header: send one of them"));
        }
        (Some(key), _) | (None, Some(key)) => key,
        (None, None) => return Ok(None),
    };
    if key.is_empty() {
        return Err(Invalid::malformed(KEY, "is empty: leave it out, or choose one"));
    }
    IdempotencyKey::parse(KEY, key).map(Some)
}

/// Reads the name of a message type.
pub(crate) fn type_name(field: &str, name: Option<String>) -> Result<Option<Arc<str>>, Invalid> {
    match name {
        Some(name) if name.rsplit('/').next().is_none_or(str::is_empty) => {
            Err(Invalid::malformed(field, "names no type: expected the full name of a message"))
        }
        name => Ok(name.map(Into::into)),
    }
}

const KEY: &str = "idempotencyKey";

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> v1::CreateRequest {
        v1::CreateRequest { kind: "render".into(), ..Default::default() }
    }

    #[test]
    fn what_is_absent_has_the_defaults_of_the_contract() {
        let (Create { spec, with_defaults, metadata, retention, key, .. }, open) =
            create(request(), None, &Owner::default()).unwrap();
        assert_eq!(spec, Spec::new(Kind::new("render").unwrap()));
        assert_eq!((spec.tenant.as_str(), spec.created_by.as_str()), ("default", "anonymous"));
        assert_eq!((spec.max_attempts, spec.cancellable), (3, true));
        assert_eq!((with_defaults, metadata, retention, key), (None, None, None, None));
        let all = Open { cancellable: true, clean_up_on_cancel: true, max_attempts: true, cancel_grace: true };
        assert_eq!(open, all);

        let request = v1::StartRequest { kind: "render".into(), worker: "w".into(), ..Default::default() };
        let (create, open, worker, lease) = start(request, None, &Owner::default()).unwrap();
        assert_eq!(open, Open { max_attempts: false, ..all });
        assert_eq!((create.spec.max_attempts, worker.as_str(), lease), (1, "w", Duration::from_secs(30)));
    }

    #[test]
    fn the_idempotency_key_may_come_by_member_or_header_but_not_as_two() {
        let with = |member: Option<&str>, header| {
            let request = v1::CreateRequest { idempotency_key: member.map(Into::into), ..request() };
            create(request, header, &Owner::default()).map(|(create, _)| create.key.map(|key| key.as_str().to_owned()))
        };
        assert_eq!(with(None, None), Ok(None));
        assert_eq!(with(Some("a"), None), Ok(Some("a".into())));
        assert_eq!(with(None, Some("a")), Ok(Some("a".into())));
        assert_eq!(with(Some("a"), Some("a")), Ok(Some("a".into())));
        for (member, header) in [(Some("a"), Some("b")), (Some(""), Some("b")), (Some(""), None), (None, Some(""))] {
            assert_eq!(with(member, header).unwrap_err().field, "idempotencyKey");
        }
    }

    #[test]
    fn retention_of_zero_is_told_from_none() {
        let request = v1::CreateRequest { retention: Some(prost_types::Duration::default()), ..request() };
        assert_eq!(create(request, None, &Owner::default()).unwrap().0.retention, Some(Duration::ZERO));
    }

    #[test]
    fn types_must_have_a_name() {
        for name in ["", "type.googleapis.com/"] {
            let request = v1::CreateRequest { response_type: Some(name.into()), ..request() };
            assert_eq!(create(request, None, &Owner::default()).unwrap_err().field, "responseType");
        }
    }
}
