//! Reads the protocol's primitive types from bytes that came from the network.

use crate::{Error, Result};
use bytes::Bytes;

/// A cursor over received bytes.
///
/// Every read is bounded by what is there: no length or count from the wire is trusted, and none sizes an allocation.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    position: usize,
    #[cfg(test)]
    inventor: Option<fastrand::Rng>,
}

macro_rules! fixed {
    ($(#[$doc:meta])* $name:ident, $type:ty, $width:literal, $read:expr) => {
        $(#[$doc])*
        pub fn $name(&mut self) -> Result<$type> {
            let at = self.advance($width)?;
            let read: fn(&[u8; $width]) -> $type = $read;
            self.bytes.get(at..).and_then(<[u8]>::first_chunk).map(read).ok_or_else(truncated)
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
        Self {
            bytes: bytes.into(),
            position: 0,
            #[cfg(test)]
            inventor: None,
        }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.position)
    }

    /// Fails unless everything has been read.
    pub fn finish(&self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(Error::protocol(format!("{n} bytes too many at the end of a message"))),
        }
    }

    fn advance(&mut self, n: usize) -> Result<usize> {
        #[cfg(test)]
        self.invent(n);
        if n > self.remaining() {
            return Err(truncated());
        }
        let at = self.position;
        self.position = at.saturating_add(n);
        Ok(at)
    }

    /// Skips `n` bytes.
    pub fn skip(&mut self, n: usize) -> Result<()> {
        self.advance(n).map(|_| ())
    }

    /// The next `n` bytes, sharing the memory of the message.
    pub fn bytes_of(&mut self, n: usize) -> Result<Bytes> {
        let at = self.advance(n)?;
        Ok(self.bytes.slice(at..self.position))
    }

    fixed!(/// INT8.
        i8, i8, 1, |b| i8::from_be_bytes(*b));
    fixed!(/// INT16, big endian.
        i16, i16, 2, |b| i16::from_be_bytes(*b));
    fixed!(/// UINT16, big endian.
        u16, u16, 2, |b| u16::from_be_bytes(*b));
    fixed!(/// INT32, big endian.
        i32, i32, 4, |b| i32::from_be_bytes(*b));
    fixed!(/// UINT32, big endian.
        u32, u32, 4, |b| u32::from_be_bytes(*b));
    fixed!(/// INT64, big endian.
        i64, i64, 8, |b| i64::from_be_bytes(*b));
    fixed!(/// FLOAT64, big endian.
        f64, f64, 8, |b| f64::from_be_bytes(*b));
    fixed!(/// UUID.
        uuid, [u8; 16], 16, |b| *b);

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
        #[cfg(test)]
        if let Some(rng) = &mut self.inventor {
            return Ok((rng.u8(..4) > 0).then(|| rng.usize(..3)));
        }
        let n = if flexible {
            i64::from(self.unsigned_varint()?).saturating_sub(1)
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

    /// A length or count of something that can't be null.
    fn required_length(&mut self, flexible: bool, wide: bool) -> Result<usize> {
        #[cfg(test)]
        if let Some(rng) = &mut self.inventor {
            return Ok(rng.usize(..3));
        }
        self.length(flexible, wide)?.ok_or_else(|| Error::protocol("null for a field that can't be null"))
    }

    fn text(&mut self, n: usize) -> Result<String> {
        let at = self.advance(n)?;
        let text = self.bytes.get(at..self.position).ok_or_else(truncated)?;
        match std::str::from_utf8(text) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Error::protocol("a string is not UTF-8")),
        }
    }

    /// NULLABLE_STRING, compact if `flexible`.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<String>> {
        self.length(flexible, false)?.map(|n| self.text(n)).transpose()
    }

    /// STRING, compact if `flexible`; null is an error.
    pub fn string(&mut self, flexible: bool) -> Result<String> {
        let n = self.required_length(flexible, false)?;
        self.text(n)
    }

    /// NULLABLE_BYTES or RECORDS, compact if `flexible`, sharing the memory of the message.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>> {
        self.length(flexible, true)?.map(|n| self.bytes_of(n)).transpose()
    }

    /// BYTES, compact if `flexible`; null is an error.
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes> {
        let n = self.required_length(flexible, true)?;
        self.bytes_of(n)
    }

    /// The count of an array, compact if `flexible`; `None` is null. It is never larger than the bytes that are left.
    pub fn nullable_count(&mut self, flexible: bool) -> Result<Option<usize>> {
        self.length(flexible, true)?.map(|n| self.bounded(n)).transpose()
    }

    /// An element takes at least one byte, so a count larger than the bytes that are left can't be met.
    fn bounded(&self, count: usize) -> Result<usize> {
        #[cfg(test)]
        if self.inventor.is_some() {
            return Ok(count);
        }
        if count > self.remaining() { Err(truncated()) } else { Ok(count) }
    }

    fn elements<T>(&mut self, count: usize, mut element: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        // An element in memory can be far larger than on the wire: growth follows what was really decoded.
        let mut elements = Vec::with_capacity(count.min(4));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(elements)
    }

    /// Reads an array by reading its elements one by one.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(count) = self.nullable_count(flexible)? else { return Ok(None) };
        self.elements(count, element).map(Some)
    }

    /// Like [`nullable_array`](Self::nullable_array); null is an error.
    pub fn array<T>(&mut self, flexible: bool, element: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.required_length(flexible, true)?;
        let count = self.bounded(count)?;
        self.elements(count, element)
    }

    /// Reads a nullable structure: a byte that says whether it follows, then the structure.
    pub fn nullable_struct<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        if self.i8()? < 0 { Ok(None) } else { read(self).map(Some) }
    }

    /// Reads a section of tagged fields. `field` gets each tag with a reader of just its bytes and returns whether it
    /// knows the tag; unknown ones are skipped.
    pub fn tagged_fields(&mut self, mut field: impl FnMut(u32, &mut Self) -> Result<bool>) -> Result<()> {
        #[cfg(test)]
        if let Some(rng) = &mut self.inventor {
            let section = Self::inventing(rng.u64(..));
            let tags: Vec<u32> = (0..4).filter(|_| rng.bool()).collect();
            return tags.into_iter().try_for_each(|tag| field(tag, &mut section.clone()).map(|_| ()));
        }
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

    /// Skips a section of tagged fields.
    pub fn skip_tagged_fields(&mut self) -> Result<()> {
        self.tagged_fields(|_, _| Ok(false))
    }
}

