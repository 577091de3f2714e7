//! Zigzag variable-length integers, as magic 2 records hold them.

use super::corrupt;
use crate::Result;

/// The longest a 32-bit integer gets.
pub(super) const MAX_VARINT: usize = 5;
/// The longest a 64-bit integer gets.
pub(super) const MAX_VARLONG: usize = 10;

#[inline]
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// How many bytes [`put`] writes for it.
#[inline]
#[expect(clippy::arithmetic_side_effects, reason = "of numbers below 64")]
pub(super) fn size_of(value: i64) -> usize {
    // Seven bits a byte; `| 1` because zero takes a byte too.
    let last_bit = (zigzag(value) | 1).ilog2() as usize;
    (last_bit * 9 + 73) / 64
}

/// Writes it at `at` and returns where it ends. Room is the caller's business: what does not fit is an index error.
#[inline]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "nothing of a peer's decides where it writes"
)]
pub(super) fn put(out: &mut [u8], mut at: usize, value: i64) -> usize {
    let mut bits = zigzag(value);
    while bits >= 0x80 {
        out[at] = bits as u8 | 0x80;
        at += 1;
        bits >>= 7;
    }
    out[at] = bits as u8;
    at + 1
}

/// Short varints one after the other in a register, the first one lowest. Bytes that are stored one by one and then
/// moved together would wait in the processor until every store before them has reached the cache.
#[derive(Clone, Copy)]
pub(super) struct Packed {
    bits: u128,
    len: u32,
}

impl Packed {
    pub(super) const EMPTY: Self = Self { bits: 0, len: 0 };
    pub(super) const ZERO_BYTE: Self = Self { bits: 0, len: 1 };

    /// `None` if it takes more than 3 bytes.
    #[inline(always)]
    pub(super) fn of(value: i64) -> Option<Self> {
        let z = zigzag(value);
        let (bits, len) = if z < 1 << 7 {
            (z, 1)
        } else if z < 1 << 14 {
            (z & 0x7f | 0x80 | (z >> 7) << 8, 2)
        } else if z < 1 << 21 {
            (z & 0x7f | 0x8080 | (z >> 7 & 0x7f) << 8 | (z >> 14) << 16, 3)
        } else {
            return None;
        };
        Some(Self { bits: u128::from(bits), len })
    }

    /// Both; they must not take more than 16 bytes together.
    #[inline(always)]
    #[expect(clippy::arithmetic_side_effects, reason = "of lengths below 16")]
    pub(super) fn then(self, next: Self) -> Self {
        Self { bits: self.bits | next.bits << (8 * self.len), len: self.len + next.len }
    }

    #[inline(always)]
    pub(super) fn len(self) -> usize {
        self.len as usize
    }

    /// The bytes, with zeros behind them.
    #[inline(always)]
    pub(super) fn bytes(self) -> [u8; 16] {
        self.bits.to_le_bytes()
    }
}

/// A cursor over a record. It never leaves the bytes it was given.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8> {
        match self.bytes.get(self.at) {
            Some(&byte) => {
                self.at = self.at.saturating_add(1);
                Ok(byte)
            }
            None => Err(short()),
        }
    }

    /// A signed 32-bit integer.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<i32> {
        let first = self.byte()?;
        let bits = if first < 0x80 { u64::from(first) } else { self.more(first, 28, 0x0f)? };
        let bits = bits as u32;
        Ok((bits >> 1) as i32 ^ ((bits & 1) as i32).wrapping_neg())
    }

    /// A signed 64-bit integer.
    #[inline]
    pub(super) fn varlong(&mut self) -> Result<i64> {
        let first = self.byte()?;
        let bits = if first < 0x80 { u64::from(first) } else { self.more(first, 63, 0x01)? };
        Ok((bits >> 1) as i64 ^ ((bits & 1) as i64).wrapping_neg())
    }

    /// The bytes after the first; the last one allowed sits at `last_shift` and may hold `last_mask` only.
    #[inline]
    fn more(&mut self, first: u8, last_shift: u32, last_mask: u8) -> Result<u64> {
        let mut bits = u64::from(first & 0x7f);
        let mut shift = 7u32;
        loop {
            let byte = self.byte()?;
            if shift == last_shift && byte & !last_mask != 0 {
                return Err(corrupt("a variable-length integer is too large"));
            }
            bits |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(bits);
            }
            shift = shift.saturating_add(7);
        }
    }

    /// The next `n` bytes.
    #[inline]
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        match self.bytes.get(self.at..).and_then(|rest| rest.get(..n)) {
            Some(bytes) => {
                self.at = self.at.saturating_add(n);
                Ok(bytes)
            }
            None => Err(short()),
        }
    }
}

#[cold]
fn short() -> crate::Error {
    corrupt("a record ends too early")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(bytes: &[u8]) -> Cursor<'_> {
        Cursor { bytes, at: 0 }
    }

    #[test]
    fn every_width_makes_the_round_trip() {
        for shift in 0..64 {
            for value in [1i64 << shift, (1i64 << shift).wrapping_sub(1), -(1i64 << shift.min(62)), !(1i64 << shift)] {
                let mut out = [0; MAX_VARLONG];
                let n = put(&mut out, 0, value);
                assert_eq!(n, size_of(value), "{value}");
                assert_eq!(cursor(&out[..n]).varlong().unwrap(), value);
                if let Ok(narrow) = i32::try_from(value) {
                    assert!(n <= MAX_VARINT);
                    assert_eq!(cursor(&out[..n]).varint().unwrap(), narrow);
                } else {
                    assert!(cursor(&out[..n]).varint().is_err(), "{value}");
                }
            }
        }
        assert_eq!(size_of(0), 1);
    }

    #[test]
    fn packed_varints_are_the_same_bytes() {
        let widest = 1i64 << 20;
        for value in [0, -1, 63, 64, -64, -65, 8191, 8192, -8193, widest - 1, -widest] {
            let packed = Packed::ZERO_BYTE.then(Packed::of(value).unwrap()).then(Packed::of(-2).unwrap());
            let mut expected = [0; 16];
            let end = put(&mut expected, 1, value);
            let end = put(&mut expected, end, -2);
            assert_eq!((packed.bytes(), packed.len()), (expected, end), "{value}");
        }
        assert!(Packed::of(widest).is_none() && Packed::of(-widest - 1).is_none());
        assert_eq!(Packed::EMPTY.then(Packed::ZERO_BYTE).len(), 1);
    }

    #[test]
    fn r12_eleven_bytes_are_too_many() {
        assert!(cursor(&[0x80; 11]).varlong().is_err());
        assert!(cursor(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).varlong().is_err());
        assert!(cursor(&[0xff, 0xff, 0xff, 0xff, 0x10]).varint().is_err());
        assert_eq!(cursor(&[0xff, 0xff, 0xff, 0xff, 0x0f]).varint().unwrap(), i32::MIN);
        assert!(cursor(&[0x80]).varint().is_err());
    }
}
