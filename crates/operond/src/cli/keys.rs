//! `keys create`, `keys list`, `keys revoke`, `whoami`.

use anyhow::{Context, Result};
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
                standing(key),
            ],
        })
    };
    let keys = keys.iter().map(list).collect::<Result<Vec<_>>>()?;
    print(&text::listed(args.printing.output, ["ID", "NAME", "TENANT", "MAY", "STANDING"], &keys))?;
    Ok(Exit::Success)
}

pub(super) async fn revoke(args: args::RevokeKey) -> Result<Exit> {
    let client = connect(&args.server)?;
    for id in &args.ids {
        let key = client.revoke_key(id).await.with_context(|| format!("cannot revoke {}", text::escape(id)))?;
        eprintln!("revoked key {} of {}", text::escape(&key.id), text::escape(&key.name));
    }
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

/// Whether a key is good, and when it was used.
fn standing(key: &Key) -> String {
    match (&key.revoked_at, &key.expires_at, &key.last_used_at) {
        (Some(at), ..) => format!("revoked {at}"),
        (None, Some(end), None) => format!("until {end}, never used"),
        (None, Some(end), Some(used)) => format!("until {end}, used {used}"),
        (None, None, None) => "never used".into(),
        (None, None, Some(used)) => format!("used {used}"),
    }
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
