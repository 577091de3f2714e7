//! Frames out of a stream of bytes, wherever the reads from it happen to end.

use crate::{Error, ErrorKind, Result};
use bytes::Bytes;

/// Small answers are read in one go with their length; this much is read ahead.
const INBOX_BYTES: usize = 8 * 1024;
/// The first step of a large answer's buffer; it doubles as bytes really arrive.
pub(crate) const FIRST_STEP_BYTES: usize = 1024 * 1024;

/// What has been read from a connection but not yet taken.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// From `taken` on it is not taken yet.
    bytes: Vec<u8>,
    taken: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { bytes: Vec::with_capacity(INBOX_BYTES), taken: 0 }
    }
}

impl Inbox {
    /// Whether all that was read is taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    /// Reads what comes next, in one call of `read`.
    pub(crate) fn read_some<T>(&mut self, read: impl FnOnce(&mut Vec<u8>) -> Result<T>) -> Result<T> {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        } else if self.bytes.len() == self.bytes.capacity() {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        read(&mut self.bytes)
    }

    /// Reads one length-prefixed frame of at most `limit` bytes. `read` appends to a buffer, at least one byte and at most
    /// its spare capacity, or fails.
    pub(crate) fn read_frame(
        &mut self,
        limit: usize,
        mut read: impl FnMut(&mut Vec<u8>) -> Result<usize>,
    ) -> Result<Bytes> {
        let prefix = loop {
            match self.ahead().first_chunk::<4>() {
                Some(prefix) => break *prefix,
                None => _ = self.read_some(&mut read)?,
            }
        };
        let length = frame_length(prefix, limit)?;
        self.taken = self.taken.saturating_add(prefix.len());

        let mut frame = Vec::with_capacity(length.min(FIRST_STEP_BYTES));
        self.take(&mut frame, length);
        while frame.len() < length {
            if length.saturating_sub(frame.len()) < INBOX_BYTES / 2 {
                // The end of this frame and perhaps the next one, in one call.
                self.read_some(&mut read)?;
                self.take(&mut frame, length);
                continue;
            }
            if frame.len() == frame.capacity() {
                frame.reserve_exact(growth(frame.len(), length));
            }
            read(&mut frame)?;
        }
        if let Some(next) = frame.get(length..).filter(|next| !next.is_empty()) {
            // The allocator may give more than was asked for, and then the start of the next frame is read along.
            self.bytes.clear();
            self.bytes.extend_from_slice(next);
            self.taken = 0;
            frame.truncate(length);
        }
        Ok(Bytes::from(frame))
    }

    /// Moves what there is into a frame of this length.
    fn take(&mut self, frame: &mut Vec<u8>, length: usize) {
        let ahead = self.ahead();
        let taken = ahead.get(..length.saturating_sub(frame.len())).unwrap_or(ahead);
        frame.extend_from_slice(taken);
        self.taken = self.taken.saturating_add(taken.len());
    }

    fn ahead(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }
}

/// Checks a frame's length before any memory is taken for it.
fn frame_length(prefix: [u8; 4], limit: usize) -> Result<usize> {
    match &prefix {
        b"HTTP" => return Err(Error::protocol("this looks like an HTTP server, not a Kafka broker")),
        // A TLS record: type alert or handshake, then the version 3.x.
        [0x15 | 0x16, 3, ..] => {
            return Err(Error::protocol("this looks like a TLS port; the connection is plaintext"));
        }
        _ => {}
    }
    let length = i32::from_be_bytes(prefix);
    match usize::try_from(length) {
        Ok(n) if n > limit => {
            Err(Error::new(ErrorKind::TooLarge, format!("an answer of {n} bytes is over the limit of {limit} bytes"))
                .with_setting("receive.message.max.bytes"))
        }
        Ok(n) if n >= 4 => Ok(n),
        _ => Err(Error::protocol(format!("a frame of {length} bytes"))),
    }
}

/// How much a buffer grows that holds `have` bytes of a frame of `length`. It doubles: memory follows the bytes that
/// really arrived, not the length the peer claims.
fn growth(have: usize, length: usize) -> usize {
    have.max(1).min(length.saturating_sub(have))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w4_memory_follows_the_bytes_that_arrived() {
        const MIB: usize = 1024 * 1024;
        let mut capacity = FIRST_STEP_BYTES;
        // The peer claims 90 MiB; each step is taken once the last one is full.
        for (arrived, at_most) in [(MIB, 2 * MIB), (2 * MIB, 4 * MIB), (4 * MIB, 8 * MIB), (64 * MIB, 90 * MIB)] {
            assert!(capacity <= at_most);
            capacity = arrived + growth(arrived, 90 * MIB);
            assert!((arrived + 1..=at_most).contains(&capacity), "{arrived}: {capacity}");
        }
        assert_eq!((growth(0, 10), growth(10, 10)), (1, 0));
    }
}
