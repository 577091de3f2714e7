//! A seeded generator: damages samples as hardware, bugs and attackers would.

use super::corpus::Sample;

/// What a four-byte length or count is set to.
const WORDS: [i32; 10] = [-1, 0, 1, 2, 127, 128, 65_535, i32::MAX - 1, i32::MAX, i32::MIN];
/// What a two-byte one is set to.
const HALVES: [i16; 6] = [-1, 0, 1, 255, i16::MAX, i16::MIN];
/// What a length of variable size is set to: 0, null or -1, 2^28, the largest, one that has no end.
const VARINTS: [&[u8]; 7] = [
    &[0],
    &[1],
    &[0x7f],
    &[0x80, 0x80, 0x80, 0x80, 0x01],
    &[0xfe, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff; 10],
];
/// The most that is put behind a count that is made large.
const INFLATED: usize = 2048;

pub(crate) struct Mutations<'a> {
    samples: &'a [Sample],
    random: fastrand::Rng,
}

impl<'a> Mutations<'a> {
    pub(crate) fn new(samples: &'a [Sample], seed: u64) -> Self {
        Self { samples, random: fastrand::Rng::with_seed(seed) }
    }

    /// The next input, and the name of the sample that it comes from.
    pub(crate) fn next(&mut self) -> (&'a str, Vec<u8>) {
        let sample = self.sample();
        let mut bytes = sample.bytes.clone();
        for _ in 0..self.random.usize(1..4) {
            self.damage(&mut bytes);
        }
        (&sample.name, bytes)
    }

    fn sample(&mut self) -> &'a Sample {
        &self.samples[self.random.usize(..self.samples.len())]
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            bytes.push(self.random.u8(..));
        }
        let at = self.random.usize(..bytes.len());
        match self.random.u8(..10) {
            0 => bytes[at] ^= 1 << self.random.u8(..8),
            1 => bytes[at] = self.random.u8(..),
            2 => bytes.truncate(at),
            3 | 4 => {
                let mut word = WORDS[self.random.usize(..WORDS.len())];
                if self.random.u8(..4) == 0 {
                    word = (bytes.len() - at) as i32 + self.random.i32(-2..3);
                }
                overwrite(bytes, at, &word.to_be_bytes());
            }
            5 => overwrite(bytes, at, &HALVES[self.random.usize(..HALVES.len())].to_be_bytes()),
            6 => {
                let varint = VARINTS[self.random.usize(..VARINTS.len())];
                bytes.splice(at..at + 1, varint.iter().copied());
            }
            7 => {
                // One's beginning, another one's end.
                let other = &self.sample().bytes;
                let from = self.random.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            8 => {
                let end = self.random.usize(at..bytes.len()) + 1;
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => self.inflate(bytes, at),
        }
    }

    /// As many of the smallest elements as there is room for, behind a count that says so.
    fn inflate(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let count = self.random.usize(1..INFLATED);
        bytes.truncate(at);
        if self.random.bool() {
            bytes.extend((count as u32).to_be_bytes());
        } else {
            bytes.extend([count as u8 | 0x80, (count >> 7) as u8]);
        }
        let filler = self.random.u8(..3);
        bytes.resize(bytes.len() + INFLATED, filler);
    }
}

fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    let end = bytes.len().min(at + new.len());
    bytes[at..end].copy_from_slice(&new[..end - at]);
}
