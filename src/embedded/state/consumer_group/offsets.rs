//! Which commits and fetches of offsets a consumer group accepts.

use super::group::ConsumerGroup;
use super::{Held, TopicId};
use crate::ErrorCode;
use crate::embedded::state::offsets::commit::Committer;

/// What may be committed.
#[derive(Debug, Clone)]
pub(in crate::embedded) enum Allowed {
    All,
    /// The member's epoch is not its newest: only what it has had since that epoch.
    Since {
        epoch: i32,
        held: Held,
        /// For what it has not had: the protocols have different ones.
        code: ErrorCode,
    },
}

impl Allowed {
    /// Whether the offsets of all these partitions may be committed. As in Kafka one that may not spoils the whole commit.
    ///
    /// # Errors
    /// STALE_MEMBER_EPOCH if not, or ILLEGAL_GENERATION to a member of the classic protocol.
    pub(in crate::embedded::state) fn check(
        &self,
        mut partitions: impl Iterator<Item = (TopicId, i32)>,
    ) -> Result<(), ErrorCode> {
        let Self::Since { epoch, held, code } = self else { return Ok(()) };
        let had = |(topic, partition): (TopicId, i32)| {
            held.get(&topic).and_then(|held| held.get(&partition)).is_some_and(|since| since <= epoch)
        };
        if partitions.all(had) { Ok(()) } else { Err(*code) }
    }
}

impl ConsumerGroup {
    /// Whether a commit is accepted, and of what.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID; STALE_MEMBER_EPOCH, or ILLEGAL_GENERATION to a member of the classic protocol; UNSUPPORTED_VERSION,
    /// since OffsetCommit knows of member epochs from version 9 on.
    pub(in crate::embedded::state) fn check_committer(&self, by: Committer<'_>) -> Result<Allowed, ErrorCode> {
        let epoch = by.generation;
        // A group without members takes commits from outside it: consumers that assign themselves, and tools.
        let outside = epoch < 0 && self.members.is_empty();
        let anonymous = by.transactional && epoch == -1 && by.member_id.is_empty() && by.instance_id.is_none();
        if outside || anonymous {
            return Ok(Allowed::All);
        }
        let member = self.members.get(by.member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if !by.transactional && member.classic.is_none() && by.version < 9 {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        let code = member.code_of_another_epoch();
        if epoch > member.epoch {
            return Err(code);
        }
        if epoch == member.epoch {
            return Ok(Allowed::All);
        }
        let mut held = member.assigned.clone();
        for (topic, pending) in &member.pending_revocation {
            held.entry(*topic).or_default().extend(pending);
        }
        Ok(Allowed::Since { epoch, held, code })
    }

    /// Whether offsets may be fetched: by a member in its epoch, or from outside without either.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID; STALE_MEMBER_EPOCH, or ILLEGAL_GENERATION to a member of the classic protocol.
    pub(in crate::embedded::state) fn check_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = self.members.get(member_id.unwrap_or_default()).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if member.epoch == epoch { Ok(()) } else { Err(member.code_of_another_epoch()) }
    }

    /// Whether any member subscribes to a topic: its offsets are then not to be deleted.
    pub(in crate::embedded::state) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| self.subscribes(member, topic))
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::{ClassicPart, Member};
    use super::*;
    use std::collections::BTreeMap;

    const T: TopicId = [1; 16];

    /// A group with one member, in epoch 5, which has partition 0 since epoch 3, 1 since 5, and has yet to give 2 up.
    fn group() -> ConsumerGroup {
        let assigned = BTreeMap::from([(T, BTreeMap::from([(0, 3), (1, 5)]))]);
        let pending_revocation = BTreeMap::from([(T, BTreeMap::from([(2, 4)]))]);
        let topics = ["t".to_owned()].into();
        let member = Member { id: "m".into(), epoch: 5, assigned, pending_revocation, topics, ..Default::default() };
        let mut group = ConsumerGroup::default();
        group.members.insert("m".into(), member);
        group
    }

    /// The same with its member in the classic protocol.
    fn group_of_classic() -> ConsumerGroup {
        let mut group = group();
        let (session_timeout, protocols, joins_by, syncs_by) = Default::default();
        let classic = Some(ClassicPart { session_timeout, protocols, joins_by, syncs_by });
        group.members.values_mut().for_each(|member| member.classic = classic.clone());
        group
    }

    fn by(member_id: &str, generation: i32, version: i16) -> Committer<'_> {
        let (group, instance_id, transactional) = ("g", None, false);
        Committer { group, member_id, instance_id, generation, transactional, version }
    }

    #[test]
    fn a_member_commits_in_its_epoch_or_what_it_has_had_since_the_one_it_names() {
        let group = group();
        let check = |epoch, partitions: &[i32]| {
            group.check_committer(by("m", epoch, 9))?.check(partitions.iter().map(|partition| (T, *partition)))
        };
        let stale = Err(ErrorCode::STALE_MEMBER_EPOCH);
        assert_eq!(check(5, &[7]), Ok(()), "in the newest epoch anything");
        assert_eq!([check(4, &[0]), check(4, &[1]), check(4, &[2]), check(4, &[7])], [Ok(()), stale, Ok(()), stale]);
        assert_eq!([check(4, &[0, 2]), check(4, &[0, 1])], [Ok(()), stale], "one that it may not is enough");
        assert_eq!(check(6, &[0]), stale);
    }

    #[test]
    fn strangers_commit_only_where_there_are_no_members() {
        let group = group();
        let code = |by: Committer<'_>| group.check_committer(by).err();
        assert_eq!(code(by("x", 5, 9)), Some(ErrorCode::UNKNOWN_MEMBER_ID));
        assert_eq!(code(by("", -1, 9)), Some(ErrorCode::UNKNOWN_MEMBER_ID));
        assert_eq!(code(by("m", 5, 8)), Some(ErrorCode::UNSUPPORTED_VERSION));
        assert_eq!(
            code(Committer { transactional: true, ..by("", -1, 3) }),
            None,
            "a transaction that names no member"
        );
        assert!(ConsumerGroup::default().check_committer(by("", -1, 8)).is_ok());
    }

    #[test]
    fn a_classic_member_commits_in_any_version_and_knows_of_generations_alone() {
        let group = group_of_classic();
        let code = |by: Committer<'_>| group.check_committer(by).err();
        assert_eq!([code(by("m", 5, 2)), code(by("m", 5, 8))], [None, None]);
        assert_eq!(code(by("m", 6, 8)), Some(ErrorCode::ILLEGAL_GENERATION));
        let old = group.check_committer(by("m", 4, 8)).unwrap();
        let check = |partition| old.check([(T, partition)].into_iter());
        assert_eq!([check(0), check(1)], [Ok(()), Err(ErrorCode::ILLEGAL_GENERATION)]);
        assert_eq!(group.check_fetch(Some("m"), 4), Err(ErrorCode::ILLEGAL_GENERATION));
    }

    #[test]
    fn offsets_are_fetched_by_members_in_their_epoch_and_from_outside() {
        let group = group();
        let code = |id, epoch| group.check_fetch(id, epoch).err();
        assert_eq!([code(None, -1), code(Some("m"), 5)], [None, None]);
        assert_eq!(code(Some("m"), 4), Some(ErrorCode::STALE_MEMBER_EPOCH));
        assert_eq!([code(Some("x"), 5), code(None, 5)], [Some(ErrorCode::UNKNOWN_MEMBER_ID); 2]);
        assert_eq!([group.is_subscribed_to("t"), group.is_subscribed_to("u")], [true, false]);
    }
}
