//! What the coordinator's answers mean for a member.

use super::{Action, EndCause, GroupResponse, InFlight, Kind, Membership, PROTOCOL_TYPE, Phase, Session, SessionStart};
use crate::group::offsets::Identity;
use crate::group::subscription::{decode_assignment, group_members};
use crate::protocol::messages::join_group::JoinGroupResponse;
use crate::protocol::messages::sync_group::SyncGroupResponse;
use crate::{Error, ErrorCode};
use std::time::Instant;

/// What a code in an answer of the group APIs asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Join again, once the session is over.
    Rebalance,
    /// Ask the same coordinator again after a wait.
    Later,
    /// Find the coordinator again.
    FindCoordinator,
    /// Join again with the member id of the answer.
    MemberIdRequired,
    /// Join again without a member id.
    UnknownMember,
    /// Join again with the same member id.
    IllegalGeneration,
    /// Stop for good: there is another one of us.
    Fenced,
    /// Stop: the answer would stay the same.
    Refused,
}

fn classify(code: ErrorCode) -> Verdict {
    match code {
        ErrorCode::NONE => Verdict::Fine,
        // Someone came, went or changed its subscription; the coordinator waits for all to join again.
        ErrorCode::REBALANCE_IN_PROGRESS => Verdict::Rebalance,
        // The coordinator has just taken over and still reads the group from its log.
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => Verdict::Later,
        // The group has moved to another broker, or its broker died and no other has taken over yet.
        ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => Verdict::FindCoordinator,
        // KIP-394: joining takes two steps, so that members whose first answer got lost leave no trace.
        ErrorCode::MEMBER_ID_REQUIRED => Verdict::MemberIdRequired,
        // Expired, or the coordinator lost it: the id is of no use any more.
        ErrorCode::UNKNOWN_MEMBER_ID => Verdict::UnknownMember,
        // The group went on without us, but may know us still.
        ErrorCode::ILLEGAL_GENERATION => Verdict::IllegalGeneration,
        // Joining again would throw the other one out, which would throw us out, and so on.
        ErrorCode::FENCED_INSTANCE_ID => Verdict::Fenced,
        // Kafka's own table says that it passes.
        code if code.is_retriable() => Verdict::Later,
        // A permission, a limit, another kind of group, or a code from the future.
        _ => Verdict::Refused,
    }
}

impl Membership {
    pub(super) fn handle_answer(&mut self, now: Instant, response: GroupResponse) {
        let Some(request) = self.in_flight.take() else { return };
        match (request.kind, response) {
            (Kind::Join, GroupResponse::Join(answer)) => self.handle_join(now, &request, answer),
            (Kind::Sync, GroupResponse::Sync(answer)) => self.handle_sync(now, &request, answer),
            (Kind::Heartbeat, GroupResponse::Heartbeat(answer)) => {
                self.handle_heartbeat(now, &request, ErrorCode(answer.error_code));
            }
            (Kind::Leave, GroupResponse::Leave(answer)) => self.handle_leave(now, ErrorCode(answer.error_code)),
            (kind, _) => self.lose_link(now, Error::protocol(format!("an answer that is not to {kind:?}"))),
        }
    }

    fn handle_join(&mut self, now: Instant, request: &InFlight, answer: JoinGroupResponse) {
        let code = ErrorCode(answer.error_code);
        match classify(code) {
            Verdict::Fine => self.joined(now, answer),
            Verdict::MemberIdRequired => {
                // Asked for twice, or without naming it: no sane coordinator, so don't spin.
                if answer.member_id.is_empty() || !request.member_id.is_empty() {
                    self.back_off(now);
                }
                self.member_id = answer.member_id;
                self.rejoin(now);
            }
            Verdict::UnknownMember => {
                self.member_id.clear();
                self.rejoin(now);
            }
            Verdict::IllegalGeneration => self.rejoin(now),
            Verdict::Rebalance | Verdict::Later => self.rejoin_after_a_wait(now),
            Verdict::FindCoordinator => self.leave_coordinator(now, code),
            Verdict::Fenced | Verdict::Refused => {
                self.rejoin_later();
                self.fail(now, self.refusal(code), false);
            }
        }
    }

