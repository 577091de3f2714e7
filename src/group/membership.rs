//! Membership in a classic consumer group: when to join, sync, beat, leave, and when a session begins and ends.
//!
//! Pure: no I/O, no clock. One [`Membership`] serves one call of `consume`. Its driver calls [`poll`](Membership::poll)
//! and does the one thing it is told, until [`Action::Wait`]; then it waits for an answer, a command or the deadline,
//! hands in what came, and polls again.

mod action;
mod answers;
mod requests;

use requests::Step;

pub(crate) use action::{
    Action, EndCause, GroupProtocol, GroupRequest, GroupResponse, Leave, MembershipConfig, SessionStart,
};

use super::assignor::GroupAssignment;
use super::offsets::Identity;
use super::subscription::encode_assignments;
use crate::backoff::Backoff;
use crate::protocol::messages::sync_group::SyncGroupRequestAssignment;
use crate::{Error, ErrorCode, ErrorKind, Result};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const PROTOCOL_TYPE: &str = "consumer";

/// How often in a row a member joins again without a wait. A sane coordinator needs two: "use this member id", and
/// "the member id you had is forgotten".
const QUICK_REJOINS: u32 = 4;

/// Where the member stands with the group. The legal edges are in [`Phase::may_become`].
#[derive(Debug, Clone)]
enum Phase {
    /// In no generation. Joins when the last session is over and a wait, if any, has passed.
    Unjoined,
    /// JoinGroup is on its way.
    Joining,
    /// In a generation, as its leader, until the driver has run the assignor. Heartbeats go on.
    AwaitingAssignment { protocol: String },
    /// In a generation; SyncGroup is about to be sent or on its way.
    Syncing { protocol: String, assignments: Vec<SyncGroupRequestAssignment> },
    /// In a generation with an assignment. The session runs or drains; once it is over the member joins again.
    Stable,
    /// LeaveGroup is about to be sent or on its way, until `by` at the latest.
    Leaving { by: Instant, reason: &'static str },
    /// The end.
    Closed,
}

impl Phase {
    fn name(&self) -> &'static str {
        match self {
            Self::Unjoined => "Unjoined",
            Self::Joining => "Joining",
            Self::AwaitingAssignment { .. } => "AwaitingAssignment",
            Self::Syncing { .. } => "Syncing",
            Self::Stable => "Stable",
            Self::Leaving { .. } => "Leaving",
            Self::Closed => "Closed",
        }
    }

    fn may_become(&self, next: &Self) -> bool {
        use Phase::*;
        match self {
            Unjoined => matches!(next, Joining | Leaving { .. } | Closed),
            Joining => matches!(next, AwaitingAssignment { .. } | Syncing { .. } | Unjoined | Leaving { .. } | Closed),
            AwaitingAssignment { .. } => matches!(next, Syncing { .. } | Unjoined | Leaving { .. } | Closed),
            Syncing { .. } => matches!(next, Stable | Unjoined | Leaving { .. } | Closed),
            Stable => matches!(next, Joining | Unjoined | Leaving { .. } | Closed),
            Leaving { .. } => matches!(next, Unjoined | Closed),
            Closed => false,
        }
    }
}

/// The connection to the coordinator. It may come and go without the membership ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Absent,
    Connecting,
    Ready,
}

/// The driver's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    /// There is none, or the driver has said that it is over.
    Over,
    Running,
    /// The driver waits for handlers and commits; if that takes longer than `by`, the session is lost.
    Draining {
        by: Instant,
    },
    /// The driver waits for handlers. No bound: membership does not depend on it any more.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Join,
    Sync,
    Heartbeat,
    Leave,
}

/// The one request without an answer yet, and what it was sent as: an answer says something about that only.
#[derive(Debug)]
struct InFlight {
    id: u64,
    kind: Kind,
    sent: Instant,
    deadline: Instant,
    member_id: String,
    generation_id: i32,
}

/// The way out: wait for the session until `leave_at`, leave if `leave`, be done until `by`.
#[derive(Debug)]
struct Closing {
    leave_at: Instant,
    by: Instant,
    leave: bool,
    result: Result<()>,
    cause: EndCause,
}

