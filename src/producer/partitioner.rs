//! Which partition a record goes to.

use crate::ProducerRecord;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Chooses the partition of records that name none. Runs on the thread that sends; a panic fails that send only.
pub trait Partitioner: Send + Sync {
    /// The partition for the record among `partitions` (at least 1), or `None` to leave it to the producer: then it
    /// sticks to one partition until its batch is closed and goes on with another (KIP-480), which makes large batches.
    fn partition(&self, record: &ProducerRecord<'_>, partitions: usize) -> Option<usize>;
}

/// Java's default: murmur2 of the key; sticky for records without a key. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Murmur2Partitioner;

/// Sarama's default: 32-bit FNV-1a of the key; random for records without a key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fnv1aPartitioner;

/// librdkafka's default: CRC-32 of the key; random for records with an empty key or none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Crc32Partitioner;

/// One partition after the other, whatever the key.
#[derive(Debug, Default)]
pub struct RoundRobinPartitioner {
    next: AtomicUsize,
}

/// Any partition, whatever the key.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomPartitioner;

impl Partitioner for Murmur2Partitioner {
    fn partition(&self, record: &ProducerRecord<'_>, partitions: usize) -> Option<usize> {
        record.key_bytes().map(|key| (murmur2(key) & 0x7fff_ffff) as usize % partitions)
    }
}

impl Partitioner for Fnv1aPartitioner {
    fn partition(&self, record: &ProducerRecord<'_>, partitions: usize) -> Option<usize> {
        let Some(key) = record.key_bytes() else { return Some(fastrand::usize(..partitions)) };
        // Sarama takes the remainder of the hash as a signed number, and then its absolute value.
        let remainder = i64::from(fnv1a(key) as i32) % partitions as i64;
        Some(remainder.unsigned_abs() as usize)
    }
}

impl Partitioner for Crc32Partitioner {
    fn partition(&self, record: &ProducerRecord<'_>, partitions: usize) -> Option<usize> {
        const CRC32: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
        match record.key_bytes() {
            None | Some([]) => Some(fastrand::usize(..partitions)),
            Some(key) => Some(CRC32.checksum(key) as usize % partitions),
        }
    }
}

impl Partitioner for RoundRobinPartitioner {
    fn partition(&self, _record: &ProducerRecord<'_>, partitions: usize) -> Option<usize> {
        Some(self.next.fetch_add(1, Ordering::Relaxed) % partitions)
    }
}

impl Partitioner for RandomPartitioner {
    fn partition(&self, _record: &ProducerRecord<'_>, partitions: usize) -> Option<usize> {
        Some(fastrand::usize(..partitions))
    }
}

impl fmt::Debug for dyn Partitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Partitioner")
    }
}

/// The 32-bit murmur2 with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const MULTIPLIER: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        k ^= k >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ k.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

fn fnv1a(data: &[u8]) -> u32 {
    data.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(partitioner: &dyn Partitioner, key: &str, partitions: usize) -> Option<usize> {
        partitioner.partition(&ProducerRecord::new("t").key(key), partitions)
    }

    /// Values that Kafka's own Utils.murmur2 gives.
    #[test]
    fn f10_murmur2_agrees_with_java() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn f10_fnv1a_and_crc32_published_vectors() {
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"a"), 0xe40c_292c);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
        // 0xbf9cf968 is negative as a signed number: -1080231576.
        assert_eq!(partition(&Fnv1aPartitioner, "foobar", 10), Some(6));
        // The check value of CRC-32: 0xcbf43926 for 123456789.
        assert_eq!(partition(&Crc32Partitioner, "123456789", 1000), Some(0xcbf4_3926_usize % 1000));
    }

    #[test]
    fn null_keys() {
        let null = ProducerRecord::new("t").value("v");
        assert_eq!(Murmur2Partitioner.partition(&null, 3), None);
        for partitioner in [&Fnv1aPartitioner as &dyn Partitioner, &Crc32Partitioner, &RandomPartitioner] {
            let mut seen = [false; 3];
            for _ in 0..1000 {
                seen[partitioner.partition(&null, 3).unwrap()] = true;
            }
            assert_eq!(seen, [true; 3]);
        }
        let round = RoundRobinPartitioner::default();
        let order: Vec<_> = (0..5).map(|_| round.partition(&null, 3).unwrap()).collect();
        assert_eq!(order, [0, 1, 2, 0, 1]);
    }
}
