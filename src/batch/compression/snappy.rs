//! Snappy, raw or in xerial's framing: a header, then blocks with a length before each.

use super::Output;
use crate::{Error, ErrorKind, Result};
use byteorder::{BigEndian, ByteOrder};

/// xerial's magic, then its version and the oldest version that can read it, both 1.
const HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const MAGIC: usize = 8;
/// Of a block's length.
const LENGTH: usize = 4;
/// What Java's writer uses; readers take any size.
const BLOCK: usize = 32 * 1024;
/// A copy of 64 bytes takes three: no stream unpacks to more than this times its size.
const MAX_RATIO: usize = 22;

pub(super) struct Encoder(snap::raw::Encoder);

impl Default for Encoder {
    fn default() -> Self {
        Self(snap::raw::Encoder::new())
    }
}

impl Encoder {
    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        output.extend_from_slice(&HEADER);
        for block in input.chunks(BLOCK) {
            let before = output.len();
            let start = before.saturating_add(LENGTH);
            output.resize(start.saturating_add(snap::raw::max_compress_len(block.len())), 0);
            let Some((length, room)) = output.get_mut(before..).and_then(<[u8]>::split_first_chunk_mut::<LENGTH>)
            else {
                return Err(Error::new(ErrorKind::Unsupported, "snappy has no room to compress into"));
            };
            let size = self.0.compress(block, room).map_err(|error| {
                Error::new(ErrorKind::Unsupported, format!("snappy can't compress: {error}")).with_source(error)
            })?;
            // A block's compressed form is well below 64 KiB.
            *length = (size as u32).to_be_bytes();
            output.truncate(start.saturating_add(size));
        }
        Ok(())
    }
}

pub(super) fn decompress(input: &[u8], output: &mut Output) -> Result<()> {
    if !input.starts_with(&HEADER[..MAGIC]) {
        return block(input, output);
    }
    let mut rest = input.get(HEADER.len()..).ok_or_else(|| output.damaged("it ends too early"))?;
    while !rest.is_empty() {
        let Some((length, after)) = rest.split_first_chunk::<4>() else {
            return Err(output.damaged("it ends too early"));
        };
        let length = BigEndian::read_u32(length) as usize;
        let Some((compressed, after)) = after.split_at_checked(length) else {
            return Err(output.damaged("it ends too early"));
        };
        block(compressed, output)?;
        rest = after;
    }
    Ok(())
}

fn block(input: &[u8], output: &mut Output) -> Result<()> {
    if input.is_empty() {
        return Err(output.damaged("it ends too early"));
    }
    let declared = snap::raw::decompress_len(input).map_err(|error| output.damaged(error))?;
    if declared > output.room() {
        return Err(output.over_cap());
    }
    if declared > input.len().saturating_mul(MAX_RATIO) {
        return Err(output.damaged("its declared size is impossible"));
    }
    let start = output.bytes.len();
    output.bytes.resize(start.saturating_add(declared), 0);
    let written = match output.bytes.get_mut(start..) {
        Some(room) => snap::raw::Decoder::new().decompress(input, room),
        None => Ok(0),
    };
    match written {
        Ok(size) if size == declared => Ok(()),
        Ok(_) => Err(output.damaged("its declared size is wrong")),
        Err(error) => Err(output.damaged(error)),
    }
}
