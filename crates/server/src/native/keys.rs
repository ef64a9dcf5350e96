//! The service `operond.v1.Keys`, whatever it is asked by.

use operond_core::{Invalid, Kind, Principal, Scope, Tenant, Timestamp};
use operond_proto::operond::v1;

use crate::auth::{Holder, Key, NewKey, Role, Roles};
use crate::error::ApiError;
use crate::names::{List, PageAsked, page};
use crate::service::Call;
use crate::wire;

/// Makes a key; the answer is the only place where it is ever shown.
pub(crate) async fn create(call: &Call, request: v1::CreateKeyRequest) -> Result<v1::CreateKeyResponse, ApiError> {
    let new = NewKey {
        name: Principal::parse("name", &request.name)?,
        scope: scope(&request)?,
        roles: roles(&request.roles)?,
        lifetime: wire::parse_duration("lifetime", request.lifetime.as_ref())?,
        by: call.identity.principal.clone(),
    };
    let (holder, key, secret) = call.keys.create(new, call.record()).await?;
    Ok(v1::CreateKeyResponse { key: Some(show(&holder, &key, None)), secret })
}

/// One page of keys. `size` tells how many bytes a key takes in the answer: the page ends before they are too many.
pub(crate) fn list(
    call: &Call,
    request: &v1::ListKeysRequest,
    size: impl Fn(&v1::Key) -> usize,
) -> Result<v1::ListKeysResponse, ApiError> {
    let known = call.keys.known();
    let keys = known.holders().flat_map(|holder| holder.keys.iter().map(move |key| (&*key.id, (holder, key))));
    let asked = PageAsked { page_size: request.page_size, page_token: &request.page_token };
    let (keys, next_page_token) = page(call.keys.seal_key(), List::Keys, asked, keys, |(holder, key)| {
        let shown = show(holder, key, known.last_used(&key.id));
        let bytes = size(&shown);
        (shown, bytes)
    })?;
    Ok(v1::ListKeysResponse { keys, next_page_token })
}

/// Makes a key useless.
pub(crate) async fn revoke(call: &Call, request: v1::RevokeKeyRequest) -> Result<v1::Key, ApiError> {
    if request.id.is_empty() {
        return Err(Invalid::missing("id").into());
    }
    let (holder, key) = call.keys.revoke(request.id, call.record()).await?;
    Ok(show(&holder, &key, None))
}

/// Who calls.
pub(crate) fn who_am_i(call: &Call) -> v1::WhoAmIResponse {
    let identity = &call.identity;
    let (credential, credential_id) = identity.credential.parts();
    v1::WhoAmIResponse {
        principal: identity.principal.as_str().into(),
        tenant: tenant(&identity.scope),
        roles: identity.roles.iter().map(|role| shown_role(role).into()).collect(),
        kinds: kinds(&identity.scope),
        credential: credential.into(),
        credential_id: credential_id.into(),
    }
}

fn scope(request: &v1::CreateKeyRequest) -> Result<Scope, Invalid> {
    let tenant = Some(request.tenant.as_str()).filter(|tenant| *tenant != ALL_TENANTS);
    let kind = |(index, text): (usize, &String)| Kind::parse(&format!("kinds[{index}]"), text);
    let kinds: Vec<Kind> = request.kinds.iter().enumerate().map(kind).collect::<Result<_, _>>()?;
    Ok(Scope {
        tenant: tenant.map(|tenant| Tenant::parse("tenant", tenant)).transpose()?,
        kinds: Some(kinds.into()).filter(|kinds: &std::sync::Arc<[Kind]>| !kinds.is_empty()),
    })
}

fn roles(roles: &[i32]) -> Result<Roles, Invalid> {
    let role = |role: &i32| match v1::Role::try_from(*role) {
        Ok(v1::Role::Viewer) => Ok(Role::Viewer),
        Ok(v1::Role::Operator) => Ok(Role::Operator),
        Ok(v1::Role::Producer) => Ok(Role::Producer),
        Ok(v1::Role::Worker) => Ok(Role::Worker),
        Ok(v1::Role::Admin) => Ok(Role::Admin),
        Ok(v1::Role::Unspecified) | Err(_) => {
            Err(Invalid::malformed("roles", format!("has {role}, which is the number of no role")))
        }
    };
    roles.iter().map(role).collect()
}

fn shown_role(role: Role) -> v1::Role {
    match role {
        Role::Viewer => v1::Role::Viewer,
        Role::Operator => v1::Role::Operator,
        Role::Producer => v1::Role::Producer,
        Role::Worker => v1::Role::Worker,
        Role::Admin => v1::Role::Admin,
    }
}

fn tenant(scope: &Scope) -> String {
    scope.tenant.as_ref().map_or(ALL_TENANTS, |tenant| tenant.as_str()).into()
}

fn kinds(scope: &Scope) -> Vec<String> {
    scope.kinds.iter().flat_map(|kinds| kinds.iter().map(|kind| kind.as_str().into())).collect()
}

fn show(holder: &Holder, key: &Key, last_used: Option<Timestamp>) -> v1::Key {
    v1::Key {
        id: key.id.clone(),
        name: holder.name.as_str().into(),
        tenant: tenant(&holder.scope),
        roles: holder.roles.iter().map(|role| shown_role(role).into()).collect(),
        kinds: kinds(&holder.scope),
        created_at: Some(wire::timestamp(key.created_at)),
        created_by: key.created_by.as_str().into(),
        expires_at: key.expires_at.map(wire::timestamp),
        revoked_at: key.revoked_at.map(wire::timestamp),
        last_used_at: last_used.or(key.last_used_at).map(wire::timestamp),
    }
}

/// Written in place of a tenant. No tenant can be given a key for a tenant of that name alone.
const ALL_TENANTS: &str = "*";
