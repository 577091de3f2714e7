//! gzip: headers and trailers (RFC 1952) here, deflate by flate2.

use super::{MIN_STEP, Output};
use crate::{Error, ErrorKind, Result};
use byteorder::{ByteOrder, LittleEndian};
use flate2::{Compress, Crc, Decompress, FlushCompress, FlushDecompress, Status};

/// Deflate, no flags, no time, no system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const TRAILER: usize = 8;

pub(super) struct Encoder(Compress);

impl Encoder {
    pub(super) fn new(level: i32) -> Self {
        let level = u32::try_from(level).map_or(flate2::Compression::default(), flate2::Compression::new);
        Self(Compress::new(level, false))
    }

    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        self.0.reset();
        output.extend_from_slice(&HEADER);
        loop {
            // At least a little, or a full buffer would stop it from ever finishing.
            output.reserve((input.len() / 4).max(MIN_STEP));
            let consumed = usize::try_from(self.0.total_in()).unwrap_or(usize::MAX);
            let rest = input.get(consumed..).unwrap_or_default();
            match self.0.compress_vec(rest, output, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => break,
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) => {
                    let message = format!("gzip can't compress: {error}");
                    return Err(Error::new(ErrorKind::Unsupported, message).with_source(error));
                }
            }
        }
        let mut crc = Crc::new();
        crc.update(input);
        output.extend_from_slice(&crc.sum().to_le_bytes());
        output.extend_from_slice(&crc.amount().to_le_bytes());
        Ok(())
    }
}

pub(super) struct Decoder(Decompress);

impl Default for Decoder {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl Decoder {
    /// Reads all members. Like Java's, it takes bytes that can't be a member's beginning for padding.
    pub(super) fn decompress(&mut self, input: &[u8], output: &mut Output) -> Result<()> {
        let mut rest = self.member(input, output)?;
        while rest.starts_with(&HEADER[..2]) {
            rest = self.member(rest, output)?;
        }
        Ok(())
    }

    /// Reads one member and returns what follows it.
    fn member<'a>(&mut self, input: &'a [u8], output: &mut Output) -> Result<&'a [u8]> {
        let body = skip_header(input).ok_or_else(|| output.damaged("no gzip header"))?;
        let start = output.bytes.len();
        self.0.reset(false);
        let consumed = loop {
            let consumed = usize::try_from(self.0.total_in()).unwrap_or(usize::MAX);
            let rest = body.get(consumed..).unwrap_or_default();
            if output.bytes.len() == output.bytes.capacity() {
                output.grow(rest.len().saturating_mul(4));
            }
            let before = (self.0.total_in(), self.0.total_out());
            let status = self.0.decompress_vec(rest, &mut output.bytes, FlushDecompress::None);
            output.check_cap()?;
            let progress = (self.0.total_in(), self.0.total_out()) != before;
            match status {
                Ok(Status::StreamEnd) => break usize::try_from(self.0.total_in()).unwrap_or(usize::MAX),
                Ok(_) if progress || output.bytes.len() == output.bytes.capacity() => {}
                Ok(_) => return Err(output.damaged("it ends too early")),
                Err(error) => return Err(output.damaged(error)),
            }
        };
        let Some((trailer, rest)) = body.get(consumed..).and_then(|rest| rest.split_first_chunk::<TRAILER>()) else {
            return Err(output.damaged("it ends too early"));
        };
        let mut crc = Crc::new();
        crc.update(output.bytes.get(start..).unwrap_or_default());
        if crc.sum() != LittleEndian::read_u32(trailer) || crc.amount() != LittleEndian::read_u32(&trailer[4..]) {
            return Err(output.damaged("checksum or length is wrong"));
        }
        Ok(rest)
    }
}

/// What comes after a member's header, `None` if there is no whole header.
fn skip_header(input: &[u8]) -> Option<&[u8]> {
    const CHECKSUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let (fixed, mut rest) = input.split_first_chunk::<10>()?;
    let [0x1f, 0x8b, 8, flags, ..] = *fixed else { return None };
    if flags & EXTRA != 0 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|&byte| byte == 0)?;
            rest = rest.get(end..)?.get(1..)?;
        }
    }
    if flags & CHECKSUM != 0 { rest.get(2..) } else { Some(rest) }
}
