//! The driver of a membership: it moves bytes and tells the time, and decides nothing.

use super::assignor::{GroupAssignment, GroupMember};
use super::link::CoordinatorFinder;
use super::membership::SessionStart;
use super::membership::{Action, EndCause, GroupRequest, GroupResponse, Membership};
use super::offsets::Identity;
use super::session::ConsumerGroupSession;
use crate::net::{Connection, Deadline, Readiness, Waker};
use crate::protocol::messages::heartbeat::HeartbeatRequest;
use crate::protocol::messages::join_group::JoinGroupRequest;
use crate::protocol::messages::leave_group::LeaveGroupRequest;
use crate::protocol::messages::sync_group::SyncGroupRequest;
use crate::{Error, ErrorCode, ErrorKind, Result};
use crossbeam_channel::Sender;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the driver waits when nothing is to be done: it is woken for everything.
const LONG: Duration = Duration::from_secs(3600);

/// What others tell the membership.
#[derive(Debug)]
pub(super) enum Command {
    /// The leader's assignment for this generation.
    Assigned(i32, Result<GroupAssignment>),
    /// The session is over: claims, cleanup and the final commit.
    SessionEnded,
    /// The session is to end.
    EndSession(EndCause),
    /// A commit was refused with a code that ends sessions.
    CommitRefused(Identity, ErrorCode),
    /// Leave, and be done by then.
    Stop(Instant),
}

/// The way to the driver. It holds a few commands at most: each kind comes once per session or per commit answer, and the
/// driver takes them all whenever it wakes.
#[derive(Debug)]
pub(super) struct Commands {
    queue: Mutex<VecDeque<Command>>,
    waker: Waker,
}

impl Commands {
    pub(super) fn new() -> Result<Self> {
        let waker = Waker::new().map_err(|error| Error::io(error, "making a socket pair"))?;
        Ok(Self { queue: Mutex::default(), waker })
    }

    pub(super) fn push(&self, command: Command) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(command);
        self.waker.wake();
    }

    fn pop(&self) -> Option<Command> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Forgets what was meant for an earlier `consume`.
    pub(super) fn clear(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.waker.drain();
    }
}

/// What the driver tells the thread in `consume`.
#[derive(Debug)]
pub(super) enum Event {
    /// Run the assignor of this name and answer with [`Command::Assigned`].
    Assign { generation_id: i32, assignor: String, members: Vec<GroupMember> },
    /// A session begins.
    Start(ConsumerGroupSession, String),
    /// The membership has ended.
    Done(Result<()>),
}

/// One per `consume`, thread `kafka-group` (scoped). Owns the membership and the connection to the coordinator. It is told
/// things through [`Commands`] and tells the thread in `consume` through events; it ends with the membership.
pub(super) struct Driver<'a> {
    pub(super) membership: Membership,
    pub(super) finder: Arc<CoordinatorFinder>,
    pub(super) commands: Arc<Commands>,
    pub(super) events: Sender<Event>,
    /// The running session, for the committer as well.
    pub(super) current: Arc<Mutex<Option<ConsumerGroupSession>>>,
    pub(super) new_session: &'a (dyn Fn(SessionStart) -> ConsumerGroupSession + Sync),
    pub(super) connection: Option<Connection>,
    /// The request that is waited for: its id, and what it is.
    pub(super) in_flight: Option<(u64, Kind, Deadline)>,
}

/// The kind of a request, which its answer is read by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Join,
    Sync,
    Heartbeat,
    Leave,
}

