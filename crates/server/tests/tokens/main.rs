//! Bearer tokens, as an HTTP layer would ask about them: whom they name, which are refused and why, and how keys come
//! and go. Issuers are real servers on loopback.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod calls;
mod claims;
mod forged;
mod issuer;
mod keys;
mod signer;