/// For tests of all messages: a reader that makes up what it reads, so that decoding gives a message with a random
/// value in each field that the version has.
#[cfg(test)]
impl Reader {
    pub(crate) fn inventing(seed: u64) -> Self {
        Self { bytes: Bytes::new(), position: 0, inventor: Some(fastrand::Rng::with_seed(seed)) }
    }

    /// Puts `n` letters, or another pattern that is text, at the position.
    fn invent(&mut self, n: usize) {
        if let Some(rng) = &mut self.inventor {
            let bytes: Vec<u8> = match rng.u8(..8) {
                0 => vec![0; n],
                1 => vec![0x7f; n],
                // As numbers these are negative; n is then 1, 2, 4, 8 or 16, or the length of a string.
                2 if n.is_multiple_of(2) => [0xc3, 0xa9].repeat(n / 2),
                3 if n == 1 => vec![1],
                _ => (0..n).map(|_| rng.alphanumeric() as u8).collect(),
            };
            (self.bytes, self.position) = (bytes.into(), 0);
        }
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
    fn w10_a_varint_has_32_bits_and_no_more() {
        let read = |bytes: &'static [u8]| Reader::new(bytes).unsigned_varint();
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]).unwrap(), u32::MAX);
        for bytes in [&[0xff, 0xff, 0xff, 0xff, 0x1f][..], &[0x80, 0x80, 0x80, 0x80, 0x10], &[0xff; 4]] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn w10_null_is_refused_where_it_can_not_be() {
        for (flexible, null) in [(true, &[0][..]), (false, &[0xff; 4])] {
            let reader = || Reader::new(null);
            assert!(reader().string(flexible).is_err() && reader().bytes(flexible).is_err());
            assert!(reader().array(flexible, Reader::i8).is_err());
            assert_eq!(reader().nullable_string(flexible).unwrap(), None);
            assert_eq!(reader().nullable_bytes(flexible).unwrap(), None);
            assert_eq!(reader().nullable_array(flexible, Reader::i8).unwrap(), None);
        }
    }

    #[test]
    fn w10_a_tagged_field_is_read_to_its_end_and_not_beyond() {
        // One field with the tag 7 and two bytes.
        let fields = |read: fn(&mut Reader) -> Result<()>| {
            Reader::new(&[1, 7, 2, 1, 2, 3][..]).tagged_fields(|_, section| read(section).map(|()| true))
        };
        fields(|section| section.skip(2)).unwrap();
        assert!(fields(|section| section.skip(1)).is_err(), "bytes that the field does not have");
        assert!(fields(|section| section.skip(3)).is_err(), "bytes of what follows");
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
