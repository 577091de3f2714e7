//! CRC-32C of a batch whose header is written last.
//!
//! The checksum covers a few header bytes and then all records. The records are summed once, when the batch is
//! sealed; the header changes with every stamp. The CRC is linear, so the sum of both parts is the header's sum moved
//! over the records' length, xor the records' sum. Moving costs some ten nanoseconds once the factor is known,
//! whatever the batch's size.

/// CRC-32C's polynomial, its bits mirrored.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// x⁰, its bits mirrored.
const ONE: u32 = 1 << 31;

/// `POWERS[k]` is x^(2^k) modulo the polynomial.
#[expect(clippy::indexing_slicing, reason = "it is done when this is compiled")]
const POWERS: [u32; 31] = {
    let mut powers = [0; 31];
    let mut power = ONE >> 1;
    let mut k = 0;
    while k < 31 {
        powers[k] = power;
        power = multiply(power, power);
        k += 1;
    }
    powers
};

/// Moves a checksum over bytes that follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shift(u32);

impl Shift {
    /// Over `length` bytes.
    pub(super) fn over(length: usize) -> Self {
        let mut factor = ONE;
        // Eight bits a byte, so start at x^8. x^(2^31-1) is 1 for this polynomial: after the last power comes the first.
        let mut bits = length as u64;
        for power in POWERS.iter().cycle().skip(3) {
            if bits == 0 {
                break;
            }
            if bits & 1 == 1 {
                factor = multiply(*power, factor);
            }
            bits >>= 1;
        }
        Self(factor)
    }

    /// The checksum of two parts, from theirs.
    pub(super) fn combine(self, first: u32, second: u32) -> u32 {
        multiply(self.0, first) ^ second
    }
}

/// The product of two polynomials modulo CRC-32C's.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = ONE;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 1 { (b >> 1) ^ POLYNOMIAL } else { b >> 1 };
        bit >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_sum_up_to_the_whole() {
        let bytes: Vec<u8> = (0..70_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
        for length in [0, 1, 2, 3, 40, 255, 256, 4096, 69_960] {
            let (header, records) = (&bytes[..40], &bytes[40..40 + length]);
            let sum = Shift::over(length).combine(crc32c::crc32c(header), crc32c::crc32c(records));
            assert_eq!(sum, crc32c::crc32c(&bytes[..40 + length]), "{length}");
        }
    }

    #[test]
    fn agrees_with_the_crate_for_lengths_no_test_can_hold() {
        for length in [1usize << 20, (1 << 31) - 1, 1 << 29, (1 << 30) + 12345] {
            let theirs = crc32c::crc32c_combine(0x1234_5678, 0x9abc_def0, length);
            assert_eq!(Shift::over(length).combine(0x1234_5678, 0x9abc_def0), theirs, "{length}");
        }
    }
}
