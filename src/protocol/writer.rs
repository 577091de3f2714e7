//! Writes the protocol's primitive types.

use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::io::IoSlice;

/// Byte strings from this length on are not copied into the frame but written from where they are.
const SPLICE_LENGTH: usize = 4096;

/// Collects a message. Large byte fields (record batches) are kept as they are and written by a vectored write.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
    /// Byte strings that belong at a position of `buffer`, in order.
    splices: Vec<(usize, Bytes)>,
    spliced: usize,
    /// The first length that its field could not hold.
    too_long: Option<usize>,
    /// No byte string is copied, however short.
    copies_nothing: bool,
}

impl Writer {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty message in the memory of an earlier one.
    pub fn reuse(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { buffer, ..Self::default() }
    }

    /// Copies no byte strings from here on, so that a secret among them stays where its owner wipes it.
    #[must_use]
    pub fn without_copies(mut self) -> Self {
        self.copies_nothing = true;
        self
    }

    /// The bytes so far.
    pub fn len(&self) -> usize {
        self.buffer.len().saturating_add(self.spliced)
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// INT8.
    pub fn i8(&mut self, value: i8) {
        self.buffer.push(value as u8);
    }

    /// BOOLEAN.
    pub fn bool(&mut self, value: bool) {
        self.buffer.push(u8::from(value));
    }

    /// INT16, big endian.
    pub fn i16(&mut self, value: i16) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    /// UINT16, big endian.
    pub fn u16(&mut self, value: u16) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    /// INT32, big endian.
    pub fn i32(&mut self, value: i32) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    /// UINT32, big endian.
    pub fn u32(&mut self, value: u32) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    /// INT64, big endian.
    pub fn i64(&mut self, value: i64) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    /// FLOAT64, big endian.
    pub fn f64(&mut self, value: f64) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    /// UUID.
    pub fn uuid(&mut self, value: &[u8; 16]) {
        self.buffer.extend_from_slice(value);
    }

    /// Bytes without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// UNSIGNED_VARINT.
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.push(value as u8);
    }

    /// Fails if something was longer than its length field can say. Messages end with this check, so that writing
    /// fields needs no `Result` of its own.
    pub fn check(&self) -> Result<()> {
        match self.too_long {
            None => Ok(()),
            Some(n) => Err(Error::new(ErrorKind::TooLarge, format!("a field of length {n} does not fit the protocol"))),
        }
    }

    fn length(&mut self, n: Option<usize>, flexible: bool, wide: bool) {
        // Kafka keeps the limit of 32767 bytes for strings in flexible versions, too.
        let limit = if wide { i32::MAX } else { i32::from(i16::MAX) };
        let length = match n.map(i32::try_from) {
            None => -1,
            Some(Ok(n)) if n <= limit => n,
            Some(_) => {
                self.too_long = self.too_long.or(n);
                -1
            }
        };
        if flexible {
            self.unsigned_varint(length.saturating_add(1).unsigned_abs());
        } else if wide {
            self.i32(length);
        } else {
            self.i16(length as i16);
        }
    }

    /// STRING, compact if `flexible`.
    pub fn string(&mut self, value: &str, flexible: bool) {
        self.nullable_string(Some(value), flexible);
    }

    /// NULLABLE_STRING, compact if `flexible`. One of more than 32767 bytes makes [`check`](Self::check) fail.
    pub fn nullable_string(&mut self, value: Option<&str>, flexible: bool) {
        self.length(value.map(str::len), flexible, false);
        self.buffer.extend_from_slice(value.unwrap_or_default().as_bytes());
    }

    /// BYTES or RECORDS, compact if `flexible`.
    pub fn bytes(&mut self, value: &Bytes, flexible: bool) {
        self.nullable_bytes(Some(value), flexible);
    }

    /// NULLABLE_BYTES or RECORDS, compact if `flexible`. Large ones are not copied.
    pub fn nullable_bytes(&mut self, value: Option<&Bytes>, flexible: bool) {
        self.length(value.map(Bytes::len), flexible, true);
        match value {
            Some(bytes) if bytes.len() >= SPLICE_LENGTH || self.copies_nothing => {
                self.spliced = self.spliced.saturating_add(bytes.len());
                self.splices.push((self.buffer.len(), bytes.clone()));
            }
            Some(bytes) => self.buffer.extend_from_slice(bytes),
            None => {}
        }
    }

    /// The count of an array, compact if `flexible`; `None` is null. The caller writes the elements.
    pub fn count(&mut self, count: Option<usize>, flexible: bool) {
        self.length(count, flexible, true);
    }

    /// An array, compact if `flexible`.
    pub fn array<T>(
        &mut self,
        elements: &[T],
        flexible: bool,
        mut element: impl FnMut(&mut Self, &T) -> Result<()>,
    ) -> Result<()> {
        self.count(Some(elements.len()), flexible);
        elements.iter().try_for_each(|e| element(self, e))
    }

    /// A nullable array, compact if `flexible`.
    pub fn nullable_array<T>(
        &mut self,
        elements: Option<&[T]>,
        flexible: bool,
        element: impl FnMut(&mut Self, &T) -> Result<()>,
    ) -> Result<()> {
        match elements {
            Some(elements) => self.array(elements, flexible, element),
            None => {
                self.count(None, flexible);
                Ok(())
            }
        }
    }

