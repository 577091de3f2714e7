//! Groups and their members. A group is what its members' protocol makes it; its committed offsets are kept apart from
//! it and are the same for all kinds.

pub(in crate::embedded) mod classic;
mod delete;
mod describe;
mod list;
pub(in crate::embedded) mod moves;
mod turn;

pub(in crate::embedded) use classic::{ClassicGroup, ClassicState};
pub(in crate::embedded) use moves::Coordinators;
pub(in crate::embedded) use turn::{Turn, millis};

use super::consumer_group::ConsumerGroup;
use std::collections::BTreeMap;

/// A group, by the protocol of its members.
#[derive(Debug)]
// There are few groups, and they stay where they are.
#[expect(clippy::large_enum_variant)]
pub(in crate::embedded) enum Group {
    /// The classic protocol: clients assign. Also a group without members that only keeps offsets.
    Classic(ClassicGroup),
    /// The consumer protocol (KIP-848): the coordinator assigns.
    Consumer(ConsumerGroup),
}

impl Group {
    /// The state, as Kafka names it.
    pub(in crate::embedded) fn state_name(&self) -> &'static str {
        match self {
            Self::Classic(group) => group.state.name(),
            Self::Consumer(group) => group.state_name(),
        }
    }

    /// The kind of group, as ListGroups names it.
    pub(in crate::embedded) fn type_name(&self) -> &'static str {
        match self {
            Self::Classic(_) => "classic",
            Self::Consumer(_) => "consumer",
        }
    }

    /// Whether it has no members.
    pub(in crate::embedded) fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty(),
            Self::Consumer(group) => group.is_empty(),
        }
    }
}

/// All groups, by their ids.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Groups(BTreeMap<String, Group>);

impl Groups {
    pub(in crate::embedded) fn get(&self, id: &str) -> Option<&Group> {
        self.0.get(id)
    }

    pub(in crate::embedded) fn get_mut(&mut self, id: &str) -> Option<&mut Group> {
        self.0.get_mut(id)
    }

    /// Adds a group, in place of one that has the id.
    pub(in crate::embedded) fn insert(&mut self, id: &str, group: Group) {
        self.0.insert(id.to_owned(), group);
    }

    pub(in crate::embedded) fn remove(&mut self, id: &str) -> Option<Group> {
        self.0.remove(id)
    }

    /// In the order of their ids.
    pub(in crate::embedded) fn iter(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.0.iter().map(|(id, group)| (id.as_str(), group))
    }

    /// The group, if it is a classic one.
    #[cfg(test)]
    pub(in crate::embedded) fn classic(&self, id: &str) -> Option<&ClassicGroup> {
        match self.get(id)? {
            Group::Classic(group) => Some(group),
            Group::Consumer(_) => None,
        }
    }

    /// The group, if it is a classic one.
    pub(in crate::embedded) fn classic_mut(&mut self, id: &str) -> Option<&mut ClassicGroup> {
        match self.get_mut(id)? {
            Group::Classic(group) => Some(group),
            Group::Consumer(_) => None,
        }
    }
}
