//! Batches of a few bytes that unpack to up to a gigabyte of zeros, in each codec and each form of it.

use std::env;
use std::process::Command;

use allocation_counter::measure;
use bytes::Bytes;
use rustix::process::{Resource, Rlimit, setrlimit};
use sarameya::ErrorKind;
use sarameya::batch::{Compression, Compressor, Decompressor, RecordBatches};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// What the whole process may map while it decodes the bombs, code, stacks and the bombs themselves included. It counts
/// what C libraries take, too.
const ADDRESS_SPACE: u64 = 512 * 1024 * 1024;
const IN_CHILD: &str = "SARAMEYA_BOMBS";

struct Bomb {
    name: &'static str,
    codec: Compression,
    stream: Vec<u8>,
}

fn packed(codec: Compression, zeros: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    Compressor::default().compress(codec, &vec![0; zeros], &mut stream).expect("zeros");
    stream
}

/// Streams that unpack to `size` zeros, a multiple of 64 KiB.
fn bombs(size: usize) -> Vec<Bomb> {
    let bomb = |name, codec, stream| Bomb { name, codec, stream };
    let piece = size.min(MIB);
    vec![
        bomb("gzip members", Compression::Gzip, packed(Compression::Gzip, piece).repeat(size / piece)),
        bomb("snappy, raw", Compression::Snappy, raw_snappy(size)),
        bomb("snappy, framed", Compression::Snappy, framed_snappy(size)),
        bomb("lz4 frames", Compression::Lz4, packed(Compression::Lz4, piece).repeat(size / piece)),
        bomb("lz4 blocks", Compression::Lz4, lz4_blocks(size)),
        bomb("zstd frames", Compression::Zstd, packed(Compression::Zstd, piece).repeat(size / piece)),
        bomb("zstd blocks", Compression::Zstd, zstd_blocks(size)),
    ]
    .into_iter()
    .filter(|bomb| bomb.codec.is_supported())
    .collect()
}

/// A literal zero and copies of what is before, 64 bytes at a time.
fn raw_snappy(size: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut rest = size;
    while rest >= 0x80 {
        stream.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    stream.push(rest as u8);
    stream.extend([0, 0]);
    let copy = |length: usize| [((length - 1) << 2) as u8 | 2, 1, 0];
    stream.extend(copy(63));
    stream.extend(copy(64).repeat(size / 64 - 1));
    stream
}

/// As Java frames it: blocks of 32 KiB, each with its length.
fn framed_snappy(size: usize) -> Vec<u8> {
    let block = packed(Compression::Snappy, 32 * KIB);
    let (header, block) = block.split_at(16);
    [header, &block.repeat(size / (32 * KIB))].concat()
}

/// One frame of many blocks of 32 KiB.
fn lz4_blocks(size: usize) -> Vec<u8> {
    let frame = packed(Compression::Lz4, 32 * KIB);
    let (header, rest) = frame.split_at(7);
    let length = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
    let block = &rest[..4 + length];
    [header, &block.repeat(size / (32 * KIB)), &[0; 4]].concat()
}

/// One frame that does not say its size, of blocks that say a byte and how often: four bytes for 64 KiB.
fn zstd_blocks(size: usize) -> Vec<u8> {
    const RUN: u32 = 1 << 1;
    const LAST: u32 = 1;
    let block = |last: u32| {
        let header = (64 * KIB as u32) << 3 | RUN | last;
        [header as u8, (header >> 8) as u8, (header >> 16) as u8, 0]
    };
    let window_of_1_mib = 10 << 3;
    let mut stream = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, window_of_1_mib];
    stream.extend(block(0).repeat(size / (64 * KIB) - 1));
    stream.extend(block(LAST));
    stream
}

