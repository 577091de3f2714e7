//! Which commits and fetches of offsets a consumer group accepts.

use super::group::ConsumerGroup;
use super::member::Member;
use super::{Refusal, TopicId};
use crate::ErrorCode;

/// Who commits.
#[derive(Debug, Clone, Copy)]
pub(in crate::embedded::state) struct Committer<'a> {
    pub(in crate::embedded::state) member_id: &'a str,
    pub(in crate::embedded::state) instance_id: Option<&'a str>,
    /// The member epoch, or what the classic protocol calls the generation.
    pub(in crate::embedded::state) epoch: i32,
    /// The version of an OffsetCommit request; `None` for a TxnOffsetCommit.
    pub(in crate::embedded::state) version: Option<i16>,
}

/// What may be committed.
#[derive(Debug, Clone, Copy)]
pub(in crate::embedded::state) enum Allowed<'a> {
    All,
    /// The member's epoch is not its newest: what it has had since that epoch.
    HeldSince {
        member: &'a Member,
        epoch: i32,
    },
}

impl Allowed<'_> {
    /// NONE, or STALE_MEMBER_EPOCH.
    pub(in crate::embedded::state) fn check(&self, topic: &TopicId, partition: i32) -> ErrorCode {
        let Self::HeldSince { member, epoch } = self else { return ErrorCode::NONE };
        let held = [&member.assigned, &member.pending_revocation];
        let since = held.into_iter().find_map(|held| held.get(topic)?.get(&partition));
        if since.is_some_and(|since| since <= epoch) { ErrorCode::NONE } else { ErrorCode::STALE_MEMBER_EPOCH }
    }
}

impl ConsumerGroup {
    /// Whether a commit is accepted, and for which partitions.
    pub(in crate::embedded::state) fn check_commit(&self, by: &Committer<'_>) -> Result<Allowed<'_>, Refusal> {
        // A group without members takes commits from outside it: consumers that assign themselves, and tools.
        let outside = by.epoch < 0 && self.members.is_empty();
        let transaction = by.version.is_none() && by.epoch == -1 && by.member_id.is_empty() && by.instance_id.is_none();
        if outside || transaction {
            return Ok(Allowed::All);
        }
        let member = self.members.get(by.member_id).ok_or_else(|| Refusal::unknown_member(by.member_id))?;
        if by.version.is_some_and(|version| version < 9) {
            let text = "OffsetCommit version 9 or above must be used by members using the consumer group protocol";
            return Err(Refusal::new(ErrorCode::UNSUPPORTED_VERSION, text));
        }
        if by.epoch > member.epoch {
            return Err(Refusal::new(
                ErrorCode::STALE_MEMBER_EPOCH,
                format!("Received member epoch {} is newer than current member epoch {}.", by.epoch, member.epoch),
            ));
        }
        let newest = by.epoch == member.epoch;
        Ok(if newest { Allowed::All } else { Allowed::HeldSince { member, epoch: by.epoch } })
    }

    /// Whether offsets may be fetched: by a member in its epoch, or from outside without either.
    pub(in crate::embedded::state) fn check_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), Refusal> {
        let Some(id) = member_id.or(Some("").filter(|_| epoch >= 0)) else { return Ok(()) };
        let member = self.members.get(id).ok_or_else(|| Refusal::unknown_member(id))?;
        if member.epoch == epoch {
            return Ok(());
        }
        let known = member.epoch;
        let text = format!("The received member epoch {epoch} does not match the expected member epoch {known}.");
        Err(Refusal::new(ErrorCode::STALE_MEMBER_EPOCH, text))
    }

    /// Whether any member subscribes to a topic: its offsets are then not to be deleted.
    pub(in crate::embedded::state) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| self.subscribes(member, topic))
    }
}
