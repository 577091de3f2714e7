//! The classic group protocol as Kafka 4's group coordinator has it. One file for each API with what it asks of the
//! group; `rebalance` is what they have in common.

mod group;
mod heartbeat;
mod join;
pub(in crate::embedded) mod leave;
mod member;
mod rebalance;
mod sync;
#[cfg(test)]
mod tests;

pub(in crate::embedded) use group::{CONSUMER, ClassicGroup, ClassicState};
pub(in crate::embedded) use member::{Member, Parked};
