//! Streams as other writers make them.

use super::*;
use crate::ErrorKind;

fn unpack(codec: Compression, input: &[u8]) -> Result<Vec<u8>> {
    Decompressor::new().decompress(codec, input, 16 << 20)
}

/// Text that compresses, but not to nothing.
fn text(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut text = Vec::new();
    while text.len() < length {
        text.extend(format!("{} and {} ", random.u16(..), random.u8(..)).bytes());
    }
    text.truncate(length);
    text
}

fn pack(codec: Compression, input: &[u8]) -> Vec<u8> {
    let mut output = b"before".to_vec();
    Compressor::default().compress(codec, input, &mut output).unwrap();
    assert!(output.starts_with(b"before"), "{codec}");
    output.split_off(6)
}

#[track_caller]
fn corrupt(codec: Compression, input: &[u8], part: &str) {
    let error = unpack(codec, input).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

#[test]
fn names_and_numbers() {
    for (id, name) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let codec: Compression = name.parse().unwrap();
        assert_eq!((codec.id(), codec.to_string()), (id as i8, name.to_owned()));
        assert_eq!(Compression::from_id(id as i8), Some(codec));
    }
    assert_eq!(Compression::from_id(5), None);
    let error = "brotli".parse::<Compression>().unwrap_err();
    assert_eq!((error.kind(), error.setting()), (ErrorKind::Config, Some("compression.type")));
}

#[test]
fn levels_out_of_range_name_the_setting() {
    for (gzip, zstd, setting) in [
        (0, 3, "compression.gzip.level"),
        (10, 3, "compression.gzip.level"),
        (-1, 23, "compression.zstd.level"),
        (-1, -131_073, "compression.zstd.level"),
    ] {
        let error = Compressor::new(CompressionLevels { gzip, zstd }).unwrap_err();
        assert_eq!((error.kind(), error.setting()), (ErrorKind::Config, Some(setting)));
    }
}

#[test]
fn sizes_around_the_blocks_of_the_codecs() {
    for codec in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
        let mut compressor = Compressor::default();
        let mut decompressor = Decompressor::new();
        for length in [0, 1, 100, 32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 65_535, 65_536, 65_537, 300_000] {
            let input = text(length);
            let mut packed = Vec::new();
            compressor.compress(codec, &input, &mut packed).unwrap();
            let output = decompressor.decompress(codec, &packed, length).unwrap();
            assert!(output == input, "{codec} {length}");
        }
    }
}

#[test]
fn a_damaged_stream_leaves_nothing_behind() {
    for codec in Compression::ALL.into_iter().filter(|codec| codec.is_supported() && *codec != Compression::None) {
        let (secret, plain) = (pack(codec, &text(50_000)), pack(codec, b"plain"));
        let mut decompressor = Decompressor::new();
        for end in [secret.len() / 2, secret.len() - 1] {
            assert!(decompressor.decompress(codec, &secret[..end], 1 << 20).is_err(), "{codec}");
            assert!(decompressor.decompress(codec, &secret, 100).is_err(), "{codec}");
            assert_eq!(decompressor.decompress(codec, &plain, 1 << 20).unwrap(), b"plain", "{codec}");
        }
    }
}

#[cfg(feature = "gzip")]
#[test]
fn gzip_with_members_headers_and_padding() {
    use std::io::Write;
    let gzip = Compression::Gzip;
    let mut named = flate2::GzBuilder::new()
        .filename("name")
        .comment("comment")
        .extra(vec![1, 2, 3])
        .write(Vec::new(), flate2::Compression::best());
    named.write_all(b"second").unwrap();
    let named = named.finish().unwrap();
    let both = [pack(gzip, b"first "), named.clone()].concat();
    assert_eq!(unpack(gzip, &both).unwrap(), b"first second");
    assert_eq!(unpack(gzip, &[both, vec![0; 100]].concat()).unwrap(), b"first second");
    for end in 0..named.len() {
        assert!(unpack(gzip, &named[..end]).is_err(), "{end}");
    }
    let mut wrong = named.clone();
    wrong[named.len() - 8] ^= 1;
    corrupt(gzip, &wrong, "checksum");
    corrupt(gzip, b"not gzip at all", "header");
    // Our own, by another reader.
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&pack(gzip, &text(99_999))[..]), &mut read).unwrap();
    assert!(read == text(99_999));
}