    fn joined(&mut self, now: Instant, answer: JoinGroupResponse) {
        if answer.member_id.is_empty() || answer.generation_id < 0 {
            return self.lose_link(now, Error::protocol("an answer to JoinGroup without member id or generation"));
        }
        self.member_id = answer.member_id;
        self.generation_id = answer.generation_id;
        let offered = |name: &String| self.protocols.iter().any(|protocol| protocol.name == *name);
        let kind_fits = answer.protocol_type.is_none_or(|kind| kind.is_empty() || kind == PROTOCOL_TYPE);
        let Some(protocol) = answer.protocol_name.filter(|name| kind_fits && offered(name)) else {
            self.rejoin_later();
            return self.fail(now, self.refusal(ErrorCode::INCONSISTENT_GROUP_PROTOCOL), true);
        };
        if self.closing.is_some() {
            self.rejoin_later();
            return self.go_on_closing(now);
        }
        self.heartbeat_due = now + self.config.heartbeat_interval;
        // A static leader that comes back gets the old assignment and must not make a new one (KIP-814).
        if answer.leader == self.member_id && !answer.skip_assignment {
            self.ready.push_back(Action::Assign {
                generation_id: self.generation_id,
                assignor: protocol.clone(),
                members: group_members(&answer.members),
            });
            self.enter(Phase::AwaitingAssignment { protocol });
        } else {
            self.enter(Phase::Syncing { protocol, assignments: Vec::new() });
        }
    }

    fn handle_sync(&mut self, now: Instant, request: &InFlight, answer: SyncGroupResponse) {
        let code = ErrorCode(answer.error_code);
        match classify(code) {
            Verdict::Fine => self.synced(now, request, answer),
            Verdict::UnknownMember => {
                self.member_id.clear();
                self.rejoin(now);
            }
            Verdict::Rebalance | Verdict::IllegalGeneration => self.rejoin(now),
            Verdict::Later | Verdict::MemberIdRequired => self.rejoin_after_a_wait(now),
            Verdict::FindCoordinator => self.leave_coordinator(now, code),
            verdict @ (Verdict::Fenced | Verdict::Refused) => {
                self.rejoin_later();
                self.fail(now, self.refusal(code), verdict == Verdict::Refused);
            }
        }
    }

    fn synced(&mut self, now: Instant, request: &InFlight, answer: SyncGroupResponse) {
        let Phase::Syncing { protocol, .. } = &self.phase else { return };
        let protocol = protocol.clone();
        let kind_fits = answer.protocol_type.is_none_or(|kind| kind.is_empty() || kind == PROTOCOL_TYPE);
        if !kind_fits || answer.protocol_name.is_some_and(|name| !name.is_empty() && name != protocol) {
            self.rejoin_later();
            return self.fail(now, self.refusal(ErrorCode::INCONSISTENT_GROUP_PROTOCOL), true);
        }
        let assignment = match decode_assignment(&answer.assignment) {
            Ok(assignment) => assignment,
            Err(error) => {
                self.rejoin_later();
                return self.fail(now, error, true);
            }
        };
        self.enter(Phase::Stable);
        self.backoff.reset();
        self.quick_rejoins = 0;
        self.join_reason = None;
        // The coordinator counts from when it answered, which lies between the sending and now. An answer that waited
        // for a slow leader must not use up the session; one that lay here for long must be checked at once.
        let waited = now.saturating_duration_since(request.sent);
        self.alive = now - waited.min(self.config.session_timeout / 2);
        self.settled = self.alive;
        let fresh = waited < self.config.heartbeat_interval;
        self.heartbeat_due = if fresh { now + self.config.heartbeat_interval } else { now };
        if self.outdated {
            self.join_reason = Some(EndCause::SubscriptionChanged);
            return;
        }
        self.session = Session::Running;
        let identity = Identity {
            group_id: self.config.group_id.clone(),
            generation_id: self.generation_id,
            member_id: self.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
        };
        self.ready.push_back(Action::StartSession(SessionStart { identity, assignor: protocol, assignment }));
    }

