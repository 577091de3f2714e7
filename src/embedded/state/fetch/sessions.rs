//! Fetch sessions (KIP-227): a broker remembers what a client fetches, so that a request says only what is new, and an
//! answer only what has changed.

use super::super::{Context, Time};
use super::Wanted;
use crate::ErrorCode;
use crate::protocol::messages::fetch::{FetchRequest, PartitionData};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// The epoch of a request that opens a session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that wants none.
const FINAL_EPOCH: i32 = -1;
/// A session may lose its place to another when it is this old, as in Kafka.
const EVICTION_AGE: Duration = Duration::from_secs(120);

/// A topic as requests name it: from version 13 on by id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum TopicKey {
    Id([u8; 16]),
    Name(Arc<str>),
}

/// A partition as requests name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) topic: TopicKey,
    pub(super) partition: i32,
}

/// What a request has to do with sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionUse {
    None,
    /// A new one is wanted; there are so many places.
    Full {
        slots: usize,
    },
    /// The session, and the epoch that it has while this request is under way.
    Incremental {
        id: i32,
        epoch: i32,
    },
}

/// The sessions of all brokers.
#[derive(Debug, Default)]
pub(super) struct Sessions(BTreeMap<(i32, i32), Session>);

#[derive(Debug)]
struct Session {
    by_topic_id: bool,
    created: Time,
    last_used: Time,
    /// What the next request must say.
    epoch: i32,
    /// In the order of reading: what has just been read goes to the end, so that all get their turn.
    partitions: BTreeMap<u64, Cached>,
    places: HashMap<Key, u64>,
    next_place: u64,
}

/// A partition of a session, with what the client knows of it.
#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    high_watermark: i64,
    log_start_offset: i64,
}

impl Session {
    fn put(&mut self, cached: Cached) {
        let key = cached.wanted.key();
        if let Some(place) = self.places.insert(key, self.next_place) {
            self.partitions.remove(&place);
        }
        self.partitions.insert(self.next_place, cached);
        self.next_place += 1;
    }

    fn get_mut(&mut self, key: &Key) -> Option<&mut Cached> {
        self.partitions.get_mut(self.places.get(key)?)
    }

    fn remove(&mut self, key: &Key) -> Option<Cached> {
        let place = self.places.remove(key)?;
        self.partitions.remove(&place)
    }

    fn wanted(&self) -> Vec<Wanted> {
        self.partitions.values().map(|cached| cached.wanted.clone()).collect()
    }
}