/// A member of a group.
pub(crate) struct Membership {
    config: MembershipConfig,
    protocols: Vec<GroupProtocol>,
    /// From 0 up to 1: spreads the waits of many members.
    random: Box<dyn FnMut() -> f64 + Send>,
    phase: Phase,
    link: Link,
    session: Session,
    closing: Option<Closing>,
    /// What the coordinator calls us; empty before it has named us and after it has forgotten us.
    member_id: String,
    /// -1 in no generation.
    generation_id: i32,
    in_flight: Option<InFlight>,
    requests: u64,
    /// Actions decided but not yet polled. A few at most: each is queued by a change of phase or session, and the
    /// driver polls until it must wait.
    ready: VecDeque<Action>,
    backoff: Backoff,
    /// Nothing is sent and no connection made before this.
    retry_at: Option<Instant>,
    quick_rejoins: u32,
    /// Why we join again, for the broker's log.
    join_reason: Option<EndCause>,
    /// The subscription changed after it was sent.
    outdated: bool,
    /// When the last request was sent of which we know that it kept the session alive. The coordinator counts from its
    /// arrival, thus later: counting from here, we stop before others start.
    alive: Instant,
    /// When the last request was sent that was answered without mention of a rebalance: no rebalance is older.
    settled: Instant,
    heartbeat_due: Instant,
}

impl Membership {
    /// A member that will join with these protocols, in order of preference.
    pub(crate) fn new(
        config: MembershipConfig,
        protocols: Vec<GroupProtocol>,
        now: Instant,
        random: impl FnMut() -> f64 + Send + 'static,
    ) -> Self {
        Self {
            backoff: Backoff::new(config.retry_backoff.0, config.retry_backoff.1),
            config,
            protocols,
            random: Box::new(random),
            phase: Phase::Unjoined,
            link: Link::Absent,
            session: Session::Over,
            closing: None,
            member_id: String::new(),
            generation_id: -1,
            in_flight: None,
            requests: 0,
            ready: VecDeque::new(),
            retry_at: None,
            quick_rejoins: 0,
            join_reason: None,
            outdated: false,
            alive: now,
            settled: now,
            heartbeat_due: now,
        }
    }

    /// What to do now.
    pub(crate) fn poll(&mut self, now: Instant) -> Action {
        self.handle_timeout(now);
        if let Some(action) = self.ready.pop_front() {
            return action;
        }
        if let (Phase::Closed, Some(closing)) = (&self.phase, &self.closing) {
            return Action::Done(closing.result.clone());
        }
        match self.next_step(now) {
            Step::Do(action) => action,
            Step::Wait(until) => Action::Wait { until: [until, self.next_timeout()].into_iter().flatten().min() },
        }
    }

    /// The coordinator is connected.
    pub(crate) fn connected(&mut self, _now: Instant) {
        if self.link == Link::Connecting {
            self.link = Link::Ready;
        }
    }

    /// The coordinator could not be found or connected.
    pub(crate) fn connect_failed(&mut self, now: Instant, error: Error) {
        if self.link == Link::Connecting {
            self.link = Link::Absent;
            self.back_off(now);
            self.fail_unless_it_passes(now, error);
        }
    }

    /// The answer to the request with this id, or why there will be none. Of a request that is not waited for any more,
    /// an answer says nothing.
    pub(crate) fn handle_response(&mut self, now: Instant, id: u64, response: Result<GroupResponse>) {
        if self.in_flight.as_ref().is_none_or(|request| request.id != id) {
            return;
        }
        match response {
            Ok(response) => self.handle_answer(now, response),
            Err(error) => self.lose_link(now, error),
        }
    }

