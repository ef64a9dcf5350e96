//! Randomness from the operating system.

use operond_core::{ID_ENTROPY_BYTES, LeaseSecret};

pub(crate) fn for_id() -> [u8; ID_ENTROPY_BYTES] {
    bytes()
}

pub(crate) fn secret() -> LeaseSecret {
    LeaseSecret(bytes())
}

pub(crate) fn jitter() -> u16 {
    u16::from_le_bytes(bytes())
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}
