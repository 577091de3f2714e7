//! The targets over the corpus: as it is, each prefix of it, and mutations of it. Everything is decoded with its memory
//! counted, and checked.

use super::corpus::{Sample, samples};
use super::mutations::Mutations;
use allocation_counter::measure;
use sarameya::fuzzing::{CAP, TARGETS, Target};
use std::panic::{AssertUnwindSafe, catch_unwind};

const KIB: usize = 1024;

/// The most memory that decoding may take at a time, in bytes, for input of so many.
fn most(target: &str, input: usize) -> usize {
    match target {
        // The first step of a frame's buffer is as long as the frame says, up to 1 MiB. From there on it doubles, and a
        // step has the old buffer beside the new one. The next frame waits in 8 KiB.
        "frames" => 1024 * KIB + 16 * KIB + 4 * input,
        // An empty string in a flexible version is one byte, and 24 in memory; a list that grows has up to twice the room
        // it needs, and half of that beside it while it moves.
        "responses" | "requests" => 16 * KIB + (24 * 3 + 1) * input,
        // What is compressed unpacks to no more than the cap, however little it is; the buffer may have doubled to get there.
        // The codecs' own memory is beside it.
        "batches" | "compression" => 128 * KIB + input + 3 * CAP,
        // The names of topics and members stand in several sorted lists at once.
        "groups" => 64 * KIB + 400 * input,
        "scram" => 16 * KIB + 16 * input,
        "configuration" => 16 * KIB + 64 * input,
        _ => panic!("{target} has no bound"),
    }
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("a target of this name")
}

/// Decodes and checks. A panic tells which bytes they were.
#[track_caller]
fn run(target: &Target, origin: &str, bytes: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut used = measure(|| (target.decode)(bytes));
        if used.bytes_current != 0 {
            // What is made once for a thread or for the process is there now.
            used = measure(|| (target.decode)(bytes));
        }
        let most = most(target.name, bytes.len());
        assert!(used.bytes_max as usize <= most, "{} bytes of memory, allowed are {most}", used.bytes_max);
        assert_eq!(used.bytes_current, 0, "memory that is still held");
        (target.check)(bytes);
    }));
    if outcome.is_err() {
        let hex: String = bytes.iter().take(64 * KIB).map(|byte| format!("{byte:02x}")).collect();
        panic!("{} fails on what was made of {origin}, {} bytes: {hex}", target.name, bytes.len());
    }
}

/// Of samples with up to so many bytes, every prefix; of larger ones as many.
fn corpus_and_prefixes(name: &str, prefixes: usize) {
    let target = target(name);
    for Sample { name, bytes } in samples(name) {
        run(target, &name, &bytes);
        for end in (0..bytes.len()).step_by(bytes.len() / prefixes + 1) {
            run(target, &name, &bytes[..end]);
        }
    }
}

fn mutations(name: &str, count: usize) {
    let target = target(name);
    let samples = samples(name);
    let mut mutations = Mutations::new(&samples, 0x5eed);
    for _ in 0..count {
        let (origin, bytes) = mutations.next();
        run(target, origin, &bytes);
    }
}

macro_rules! targets {
    ($($name:ident: $prefixes:literal prefixes, $mutations:literal mutations;)*) => {
        $(mod $name {
            #[test]
            fn corpus_and_prefixes_of_it() {
                super::corpus_and_prefixes(stringify!($name), $prefixes);
            }

            #[test]
            fn seeded_mutations() {
                super::mutations(stringify!($name), $mutations);
            }
        })*

        #[test]
        fn every_target_is_run() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

targets! {
    frames: 4000 prefixes, 10_000 mutations;
    responses: 4000 prefixes, 30_000 mutations;
    requests: 4000 prefixes, 20_000 mutations;
    batches: 2000 prefixes, 5_000 mutations;
    compression: 300 prefixes, 1_000 mutations;
    groups: 4000 prefixes, 3_000 mutations;
    scram: 4000 prefixes, 1_000 mutations;
    configuration: 4000 prefixes, 10_000 mutations;
}