    /// Whatever is due by now. [`poll`](Self::poll) does this by itself.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(request) = self.in_flight.as_ref().filter(|request| request.deadline <= now) {
            let message =
                format!("the coordinator of group {:?} did not answer {:?}", self.config.group_id, request.kind);
            self.lose_link(now, Error::new(ErrorKind::Timeout, message));
        }
        if matches!(self.phase, Phase::Stable) && self.expires() <= now {
            self.lose_session(now, EndCause::SessionTimeout);
        }
        if matches!(self.session, Session::Draining { by } if by <= now) {
            self.handler_overran(now);
        }
        if matches!(self.phase, Phase::Leaving { by, .. } if by <= now) {
            self.left();
        }
        if let Some(closing) = &self.closing {
            if closing.by <= now {
                self.close();
            } else if closing.leave_at <= now {
                self.go_on_closing(now);
            }
        }
    }

    /// The leader's assignment for the generation of [`Action::Assign`]. An error that may pass makes the group try
    /// again, any other ends the membership.
    pub(crate) fn assigned(&mut self, now: Instant, generation_id: i32, assignment: Result<GroupAssignment>) {
        let Phase::AwaitingAssignment { protocol } = &self.phase else { return };
        if generation_id != self.generation_id {
            return;
        }
        let protocol = protocol.clone();
        match assignment.and_then(|all| encode_assignments(&all)) {
            Ok(assignments) => self.enter(Phase::Syncing { protocol, assignments }),
            Err(error) if error.is_retriable() => {
                self.back_off(now);
                self.rejoin_later();
            }
            Err(error) => self.fail(now, error, true),
        }
    }

    /// The session is over: all claims have ended, what could be committed is.
    pub(crate) fn session_ended(&mut self, now: Instant) {
        self.session = Session::Over;
        self.go_on_closing(now);
    }

    /// Ends the running session, if there is one, and joins again: a handler returned, or metadata changed.
    pub(crate) fn end_session(&mut self, now: Instant, cause: EndCause) {
        if matches!(self.phase, Phase::Stable) {
            self.drain(cause, now + self.config.rebalance_timeout);
        } else if cause != EndCause::HandlerReturned {
            self.outdated = true;
        }
    }

    /// Joins with these protocols from now on.
    #[cfg(test)]
    pub(crate) fn set_protocols(&mut self, protocols: Vec<GroupProtocol>) {
        self.protocols = protocols;
    }

    /// A handler is stuck: the session is lost, and the group told so that others can take over. Joins again once the
    /// session is over all the same.
    pub(crate) fn handler_overran(&mut self, now: Instant) {
        if !matches!(self.session, Session::Running | Session::Draining { .. }) {
            return;
        }
        self.end_lost(EndCause::HandlerOverran);
        self.join_reason = Some(EndCause::HandlerOverran);
        if let Some(closing) = self.closing.as_mut().filter(|closing| closing.result.is_ok()) {
            closing.result = Err(Error::new(ErrorKind::Timeout, EndCause::HandlerOverran.reason()));
        }
        self.leave(now, EndCause::HandlerOverran);
    }

    /// A commit that was sent as `sent` got this code, which ends sessions. A commit of an earlier session says nothing
    /// about this one.
    pub(crate) fn commit_refused(&mut self, now: Instant, sent: &Identity, code: ErrorCode) {
        if matches!(self.phase, Phase::Stable)
            && sent.generation_id == self.generation_id
            && sent.member_id == self.member_id
        {
            self.handle_session_code(now, code);
        }
    }

    /// Ends the session in order, leaves (a static member stays), and is done by then whatever happens.
    pub(crate) fn stop(&mut self, now: Instant, by: Instant) {
        // Handlers get most of the time, but the goodbye must have a chance.
        let reserve = (by.saturating_duration_since(now) / 4).min(Duration::from_secs(1));
        let leave_at = by.checked_sub(reserve).unwrap_or(now);
        self.begin_closing(now, Closing { leave_at, by, leave: true, result: Ok(()), cause: EndCause::Stopped });
    }

    /// The name the coordinator gave us; empty if none.
    #[cfg(test)]
    pub(crate) fn member_id(&self) -> &str {
        &self.member_id
    }

    /// The generation we are in; -1 if none.
    #[cfg(test)]
    pub(crate) fn generation_id(&self) -> i32 {
        self.generation_id
    }
}

impl Membership {
    fn enter(&mut self, next: Phase) {
        let (from, to) = (self.phase.name(), next.name());
        debug_assert!(self.phase.may_become(&next), "{from} must not become {to}");
        log::debug!("group {:?}, member {:?}: {from} to {to}", self.config.group_id, self.member_id);
        self.phase = next;
    }

