//! For tests: how often a secret stands in memory. A client runs in a process of its own, and looks through all of that
//! memory; its peer is in another one, since what has come to a peer stays there.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::env;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::process::Command;

const CASE: &str = "SARAMEYA_COPIES_CASE";
/// As long as tokens are; no buffer that had other things in it before has room for it.
pub(crate) const LENGTH: usize = 2000;
/// Memory that was given back has the allocator's marks at its beginning, so a part from the middle is looked for.
const PART: Range<usize> = LENGTH / 2..LENGTH / 2 + 24;
/// Of a key the same, but for what the marks take.
const KEY_PART: Range<usize> = 16..32;
const MASK: u8 = 0xa5;
/// So much is looked through at a time.
const STEP: usize = 1024 * 1024;

/// A letter of the secret, which nothing but the code that is tested ever holds as a whole.
fn letter(at: usize) -> u8 {
    let scattered = (at as u32).wrapping_mul(2_654_435_761) >> 16;
    b'a' + (scattered % 26) as u8
}

/// A secret of [`LENGTH`] bytes.
pub(crate) fn secret() -> String {
    let mut secret = String::with_capacity(LENGTH);
    secret.extend((0..LENGTH).map(|at| char::from(letter(at))));
    secret
}

/// Part of a secret, disguised so that it is no copy itself.
#[derive(Debug)]
pub(crate) struct Masked {
    bytes: Vec<u8>,
    /// What looking takes, from the beginning: memory that was given back is not to be written over by it.
    room: RefCell<(Vec<u8>, String)>,
}

impl Masked {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, room: RefCell::new((vec![0; STEP], String::with_capacity(STEP))) }
    }

    /// Of what [`secret`] makes.
    pub(crate) fn secret() -> Self {
        Self::new(PART.map(|at| letter(at) ^ MASK).collect())
    }

    /// Of a key of 32 bytes or more, in the peer's process.
    pub(crate) fn key(key: &[u8]) -> Self {
        Self::new(key[KEY_PART].iter().map(|byte| byte ^ MASK).collect())
    }

    pub(crate) fn to_hex(&self) -> String {
        self.bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn from_hex(hex: &str) -> Self {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        Self::new((0..hex.len()).step_by(2).map(byte).collect())
    }

    pub(crate) fn is_in(&self, bytes: &[u8]) -> bool {
        self.count(bytes) > 0
    }

    fn count(&self, bytes: &[u8]) -> usize {
        let first = self.bytes[0] ^ MASK;
        let is_part =
            |found: &&[u8]| found[0] == first && found.iter().zip(&self.bytes).all(|(found, own)| *found == own ^ MASK);
        bytes.windows(self.bytes.len()).filter(is_part).count()
    }

    /// How often it stands in the memory of this process.
    pub(crate) fn copies(&self) -> usize {
        let (window, maps) = &mut *self.room.borrow_mut();
        maps.clear();
        File::open("/proc/self/maps").unwrap().read_to_string(maps).unwrap();
        // What is read is itself in this memory, and is left out.
        let own = window.as_ptr() as u64..window.as_ptr() as u64 + window.len() as u64;
        let mut copies = 0;
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (start, rest) = line.split_once('-').unwrap();
            let end = u64::from_str_radix(rest.split(' ').next().unwrap(), 16).unwrap();
            let start = u64::from_str_radix(start, 16).unwrap();
            for (start, end) in [(start, end.min(own.start)), (start.max(own.end), end)] {
                copies += self.between(start, end, window);
            }
        }
        // Nor may it be found when somebody else looks.
        window.fill(0);
        copies
    }

    /// How often it stands in the memory of a buffer, behind its end too.
    pub(crate) fn in_memory_of(&self, buffer: &Vec<u8>) -> usize {
        let start = buffer.as_ptr() as u64;
        self.between(start, start + buffer.capacity() as u64, &mut self.room.borrow_mut().0)
    }

    fn between(&self, start: u64, end: u64, window: &mut [u8]) -> usize {
        let memory = File::open("/proc/self/mem").unwrap();
        let overlap = self.bytes.len() - 1;
        let mut copies = 0;
        for at in (start..end).step_by(window.len() - overlap) {
            let length = window.len().min((end - at) as usize);
            if memory.read_exact_at(&mut window[..length], at).is_ok() {
                copies += self.count(&window[..length]);
            }
        }
        copies
    }
}

/// What SCRAM-SHA-256 makes of the secret on the way to the proof, in the peer's process: the last of the hashes that are summed
/// up, their sum, which is the salted password, the client's key, its hash, and the server's key.
pub(crate) fn keys(salt: &[u8], iterations: u32) -> [Masked; 5] {
    let keyed = Hmac::<Sha256>::new_from_slice(secret().as_bytes()).unwrap();
    let mut hash = keyed.clone().chain_update(salt).chain_update([0, 0, 0, 1]).finalize().into_bytes();
    let mut sum = hash;
    for _ in 1..iterations {
        hash = keyed.clone().chain_update(hash).finalize().into_bytes();
        sum.iter_mut().zip(&hash).for_each(|(sum, hash)| *sum ^= hash);
    }
    let of_sum = |text: &str| Hmac::<Sha256>::new_from_slice(&sum).unwrap().chain_update(text).finalize().into_bytes();
    let client = of_sum("Client Key");
    [hash, sum, client, Sha256::digest(client), of_sum("Server Key")].map(|key| Masked::key(&key))
}

/// Which case this process is there for, if it is a client's.
pub(crate) fn case() -> Option<String> {
    env::var(CASE).ok()
}

/// Runs `test`, by its path in this crate, in a process of its own for a case, and checks that it passes.
pub(crate) fn run(test: &str, case: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(env::current_exe().unwrap());
    let child = command.args([test, "--exact"]).env(CASE, case).envs(variables.iter().copied()).output().unwrap();
    let said = [child.stdout, child.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(child.status.success() && said.contains("1 passed"), "{case}: {said}");
}
