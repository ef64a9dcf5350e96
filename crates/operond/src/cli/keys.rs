//! `keys create`, `keys list`, `whoami`.

use std::time::SystemTime;

use anyhow::Result;
use futures::TryStreamExt;
use operond_client::proto::{CreateKeyRequest, Key, Role as WireRole, WhoAmIResponse};
use operond_server::auth::Role;
use operond_server::json::Types;

use super::args::{self, Format};
use super::exit::{Exit, Usage};
use super::{connect, print, text};

/// Prints the key alone, so that a script can take it.
pub(super) async fn create(args: args::CreateKey) -> Result<Exit> {
    let too_long = |length| Usage(format!("{length:?} is too long"));
    let lifetime = args.expires.map(|length| length.try_into().map_err(|_| too_long(length))).transpose()?;
    let request = CreateKeyRequest {
        name: args.name,
        tenant: args.tenant,
        roles: args.roles.iter().map(|role| wire(*role).into()).collect(),
        kinds: args.kinds,
        lifetime,
    };
    let created = connect(&args.server)?.create_key(request).await?;
    let id = created.key.unwrap_or_default().id;
    eprintln!("created key {}; it is shown this once", text::escape(&id));
    print(&format!("{}\n", text::escape(&created.secret)))?;
    Ok(Exit::Success)
}

pub(super) async fn list(args: args::ListKeys) -> Result<Exit> {
    let keys: Vec<Key> = connect(&args.server)?.list_all_keys().try_collect().await?;
    let list = |key: &Key| {
        Ok(text::Listed {
            name: key.id.clone(),
            json: Types::builtin().to_json(key)?,
            cells: [
                key.id.clone(),
                key.name.clone(),
                key.tenant.clone(),
                said(key.roles().map(name), &key.kinds),
                standing(key, now()),
            ],
        })
    };
    let keys = keys.iter().map(list).collect::<Result<Vec<_>>>()?;
    print(&text::listed(args.printing.output, ["ID", "NAME", "TENANT", "MAY", "STANDING"], &keys))?;
    Ok(Exit::Success)
}

pub(super) async fn who_am_i(args: args::WhoAmI) -> Result<Exit> {
    let me = connect(&args.server)?.who_am_i().await?;
    print(&shown(args.printing.output, &me)?)?;
    Ok(Exit::Success)
}

fn shown(format: Format, me: &WhoAmIResponse) -> Result<String> {
    let listed = text::Listed {
        name: me.principal.clone(),
        json: Types::builtin().to_json(me)?,
        cells: [
            me.principal.clone(),
            me.tenant.clone(),
            said(me.roles().map(name), &me.kinds),
            format!("{} {}", me.credential, me.credential_id),
        ],
    };
    Ok(text::listed(format, ["PRINCIPAL", "TENANT", "MAY", "BY"], &[listed]))
}

/// Roles, and the kinds that they are bound to.
fn said(roles: impl Iterator<Item = String>, kinds: &[String]) -> String {
    let roles = roles.collect::<Vec<_>>().join(" ");
    if kinds.is_empty() { roles } else { format!("{roles}: {}", kinds.join(" ")) }
}

/// Whether a key is good, and when it was used. `now` is this machine's clock: the server's own has the last word.
fn standing(key: &Key, now: SystemTime) -> String {
    let used = key.last_used_at.as_ref().map_or_else(|| "never used".into(), |used| format!("used {used}"));
    match (&key.revoked_at, &key.expires_at) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(end)) if !is_good(key, now) => format!("expired {end}"),
        (None, Some(end)) => format!("until {end}, {used}"),
        (None, None) => used,
    }
}

/// Whether it is neither revoked nor expired.
pub(super) fn is_good(key: &Key, now: SystemTime) -> bool {
    let expired = |end| SystemTime::try_from(end).is_ok_and(|end| end <= now);
    key.revoked_at.is_none() && !key.expires_at.is_some_and(expired)
}

#[expect(clippy::disallowed_methods, reason = "credentials expire by the calendar")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

fn wire(role: Role) -> WireRole {
    match role {
        Role::Viewer => WireRole::Viewer,
        Role::Operator => WireRole::Operator,
        Role::Producer => WireRole::Producer,
        Role::Worker => WireRole::Worker,
        Role::Admin => WireRole::Admin,
    }
}

/// A role as it is said on the command line.
fn name(role: WireRole) -> String {
    role.as_str_name().trim_start_matches("ROLE_").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn a_key_stands_as_it_does_now() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(60);
        let check = |revoked_at, expires_at, last_used_at, says: &str| {
            assert_eq!(standing(&Key { revoked_at, expires_at, last_used_at, ..Key::default() }, now), says);
        };
        check(None, None, None, "never used");
        check(None, None, at(1), "used 1970-01-01T00:00:01Z");
        check(None, at(61), at(1), "until 1970-01-01T00:01:01Z, used 1970-01-01T00:00:01Z");
        check(None, at(61), None, "until 1970-01-01T00:01:01Z, never used");
        check(None, at(60), at(1), "expired 1970-01-01T00:01:00Z");
        check(at(2), at(60), at(1), "revoked 1970-01-01T00:00:02Z");
    }
}
