//! An issuer of tokens whose keys are in a file, as an operator would configure it.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const URL: &str = "https://id.example.com";

/// Who signs tokens.
pub(crate) struct Issuer(EcdsaKeyPair);

impl Issuer {
    /// With a key of its own, whatever its name says.
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// Writes its public key and a configuration that believes it into `folder`; the arguments for `operond serve`.
    pub(crate) fn configure(&self, folder: &Path) -> [String; 2] {
        let (keys, config) = (folder.join("jwks.json"), folder.join("operond.toml"));
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let key = json!({ "kty": "EC", "crv": "P-256", "kid": "k", "x": base64(x), "y": base64(y) });
        std::fs::write(&keys, json!({ "keys": [key] }).to_string()).unwrap();
        let rules = format!(
            "[[issuers]]\nissuer = {URL:?}\naudiences = [\"operond\"]\njwks-file = {keys:?}\ntenant-claim = \"org\"\n\
             roles-claim = \"groups\"\nroles-of = {{ support = \"viewer\", shop = \"producer\" }}\n"
        );
        std::fs::write(&config, rules).unwrap();
        ["--config".into(), config.to_str().unwrap().into()]
    }

    /// A token for somebody of `tenant` in `group`, that is good for so many seconds.
    pub(crate) fn token(&self, tenant: &str, group: &str, seconds: i64) -> String {
        #[expect(clippy::disallowed_methods, reason = "tokens end by the calendar")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        self.sign(&json!({
            "iss": URL, "aud": "operond", "sub": "ann", "org": tenant, "groups": [group], "exp": now + seconds,
        }))
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "k" });
        let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", base64(signature))
    }
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
