//! What fuzzers and tests feed with hostile bytes: one target for each thing that reads what a peer, another member of a group
//! or a file says. Feature `fuzzing`; for this crate's own tests and its `fuzz/`, and no part of the API.
//!
//! A target takes any bytes at all. What it asserts are properties that hold whatever the bytes are.

#![allow(clippy::expect_used, clippy::panic, reason = "a property that does not hold is to be seen")]

mod batches;
mod compression;
mod configuration;
mod frames;
mod groups;
mod messages;
mod scram;

/// Something that reads bytes it can't trust.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As its folder in `fuzz/corpus` and its file in `fuzz/fuzz_targets` are called.
    pub name: &'static str,
    /// Does with the bytes what this crate does, and nothing else: its memory is what is measured.
    pub decode: fn(&[u8]),
    /// Decodes them, and panics if a property does not hold.
    pub check: fn(&[u8]),
}

/// All targets. What the bytes of each mean stands in its module.
pub const TARGETS: [Target; 8] = [
    Target { name: "frames", decode: frames::decode, check: frames::check },
    Target { name: "responses", decode: messages::decode_response, check: messages::check_response },
    Target { name: "requests", decode: messages::decode_request, check: messages::check_request },
    Target { name: "batches", decode: batches::decode, check: batches::check },
    Target { name: "compression", decode: compression::decode, check: compression::check },
    Target { name: "groups", decode: groups::decode, check: groups::check },
    Target { name: "scram", decode: scram::decode, check: scram::check },
    Target { name: "configuration", decode: configuration::decode, check: configuration::check },
];

/// The most that the targets `batches` and `compression` let anything unpack to, in bytes.
pub const CAP: usize = 1 << 20;

/// Runs a target's check.
///
/// # Panics
/// If a property does not hold, or there is no target of this name.
pub fn check(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").check)(data);
}
