//! LZ4 frames: frames here, blocks by lz4_flex.
//!
//! Frames are taken apart here because that way blocks are unpacked straight into the output under the cap, a
//! frame that ends too early is seen, and the frames of magic 0 can be read, whose header checksum is wrong.

use super::Output;
use crate::{Error, ErrorKind, Result};
use byteorder::{ByteOrder, LittleEndian};
use lz4_flex::block::{
    CompressTable, DecompressError, compress_into_with_table, decompress_into_with_dict, get_maximum_output_size,
};
use twox_hash::XxHash32;

const MAGIC: u32 = 0x184d_2204;
/// Frames with these magics hold no data; the low four bits are free.
const SKIPPABLE: u32 = 0x184d_2a50;
/// How far back a linked block may refer.
const WINDOW: usize = 64 * 1024;
/// A length byte of a match stands for at most 255 bytes of output.
const MAX_RATIO: usize = 255;

/// Writes frames of independent blocks without checksums: Java's reader refuses linked ones. The frame is made here too,
/// since that takes neither a copy of the input nor one of the blocks' memory.
pub(super) struct Encoder {
    table: CompressTable,
    block: Vec<u8>,
}

/// What goes into one block. The smaller of the two tables, which stays in the processor's first cache, is for less than
/// 65,535 bytes.
const BLOCK_BYTES: usize = 65_534;

impl Default for Encoder {
    fn default() -> Self {
        Self { table: CompressTable::small(), block: vec![0; get_maximum_output_size(BLOCK_BYTES)] }
    }
}

impl Encoder {
    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        const VERSION_1_INDEPENDENT: u8 = 0x60;
        const MAX_BLOCK_64_KIB: u8 = 0x40;
        const STORED: u32 = 0x8000_0000;
        let descriptor = [VERSION_1_INDEPENDENT, MAX_BLOCK_64_KIB];
        output.extend_from_slice(&MAGIC.to_le_bytes());
        output.extend_from_slice(&descriptor);
        output.push((hash(&descriptor) >> 8) as u8);
        for chunk in input.chunks(BLOCK_BYTES) {
            let size = compress_into_with_table(chunk, &mut self.block, &mut self.table).map_err(|error| {
                Error::new(ErrorKind::Unsupported, format!("lz4 can't compress: {error}")).with_source(error)
            })?;
            // A chunk has less than 2^16 bytes.
            let (bytes, mark) = match self.block.get(..size) {
                Some(block) if size < chunk.len() => (block, 0),
                _ => (chunk, STORED),
            };
            output.extend_from_slice(&(bytes.len() as u32 | mark).to_le_bytes());
            output.extend_from_slice(bytes);
        }
        output.extend_from_slice(&[0; 4]);
        Ok(())
    }
}

pub(super) fn decompress(mut input: &[u8], output: &mut Output, check_header: bool) -> Result<()> {
    let mut any = false;
    while !input.is_empty() || !any {
        let Some((magic, rest)) = input.split_first_chunk::<4>() else {
            return Err(ends_early(output));
        };
        let magic = u32::from_le_bytes(*magic);
        input = match magic {
            MAGIC => frame(rest, output, check_header)?,
            _ if magic & 0xffff_fff0 == SKIPPABLE => skip(rest).ok_or_else(|| ends_early(output))?,
            _ => return Err(output.damaged("no LZ4 frame")),
        };
        any = true;
    }
    Ok(())
}

#[cold]
fn ends_early(output: &Output) -> Error {
    output.damaged("it ends too early")
}

fn skip(rest: &[u8]) -> Option<&[u8]> {
    let (length, rest) = rest.split_first_chunk::<4>()?;
    rest.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)
}

/// A frame's description of itself.
struct Descriptor {
    linked: bool,
    block_checksums: bool,
    content_checksum: bool,
    content_size: Option<u64>,
    max_block: usize,
}

