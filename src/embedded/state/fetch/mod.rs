//! Fetch, versions 4 to 18: reads record batches.
//!
//! `sessions` keeps what a client asks for from one request to the next (KIP-227), `read` reads partitions, and this
//! file lets a request wait until there is enough (the long poll).

mod read;
mod sessions;
#[cfg(test)]
mod tests;

use super::timers::Timer;
use super::{ConnectionId, Context, Reply, State, Time};
use crate::ErrorCode;
use crate::protocol::messages::fetch::{
    FetchRequest, FetchResponse, FetchableTopicResponse, ForgottenTopic, NodeEndpoint, PartitionData,
};
use sessions::{Key, SessionUse, Sessions, TopicKey};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const READ_COMMITTED: i8 = 1;

/// What is known of fetches: the sessions, and who waits.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    sessions: Sessions,
    parked: HashMap<ConnectionId, Parked>,
    /// Who waits for a partition, by topic and partition.
    waiting: HashMap<Arc<str>, HashMap<i32, Vec<ConnectionId>>>,
}

/// A request that waits.
#[derive(Debug)]
struct Parked {
    fetch: Fetch,
    deadline: Time,
}

/// A request, understood.
#[derive(Debug)]
struct Fetch {
    context: Context,
    /// -1 for a consumer.
    replica_id: i32,
    rack: String,
    read_committed: bool,
    min_bytes: u64,
    max_bytes: usize,
    session: SessionUse,
    wanted: Vec<Wanted>,
}

/// A partition that is to be read.
#[derive(Debug, Clone)]
struct Wanted {
    topic: TopicKey,
    /// `None` if there is no topic of this id.
    name: Option<Arc<str>>,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    /// The epoch of the last record that was read before; -1 if it was not given.
    last_epoch: i32,
    max_bytes: usize,
}

impl Wanted {
    fn key(&self) -> Key {
        Key { topic: self.topic.clone(), partition: self.partition }
    }
}

impl State {
    pub(super) fn fetch(&mut self, context: &Context, request: FetchRequest) -> Reply {
        let wanted = self.wanted(context, &request);
        let forgotten = forgotten(context, &request.forgotten_topics_data);
        let slots = usize::try_from(self.settings.number("max.incremental.fetch.session.cache.slots")).unwrap_or(0);
        let opened = self.fetches.sessions.open(context, &request, wanted, &forgotten, slots);
        let (session, mut wanted) = match opened {
            Ok(opened) => opened,
            Err(code) => return Reply::of(FetchResponse { error_code: code.0, ..Default::default() }),
        };
        for partition in &mut wanted {
            if let (None, TopicKey::Id(id)) = (&partition.name, &partition.topic) {
                partition.name = self.topics.name_of(id).map(Into::into);
            }
        }
        let limit = usize::try_from(self.settings.number("fetch.max.bytes")).unwrap_or(0);
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(limit);
        let replica_id = if context.version >= 15 { request.replica_state.replica_id } else { request.replica_id };
        let fetch = Fetch {
            context: context.clone(),
            replica_id,
            rack: request.rack_id,
            read_committed: request.isolation_level == READ_COMMITTED,
            min_bytes: u64::try_from(request.min_bytes).unwrap_or(0).min(max_bytes as u64),
            max_bytes,
            session,
            wanted,
        };
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        if wait.is_zero() || self.is_satisfied(&fetch) {
            return self.fetched(fetch);
        }
        self.park_fetch(fetch, context.now + wait);
        Reply::Parked
    }

