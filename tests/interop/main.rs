//! Other people's clients on real Kafka and on the embedded cluster: both must do the same.
//!
//! Each case runs a tool or a program against both clusters and writes down what it said, see [`transcript`]; the two
//! transcripts must be equal. Nothing here is compared with a file, so that what real Kafka does can't be remembered
//! wrongly. `SARAMEYA_INTEROP=embedded` runs the embedded side alone, for quick work, and compares it with what real
//! Kafka said last.

#[path = "../kafka/support/mod.rs"]
#[macro_use]
mod support;

mod assignment;
mod clients;
mod configs;
mod console;
mod ends;
mod groups;
mod java;
mod kcat;
mod migration;
mod native;
mod offsets;
mod programs;
mod raw;
mod target;
mod topics;
mod transcript;
mod verifiable;
mod versions;
