//! What is said about a token that is not believed.

/// Why a token is not believed. The text is for whoever writes the client: it says what is wrong, and never holds
/// anything that stood in the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Longer than [`TOKEN_BYTES_MAX`](super::TOKEN_BYTES_MAX).
    #[error("the token is longer than {} bytes", super::TOKEN_BYTES_MAX)]
    TooLong,
    /// Not a signed JWT, or one that asks for what is never granted.
    #[error("the token is not a JWT that can be used: {0}")]
    Malformed(&'static str),
    /// An algorithm that the issuer is not trusted to use, or that is not for the key.
    #[error("the token is signed with an algorithm that is not accepted from its issuer, or not for its key")]
    Algorithm,
    /// Somebody who is not believed.
    #[error("the token is of an issuer that this server does not believe: `iss` must be equal, letter for letter")]
    Issuer,
    /// A key that the issuer does not publish, or none that can be used.
    #[error("the token is signed with a key that its issuer does not publish for signatures")]
    UnknownKey,
    /// No `kid`, and several keys that it could be.
    #[error("the token does not name its key (`kid`), and its issuer has several")]
    NoKeyNamed,
    /// Not signed with that key, or changed since.
    #[error("the signature of the token is wrong")]
    Signature,
    /// Over for this many seconds.
    #[error("the token expired {0} s ago")]
    Expired(u64),
    /// For this many seconds more.
    #[error("the token is not valid yet, but in {0} s: is a clock wrong?")]
    NotYet(u64),
    /// For others.
    #[error("the token is for somebody else: its audience is not this server")]
    Audience,
    /// A claim that is needed, and cannot be used.
    #[error("claim `{claim}` of the token {problem}")]
    Claim {
        /// Which, as it is called in the configuration.
        claim: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Whether it is good cannot be said now; all the others are for good.
    #[error("the keys of the token's issuer cannot be fetched now: try again")]
    IssuerUnavailable,
}

impl Refused {
    pub(super) fn claim(claim: impl Into<String>, problem: &'static str) -> Self {
        Self::Claim { claim: claim.into(), problem }
    }
}