    /// The earliest of what [`handle_timeout`](Self::handle_timeout) looks at. It has just run, so all are in the
    /// future.
    fn next_timeout(&self) -> Option<Instant> {
        let request = self.in_flight.as_ref().map(|request| request.deadline);
        let session = matches!(self.phase, Phase::Stable).then(|| self.expires());
        let draining = if let Session::Draining { by } = self.session { Some(by) } else { None };
        let leaving = if let Phase::Leaving { by, .. } = self.phase { Some(by) } else { None };
        let closing = self.closing.as_ref().map(|closing| closing.by);
        // A first join on its way is waited for, so that the member that it may create can leave.
        let cut =
            if let Phase::Joining = self.phase { self.closing.as_ref().map(|closing| closing.leave_at) } else { None };
        [request, session, draining, leaving, closing, cut].into_iter().flatten().min()
    }

    /// When the coordinator may have thrown us out without our knowing: it heard nothing from us, or it told us of a
    /// rebalance and we did not hear it.
    fn expires(&self) -> Instant {
        self.alive + self.config.session_timeout.min(self.config.rebalance_timeout)
    }

    /// No later than the way out allows.
    fn bounded(&self, deadline: Instant) -> Instant {
        let leaving = if let Phase::Leaving { by, .. } = self.phase { Some(by) } else { None };
        let closing = self.closing.as_ref().map(|closing| closing.by);
        [leaving, closing].into_iter().flatten().fold(deadline, Instant::min)
    }

    fn back_off(&mut self, now: Instant) {
        let wait = self.backoff.next(&mut self.random);
        self.retry_at = Some(now + wait);
    }

    /// The connection is of no use any more. The member stays one as long as its session has not expired.
    fn drop_link(&mut self) {
        self.in_flight = None;
        self.link = Link::Absent;
        self.ready.push_back(Action::Disconnect);
        if let Phase::Joining | Phase::Syncing { .. } = self.phase {
            // Joining again with the id we may have keeps us one member, not two.
            self.rejoin_later();
        }
    }

    fn lose_link(&mut self, now: Instant, error: Error) {
        log::debug!("group {:?}: lost the coordinator: {error}", self.config.group_id);
        self.drop_link();
        self.back_off(now);
        self.fail_unless_it_passes(now, error);
        self.go_on_closing(now);
    }

    fn rejoin_later(&mut self) {
        self.generation_id = -1;
        self.enter(Phase::Unjoined);
    }

    /// Joins again at once, unless that has been tried a few times already.
    fn rejoin(&mut self, now: Instant) {
        self.quick_rejoins += 1;
        if self.quick_rejoins > QUICK_REJOINS {
            self.back_off(now);
        }
        self.rejoin_later();
        self.go_on_closing(now);
    }

    /// Ends the session in order; it has until `by`.
    fn drain(&mut self, cause: EndCause, by: Instant) {
        if self.session == Session::Running && self.unqueue_start() {
            self.session = Session::Over;
            self.join_reason.get_or_insert(cause);
        }
        match self.session {
            Session::Running => {
                self.session = Session::Draining { by };
                self.ready.push_back(Action::EndSession { cause, lost: false });
            }
            Session::Draining { by: earlier } => self.session = Session::Draining { by: by.min(earlier) },
            Session::Over | Session::Lost => return,
        }
        self.join_reason.get_or_insert(cause);
    }

    fn end_lost(&mut self, cause: EndCause) {
        if self.session == Session::Running && self.unqueue_start() {
            self.session = Session::Over;
        }
        match self.session {
            Session::Running | Session::Draining { .. } => {
                self.session = Session::Lost;
                self.ready.push_back(Action::EndSession { cause, lost: true });
            }
            Session::Over | Session::Lost => {}
        }
    }

    /// A session that the driver has not heard of yet needs no end.
    fn unqueue_start(&mut self) -> bool {
        let before = self.ready.len();
        self.ready.retain(|action| !matches!(action, Action::StartSession(_)));
        self.ready.len() < before
    }