    fn handle_heartbeat(&mut self, now: Instant, request: &InFlight, code: ErrorCode) {
        // What was true of an older generation is not of this one.
        if request.generation_id != self.generation_id || request.member_id != self.member_id {
            return;
        }
        let verdict = classify(code);
        self.heartbeat_due = (request.sent + self.config.heartbeat_interval).max(now);
        match self.phase {
            Phase::Stable => {}
            // Brokers before Kafka 2.7 speak of a rebalance until all have synced.
            Phase::AwaitingAssignment { .. } if verdict == Verdict::Rebalance => return,
            Phase::AwaitingAssignment { .. } => {
                match verdict {
                    Verdict::UnknownMember => self.member_id.clear(),
                    Verdict::IllegalGeneration => {}
                    Verdict::FindCoordinator => return self.leave_coordinator(now, code),
                    Verdict::Later => return self.back_off(now),
                    // SyncGroup will hear the same and deal with it.
                    _ => return,
                }
                return self.rejoin(now);
            }
            _ => return,
        }
        match verdict {
            Verdict::Fine => {
                (self.alive, self.settled) = (request.sent, request.sent);
                self.backoff.reset();
            }
            Verdict::Rebalance => {
                self.alive = request.sent;
                self.backoff.reset();
                self.handle_session_code(now, code);
            }
            // The wait must not be longer than the interval: there may be little time left.
            Verdict::Later | Verdict::MemberIdRequired => self.back_off(now),
            Verdict::FindCoordinator => self.leave_coordinator(now, code),
            _ => self.handle_session_code(now, code),
        }
    }

    /// A code that says something about the session, whichever connection it came by.
    pub(super) fn handle_session_code(&mut self, now: Instant, code: ErrorCode) {
        match classify(code) {
            Verdict::Rebalance => {
                // It may have begun right after the last time that we heard of none.
                let by = self.settled + self.config.rebalance_timeout;
                self.drain(EndCause::Rebalance, by);
            }
            Verdict::UnknownMember => {
                self.member_id.clear();
                self.lose_session(now, EndCause::UnknownMember);
            }
            Verdict::IllegalGeneration => self.lose_session(now, EndCause::IllegalGeneration),
            Verdict::Fenced => {
                self.end_lost(EndCause::Fenced);
                self.rejoin_later();
                self.fail(now, self.refusal(code), false);
            }
            Verdict::Refused => self.fail(now, self.refusal(code), false),
            Verdict::Fine | Verdict::Later | Verdict::FindCoordinator | Verdict::MemberIdRequired => {}
        }
    }

    fn handle_leave(&mut self, now: Instant, code: ErrorCode) {
        match classify(code) {
            Verdict::FindCoordinator => self.leave_coordinator(now, code),
            Verdict::Later => self.back_off(now),
            // Gone, or never there, or not to be sent away by us: there is nothing more to do.
            _ => self.left(),
        }
    }

    fn rejoin_after_a_wait(&mut self, now: Instant) {
        self.back_off(now);
        self.rejoin_later();
        self.go_on_closing(now);
    }

    /// The broker is not the group's coordinator, or not for now.
    fn leave_coordinator(&mut self, now: Instant, code: ErrorCode) {
        self.lose_link(now, Error::from_code(code, "the group has another coordinator"));
    }

    /// A code that ends the membership, in words that say what to do.
    fn refusal(&self, code: ErrorCode) -> Error {
        let group = &self.config.group_id;
        let message = match code {
            ErrorCode::GROUP_AUTHORIZATION_FAILED => {
                format!("the principal may not READ group {group:?}")
            }
            ErrorCode::INCONSISTENT_GROUP_PROTOCOL => {
                let names: Vec<_> = self.protocols.iter().map(|protocol| protocol.name.as_str()).collect();
                format!(
                    "the members of group {group:?} share no assignor with this one, which has {} \
                     (partition.assignment.strategy), or the group is not one of consumers",
                    names.join(", ")
                )
            }
            ErrorCode::GROUP_MAX_SIZE_REACHED => {
                format!("group {group:?} has as many members as the broker allows (group.max.size)")
            }
            ErrorCode::INVALID_SESSION_TIMEOUT => format!(
                "the session timeout of {} ms for group {group:?} is outside of what the broker allows \
                 (group.min.session.timeout.ms to group.max.session.timeout.ms)",
                self.config.session_timeout.as_millis()
            ),
            ErrorCode::FENCED_INSTANCE_ID => {
                let id = self.config.group_instance_id.as_deref().unwrap_or_default();
                format!("another member of group {group:?} took over the group instance id {id:?}")
            }
            ErrorCode::INVALID_GROUP_ID => format!("{group:?} is not a group id"),
            _ => format!("the coordinator refuses this member of group {group:?}"),
        };
        Error::from_code(code, message)
    }
}
