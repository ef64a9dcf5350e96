//! gzip without a compressor: bytes as they are, and zeros without end in a few bytes.

/// `head`, then so many zeros.
pub(crate) fn gzip(head: &[u8], zeros: usize) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for block in head.chunks(0xffff) {
        let length = u16::try_from(block.len()).unwrap();
        // A stored block, not the last one.
        out.push(0);
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    out.extend(run(zeros));
    out.extend(crc(head, zeros).to_le_bytes());
    out.extend(u32::try_from(head.len() + zeros).unwrap().to_le_bytes());
    out
}

/// A last block of zeros, in the fixed code of RFC 1951 §3.2.6: a zero, then repeats of 258 of the byte before.
fn run(zeros: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.push(0b1, 1);
    bits.push(0b01, 2);
    let repeats = zeros.saturating_sub(1) / REPEAT;
    for _ in 0..zeros - repeats * REPEAT {
        bits.push_code(0b0011_0000, 8);
    }
    for _ in 0..repeats {
        bits.push_code(0b1100_0101, 8);
        bits.push_code(0, 5);
    }
    bits.push_code(0, 7);
    bits.out
}

#[derive(Default)]
struct Bits {
    out: Vec<u8>,
    used: u8,
}

impl Bits {
    /// The lowest bit first.
    fn push(&mut self, value: u16, count: u8) {
        for index in 0..count {
            if self.used == 0 {
                self.out.push(0);
            }
            *self.out.last_mut().unwrap() |= u8::from(value >> index & 1 == 1) << self.used;
            self.used = (self.used + 1) % 8;
        }
    }

    /// The highest bit first, as codes are.
    fn push_code(&mut self, code: u16, count: u8) {
        self.push(code.reverse_bits() >> (16 - count), count);
    }
}

fn crc(head: &[u8], zeros: usize) -> u32 {
    let bytes = head.iter().copied().chain(std::iter::repeat_n(0, zeros));
    !bytes.fold(u32::MAX, |sum, byte| TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8))
}

const TABLE: [u32; 256] = {
    let (mut table, mut index) = ([0; 256], 0);
    while index < 256 {
        let (mut sum, mut bit) = (index as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
};

const REPEAT: usize = 258;
