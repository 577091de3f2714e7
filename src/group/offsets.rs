//! What one session has marked and committed, and what the answers to OffsetCommit and OffsetFetch mean. Pure: the
//! commit thread moves the bytes.

use crate::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use crate::{Error, ErrorCode, ErrorKind, Result};
use std::collections::BTreeMap;
use std::time::Duration;

/// The highest version of OffsetCommit and OffsetFetch in which topics have names; later ones have ids only.
pub(crate) const MAX_OFFSET_VERSION: i16 = 9;

/// A position in a partition: the next record to be read, and what is stored beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) offset: i64,
    /// The leader epoch of the record before `offset`; -1 if unknown. It shows a later reader that the log was
    /// truncated.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
}

/// Whom a commit is from. It belongs to one session: a commit can't be stored under another generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) group_id: String,
    pub(crate) generation_id: i32,
    pub(crate) member_id: String,
    pub(crate) group_instance_id: Option<String>,
}

/// The offsets of one session: marked by handlers, committed by the commit thread.
///
/// Lives as long as the session. A mark after the end of its claim or the loss of the session is refused, so that it
/// can't leak into the next generation. At most one commit is under way: the offset at the broker never goes back
/// because of two that overtook each other.
#[derive(Debug)]
pub(crate) struct OffsetTracker {
    identity: Identity,
    /// Kafka: `offsets.retention.minutes` of old brokers, set per commit; brokers since Kafka 2.1 do not know it.
    retention: Option<Duration>,
    topics: BTreeMap<String, BTreeMap<i32, Claim>>,
    phase: Phase,
    /// The number of the commit under way.
    under_way: Option<u64>,
    commits: u64,
    refused_marks: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Marks and commits are taken.
    Open,
    /// The final commit was made or given up: nothing is sent any more.
    Closed,
    /// The broker gave the partitions to others, or may have.
    Lost,
}

#[derive(Debug)]
struct Claim {
    /// Where the claim began to read; marks count from here.
    start: i64,
    /// What the broker has, as far as we know.
    committed: Option<Position>,
    /// What is to be committed; `None` until the first mark.
    marked: Option<Position>,
    ended: bool,
}

/// A commit to be sent: its answer goes to [`OffsetTracker::complete`].
#[derive(Debug)]
pub(crate) struct Commit {
    number: u64,
    /// Fit for versions up to [`MAX_OFFSET_VERSION`].
    pub(crate) request: OffsetCommitRequest,
}

/// What became of a commit.
#[derive(Debug, Default)]
pub(crate) struct CommitOutcome {
    /// How many partitions' offsets are stored.
    pub(crate) stored: usize,
    /// One error for each partition that failed; the error names it. They stay marked and are in the next commit.
    pub(crate) errors: Vec<Error>,
    /// What to do next.
    pub(crate) next: AfterCommit,
}

/// What the commit thread does after a commit. The later a variant stands the more it outweighs the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AfterCommit {
    /// All is stored, or what is not will not be stored by another try: the errors go to the user.
    #[default]
    Nothing,
    /// The same commit may succeed after a wait, at the same coordinator and in the same generation.
    Retry,
    /// A rebalance has begun. The same commit may succeed after a wait, until this member joins again; the membership
    /// should know.
    Rebalance,
    /// The same commit may succeed at another coordinator.
    FindCoordinator,
    /// The session is lost; the code says why. Nothing can be committed any more.
    Lost(ErrorCode),
}

impl OffsetTracker {
    /// A tracker without claims.
    pub(crate) fn new(identity: Identity, retention: Option<Duration>) -> Self {
        Self {
            identity,
            retention,
            topics: BTreeMap::new(),
            phase: Phase::Open,
            under_way: None,
            commits: 0,
            refused_marks: 0,
        }
    }

    /// Whom its commits are from.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A claim starts at this offset; `committed` is what the broker had.
    pub(crate) fn start_claim(&mut self, topic: &str, partition: i32, start: i64, committed: Option<Position>) {
        let claim = Claim { start, committed, marked: None, ended: false };
        self.topics.entry(topic.to_owned()).or_default().insert(partition, claim);
    }

