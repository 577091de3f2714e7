//! Consumer groups: who owns which partition, and what has been committed.
//!
//! [`run`] is the thread in `consume`, with the user's code; [`driver`] moves the bytes of the [`membership`], which
//! decides; [`commit`] stores what [`offsets`] says is to be stored.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod assignor;
mod builder;
mod claim;
mod commit;
mod consumer_group;
mod driver;
mod errors;
mod handler;
mod link;
mod membership;
mod offset_fetch;
pub(crate) mod offsets;
mod run;
mod session;
mod subscription;

#[cfg(feature = "fuzzing")]
pub(crate) use assignor::assign;
pub use assignor::{Assignment, Assignor, GroupAssignment, GroupMember, RangeAssignor, RoundRobinAssignor};
pub use builder::ConsumerGroupBuilder;
pub use claim::{ClaimRecords, ConsumerGroupClaim};
pub use consumer_group::{ConsumerGroup, StopHandle};
pub use errors::Errors;
pub use handler::{ConsumerGroupHandler, HandlerResult};
pub use session::ConsumerGroupSession;
pub(crate) use subscription::{decode_assignment, decode_subscription};
#[cfg(feature = "fuzzing")]
pub(crate) use subscription::{encode_assignments, group_members};