    fn wanted(&self, context: &Context, request: &FetchRequest) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for topic in &request.topics {
            let (key, name) = if context.version >= 13 {
                (TopicKey::Id(topic.topic_id), self.topics.name_of(&topic.topic_id).map(Arc::from))
            } else {
                let name: Arc<str> = topic.topic.as_str().into();
                (TopicKey::Name(Arc::clone(&name)), Some(name))
            };
            wanted.extend(topic.partitions.iter().map(|partition| Wanted {
                topic: key.clone(),
                name: name.clone(),
                partition: partition.partition,
                offset: partition.fetch_offset,
                leader_epoch: partition.current_leader_epoch,
                last_epoch: partition.last_fetched_epoch,
                max_bytes: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
            }));
        }
        wanted
    }

    /// Whether there is no reason to wait: enough to read, or something to be told at once.
    fn is_satisfied(&mut self, fetch: &Fetch) -> bool {
        let (mut bytes, mut known) = (0, false);
        for wanted in &fetch.wanted {
            // A partition that is not there at all is no reason: it is answered with the rest.
            let Some(name) = self.known_partition(wanted) else { continue };
            known = true;
            match self.position(fetch, wanted, &name) {
                Ok(position) if position.is_for_reading() => {
                    let available = position.available(wanted.offset);
                    bytes += available.min(wanted.max_bytes as u64);
                }
                _ => return true,
            }
        }
        !known || bytes >= fetch.min_bytes
    }

    fn known_partition(&self, wanted: &Wanted) -> Option<Arc<str>> {
        let name = wanted.name.as_ref()?;
        self.topics.partition(name, wanted.partition).map(|_| Arc::clone(name))
    }

    /// The answer to a request, with what is there now.
    fn fetched(&mut self, fetch: Fetch) -> Reply {
        let mut read: Vec<(Wanted, PartitionData)> = Vec::with_capacity(fetch.wanted.len());
        let mut missing = Vec::new();
        let mut left = fetch.max_bytes;
        let mut first = true;
        let mut node_endpoints = Vec::new();
        for wanted in &fetch.wanted {
            let Some(name) = self.known_partition(wanted) else {
                let code = match wanted.name {
                    None => ErrorCode::UNKNOWN_TOPIC_ID,
                    Some(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                };
                missing.push((wanted.clone(), read::failed(wanted.partition, code)));
                continue;
            };
            let data = self.read_partition(&fetch, wanted, &name, left, first, &mut node_endpoints);
            let size = data.records.as_ref().map_or(0, bytes::Bytes::len);
            first &= size == 0;
            left = left.saturating_sub(size);
            read.push((wanted.clone(), data));
        }
        read.append(&mut missing);
        self.fetch_response(fetch, read, node_endpoints)
    }

    fn fetch_response(
        &mut self,
        fetch: Fetch,
        mut read: Vec<(Wanted, PartitionData)>,
        node_endpoints: Vec<NodeEndpoint>,
    ) -> Reply {
        let sessions = &mut self.fetches.sessions;
        let session_id = match fetch.session {
            SessionUse::None => 0,
            SessionUse::Full { slots } => sessions.create(&fetch.context, &read, slots, &mut self.random),
            SessionUse::Incremental { id, epoch } => {
                if let Err(code) = sessions.filter(&fetch.context, id, epoch, &mut read) {
                    return Reply::of(FetchResponse { error_code: code.0, session_id: id, ..Default::default() });
                }
                id
            }
        };
        let mut responses: Vec<FetchableTopicResponse> = Vec::new();
        let mut last: Option<TopicKey> = None;
        for (wanted, data) in read {
            if last.as_ref() != Some(&wanted.topic) {
                let mut topic = FetchableTopicResponse::default();
                match &wanted.topic {
                    TopicKey::Id(id) => topic.topic_id = *id,
                    TopicKey::Name(name) => topic.topic = name.as_ref().to_owned(),
                }
                responses.push(topic);
                last = Some(wanted.topic);
            }
            if let Some(topic) = responses.last_mut() {
                topic.partitions.push(data);
            }
        }
        Reply::of(FetchResponse { session_id, responses, node_endpoints, ..Default::default() })
    }

    fn park_fetch(&mut self, fetch: Fetch, deadline: Time) {
        let connection = fetch.context.connection;
        self.timers.set(deadline, Timer::Fetch(connection));
        for wanted in &fetch.wanted {
            if let Some(name) = &wanted.name {
                let partitions = self.fetches.waiting.entry(Arc::clone(name)).or_default();
                partitions.entry(wanted.partition).or_default().push(connection);
            }
        }
        self.fetches.parked.insert(connection, Parked { fetch, deadline });
    }

    /// Takes a request out of waiting.
    fn unpark_fetch(&mut self, connection: ConnectionId) -> Option<Fetch> {
        let Parked { fetch, deadline } = self.fetches.parked.remove(&connection)?;
        self.timers.unset(deadline, Timer::Fetch(connection));
        for wanted in &fetch.wanted {
            let Some(name) = &wanted.name else { continue };
            let Some(partitions) = self.fetches.waiting.get_mut(name) else { continue };
            if let Some(waiting) = partitions.get_mut(&wanted.partition) {
                waiting.retain(|id| *id != connection);
                if waiting.is_empty() {
                    partitions.remove(&wanted.partition);
                }
            }
            if partitions.is_empty() {
                self.fetches.waiting.remove(name);
            }
        }
        Some(fetch)
    }

    fn finish_fetch(&mut self, connection: ConnectionId) {
        if let Some(fetch) = self.unpark_fetch(connection) {
            let reply = self.fetched(fetch);
            self.answers.push((connection, reply));
        }
    }

    /// A partition can be read further, or no longer: whoever waits for it is told, if that is enough.
    pub(super) fn wake_fetches(&mut self, topic: &str, partition: i32) {
        let waiting = self.fetches.waiting.get(topic).and_then(|partitions| partitions.get(&partition));
        let Some(waiting) = waiting.cloned() else { return };
        self.finish_satisfied(waiting);
    }

    /// Leaders have changed, or topics have gone: whoever is concerned is told.
    pub(super) fn wake_all_fetches(&mut self) {
        let waiting = self.fetches.parked.keys().copied().collect();
        self.finish_satisfied(waiting);
    }

    fn finish_satisfied(&mut self, waiting: Vec<ConnectionId>) {
        for connection in waiting {
            let Some(parked) = self.fetches.parked.remove(&connection) else { continue };
            let satisfied = self.is_satisfied(&parked.fetch);
            self.fetches.parked.insert(connection, parked);
            if satisfied {
                self.finish_fetch(connection);
            }
        }
    }

    pub(super) fn fetch_waited(&mut self, connection: ConnectionId, at: Time) {
        if self.fetches.parked.get(&connection).is_some_and(|parked| parked.deadline <= at) {
            self.finish_fetch(connection);
        }
    }

    /// The client has gone.
    pub(super) fn forget_fetch(&mut self, connection: ConnectionId) {
        self.unpark_fetch(connection);
    }

    /// A broker has stopped: its sessions are lost.
    pub(super) fn forget_sessions(&mut self, broker: i32) {
        self.fetches.sessions.forget(broker);
    }
}

fn forgotten(context: &Context, topics: &[ForgottenTopic]) -> Vec<Key> {
    let mut keys = Vec::new();
    for topic in topics {
        let key = match context.version {
            13.. => TopicKey::Id(topic.topic_id),
            _ => TopicKey::Name(topic.topic.as_str().into()),
        };
        keys.extend(topic.partitions.iter().map(|partition| Key { topic: key.clone(), partition: *partition }));
    }
    keys
}