#[cfg(feature = "snappy")]
#[test]
fn snappy_raw_and_framed() {
    let snappy = Compression::Snappy;
    let input = text(100_000);
    let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert!(unpack(snappy, &raw).unwrap() == input);
    // Blocks of any size, also one that unpacks to nothing.
    let mut framed = pack(snappy, b"start ");
    framed.extend([0, 0, 0, 1, 0]);
    framed.extend((raw.len() as u32).to_be_bytes());
    framed.extend(&raw);
    assert!(unpack(snappy, &framed).unwrap() == [b"start ", &input[..]].concat());
    assert!(unpack(snappy, &framed[..framed.len() - 1]).is_err());

    // A size that is only declared is refused before memory is taken for it.
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let error = unpack(snappy, &huge).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let below_cap = [0x80, 0x80, 0x80, 0x04, 0];
    corrupt(snappy, &below_cap, "impossible");
    corrupt(snappy, &pack(snappy, b"x")[..12], "too early");
    corrupt(snappy, b"", "too early");
}

#[cfg(feature = "lz4")]
#[test]
fn lz4_frames_of_all_kinds() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;
    let lz4 = Compression::Lz4;
    let input = text(700_000);
    for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
        for mode in [BlockMode::Independent, BlockMode::Linked] {
            for bits in 0..8 {
                let info = FrameInfo::new()
                    .block_size(size)
                    .block_mode(mode)
                    .block_checksums(bits & 1 != 0)
                    .content_checksum(bits & 2 != 0)
                    .content_size((bits & 4 != 0).then_some(input.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&input).unwrap();
                let frame = encoder.finish().unwrap();
                let case = format!("{size:?} {mode:?} {bits}");
                assert!(unpack(lz4, &frame).unwrap() == input, "{case}");
                assert!(unpack(lz4, &frame[..frame.len() - 1]).is_err(), "{case}");
                if bits & 3 != 0 {
                    let mut wrong = frame.clone();
                    wrong[frame.len() / 2] ^= 1;
                    assert!(unpack(lz4, &wrong).is_err(), "{case}");
                }
            }
        }
    }
    // Frames after each other, and one without data between them.
    let skippable = [&0x184d_2a53u32.to_le_bytes()[..], &3u32.to_le_bytes(), b"abc"].concat();
    let frames = [pack(lz4, b"one "), skippable, pack(lz4, b"two")].concat();
    assert_eq!(unpack(lz4, &frames).unwrap(), b"one two");
}

#[cfg(feature = "lz4")]
#[test]
fn lz4_headers_that_are_wrong() {
    let lz4 = Compression::Lz4;
    let good = pack(lz4, b"plain text");
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let checksum = with(6, good[6] ^ 1);
    corrupt(lz4, &checksum, "frame header's checksum");
    let mut decompressor = Decompressor::new();
    assert_eq!(decompressor.decompress_for(lz4, &checksum, 100, 0).unwrap(), b"plain text", "magic 0 has it wrong");
    assert!(decompressor.decompress_for(lz4, &checksum, 100, 1).is_err());
    corrupt(lz4, &with(0, 0), "no LZ4 frame");
    corrupt(lz4, &with(4, 0x20), "version");
    corrupt(lz4, &with(4, 0x61), "dictionary");
    let mut size = with(5, 0x30);
    size[6] = (super::lz4::hash(&size[4..6]) >> 8) as u8;
    corrupt(lz4, &size, "block size");
    corrupt(lz4, &[], "too early");
    let mut declared = vec![0x04, 0x22, 0x4d, 0x18, 0x68, 0x40];
    declared.extend(u64::MAX.to_le_bytes());
    declared.push((super::lz4::hash(&declared[4..]) >> 8) as u8);
    assert_eq!(unpack(lz4, &declared).unwrap_err().kind(), ErrorKind::TooLarge);
    // The blocks of the good one behind a header that has the size of the content.
    let sized = |size: u64| {
        let mut bytes = vec![0x04, 0x22, 0x4d, 0x18, 0x68, 0x40];
        bytes.extend(size.to_le_bytes());
        bytes.push((super::lz4::hash(&bytes[4..]) >> 8) as u8);
        bytes.extend_from_slice(&good[7..]);
        bytes
    };
    assert_eq!(unpack(lz4, &sized(10)).unwrap(), b"plain text");
    for wrong in [0, 9, 11] {
        corrupt(lz4, &sized(wrong), "content size");
    }
}

