//! Reads the protocol's primitive types from bytes that came from the network.

use crate::{Error, Result};
use byteorder::{BigEndian, ByteOrder};
use bytes::Bytes;

/// A cursor over received bytes.
///
/// Every read is bounded by what is there: no length or count from the wire is trusted, and none sizes an allocation.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    position: usize,
}

macro_rules! fixed {
    ($(#[$doc:meta])* $name:ident, $type:ty, $width:literal, $read:expr) => {
        $(#[$doc])*
        pub fn $name(&mut self) -> Result<$type> {
            let at = self.advance($width)?;
            let read: fn(&[u8]) -> $type = $read;
            self.bytes.get(at..at + $width).map(read).ok_or_else(truncated)
        }
    };
}

#[cold]
fn truncated() -> Error {
    Error::protocol("message ends too early")
}

impl Reader {
    /// Starts at the first byte.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), position: 0 }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Fails unless everything has been read.
    pub fn finish(&self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(Error::protocol(format!("{n} bytes too many at the end of a message"))),
        }
    }

    fn advance(&mut self, n: usize) -> Result<usize> {
        if n > self.remaining() {
            return Err(truncated());
        }
        let at = self.position;
        self.position += n;
        Ok(at)
    }

    /// Skips `n` bytes.
    pub fn skip(&mut self, n: usize) -> Result<()> {
        self.advance(n).map(|_| ())
    }

    /// The next `n` bytes, sharing the memory of the message.
    pub fn bytes_of(&mut self, n: usize) -> Result<Bytes> {
        let at = self.advance(n)?;
        Ok(self.bytes.slice(at..at + n))
    }

    fixed!(/// INT8.
        i8, i8, 1, |b| b[0] as i8);
    fixed!(/// INT16, big endian.
        i16, i16, 2, BigEndian::read_i16);
    fixed!(/// UINT16, big endian.
        u16, u16, 2, BigEndian::read_u16);
    fixed!(/// INT32, big endian.
        i32, i32, 4, BigEndian::read_i32);
    fixed!(/// UINT32, big endian.
        u32, u32, 4, BigEndian::read_u32);
    fixed!(/// INT64, big endian.
        i64, i64, 8, BigEndian::read_i64);
    fixed!(/// FLOAT64, big endian.
        f64, f64, 8, BigEndian::read_f64);
    fixed!(/// UUID.
        uuid, [u8; 16], 16, |b| { let mut id = [0; 16]; id.copy_from_slice(b); id });

    /// BOOLEAN: any byte but 0 is true.
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.i8()? != 0)
    }

    /// UNSIGNED_VARINT of at most 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.i8()? as u8;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::protocol("a variable-length integer does not fit 32 bits"))
    }

    /// A length or count; `None` stands for null.
    fn length(&mut self, flexible: bool, wide: bool) -> Result<Option<usize>> {
        let n = if flexible {
            i64::from(self.unsigned_varint()?) - 1
        } else if wide {
            i64::from(self.i32()?)
        } else {
            i64::from(self.i16()?)
        };
        match n {
            -1 => Ok(None),
            0.. => Ok(Some(usize::try_from(n).map_err(|_| truncated())?)),
            _ => Err(Error::protocol(format!("negative length {n}"))),
        }
    }

    /// NULLABLE_STRING, compact if `flexible`.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<String>> {
        let Some(n) = self.length(flexible, false)? else { return Ok(None) };
        let at = self.advance(n)?;
        let text = self.bytes.get(at..at + n).ok_or_else(truncated)?;
        match std::str::from_utf8(text) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(Error::protocol("a string is not UTF-8")),
        }
    }

    /// STRING, compact if `flexible`; null is an error.
    pub fn string(&mut self, flexible: bool) -> Result<String> {
        self.nullable_string(flexible)?.ok_or_else(|| Error::protocol("null for a string that can't be null"))
    }

    /// NULLABLE_BYTES or RECORDS, compact if `flexible`, sharing the memory of the message.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>> {
        match self.length(flexible, true)? {
            Some(n) => self.bytes_of(n).map(Some),
            None => Ok(None),
        }
    }

    /// BYTES, compact if `flexible`; null is an error.
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes> {
        self.nullable_bytes(flexible)?.ok_or_else(|| Error::protocol("null for bytes that can't be null"))
    }

    /// The count of an array, compact if `flexible`; `None` is null. It is never larger than the bytes that are left.
    pub fn nullable_count(&mut self, flexible: bool) -> Result<Option<usize>> {
        match self.length(flexible, true)? {
            // An element takes at least one byte, so a larger count can't be met.
            Some(n) if n > self.remaining() => Err(truncated()),
            count => Ok(count),
        }
    }

    /// Reads an array by reading its elements one by one.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        mut element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(count) = self.nullable_count(flexible)? else { return Ok(None) };
        // An element in memory can be far larger than on the wire: growth follows what was really decoded.
        let mut elements = Vec::with_capacity(count.min(4));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// Like [`nullable_array`](Self::nullable_array); null is an error.
    pub fn array<T>(&mut self, flexible: bool, element: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.nullable_array(flexible, element)?.ok_or_else(|| Error::protocol("null for an array that can't be null"))
    }

    /// Reads a section of tagged fields. `field` gets each tag with a reader of just its bytes and returns whether it
    /// knows the tag; unknown ones are skipped.
    pub fn tagged_fields(&mut self, mut field: impl FnMut(u32, &mut Self) -> Result<bool>) -> Result<()> {
        let count = self.unsigned_varint()?;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            let mut section = Self::new(self.bytes_of(size)?);
            if field(tag, &mut section)? {
                section.finish()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w10_counts_and_lengths_beyond_the_message_are_refused() {
        let huge = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
        assert!(Reader::new(huge.clone()).nullable_count(false).is_err());
        assert!(Reader::new(huge).bytes(false).is_err());
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xfe][..]).nullable_count(false).is_err());
        assert!(Reader::new(&[0xff; 10][..]).unsigned_varint().is_err());
        assert!(Reader::new(&[3, 0xff, 0xfe][..]).string(true).is_err());
    }

    #[test]
    fn unknown_tagged_fields_are_skipped() {
        let mut reader = Reader::new(&[2, 7, 1, 42, 9, 0][..]);
        let mut seen = Vec::new();
        reader
            .tagged_fields(|tag, section| {
                if tag == 7 {
                    seen.push(section.i8()?);
                }
                Ok(tag == 7)
            })
            .unwrap();
        assert_eq!(seen, [42]);
        reader.finish().unwrap();
    }
}
