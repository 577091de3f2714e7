//! The values that are sent: the same for every client that is measured.

/// The values and their rule: words of 5 to 10 letters out of 64, drawn by a generator with a fixed seed.
#[derive(Debug)]
pub(crate) struct Pool(Vec<Vec<u8>>);

impl Pool {
    /// `count` values of `size` bytes.
    pub(crate) fn new(count: usize, size: usize) -> Self {
        let mut generator = Generator(42);
        let words: Vec<Vec<u8>> = (0..64)
            .map(|_| {
                let length = 5 + generator.draw() % 6;
                (0..length).map(|_| b'a' + (generator.draw() % 26) as u8).collect()
            })
            .collect();
        let values = (0..count.max(1)).map(|_| {
            let mut value = Vec::with_capacity(size + 11);
            while value.len() < size {
                value.extend_from_slice(&words[(generator.draw() % 64) as usize]);
                value.push(b' ');
            }
            value.truncate(size);
            value
        });
        Self(values.collect())
    }

    /// As many values as the environment's `POOL_N` says, or 1024.
    pub(crate) fn from_env(size: usize) -> Self {
        let count = std::env::var("POOL_N").ok().and_then(|count| count.parse().ok()).unwrap_or(1024);
        Self::new(count, size)
    }

    /// The value of record `index`.
    pub(crate) fn value(&self, index: u64) -> &[u8] {
        &self.0[(index % self.0.len() as u64) as usize]
    }

    /// FNV-1a over all values: the same number for the same data.
    pub(crate) fn fnv(&self) -> u64 {
        self.0
            .iter()
            .flatten()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// A linear congruential generator.
struct Generator(u64);

impl Generator {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_are_those_of_the_other_clients() {
        for (size, fnv) in
            [(20, 13_496_404_426_117_501_156), (100, 7_519_407_280_747_750_842), (1000, 4_100_777_349_500_812_440)]
        {
            let pool = Pool::new(1024, size);
            assert_eq!(pool.fnv(), fnv, "{size}");
            assert!(pool.value(1024).len() == size && pool.value(1024) == pool.value(0));
        }
        assert_eq!(Pool::new(1024, 20).value(0), b"gaqux hhsyakdxo grpu");
    }
}
