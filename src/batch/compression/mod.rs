//! The codecs of record batches.
//!
//! A cap on the output is checked while bytes are produced, and sizes that a stream declares about itself are compared
//! with it before anything is allocated: a small batch that unpacks to gigabytes costs no more than the cap.

#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

use super::{corrupt, too_large, unsupported};
use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// How the records of a batch are compressed. Kafka: `compression.type`. Defaults to `none`.
///
/// Text forms are Kafka's: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip. Needs the feature `gzip`.
    Gzip,
    /// Snappy in xerial's framing; the raw format is read as well. Needs the feature `snappy`.
    Snappy,
    /// LZ4 frames. Needs the feature `lz4`.
    Lz4,
    /// Zstandard; brokers know it since Kafka 2.1. Needs the feature `zstd`.
    Zstd,
}

impl Compression {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Its number in a batch's attributes.
    pub fn id(self) -> i8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The codec of this number, if there is one.
    pub fn from_id(id: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Whether the crate was compiled with it.
    pub fn is_supported(self) -> bool {
        match self {
            Self::None => true,
            Self::Gzip => cfg!(feature = "gzip"),
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == text).ok_or_else(|| {
            Error::config("compression.type", format!("{text:?} is not one of none, gzip, snappy, lz4 and zstd"))
        })
    }
}

/// How much work the codecs put in. Snappy and the LZ4 in use have one level only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompressionLevels {
    /// Kafka: `compression.gzip.level`. 1 to 9, or -1 for zlib's own default. Defaults to -1.
    pub gzip: i32,
    /// Kafka: `compression.zstd.level`. -131072 to 22. Defaults to 3.
    pub zstd: i32,
}

impl Default for CompressionLevels {
    fn default() -> Self {
        Self { gzip: -1, zstd: 3 }
    }
}

impl CompressionLevels {
    /// Fails with an error of kind [`Config`](crate::ErrorKind::Config) that names the setting if one is out of range.
    pub fn validate(&self) -> Result<()> {
        if self.gzip != -1 && !(1..=9).contains(&self.gzip) {
            return Err(Error::config("compression.gzip.level", format!("{} is not -1 nor from 1 to 9", self.gzip)));
        }
        if !(-131_072..=22).contains(&self.zstd) {
            return Err(Error::config("compression.zstd.level", format!("{} is not from -131072 to 22", self.zstd)));
        }
        Ok(())
    }
}

/// Compresses, in memory that it keeps from one batch to the next. Made for one thread.
#[derive(Default)]
pub struct Compressor {
    levels: CompressionLevels,
    /// Where batches are compressed to, to be copied from there once their size is known.
    pub(super) packed: Vec<u8>,
    /// The memory that the last batch was in before it was compressed.
    pub(super) spare: Vec<u8>,
    #[cfg(feature = "gzip")]
    gzip: Option<gzip::Encoder>,
    #[cfg(feature = "snappy")]
    snappy: Option<snappy::Encoder>,
    #[cfg(feature = "lz4")]
    lz4: Option<lz4::Encoder>,
    #[cfg(feature = "zstd")]
    zstd: Option<zstd::Encoder>,
}

impl Compressor {
    /// With these levels. Codecs allocate when they are first used.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if a level is out of range.
    pub fn new(levels: CompressionLevels) -> Result<Self> {
        levels.validate()?;
        Ok(Self { levels, ..Self::default() })
    }

    /// The memory that the last batch was in before it was compressed, for the next batch; empty if it was not compressed.
    pub fn take_spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// Appends the compressed form of `input` to `output`.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if the crate was compiled without the codec; the error names
    /// the feature.
    pub fn compress(&mut self, codec: Compression, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        match codec {
            Compression::None => {
                output.extend_from_slice(input);
                Ok(())
            }
            #[cfg(feature = "gzip")]
            Compression::Gzip => {
                let level = self.levels.gzip;
                self.gzip.get_or_insert_with(|| gzip::Encoder::new(level)).compress(input, output)
            }
            #[cfg(feature = "snappy")]
            Compression::Snappy => self.snappy.get_or_insert_default().compress(input, output),
            #[cfg(feature = "lz4")]
            Compression::Lz4 => self.lz4.get_or_insert_default().compress(input, output),
            #[cfg(feature = "zstd")]
            Compression::Zstd => {
                if self.zstd.is_none() {
                    self.zstd = Some(zstd::Encoder::new(self.levels.zstd)?);
                }
                match &mut self.zstd {
                    Some(encoder) => encoder.compress(input, output),
                    None => Err(not_compiled_in(codec)),
                }
            }
            #[cfg(not(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")))]
            codec => Err(not_compiled_in(codec)),
        }
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("levels", &self.levels).finish_non_exhaustive()
    }
}