impl Driver<'_> {
    /// The thread's loop.
    pub(super) fn run(mut self) {
        let result = loop {
            self.take_commands();
            match self.membership.poll(Instant::now()) {
                Action::Wait { until } => {
                    if let Err(error) = self.wait(until) {
                        break Err(error);
                    }
                }
                Action::Done(result) => break result,
                action => self.act(action),
            }
        };
        if let Some(session) = self.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            session.end(EndCause::Failed, result.is_err());
        }
        // The caller waits for this event, or is gone.
        let _ = self.events.send(Event::Done(result));
    }

    fn take_commands(&mut self) {
        while let Some(command) = self.commands.pop() {
            let now = Instant::now();
            match command {
                Command::Assigned(generation_id, assignment) => {
                    self.membership.assigned(now, generation_id, assignment)
                }
                Command::SessionEnded => {
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    self.membership.session_ended(now);
                }
                Command::EndSession(cause) => self.membership.end_session(now, cause),
                Command::CommitRefused(identity, code) => {
                    if CoordinatorFinder::has_moved(code) {
                        self.finder.forget();
                    }
                    self.membership.commit_refused(now, &identity, code);
                }
                Command::Stop(by) => self.membership.stop(now, by),
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { deadline } => match self.finder.connect(Deadline::at(deadline)) {
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.membership.connected(Instant::now());
                }
                Err(error) => {
                    log::debug!("connecting to the group's coordinator: {error}");
                    self.finder.forget();
                    self.membership.connect_failed(Instant::now(), error);
                }
            },
            Action::Disconnect => {
                self.connection = None;
                self.in_flight = None;
                self.finder.forget();
            }
            Action::Send { id, request, deadline } => {
                let deadline = Deadline::at(deadline);
                match self.send(request, deadline) {
                    Ok(kind) => self.in_flight = Some((id, kind, deadline)),
                    Err(error) => self.membership.handle_response(Instant::now(), id, Err(error)),
                }
            }
            Action::Assign { generation_id, assignor, members } => {
                self.tell(Event::Assign { generation_id, assignor, members });
            }
            Action::StartSession(start) => {
                let assignor = start.assignor.clone();
                let session = (self.new_session)(start);
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(session.clone());
                self.tell(Event::Start(session, assignor));
            }
            Action::EndSession { cause, lost } => {
                let session = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(session) = session {
                    log::info!("the session ends: {}{}", cause.reason(), if lost { "; it is lost" } else { "" });
                    session.end(cause, lost);
                }
            }
            // Handled by the loop.
            Action::Wait { .. } | Action::Done(_) => {}
        }
    }

    fn tell(&self, event: Event) {
        // The channel has room for every event of a session, see where it is made; without a receiver `consume` is gone.
        let _ = self.events.send(event);
    }

    fn send(&mut self, request: GroupRequest, deadline: Deadline) -> Result<Kind> {
        let Some(connection) = self.connection.as_mut() else {
            return Err(Error::new(ErrorKind::Network, "the connection to the coordinator is gone"));
        };
        match request {
            GroupRequest::Join(request) => connection.send(&request, deadline).map(|()| Kind::Join),
            GroupRequest::Sync(request) => connection.send(&request, deadline).map(|()| Kind::Sync),
            GroupRequest::Heartbeat(request) => connection.send(&request, deadline).map(|()| Kind::Heartbeat),
            GroupRequest::Leave(leave) => {
                let version = connection.version::<LeaveGroupRequest>()?;
                connection.send_version(&leave.for_version(version), version, true, deadline).map(|()| Kind::Leave)
            }
        }
    }

    /// Waits for an answer, a command, or the time. Fails only if the group was told to give up at once.
    fn wait(&mut self, until: Option<Instant>) -> Result<()> {
        let deadline = until.map_or_else(|| Deadline::after(LONG), Deadline::at);
        let waited = match self.connection.as_mut() {
            Some(connection) => connection.wait_readable(Some(&self.commands.waker), deadline),
            None => self.commands.waker.wait(self.finder.interrupt(), deadline),
        };
        self.commands.waker.drain();
        match waited {
            Ok(Readiness::Ready) if self.connection.is_some() => self.receive(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
            Err(error) => self.broke(error),
        }
        Ok(())
    }

    fn receive(&mut self) {
        let Some((id, kind, deadline)) = self.in_flight.take() else {
            // Nothing was asked, so this is the end of the connection.
            self.connection = None;
            return;
        };
        let Some(connection) = self.connection.as_mut() else { return };
        let received = match kind {
            Kind::Join => connection.receive::<JoinGroupRequest>(deadline).map(GroupResponse::Join),
            Kind::Sync => connection.receive::<SyncGroupRequest>(deadline).map(GroupResponse::Sync),
            Kind::Heartbeat => connection.receive::<HeartbeatRequest>(deadline).map(GroupResponse::Heartbeat),
            Kind::Leave => connection.receive::<LeaveGroupRequest>(deadline).map(GroupResponse::Leave),
        };
        if received.is_err() {
            self.connection = None;
        }
        self.membership.handle_response(Instant::now(), id, received);
    }

    fn broke(&mut self, error: Error) {
        self.connection = None;
        if let Some((id, ..)) = self.in_flight.take() {
            self.membership.handle_response(Instant::now(), id, Err(error));
        }
    }
}
