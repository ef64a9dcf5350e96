//! Digests of requests: what tells a repeat from another request with the same name.

use operond_core::{Any, Completion, Digest, FIELDS, Fingerprint, Spec, Status};

use std::time::Duration;

/// Of a complete: how it ends and with which metadata.
pub(crate) fn of_complete(result: &Completion, metadata: Option<&Any>) -> Digest {
    let mut hash = Hasher::new("complete");
    match result {
        Completion::Response(response) => hash.text("response").any(response),
        Completion::Error(error) => hash.text("error").status(error),
        Completion::Cancelled(message) => hash.text("cancelled").text(message),
    };
    hash.optional(metadata, Hasher::any).digest()
}

/// Of a retry.
pub(crate) fn of_retry(error: &Status, backoff: Option<Duration>) -> Digest {
    Hasher::new("retry").status(error).optional(backoff, |hash, backoff| hash.duration(backoff)).digest()
}

/// Of a release.
pub(crate) fn of_release() -> Digest {
    Hasher::new("release").digest()
}

/// Of a create, member by member in the order of [`FIELDS`].
pub(crate) fn of_create(spec: &Spec, metadata: Option<&Any>, retention: Option<Duration>) -> Fingerprint {
    let field = || Hasher::new("create");
    let name = |name: &Option<std::sync::Arc<str>>| name.as_deref().map(|name| field().text(name).short());
    let labels = spec.labels.iter().fold(field(), |mut hash, (key, value)| {
        hash.text(key).text(value);
        hash
    });
    let members: [Option<u64>; FIELDS.len()] = [
        Some(field().text(spec.kind.as_str()).short()),
        Some(field().text(spec.description.as_str()).short()),
        Some(field().text(spec.created_by.as_str()).short()),
        metadata.map(|metadata| field().any(metadata).short()),
        spec.input.as_ref().map(|input| field().any(input).short()),
        (spec.labels.iter().len() > 0).then(|| labels.short()),
        Some(u64::from(spec.cancellable)),
        Some(u64::from(spec.clean_up_on_cancel)),
        spec.queue_timeout.map(|timeout| field().duration(timeout).short()),
        spec.run_timeout.map(|timeout| field().duration(timeout).short()),
        Some(u64::from(spec.max_attempts)),
        Some(field().duration(spec.cancel_grace).short()),
        retention.map(|retention| field().duration(retention).short()),
        name(&spec.response_type),
        name(&spec.metadata_type),
    ];
    Fingerprint(members.map(Option::unwrap_or_default).to_vec())
}

/// Every part goes in with its length, so that no two contents read the same.
struct Hasher(blake3::Hasher);

impl Hasher {
    fn new(what: &str) -> Self {
        let mut hasher = Self(blake3::Hasher::new());
        hasher.text(what);
        hasher
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn duration(&mut self, duration: Duration) -> &mut Self {
        self.bytes(&duration.as_nanos().to_le_bytes())
    }

    fn any(&mut self, any: &Any) -> &mut Self {
        self.text(&any.type_url).bytes(&any.value)
    }

    fn status(&mut self, status: &Status) -> &mut Self {
        self.bytes(&status.code.to_le_bytes()).text(&status.message);
        self.bytes(&(status.details.len() as u64).to_le_bytes());
        status.details.iter().fold(self, Self::any)
    }

    fn optional<T>(&mut self, part: Option<T>, feed: impl FnOnce(&mut Self, T) -> &mut Self) -> &mut Self {
        match part {
            Some(part) => feed(self.text("some"), part),
            None => self.text("none"),
        }
    }

    fn digest(&self) -> Digest {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0.finalize().as_bytes()[..16]);
        Digest(bytes)
    }

    fn short(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0.finalize().as_bytes()[..8]);
        u64::from_le_bytes(bytes)
    }
}
