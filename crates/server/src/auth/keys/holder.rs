//! Who has keys, and how that is stored: one document for each name.

use std::sync::Arc;

use operond_core::{Kind, Principal, Scope, Tenant, Timestamp};
use prost::Message;

use super::secret::Hash;
use crate::auth::identity::{Credential, Identity, Role, Roles};

/// Somebody who calls with keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Holder {
    pub(crate) name: Principal,
    pub(crate) scope: Scope,
    pub(crate) roles: Roles,
    /// The oldest first.
    pub(crate) keys: Vec<Key>,
}

/// One key of a holder; the key itself is nowhere.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) hash: Hash,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: Principal,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) last_used_at: Option<Timestamp>,
}

impl Holder {
    /// What a call with one of their keys is made by.
    pub(crate) fn identity(&self, key: &Key) -> Identity {
        Identity {
            principal: self.name.clone(),
            scope: self.scope.clone(),
            roles: self.roles,
            credential: Credential::Key(key.id.clone()),
            expires_at: key.expires_at,
        }
    }

    /// Takes a new key in; forgets the oldest of those that are of no use any more.
    pub(crate) fn add(&mut self, key: Key, now: Timestamp) {
        self.keys.push(key);
        let mut past = self.keys.iter().filter(|key| !key.is_live(now)).count();
        self.keys.retain(|key| {
            let forget = past > PAST_KEYS_MAX && !key.is_live(now);
            past -= usize::from(forget);
            !forget
        });
    }

    /// Keys that are good.
    pub(crate) fn live(&self, now: Timestamp) -> usize {
        self.keys.iter().filter(|key| key.is_live(now)).count()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let kinds = self.scope.kinds.iter().flat_map(|kinds| kinds.iter());
        Stored {
            tenant: self.scope.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
            roles: self.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            kinds: kinds.map(|kind| kind.as_str().to_owned()).collect(),
            keys: self.keys.iter().map(Key::stored).collect(),
        }
        .encode_to_vec()
    }

    /// None for what [`Holder::encode`] never wrote.
    pub(crate) fn decode(name: &str, bytes: &[u8]) -> Option<Self> {
        let Stored { tenant, roles, kinds, keys } = Stored::decode(bytes).ok()?;
        let kinds: Arc<[Kind]> = kinds.iter().map(|kind| Kind::new(kind).ok()).collect::<Option<_>>()?;
        let tenant = tenant.map(|tenant| Tenant::parse("tenant", &tenant)).transpose().ok()?;
        Some(Self {
            name: Principal::parse("name", name).ok()?,
            scope: Scope { tenant, kinds: Some(kinds).filter(|kinds| !kinds.is_empty()) },
            // A role of a newer release gives nothing here.
            roles: roles.iter().filter_map(|role| role.parse::<Role>().ok()).collect(),
            keys: keys.iter().map(StoredKey::key).collect::<Option<_>>()?,
        })
    }
}

impl Key {
    /// Whether it is good at `now`.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    fn stored(&self) -> StoredKey {
        StoredKey {
            id: self.id.clone(),
            hash: self.hash.as_bytes().to_vec(),
            created_at: self.created_at.micros(),
            created_by: self.created_by.as_str().to_owned(),
            expires_at: self.expires_at.map(Timestamp::micros),
            revoked_at: self.revoked_at.map(Timestamp::micros),
            last_used_at: self.last_used_at.map(Timestamp::micros),
        }
    }
}

/// The document. Fields are only ever added.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    /// Absent: all tenants.
    #[prost(string, optional, tag = "1")]
    tenant: Option<String>,
    #[prost(string, repeated, tag = "2")]
    roles: Vec<String>,
    /// None: all kinds.
    #[prost(string, repeated, tag = "3")]
    kinds: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    keys: Vec<StoredKey>,
}

/// A key in it. Instants are microseconds since the Unix epoch.
#[derive(Clone, PartialEq, Message)]
struct StoredKey {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bytes = "vec", tag = "2")]
    hash: Vec<u8>,
    #[prost(int64, tag = "3")]
    created_at: i64,
    #[prost(string, tag = "4")]
    created_by: String,
    #[prost(int64, optional, tag = "5")]
    expires_at: Option<i64>,
    #[prost(int64, optional, tag = "6")]
    revoked_at: Option<i64>,
    #[prost(int64, optional, tag = "7")]
    last_used_at: Option<i64>,
}

impl StoredKey {
    fn key(&self) -> Option<Key> {
        Some(Key {
            id: self.id.clone(),
            hash: Hash::from_bytes(self.hash.as_slice().try_into().ok()?),
            created_at: Timestamp::from_micros(self.created_at),
            created_by: Principal::parse("createdBy", &self.created_by).ok()?,
            expires_at: self.expires_at.map(Timestamp::from_micros),
            revoked_at: self.revoked_at.map(Timestamp::from_micros),
            last_used_at: self.last_used_at.map(Timestamp::from_micros),
        })
    }
}

/// Keys of a name that are of no use any more and are still shown: what they were used for may have to be found out.
const PAST_KEYS_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, revoked: bool) -> Key {
        let at = Timestamp::from_micros(5);
        Key {
            id: id.into(),
            hash: blake3::hash(id.as_bytes()),
            created_at: at,
            created_by: Principal::default(),
            expires_at: None,
            revoked_at: revoked.then_some(at),
            last_used_at: Some(at),
        }
    }

    fn holder(scope: Scope) -> Holder {
        let (name, roles) = (Principal::parse("name", "ci").unwrap(), Roles::of(&[Role::Producer, Role::Viewer]));
        Holder { name, scope, roles, keys: vec![key("a", true), key("b", false)] }
    }

    #[test]
    fn a_holder_reads_back_as_stored() {
        let kinds: Arc<[Kind]> = [Kind::new("a").unwrap()].into();
        let tenant = Tenant::parse("tenant", "t").unwrap();
        for scope in [
            Scope::default(),
            Scope::of_tenant(tenant.clone()),
            Scope { tenant: Some(tenant), kinds: Some(Arc::clone(&kinds)) },
            Scope { tenant: None, kinds: Some(kinds) },
        ] {
            let holder = holder(scope);
            assert_eq!(Holder::decode("ci", &holder.encode()), Some(holder));
        }
    }

    #[test]
    fn damage_is_noticed() {
        let bytes = holder(Scope::default()).encode();
        assert_eq!(Holder::decode("", &bytes), None);
        assert_eq!(Holder::decode("ci", &bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn keys_that_are_good_are_never_forgotten_and_the_others_but_the_last_few() {
        let mut holder = holder(Scope::default());
        for id in ["c", "d", "e", "f"] {
            holder.add(key(id, true), Timestamp::from_micros(9));
        }
        holder.add(key("g", false), Timestamp::from_micros(9));
        let ids: Vec<_> = holder.keys.iter().map(|key| &*key.id).collect();
        assert_eq!(ids, ["b", "d", "e", "f", "g"]);
        assert_eq!(holder.live(Timestamp::from_micros(9)), 2);
    }

    #[test]
    fn a_key_is_good_until_its_end_and_not_at_it() {
        let key = Key { expires_at: Some(Timestamp::from_micros(10)), ..key("a", false) };
        assert!(key.is_live(Timestamp::from_micros(9)) && !key.is_live(Timestamp::from_micros(10)));
    }
}