impl Sessions {
    /// What a request wants, with what its session knows.
    pub(super) fn open(
        &mut self,
        context: &Context,
        request: &FetchRequest,
        wanted: Vec<Wanted>,
        forgotten: &[Key],
        slots: usize,
    ) -> Result<(SessionUse, Vec<Wanted>), ErrorCode> {
        let place = (context.broker, request.session_id);
        if [INITIAL_EPOCH, FINAL_EPOCH].contains(&request.session_epoch) {
            self.0.remove(&place);
            let full = request.session_epoch == INITIAL_EPOCH;
            return Ok((if full { SessionUse::Full { slots } } else { SessionUse::None }, wanted));
        }
        let session = self.0.get_mut(&place).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_topic_id != (context.version >= 13) {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        for partition in &wanted {
            match session.get_mut(&partition.key()) {
                Some(cached) => {
                    // The topic keeps the name it had, so that one made anew is told from the old one.
                    let name = cached.wanted.name.take().or_else(|| partition.name.clone());
                    cached.wanted = Wanted { name, ..partition.clone() };
                }
                None => {
                    session.put(Cached { wanted: partition.clone(), high_watermark: -1, log_start_offset: -1 });
                }
            }
        }
        for key in forgotten {
            session.remove(key);
        }
        if session.partitions.is_empty() {
            self.0.remove(&place);
            return Ok((SessionUse::None, wanted));
        }
        session.last_used = context.now;
        session.epoch = next_epoch(session.epoch);
        Ok((SessionUse::Incremental { id: request.session_id, epoch: session.epoch }, session.wanted()))
    }

    /// Remembers what was read, if there is room; 0 if there is not.
    pub(super) fn create(
        &mut self,
        context: &Context,
        read: &[(Wanted, PartitionData)],
        slots: usize,
        random: &mut fastrand::Rng,
    ) -> i32 {
        if !self.make_room(context, read.len(), slots) {
            return 0;
        }
        let id = loop {
            let id = random.i32(1..);
            if !self.0.contains_key(&(context.broker, id)) {
                break id;
            }
        };
        let mut session = Session {
            by_topic_id: context.version >= 13,
            created: context.now,
            last_used: context.now,
            epoch: next_epoch(INITIAL_EPOCH),
            partitions: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
        };
        for (wanted, data) in read {
            let (high_watermark, log_start_offset) = (data.high_watermark, data.log_start_offset);
            session.put(Cached { wanted: wanted.clone(), high_watermark, log_start_offset });
        }
        self.0.insert((context.broker, id), session);
        id
    }

    /// Leaves out what the client knows already.
    pub(super) fn filter(
        &mut self,
        context: &Context,
        id: i32,
        epoch: i32,
        read: &mut Vec<(Wanted, PartitionData)>,
    ) -> Result<(), ErrorCode> {
        // While it waited, the client may have gone on over another connection.
        let session = self.0.get_mut(&(context.broker, id)).filter(|session| session.epoch == epoch);
        let session = session.ok_or(ErrorCode::INVALID_FETCH_SESSION_EPOCH)?;
        read.retain(|(wanted, data)| {
            let key = wanted.key();
            let Some(cached) = session.get_mut(&key) else { return true };
            cached.wanted.name = wanted.name.clone();
            let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
            let changed = cached.high_watermark != data.high_watermark
                || cached.log_start_offset != data.log_start_offset
                || data.preferred_read_replica >= 0
                || data.diverging_epoch.epoch >= 0
                || data.error_code != 0;
            cached.log_start_offset = data.log_start_offset;
            // After an error the next answer must say that all is well again.
            cached.high_watermark = if data.error_code == 0 { data.high_watermark } else { -1 };
            if has_records && let Some(cached) = session.remove(&key) {
                session.put(cached);
            }
            has_records || changed
        });
        Ok(())
    }

    pub(super) fn forget(&mut self, broker: i32) {
        self.0.retain(|(of, _), _| *of != broker);
    }

    /// Whether a session of so many partitions has a place: a free one, that of one not used for long, or that of a
    /// smaller one that was still used when it had had its time.
    fn make_room(&mut self, context: &Context, size: usize, slots: usize) -> bool {
        let broker = (context.broker, i32::MIN)..=(context.broker, i32::MAX);
        if self.0.range(broker.clone()).count() < slots {
            return true;
        }
        let age = |since: Time| context.now.saturating_sub(since);
        let stale = self.0.range(broker.clone()).min_by_key(|(_, session)| session.last_used);
        let stale = stale.filter(|(_, session)| age(session.last_used) > EVICTION_AGE);
        let smaller = || {
            let had_its_time = |session: &Session| session.last_used.saturating_sub(session.created) > EVICTION_AGE;
            let old = self.0.range(broker).filter(|(_, session)| had_its_time(session));
            let smallest = old.min_by_key(|(_, session)| session.partitions.len());
            smallest.filter(|(_, session)| session.partitions.len() < size)
        };
        let victim = stale.or_else(smaller).map(|(place, _)| *place);
        victim.is_some_and(|place| self.0.remove(&place).is_some())
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_go_on_at_1_after_the_largest() {
        assert_eq!([0, 1, i32::MAX - 1, i32::MAX].map(next_epoch), [1, 2, i32::MAX, 1]);
    }
}
