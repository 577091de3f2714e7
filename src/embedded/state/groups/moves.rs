//! What groups do by the clock, and what becomes of them when another broker coordinates them.

use super::Group;
use crate::embedded::state::coordinator::Coordinated;
use crate::embedded::state::topics::OFFSETS_TOPIC;
use crate::embedded::state::{State, Time};
use std::collections::BTreeSet;

/// What is due for a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::embedded) enum GroupTimer {
    /// The time for joining is over.
    Join { group: String },
    /// The time for syncing is over.
    Sync { group: String },
    /// A member's session, or the time in which it should have joined with its new id.
    Session { group: String, member: String },
    /// Offsets that nobody needs any more are looked for.
    Retention,
}

/// Who led the partitions of the offsets topic when that was last looked at.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Coordinators(Vec<Option<i32>>);

impl State {
    pub(in crate::embedded::state) fn group_timer(&mut self, timer: &GroupTimer, at: Time) {
        let group = match timer {
            GroupTimer::Join { group } | GroupTimer::Sync { group } | GroupTimer::Session { group, .. } => group,
            GroupTimer::Retention => return self.retain_offsets(at),
        };
        // Where nobody coordinates a group nobody minds its time either. All sessions begin anew with the next coordinator.
        if self.coordinator(Coordinated::Group, group).is_err() {
            return;
        }
        self.with_classic(group, at, |group, turn| match timer {
            GroupTimer::Join { .. } => group.join_timer(turn),
            GroupTimer::Sync { .. } => group.sync_timer(turn),
            GroupTimer::Session { member, .. } => group.session_timer(turn, member, at),
            GroupTimer::Retention => {}
        });
    }

    /// Looks which partitions of the offsets topic have another leader: that broker is the coordinator of their groups
    /// now, and knows what the topic holds. Called after whatever may have moved leaders.
    pub(in crate::embedded::state) fn groups_follow_coordinators(&mut self) {
        let partitions = self.topics.get(OFFSETS_TOPIC).map_or(&[][..], |topic| &topic.partitions);
        let leaders = partitions.iter().map(|partition| partition.leader);
        if self.coordinators.0.iter().copied().eq(leaders.clone()) {
            return;
        }
        let leaders: Vec<Option<i32>> = leaders.collect();
        let count = leaders.len().max(self.coordinators.0.len());
        let moved = |at: &usize| leaders.get(*at) != self.coordinators.0.get(*at);
        let moved: BTreeSet<i32> = (0..count).filter(moved).filter_map(|at| i32::try_from(at).ok()).collect();
        self.coordinators = Coordinators(leaders);
        let concerned = |id: &&str| {
            self.coordinators_partition(Coordinated::Group, id).is_none_or(|partition| moved.contains(&partition))
        };
        let groups: Vec<String> = self.groups.iter().map(|(id, _)| id).filter(concerned).map(str::to_owned).collect();
        for id in groups {
            match self.groups.get(&id) {
                Some(Group::Classic(_)) => {
                    self.with_classic(&id, self.now, |group, turn| group.moved(turn));
                }
                Some(Group::Consumer(_)) => self.consumer_group_moved(&id),
                None => {}
            }
        }
    }
}
