//! Keys that sign tokens, and what is published of them. They are made anew by each run; only the cryptography is that
//! of the server.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A key with a name.
pub(crate) struct Signer {
    pub(crate) kid: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Making an RSA key takes longer than all the rest: they are shared.
pub(crate) static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa"));
pub(crate) static OTHER_RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("other"));
/// Not what the issuer publishes under this name.
pub(crate) static IMPOSTOR_RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa"));
pub(crate) static P256: LazyLock<Signer> = LazyLock::new(|| Signer::p256("p256"));
pub(crate) static P384: LazyLock<Signer> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    Signer { kid: "p384", pair: Pair::P384(pair) }
});
pub(crate) static ED25519: LazyLock<Signer> =
    LazyLock::new(|| Signer { kid: "ed25519", pair: Pair::Ed25519(Ed25519KeyPair::generate().unwrap()) });

impl Signer {
    fn rsa(kid: &'static str) -> Self {
        Self { kid, pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
    }

    pub(crate) fn p256(kid: &'static str) -> Self {
        Self { kid, pair: Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()) }
    }

    /// What the key is used with when nobody asks for something else.
    pub(crate) fn alg(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// As it is published.
    pub(crate) fn jwk(&self) -> Value {
        let (kid, alg) = (self.kid, self.alg());
        let point = |crv, pair: &EcdsaKeyPair| {
            let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
            json!({"kty": "EC", "crv": crv, "kid": kid, "alg": alg, "use": "sig", "x": base64(x), "y": base64(y)})
        };
        match &self.pair {
            Pair::Rsa(pair) => {
                let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "kid": kid, "use": "sig", "n": base64(n), "e": base64(e)})
            }
            Pair::P256(pair) => point("P-256", pair),
            Pair::P384(pair) => point("P-384", pair),
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": base64(pair.public_key())})
            }
        }
    }

    /// The public key as other tools write it.
    pub(crate) fn spki(&self) -> Vec<u8> {
        let Pair::Rsa(pair) = &self.pair else { panic!("only of RSA keys") };
        AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap().as_ref().to_vec()
    }

    pub(crate) fn pkcs1(&self) -> Vec<u8> {
        let Pair::Rsa(pair) = &self.pair else { panic!("only of RSA keys") };
        pair.public_key().as_ref().to_vec()
    }

    /// The header of its tokens.
    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.alg(), "typ": "JWT", "kid": self.kid})
    }

    /// A token of these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_of(self.header().to_string(), claims.to_string())
    }

    /// A token of these texts, whatever they are.
    pub(crate) fn token_of(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", base64(header), base64(claims));
        let signature = base64(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(_) => self.sign_rsa(&RSA_PKCS1_SHA256, message),
            Pair::P256(pair) | Pair::P384(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token that is rightly signed with another algorithm of RSA.
    pub(crate) fn token_with(&self, alg: &str, claims: &Value) -> String {
        let encoding: &'static dyn RsaEncoding = match alg {
            "RS384" => &RSA_PKCS1_SHA384,
            "PS256" => &RSA_PSS_SHA256,
            other => panic!("{other}"),
        };
        let header = json!({"alg": alg, "kid": self.kid}).to_string();
        let signed = format!("{}.{}", base64(header), base64(claims.to_string()));
        let signature = base64(self.sign_rsa(encoding, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn sign_rsa(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let Pair::Rsa(pair) = &self.pair else { panic!("only with RSA keys") };
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }
}

/// A set of keys, as it is published.
pub(crate) fn jwks(signers: &[&Signer]) -> String {
    set(&signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>())
}

pub(crate) fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
