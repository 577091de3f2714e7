//! Consumer groups: who owns which partition, and what has been committed.

mod assignor;
mod membership;
mod offset_fetch;
mod offsets;
mod subscription;

pub use assignor::{Assignment, Assignor, GroupAssignment, GroupMember, RangeAssignor, RoundRobinAssignor};
