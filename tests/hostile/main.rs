//! Bytes that mean harm, or are damaged: the targets that `fuzz/` runs for hours run here for seconds, over the corpus that
//! is committed there.
//!
//! A binary of its own, because it counts what each thread allocates.

mod bombs;
mod corpus;
mod dependencies;
mod mutations;
mod targets;