/// Decompresses, in working memory that it keeps from one batch to the next; outputs never share any. Made for one
/// thread.
#[derive(Default)]
pub struct Decompressor {
    #[cfg(feature = "gzip")]
    gzip: Option<gzip::Decoder>,
    #[cfg(feature = "zstd")]
    zstd: Option<zstd::Decoder>,
}

impl Decompressor {
    /// Codecs allocate when they are first used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Unpacks `input` to at most `cap` bytes.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge) when there is more than `cap`, [`Corrupt`](crate::ErrorKind::Corrupt)
    /// if the stream is damaged or ends too early, [`Unsupported`](crate::ErrorKind::Unsupported) if the crate was
    /// compiled without the codec; the error names the feature.
    pub fn decompress(&mut self, codec: Compression, input: &[u8], cap: usize) -> Result<Vec<u8>> {
        self.decompress_for(codec, input, cap, 2)
    }

    /// The magic matters because LZ4 frames in magic 0 messages have a wrong header checksum.
    pub(super) fn decompress_for(
        &mut self,
        codec: Compression,
        input: &[u8],
        cap: usize,
        magic: u8,
    ) -> Result<Vec<u8>> {
        let mut output = Output::new(codec, cap);
        match codec {
            Compression::None => output.extend(input)?,
            #[cfg(feature = "gzip")]
            Compression::Gzip => self.gzip.get_or_insert_default().decompress(input, &mut output)?,
            #[cfg(feature = "snappy")]
            Compression::Snappy => snappy::decompress(input, &mut output)?,
            #[cfg(feature = "lz4")]
            Compression::Lz4 => lz4::decompress(input, &mut output, magic > 0)?,
            #[cfg(feature = "zstd")]
            Compression::Zstd => {
                if self.zstd.is_none() {
                    self.zstd = Some(zstd::Decoder::new()?);
                }
                match &mut self.zstd {
                    Some(decoder) => decoder.decompress(input, &mut output)?,
                    None => return Err(not_compiled_in(codec)),
                }
            }
            #[cfg(not(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")))]
            codec => return Err(not_compiled_in(codec)),
        }
        // Only LZ4 asks, and it may not be compiled in.
        let _ = magic;
        Ok(output.bytes)
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

/// Decompressed bytes under a cap.
struct Output {
    bytes: Vec<u8>,
    cap: usize,
    codec: Compression,
}

/// Output grows by at least this much, so that tiny steps don't dominate.
#[allow(dead_code, reason = "not every codec grows its output by itself")]
const MIN_STEP: usize = 4096;

#[allow(dead_code, reason = "which of these is used depends on the codecs that are compiled in")]
impl Output {
    fn new(codec: Compression, cap: usize) -> Self {
        Self { bytes: Vec::new(), cap, codec }
    }

    /// How much may still be written.
    fn room(&self) -> usize {
        self.cap.saturating_sub(self.bytes.len())
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() > self.room() {
            return Err(self.over_cap());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Makes space for more than is there: doubles, to the cap and one byte beyond it, which shows that there is more.
    fn grow(&mut self, first_guess: usize) {
        let wanted = first_guess.max(self.bytes.len()).max(MIN_STEP).min(self.room().saturating_add(1));
        self.bytes.reserve_exact(wanted);
    }

    fn check_cap(&self) -> Result<()> {
        if self.bytes.len() > self.cap { Err(self.over_cap()) } else { Ok(()) }
    }

    #[cold]
    fn over_cap(&self) -> Error {
        too_large(format!("a {} batch unpacks to more than the {} bytes allowed", self.codec, self.cap))
    }

    #[cold]
    fn damaged(&self, why: impl fmt::Display) -> Error {
        corrupt(format!("a {} stream is damaged: {why}", self.codec))
    }
}

#[cold]
#[allow(dead_code, reason = "not called if every codec is compiled in and creates its contexts")]
fn not_compiled_in(codec: Compression) -> Error {
    unsupported(format!("{codec} needs the crate's feature `{codec}`, which was not compiled in"))
}

#[cfg(test)]
mod tests;
