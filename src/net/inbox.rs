//! Frames out of a stream of bytes, wherever the reads from it happen to end.

use crate::config::{reserve_wiping, wipe_front};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use zeroize::Zeroizing;

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

    /// Reads what comes next, in one call of `read`. What is ahead must be less than fits, or there is no room to read into.
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
        let mut frame = Vec::new();
        self.fill_frame(&mut frame, limit, Vec::reserve_exact, &mut read)?;
        Ok(Bytes::from(frame))
    }

    /// The same for a frame that carries a secret: it is wiped when nobody uses it any more, and no copy of it stays here.
    pub(crate) fn read_secret_frame(
        &mut self,
        limit: usize,
        mut read: impl FnMut(&mut Vec<u8>) -> Result<usize>,
    ) -> Result<Bytes> {
        let mut frame = Zeroizing::new(Vec::new());
        let filled = self.fill_frame(&mut frame, limit, reserve_wiping, &mut read);
        wipe_front(&mut self.bytes, &mut self.taken);
        filled.map(|()| Bytes::from_owner(frame))
    }

    fn fill_frame(
        &mut self,
        frame: &mut Vec<u8>,
        limit: usize,
        grow: fn(&mut Vec<u8>, usize),
        read: &mut impl FnMut(&mut Vec<u8>) -> Result<usize>,
    ) -> Result<()> {
        let prefix = loop {
            match self.ahead().first_chunk::<4>() {
                Some(prefix) => break *prefix,
                None => _ = self.read_some(&mut *read)?,
            }
        };
        let length = frame_length(prefix, limit)?;
        self.taken = self.taken.saturating_add(prefix.len());

        frame.reserve_exact(length.min(FIRST_STEP_BYTES));
        self.take(frame, length);
        while frame.len() < length {
            if length.saturating_sub(frame.len()) < INBOX_BYTES / 2 {
                // The end of this frame and perhaps the next one, in one call.
                self.read_some(&mut *read)?;
                self.take(frame, length);
                continue;
            }
            if frame.len() == frame.capacity() {
                grow(frame, growth(frame.len(), length));
            }
            read(frame)?;
        }
        if let Some(next) = frame.get(length..).filter(|next| !next.is_empty()) {
            // The allocator may give more than was asked for, and then the start of the next frame is read along.
            self.bytes.clear();
            reserve_wiping(&mut self.bytes, next.len());
            self.bytes.extend_from_slice(next);
            self.taken = 0;
            frame.truncate(length);
        }
        Ok(())
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
    fn x10_a_secret_frame_is_the_frame_and_leaves_the_next_one_ahead() {
        let frames = [vec![1; 4], vec![2; 10_000], vec![3; 5], vec![4; 3 * INBOX_BYTES], vec![5; 100]];
        let stream: Vec<u8> = frames
            .iter()
            .flat_map(|frame| (frame.len() as u32).to_be_bytes().into_iter().chain(frame.clone()))
            .collect();
        for step in [1, 7, 4096, 9000, stream.len()] {
            let (mut inbox, mut rest) = (Inbox::default(), &stream[..]);
            for (at, frame) in frames.iter().enumerate() {
                let mut read = |buffer: &mut Vec<u8>| {
                    let now = step.min(buffer.capacity() - buffer.len()).min(rest.len());
                    buffer.extend_from_slice(&rest[..now]);
                    rest = &rest[now..];
                    Ok(now)
                };
                let secret = at % 2 == 0;
                let read = if secret {
                    inbox.read_secret_frame(100_000, &mut read)
                } else {
                    inbox.read_frame(100_000, &mut read)
                };
                assert_eq!(read.unwrap(), frame, "frame {at} in steps of {step}");
                assert!(!secret || inbox.taken == 0 && inbox.bytes.capacity() >= INBOX_BYTES);
            }
            assert!(inbox.is_empty());
        }
    }

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
