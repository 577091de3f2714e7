//! The classic group protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

mod group;
mod member;

pub(in crate::embedded) use group::ClassicGroup;
pub(in crate::embedded) use member::Member;
