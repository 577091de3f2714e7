//! Zstandard, by the C library.

use super::Output;
use crate::{Error, ErrorKind, Result};
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

/// Every decoder must manage a window of 8 MiB (RFC 8878); higher levels of writers that don't know the size use up to
/// 128 MiB for batches of a few bytes.
const MIN_WINDOW_LOG: u32 = 23;
const MAX_WINDOW_LOG: u32 = 27;

pub(super) struct Encoder(CCtx<'static>);

impl Encoder {
    pub(super) fn new(level: i32) -> Result<Self> {
        let mut context = CCtx::try_create().ok_or_else(out_of_memory)?;
        context.set_parameter(CParameter::CompressionLevel(level)).map_err(cannot_compress)?;
        Ok(Self(context))
    }

    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        let at = output.len();
        output.reserve(zstd_safe::compress_bound(input.len()));
        let mut target = OutBuffer::around_pos(output, at);
        self.0.reset(ResetDirective::SessionOnly).map_err(cannot_compress)?;
        // The frame then says how long its content is, which spares readers the guess.
        self.0.set_pledged_src_size(Some(input.len() as u64)).map_err(cannot_compress)?;
        let mut source = InBuffer::around(input);
        let directive = zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_end;
        match self.0.compress_stream2(&mut target, &mut source, directive) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Error::new(ErrorKind::Unsupported, "zstd can't compress: the bound was too small")),
            Err(code) => Err(cannot_compress(code)),
        }
    }
}

pub(super) struct Decoder(DCtx<'static>);

impl Decoder {
    pub(super) fn new() -> Result<Self> {
        Ok(Self(DCtx::try_create().ok_or_else(out_of_memory)?))
    }

    /// Reads all frames, skippable ones too.
    pub(super) fn decompress(&mut self, input: &[u8], output: &mut Output) -> Result<()> {
        // Also drops what an earlier, damaged stream left behind.
        self.0.reset(ResetDirective::SessionOnly).map_err(|code| damaged(output, code))?;
        let window = usize::BITS.saturating_sub(output.cap.max(1).saturating_sub(1).leading_zeros());
        let window = window.clamp(MIN_WINDOW_LOG, MAX_WINDOW_LOG);
        self.0.set_parameter(DParameter::WindowLogMax(window)).map_err(|code| damaged(output, code))?;

        let mut first_guess = input.len().saturating_mul(4);
        if let Ok(Some(declared)) = zstd_safe::get_frame_content_size(input) {
            if declared > output.cap as u64 {
                return Err(output.over_cap());
            }
            // Believed up to a ratio that real data hardly exceeds; beyond it the output grows as it comes.
            let most = input.len().saturating_mul(32).saturating_add(1024);
            first_guess = usize::try_from(declared).unwrap_or(most).min(most);
        }
        let mut source = InBuffer::around(input);
        loop {
            if output.bytes.len() == output.bytes.capacity() {
                output.grow(first_guess);
            }
            let before = (source.pos(), output.bytes.len());
            let mut target = OutBuffer::around_pos(&mut output.bytes, before.1);
            let result = self.0.decompress_stream(&mut target, &mut source);
            output.check_cap()?;
            let hint = result.map_err(|code| damaged(output, code))?;
            let consumed = source.pos() == input.len();
            if hint == 0 && consumed {
                return Ok(());
            }
            let full = output.bytes.len() == output.bytes.capacity();
            let progress = (source.pos(), output.bytes.len()) != before;
            if !full && (consumed || !progress) {
                return Err(output.damaged("it ends too early"));
            }
        }
    }
}

#[cold]
fn out_of_memory() -> Error {
    Error::new(ErrorKind::Unsupported, "zstd can't allocate a context")
}

#[cold]
fn cannot_compress(code: usize) -> Error {
    Error::new(ErrorKind::Unsupported, format!("zstd can't compress: {}", get_error_name(code)))
}

#[cold]
fn damaged(output: &Output, code: usize) -> Error {
    output.damaged(get_error_name(code))
}