    /// Others may own the partitions.
    fn lose_session(&mut self, now: Instant, cause: EndCause) {
        log::warn!(
            "group {:?}, member {:?} lost its session: {}",
            self.config.group_id,
            self.member_id,
            cause.reason()
        );
        self.end_lost(cause);
        self.join_reason = Some(cause);
        self.rejoin(now);
    }

    fn is_dynamic_member(&self) -> bool {
        self.config.group_instance_id.is_none() && !self.member_id.is_empty()
    }

    /// Says goodbye, if there is a member that should. Static members don't: their partitions wait for their return.
    fn leave(&mut self, now: Instant, cause: EndCause) {
        let wanted = self.closing.as_ref().is_none_or(|closing| closing.leave);
        if !wanted || !self.is_dynamic_member() {
            return self.left();
        }
        let by = self.bounded(now + self.config.request_timeout);
        self.enter(Phase::Leaving { by, reason: cause.reason() });
    }

    fn left(&mut self) {
        if let Phase::Leaving { .. } = self.phase {
            self.member_id.clear();
            if self.in_flight.is_some() {
                self.drop_link();
            }
        }
        self.generation_id = -1;
        if !matches!(self.phase, Phase::Unjoined) {
            self.enter(Phase::Unjoined);
        }
        if self.closing.is_some() && self.session == Session::Over {
            self.close();
        }
    }

    fn fail_unless_it_passes(&mut self, now: Instant, error: Error) {
        // Bytes that are not Kafka's may come from a proxy in the way or a broker that is being replaced.
        if !(error.is_retriable() || error.kind() == ErrorKind::Protocol) {
            self.fail(now, error, false);
        }
    }

    fn fail(&mut self, now: Instant, error: Error, leave: bool) {
        let leave_at = now + self.config.rebalance_timeout;
        let by = leave_at + self.config.request_timeout;
        self.begin_closing(now, Closing { leave_at, by, leave, result: Err(error), cause: EndCause::Failed });
    }

    fn begin_closing(&mut self, now: Instant, new: Closing) {
        if let Phase::Closed = self.phase {
            return;
        }
        match &mut self.closing {
            None => self.closing = Some(new),
            Some(closing) => {
                closing.by = closing.by.min(new.by);
                closing.leave_at = closing.leave_at.min(new.leave_at);
                closing.leave &= new.leave;
                // The first error is the one that explains the others.
                if closing.result.is_ok() {
                    closing.result = new.result;
                }
            }
        }
        if let Some(Closing { leave_at, cause, .. }) = self.closing {
            self.drain(cause, leave_at);
        }
        self.go_on_closing(now);
    }

    /// The next step of the way out, if we are on it and nothing must be waited for.
    fn go_on_closing(&mut self, now: Instant) {
        let Some(Closing { leave_at, cause, .. }) = self.closing else { return };
        if self.session != Session::Over {
            return;
        }
        match self.phase {
            // Its answer tells whether there is a member that must leave.
            Phase::Joining if self.member_id.is_empty() && now < leave_at => {}
            Phase::Joining | Phase::Syncing { .. } if self.in_flight.is_some() => {
                // The coordinator holds back the answer, and everything behind it, until the others have joined.
                self.drop_link();
                self.leave(now, cause);
            }
            Phase::Unjoined
            | Phase::Joining
            | Phase::AwaitingAssignment { .. }
            | Phase::Syncing { .. }
            | Phase::Stable => {
                self.leave(now, cause);
            }
            Phase::Leaving { .. } | Phase::Closed => {}
        }
    }

    fn close(&mut self) {
        if let Phase::Closed = self.phase {
            return;
        }
        self.in_flight = None;
        if self.session != Session::Over {
            self.end_lost(EndCause::HandlerOverran);
            if let Some(closing) = self.closing.as_mut().filter(|closing| closing.result.is_ok()) {
                let message =
                    format!("group {:?}: handlers did not return before the stop's deadline", self.config.group_id);
                closing.result = Err(Error::new(ErrorKind::Timeout, message));
            }
        }
        self.enter(Phase::Closed);
    }
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("group_id", &self.config.group_id)
            .field("member_id", &self.member_id)
            .field("generation_id", &self.generation_id)
            .field("phase", &self.phase.name())
            .field("link", &self.link)
            .field("session", &self.session)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
