//! Consumer groups: who owns which partition, and what has been committed.

mod assignor;

pub use assignor::{Assignment, Assignor, GroupAssignment, GroupMember, RangeAssignor, RoundRobinAssignor};