    /// Marks everything before `next_offset` as processed. Moves forward only: a lower offset than marked before
    /// changes nothing. Returns whether the mark was taken; it is refused if the claim has ended or the session is
    /// lost.
    pub(crate) fn mark(
        &mut self,
        topic: &str,
        partition: i32,
        next_offset: i64,
        leader_epoch: i32,
        metadata: &str,
    ) -> bool {
        self.set(topic, partition, next_offset, leader_epoch, metadata, |next, now| next > now)
    }

    /// Like [`mark`](Self::mark), but moves backward only: records from `next_offset` on will be read again by the next
    /// owner.
    pub(crate) fn reset_offset(&mut self, topic: &str, partition: i32, next_offset: i64, metadata: &str) -> bool {
        self.set(topic, partition, next_offset, -1, metadata, |next, now| next <= now)
    }

    fn set(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        leader_epoch: i32,
        metadata: &str,
        moves: fn(i64, i64) -> bool,
    ) -> bool {
        let open = self.phase == Phase::Open && offset >= 0;
        let claim = self.topics.get_mut(topic).and_then(|claims| claims.get_mut(&partition));
        let Some(claim) = claim.filter(|claim| open && !claim.ended) else {
            self.refused_marks = self.refused_marks.saturating_add(1);
            return false;
        };
        let now = claim.marked.as_ref().map_or(claim.start, |position| position.offset);
        if moves(offset, now) {
            claim.marked = Some(Position { offset, leader_epoch, metadata: metadata.to_owned() });
        }
        true
    }

    /// How many marks were refused.
    pub(crate) fn refused_marks(&self) -> u64 {
        self.refused_marks
    }

    /// The claim's handler has returned or been given up: its marks so far count, later ones are refused.
    pub(crate) fn end_claim(&mut self, topic: &str, partition: i32) {
        if let Some(claim) = self.topics.get_mut(topic).and_then(|claims| claims.get_mut(&partition)) {
            claim.ended = true;
        }
    }

