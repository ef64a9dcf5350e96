//! Randomness from the operating system.

use operond_core::{ID_ENTROPY_BYTES, LeaseSecret};

pub(crate) fn for_id() -> [u8; ID_ENTROPY_BYTES] {
    bytes()
}

pub(crate) fn secret() -> LeaseSecret {
    LeaseSecret(bytes())
}

/// `count` secrets for one call to the operating system.
pub(crate) fn secrets(count: usize) -> Vec<LeaseSecret> {
    let mut secrets = vec![[0; 16]; count];
    getrandom::fill(secrets.as_flattened_mut()).expect("the operating system has randomness");
    secrets.into_iter().map(LeaseSecret).collect()
}

pub(crate) fn jitter() -> u16 {
    u16::from_le_bytes(bytes())
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}