#[cfg(feature = "lz4")]
#[test]
fn an_lz4_frame_sees_nothing_of_the_one_before_it() {
    let lz4 = Compression::Lz4;
    // Blocks that may refer to those before them: four bytes from four bytes back, then "abcde".
    let linked = |before: &[u8]| {
        let mut bytes = vec![0x04, 0x22, 0x4d, 0x18, 0x40, 0x40];
        bytes.push((super::lz4::hash(&bytes[4..]) >> 8) as u8);
        for (block, stored) in [(before, true), (&[0x00, 4, 0, 0x50, b'a', b'b', b'c', b'd', b'e'][..], false)] {
            if !block.is_empty() {
                bytes.extend((block.len() as u32 | u32::from(stored) << 31).to_le_bytes());
                bytes.extend_from_slice(block);
            }
        }
        bytes.extend([0; 4]);
        bytes
    };
    assert_eq!(unpack(lz4, &linked(b"known")).unwrap(), b"knownnownabcde");
    corrupt(lz4, &linked(b""), "");
    corrupt(lz4, &[pack(lz4, b"secret"), linked(b"")].concat(), "");
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_frames_with_and_without_their_size() {
    use std::io::Write;
    let codec = Compression::Zstd;
    let input = text(500_000);
    for level in [1, 3, 19] {
        // As Java writes: the size is not known when the frame begins.
        let mut encoder = ::zstd::stream::Encoder::new(Vec::new(), level).unwrap();
        encoder.write_all(&input).unwrap();
        let streamed = encoder.finish().unwrap();
        assert!(unpack(codec, &streamed).unwrap() == input);
        let skippable = [&0x184d_2a50u32.to_le_bytes()[..], &2u32.to_le_bytes(), b"ab"].concat();
        let frames = [pack(codec, b"one "), skippable, streamed.clone(), pack(codec, b" three")].concat();
        assert!(unpack(codec, &frames).unwrap() == [b"one ", &input[..], b" three"].concat());
        for end in [1, 4, 5, 10, streamed.len() / 2, streamed.len() - 1] {
            corrupt(codec, &streamed[..end], "");
        }
    }
    corrupt(codec, b"", "too early");
    corrupt(codec, b"no zstd frame", "");
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_declared_sizes_and_windows() {
    // A frame header with a content size of 2^62 bytes, and nothing behind it.
    let mut huge = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    huge.extend((1u64 << 62).to_le_bytes());
    assert_eq!(unpack(Compression::Zstd, &huge).unwrap_err().kind(), ErrorKind::TooLarge);
    // A window of 2 GiB: memory that a decoder would take before it sees any data.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
    corrupt(Compression::Zstd, &window, "");
    // The cap may be smaller than the window that writers use for whatever they send.
    let mut encoder = ::zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    std::io::Write::write_all(&mut encoder, b"tiny").unwrap();
    let tiny = encoder.finish().unwrap();
    assert_eq!(Decompressor::new().decompress(Compression::Zstd, &tiny, 4).unwrap(), b"tiny");
}

#[cfg(not(feature = "zstd"))]
#[test]
fn a_codec_that_is_not_compiled_in_names_its_feature() {
    let error = unpack(Compression::Zstd, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("feature `zstd`"), "{error}");
    assert!(Compressor::default().compress(Compression::Zstd, &[], &mut Vec::new()).is_err());
    assert!(!Compression::Zstd.is_supported());
}
