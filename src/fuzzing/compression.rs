//! Compressed streams of every codec, under a cap.
//!
//! Input: a byte for the codec, a byte for the cap, and the stream.

use super::CAP;
use crate::ErrorKind;
use crate::batch::{Compression, Decompressor};
use std::io::Read;

struct Input<'a> {
    codec: Compression,
    cap: usize,
    stream: &'a [u8],
}

fn input(data: &[u8]) -> Option<Input<'_>> {
    let &[codec, cap, ref stream @ ..] = data else { return None };
    let codec = Compression::ALL[usize::from(codec) % Compression::ALL.len()];
    let cap = (1usize << (cap & 0x1f)).saturating_sub(usize::from(cap >> 5)).min(CAP);
    codec.is_supported().then_some(Input { codec, cap, stream })
}

pub(super) fn decode(data: &[u8]) {
    let Some(Input { codec, cap, stream }) = input(data) else { return };
    let _ = Decompressor::new().decompress(codec, stream, cap);
}

pub(super) fn check(data: &[u8]) {
    let Some(Input { codec, cap, stream }) = input(data) else { return };
    let mut decompressor = Decompressor::new();
    let outcome = decompressor.decompress(codec, stream, cap);
    match &outcome {
        Ok(output) => assert!(output.len() <= cap),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::TooLarge), "{error}"),
    }
    // What a stream left behind has no part in the next one.
    let again = decompressor.decompress(codec, stream, cap);
    assert_eq!(outcome.as_ref().ok(), again.as_ref().ok());
    if let (Ok(output), Some(reference)) = (&outcome, reference(codec, stream, cap)) {
        assert!(*output == reference, "{codec}: another reader of the format reads something else");
    }
}

/// What the codec's own library makes of it; `None` if it refuses the stream, or there is more than the cap.
fn reference(codec: Compression, stream: &[u8], cap: usize) -> Option<Vec<u8>> {
    match codec {
        #[cfg(feature = "gzip")]
        Compression::Gzip => all_of(flate2::read::MultiGzDecoder::new(stream), cap),
        // Its library does not know the framing.
        Compression::Snappy if stream.starts_with(b"\x82SNAPPY\0") => None,
        #[cfg(feature = "snappy")]
        Compression::Snappy if snap::raw::decompress_len(stream).is_ok_and(|length| length <= cap) => {
            snap::raw::Decoder::new().decompress_vec(stream).ok()
        }
        #[cfg(feature = "lz4")]
        Compression::Lz4 => {
            let mut decoder = lz4_flex::frame::FrameDecoder::new(stream);
            let mut output = Vec::new();
            // Each frame ends like a stream.
            while !decoder.get_ref().is_empty() && output.len() <= cap {
                output.extend(all_of(&mut decoder, cap)?);
            }
            (output.len() <= cap).then_some(output)
        }
        #[cfg(feature = "zstd")]
        Compression::Zstd => all_of(zstd::stream::read::Decoder::new(stream).ok()?, cap),
        Compression::None => Some(stream.to_vec()),
        _ => None,
    }
}

#[allow(dead_code, reason = "not every codec is compiled in")]
fn all_of(reader: impl Read, cap: usize) -> Option<Vec<u8>> {
    let mut output = Vec::new();
    reader.take(cap as u64 + 1).read_to_end(&mut output).ok()?;
    (output.len() <= cap).then_some(output)
}