/// Reads a frame, which starts after its magic, and returns what follows it.
fn frame<'a>(input: &'a [u8], output: &mut Output, check_header: bool) -> Result<&'a [u8]> {
    let (descriptor, mut rest) = descriptor(input, output, check_header)?;
    if descriptor.content_size.is_some_and(|size| size > output.room() as u64) {
        return Err(output.over_cap());
    }
    let start = output.bytes.len();
    loop {
        let (word, after) = rest.split_first_chunk::<4>().ok_or_else(|| ends_early(output))?;
        let word = u32::from_le_bytes(*word);
        rest = after;
        if word == 0 {
            break;
        }
        let size = (word & 0x7fff_ffff) as usize;
        if size > descriptor.max_block {
            return Err(output.damaged("a block is larger than the frame allows"));
        }
        let (block, after) = rest.split_at_checked(size).ok_or_else(|| ends_early(output))?;
        rest = after;
        if descriptor.block_checksums {
            rest = checked(rest, block, output)?;
        }
        if word & 0x8000_0000 != 0 {
            output.extend(block)?;
        } else {
            unpack(block, &descriptor, start, output)?;
        }
    }
    let content = output.bytes.get(start..).unwrap_or_default();
    if descriptor.content_size.is_some_and(|size| size != content.len() as u64) {
        return Err(output.damaged("its content size is wrong"));
    }
    if descriptor.content_checksum { checked(rest, content, output) } else { Ok(rest) }
}

fn descriptor<'a>(input: &'a [u8], output: &Output, check_header: bool) -> Result<(Descriptor, &'a [u8])> {
    const DICTIONARY: u8 = 0x01;
    const CONTENT_CHECKSUM: u8 = 0x04;
    const CONTENT_SIZE: u8 = 0x08;
    const BLOCK_CHECKSUMS: u8 = 0x10;
    const INDEPENDENT: u8 = 0x20;
    let &[flags, block_descriptor, ..] = input else { return Err(ends_early(output)) };
    if flags >> 6 != 1 {
        return Err(output.damaged("an unknown frame version"));
    }
    if flags & DICTIONARY != 0 {
        return Err(output.damaged("it needs a dictionary"));
    }
    let length = if flags & CONTENT_SIZE != 0 { 10 } else { 2 };
    let Some((fields, [checksum, rest @ ..])) = input.split_at_checked(length) else {
        return Err(ends_early(output));
    };
    if check_header && (hash(fields) >> 8) as u8 != *checksum {
        return Err(output.damaged("the frame header's checksum is wrong"));
    }
    let max_block = match block_descriptor >> 4 & 0x07 {
        4 => 64 * 1024,
        5 => 256 * 1024,
        6 => 1024 * 1024,
        7 => 4 * 1024 * 1024,
        _ => return Err(output.damaged("an unknown block size")),
    };
    let descriptor = Descriptor {
        linked: flags & INDEPENDENT == 0,
        block_checksums: flags & BLOCK_CHECKSUMS != 0,
        content_checksum: flags & CONTENT_CHECKSUM != 0,
        content_size: fields.get(2..10).map(LittleEndian::read_u64),
        max_block,
    };
    Ok((descriptor, rest))
}

/// Compares the checksum at the start of `rest` with that of `bytes`, and returns what follows it.
fn checked<'a>(rest: &'a [u8], bytes: &[u8], output: &Output) -> Result<&'a [u8]> {
    let (sum, rest) = rest.split_first_chunk::<4>().ok_or_else(|| ends_early(output))?;
    if u32::from_le_bytes(*sum) != hash(bytes) {
        return Err(output.damaged("a checksum is wrong"));
    }
    Ok(rest)
}

pub(super) fn hash(bytes: &[u8]) -> u32 {
    XxHash32::oneshot(0, bytes)
}

/// Unpacks a block to the end of the output. `start` is where the frame's output begins.
fn unpack(block: &[u8], descriptor: &Descriptor, start: usize, output: &mut Output) -> Result<()> {
    let at = output.bytes.len();
    let most = descriptor.max_block.min(block.len().saturating_mul(MAX_RATIO));
    let room = most.min(output.room());
    output.bytes.resize(at.saturating_add(room), 0);
    let (before, target) = output.bytes.split_at_mut(at);
    let window = if descriptor.linked { before.get(start.max(at.saturating_sub(WINDOW))..) } else { None };
    match decompress_into_with_dict(block, target, window.unwrap_or_default()) {
        Ok(size) => {
            output.bytes.truncate(at.saturating_add(size));
            Ok(())
        }
        Err(DecompressError::OutputTooSmall { .. }) if room < most => Err(output.over_cap()),
        Err(error) => Err(output.damaged(error)),
    }
}