    /// The final commit is made or given up. No mark is taken and no commit begun any more.
    pub(crate) fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closed;
        }
    }

    /// The partitions may belong to others now. No mark is taken and no commit begun any more.
    pub(crate) fn lose(&mut self) {
        self.phase = Phase::Lost;
    }

    /// Whether the session is lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.phase == Phase::Lost
    }

    /// Whether something is marked that the broker does not have yet.
    pub(crate) fn is_dirty(&self) -> bool {
        self.topics.values().flat_map(BTreeMap::values).any(|claim| claim.to_commit().is_some())
    }

    /// What the broker has for this partition, as far as we know.
    pub(crate) fn committed(&self, topic: &str, partition: i32) -> Option<&Position> {
        self.topics.get(topic)?.get(&partition)?.committed.as_ref()
    }

    /// Begins a commit of all that is marked and differs from what the broker has. `None` if there is nothing to
    /// commit, one is under way, or the tracker is closed or lost.
    pub(crate) fn begin_commit(&mut self) -> Option<Commit> {
        if self.phase != Phase::Open || self.under_way.is_some() || !self.is_dirty() {
            return None;
        }
        let mut topics = Vec::new();
        for (topic, claims) in &self.topics {
            let partition = |(index, claim): (&i32, &Claim)| {
                claim.to_commit().map(|position| OffsetCommitRequestPartition {
                    partition_index: *index,
                    committed_offset: position.offset,
                    committed_leader_epoch: position.leader_epoch,
                    committed_metadata: Some(position.metadata.clone()),
                })
            };
            let partitions: Vec<_> = claims.iter().filter_map(partition).collect();
            if !partitions.is_empty() {
                topics.push(OffsetCommitRequestTopic { name: topic.clone(), partitions, ..Default::default() });
            }
        }
        let retention = self.retention.map_or(-1, |retention| i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
        self.commits += 1;
        self.under_way = Some(self.commits);
        let request = OffsetCommitRequest {
            group_id: self.identity.group_id.clone(),
            generation_id_or_member_epoch: self.identity.generation_id,
            member_id: self.identity.member_id.clone(),
            group_instance_id: self.identity.group_instance_id.clone(),
            retention_time_ms: retention,
            topics,
        };
        Some(Commit { number: self.commits, request })
    }

    /// Takes the answer to a commit, or the reason why there is none. Without an answer the broker may have stored it;
    /// the offsets stay marked, and storing them again does no harm.
    pub(crate) fn complete(&mut self, commit: &Commit, answer: Result<OffsetCommitResponse>) -> CommitOutcome {
        let mut outcome = CommitOutcome::default();
        if self.under_way != Some(commit.number) {
            return outcome;
        }
        self.under_way = None;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // Only errors of the connection can pass; a broker that lacks the API or refuses us will not change.
                let passes = error.is_retriable() || error.kind() == ErrorKind::Protocol;
                outcome.next = if passes { AfterCommit::FindCoordinator } else { AfterCommit::Nothing };
                outcome.errors.push(error);
                return outcome;
            }
        };
        let mut codes = BTreeMap::new();
        for topic in &answer.topics {
            for partition in &topic.partitions {
                codes.insert((topic.name.as_str(), partition.partition_index), ErrorCode(partition.error_code));
            }
        }
        for topic in &commit.request.topics {
            for sent in &topic.partitions {
                let code = codes.get(&(topic.name.as_str(), sent.partition_index)).copied();
                self.complete_partition(&topic.name, sent, code, &mut outcome);
            }
        }
        if let AfterCommit::Lost(_) = outcome.next {
            self.lose();
        }
        outcome
    }

    fn complete_partition(
        &mut self,
        topic: &str,
        sent: &OffsetCommitRequestPartition,
        code: Option<ErrorCode>,
        outcome: &mut CommitOutcome,
    ) {
        let failed = |error: Error| error.with_topic(topic).with_partition(sent.partition_index);
        let Some(code) = code else {
            // Nothing was promised for it. It may be stored all the same; it stays marked and is committed again.
            outcome.errors.push(failed(Error::protocol("the answer to OffsetCommit lacks a partition")));
            outcome.next = outcome.next.max(AfterCommit::Retry);
            return;
        };
        if code.is_none() {
            outcome.stored += 1;
            let claim = self.topics.get_mut(topic).and_then(|claims| claims.get_mut(&sent.partition_index));
            if let Some(claim) = claim {
                claim.committed = Some(Position {
                    offset: sent.committed_offset,
                    leader_epoch: sent.committed_leader_epoch,
                    metadata: sent.committed_metadata.clone().unwrap_or_default(),
                });
            }
            return;
        }
        outcome.errors.push(failed(Error::from_code(code, "offset not committed")));
        outcome.next = outcome.next.max(classify_commit(code));
    }
}

impl Claim {
    fn to_commit(&self) -> Option<&Position> {
        self.marked.as_ref().filter(|marked| self.committed.as_ref() != Some(marked))
    }
}

/// What to do about the code of one partition in the answer to OffsetCommit.
fn classify_commit(code: ErrorCode) -> AfterCommit {
    match code {
        // The group waits for its members to join again; until we do, our generation is still the one of the claims.
        ErrorCode::REBALANCE_IN_PROGRESS => AfterCommit::Rebalance,
        // The coordinator has moved, or is not known yet after its broker died.
        ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => AfterCommit::FindCoordinator,
        // The coordinator has just moved here and still reads the group from its log.
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => AfterCommit::Retry,
        // The broker could not replicate the commit in time; it may be stored.
        ErrorCode::REQUEST_TIMED_OUT => AfterCommit::Retry,
        // We are out of the group, in an older generation, or replaced: others own the partitions.
        ErrorCode::UNKNOWN_MEMBER_ID
        | ErrorCode::ILLEGAL_GENERATION
        | ErrorCode::FENCED_INSTANCE_ID
        | ErrorCode::STALE_MEMBER_EPOCH => AfterCommit::Lost(code),
        // The topic was deleted, or this broker has not heard of it yet.
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => AfterCommit::Retry,
        // A permission, the metadata's length, the group's kind: another try fails the same way.
        _ if !code.is_retriable() => AfterCommit::Nothing,
        _ => AfterCommit::Retry,
    }
}

#[cfg(test)]
mod tests;