/// A batch of magic 2 with these bytes for its records.
fn batch(codec: Compression, records: &[u8]) -> Bytes {
    let mut after_crc = i16::from(codec.id()).to_be_bytes().to_vec();
    after_crc.extend(0i32.to_be_bytes());
    after_crc.extend([0; 16]);
    after_crc.extend([0xff; 14]);
    after_crc.extend(1i32.to_be_bytes());
    after_crc.extend(records);
    let mut batch = 0i64.to_be_bytes().to_vec();
    batch.extend((after_crc.len() as i32 + 9).to_be_bytes());
    batch.extend(0i32.to_be_bytes());
    batch.push(2);
    batch.extend(crc32c::crc32c(&after_crc).to_be_bytes());
    batch.extend(after_crc);
    batch.into()
}

/// A message of magic 1 with these bytes for its value.
fn message(codec: Compression, value: &[u8]) -> Bytes {
    let mut body = vec![1, codec.id() as u8];
    body.extend(0i64.to_be_bytes());
    body.extend((-1i32).to_be_bytes());
    body.extend((value.len() as i32).to_be_bytes());
    body.extend(value);
    let mut message = 0i64.to_be_bytes().to_vec();
    message.extend((body.len() as i32 + 4).to_be_bytes());
    message.extend([0; 4]);
    message.extend(body);
    message.into()
}

/// The batch is refused at the cap, and memory stays near it.
#[track_caller]
fn defused(bomb: &Bomb, bytes: Bytes, cap: usize) {
    let used = measure(|| {
        let batch = RecordBatches::new(bytes).next().expect("a batch").expect("a whole one");
        let error = batch.decode(&mut Decompressor::new(), cap).expect_err(bomb.name);
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{}: {error}", bomb.name);
        assert!(error.to_string().contains(&cap.to_string()), "{}: {error}", bomb.name);
    });
    // A buffer that doubles has the old one beside it; the codec's own memory comes on top.
    let most = 3 * cap + 128 * KIB;
    assert!(used.bytes_max as usize <= most, "{}: {} bytes of memory, allowed are {most}", bomb.name, used.bytes_max);
}

#[test]
fn r8_a_bomb_is_what_it_says_it_is() {
    for size in [64 * KIB, MIB, 4 * MIB] {
        for bomb in bombs(size) {
            let output = Decompressor::new().decompress(bomb.codec, &bomb.stream, size).expect(bomb.name);
            assert!(output.len() == size && output.iter().all(|byte| *byte == 0), "{}", bomb.name);
            let error = Decompressor::new().decompress(bomb.codec, &bomb.stream, size - 1).expect_err(bomb.name);
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{}", bomb.name);
        }
    }
}

#[test]
fn r8_bombs_up_to_a_gigabyte_stop_at_the_cap_in_bounded_memory() {
    if env::var_os(IN_CHILD).is_some() {
        limit_memory();
        for size in [64 * KIB, MIB, 64 * MIB, 1024 * MIB] {
            for bomb in bombs(size) {
                for cap in [KIB, 40 * KIB, 4 * MIB].into_iter().filter(|cap| *cap < size) {
                    defused(&bomb, batch(bomb.codec, &bomb.stream), cap);
                    if bomb.codec != Compression::Zstd {
                        defused(&bomb, message(bomb.codec, &bomb.stream), cap);
                    }
                }
            }
        }
        return;
    }
    in_child("r8_bombs_up_to_a_gigabyte_stop_at_the_cap_in_bounded_memory");
}

#[test]
fn the_limit_of_memory_is_one() {
    if env::var_os(IN_CHILD).is_some() {
        limit_memory();
        let mut huge: Vec<u8> = Vec::new();
        assert!(huge.try_reserve_exact(ADDRESS_SPACE as usize).is_err());
        assert!(huge.try_reserve_exact(MIB).is_ok());
        return;
    }
    in_child("the_limit_of_memory_is_one");
}

/// Runs one of these tests in a process of its own, whose memory can be limited.
fn in_child(test: &str) {
    let program = env::current_exe().expect("a test has a program");
    let child = Command::new(program).args([&format!("bombs::{test}"), "--exact"]).env(IN_CHILD, "1").output();
    let child = child.expect("a child");
    let said = [child.stdout, child.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

fn limit_memory() {
    let limit = Rlimit { current: Some(ADDRESS_SPACE), maximum: Some(ADDRESS_SPACE) };
    setrlimit(Resource::As, limit).expect("a lower limit is always allowed");
}