    /// A nullable structure: a byte that says whether it follows, then the structure.
    pub fn nullable_struct<T>(
        &mut self,
        value: Option<&T>,
        write: impl FnOnce(&mut Self, &T) -> Result<()>,
    ) -> Result<()> {
        self.i8(if value.is_some() { 1 } else { -1 });
        value.map_or(Ok(()), |value| write(self, value))
    }

    /// An empty section of tagged fields.
    pub fn no_tagged_fields(&mut self) {
        self.unsigned_varint(0);
    }

    /// One tagged field: its tag, its size, and what `write` writes.
    pub fn tagged_field(&mut self, tag: u32, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut section = Self::new();
        write(&mut section)?;
        self.too_long = self.too_long.or(section.too_long);
        let section = section.into_bytes();
        self.unsigned_varint(tag);
        // Unlike other compact lengths, this one is not the length plus one: there is no null.
        self.unsigned_varint(u32::try_from(section.len()).unwrap_or(u32::MAX));
        self.raw(&section);
        Ok(())
    }

    /// Everything in one piece.
    pub fn into_bytes(self) -> Vec<u8> {
        if self.splices.is_empty() {
            return self.buffer;
        }
        let mut all = Vec::with_capacity(self.len());
        let mut at = 0;
        for (position, bytes) in &self.splices {
            all.extend_from_slice(self.buffer.get(at..*position).unwrap_or_default());
            all.extend_from_slice(bytes);
            at = *position;
        }
        all.extend_from_slice(self.buffer.get(at..).unwrap_or_default());
        all
    }

    /// Ends a message that began with four bytes for the frame's length: sets the length.
    pub fn into_frame(mut self) -> Frame {
        let length = self.len();
        if let Some(prefix) = self.buffer.first_chunk_mut::<4>() {
            *prefix = (length.saturating_sub(prefix.len()) as u32).to_be_bytes();
        }
        Frame { buffer: self.buffer, splices: self.splices, length }
    }
}

/// A finished message with its length prefix, ready for a vectored write.
#[derive(Debug)]
pub struct Frame {
    buffer: Vec<u8>,
    splices: Vec<(usize, Bytes)>,
    length: usize,
}

impl Frame {
    /// The whole length, the prefix included.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The pieces in the order of writing.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(self.splices.len().saturating_mul(2).saturating_add(1));
        let mut at = 0;
        for (position, bytes) in &self.splices {
            if let Some(before) = self.buffer.get(at..*position).filter(|before| !before.is_empty()) {
                slices.push(IoSlice::new(before));
            }
            slices.push(IoSlice::new(bytes));
            at = *position;
        }
        if let Some(rest) = self.buffer.get(at..).filter(|rest| !rest.is_empty()) {
            slices.push(IoSlice::new(rest));
        }
        slices
    }

    /// Gives back the buffer, for the next message.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use byteorder::{BigEndian, ByteOrder};

    #[test]
    fn large_bytes_are_spliced_in_order() {
        let large = Bytes::from(vec![7u8; SPLICE_LENGTH]);
        let mut writer = Writer::new();
        writer.i32(0);
        writer.bytes(&large, false);
        writer.i8(1);
        writer.bytes(&large, true);
        let frame = writer.into_frame();
        let flat: Vec<u8> = frame.slices().iter().flat_map(|slice| slice.to_vec()).collect();
        assert_eq!(flat.len(), frame.len());
        assert_eq!(BigEndian::read_i32(&flat) as usize, flat.len() - 4);
        assert_eq!(BigEndian::read_i32(&flat[4..]) as usize, SPLICE_LENGTH);
        assert_eq!(flat[8 + SPLICE_LENGTH], 1);
        assert_eq!(frame.slices().len(), 4);
    }

    #[test]
    fn x10_without_copies_the_buffer_holds_no_byte_string() {
        let write = |mut writer: Writer| {
            writer.i32(0);
            for bytes in [&b"hunter2"[..], b"", b"x"] {
                writer.bytes(&Bytes::copy_from_slice(bytes), true);
            }
            writer.string("end", true);
            writer.into_frame()
        };
        let flat = |frame: &Frame| frame.slices().iter().flat_map(|slice| slice.to_vec()).collect::<Vec<u8>>();
        let (copied, spliced) = (write(Writer::new()), write(Writer::new().without_copies()));
        assert_eq!((flat(&copied), copied.len()), (flat(&spliced), spliced.len()));
        assert!(copied.into_buffer().windows(7).any(|bytes| bytes == b"hunter2"));
        assert!(!spliced.into_buffer().windows(7).any(|bytes| bytes == b"hunter2"));
    }

    #[test]
    fn strings_beyond_the_limit_are_refused() {
        for flexible in [false, true] {
            let mut writer = Writer::new();
            writer.string(&"x".repeat(32767), flexible);
            assert!(writer.check().is_ok());
            let too_long = "x".repeat(32768);
            let write = |w: &mut Writer| {
                w.string(&too_long, flexible);
                Ok(())
            };
            writer.tagged_field(0, write).unwrap();
            assert_eq!(writer.check().unwrap_err().kind(), ErrorKind::TooLarge);
        }
    }
}
