//! Committed offsets, those of groups with members and of groups without. One file for each API.

pub(in crate::embedded) mod commit;
mod delete;
mod fetch;
mod pending;
mod retention;
mod store;
#[cfg(test)]
mod tests;

pub(in crate::embedded) use store::{Committed, Offsets};
