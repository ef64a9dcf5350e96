//! An issuer of tokens that always signs the same: a seed has to bring the same inputs back.

use std::io::Write;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use operond_core::Timestamp;
use operond_server::auth::token::{Algorithm, Issuer, JwksSource, RolesFrom, TenantFrom, Tokens};
use operond_server::auth::{Role, Roles};
use operond_store::ManualClock;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// Its key, and the file that the key is published in.
pub(crate) struct Signing {
    pair: Ed25519KeyPair,
    keys: NamedTempFile,
}

impl Signing {
    pub(crate) fn new() -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let point = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": point }] });
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(keys.to_string().as_bytes()).unwrap();
        Self { pair, keys: file }
    }

    /// A token with these claims, of this key id.
    pub(crate) fn token(&self, kid: &str, claims: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// Those who believe it, with its keys at hand.
    pub(crate) async fn believed(&self) -> Tokens {
        let issuer = Issuer {
            algorithms: vec![Algorithm::EdDsa],
            jwks: Some(JwksSource::File(self.keys.path().to_owned())),
            roles: RolesFrom { fixed: Roles::of(&[Role::Admin]), ..RolesFrom::default() },
            ..Issuer::new(ISSUER, vec!["operond".into()], TenantFrom::All)
        };
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(NOW * 1_000_000)));
        let tokens = Tokens::start_with_clock(vec![issuer], clock).await.unwrap();
        tokens.verify_patiently(&self.token("k", &claims())).await.unwrap();
        tokens
    }
}

/// What a token that is good says.
pub(crate) fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "operond", "exp": NOW + 300, "sub": "alice" })
}

const ISSUER: &str = "https://id.example";
/// In seconds since 1970.
const NOW: i64 = 1_800_000_000;
