//! Fetch sessions (KIP-227): the broker remembers which partitions it was asked for, so that a request names only what
//! has changed. Pure: no I/O, no clock.

use crate::ErrorCode;
use crate::protocol::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic};
use std::collections::HashMap;
use std::sync::Arc;

/// The epoch of a request that makes a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that wants none.
const NO_SESSION: i32 = -1;

/// One per fetch connection; lost with it.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    /// 0 while the broker has none for us.
    id: i32,
    /// The next request's epoch.
    epoch: i32,
    /// Whether topics go by their ids; a session never mixes the two.
    by_id: bool,
    /// What the broker remembers.
    known: HashMap<Arc<str>, KnownTopic>,
    /// Counts requests, to tell what was not asked for again.
    round: u64,
}

#[derive(Debug)]
struct KnownTopic {
    id: [u8; 16],
    partitions: HashMap<i32, Known>,
}

#[derive(Debug)]
struct Known {
    leader_epoch: i32,
    offset: i64,
    max_bytes: i32,
    round: u64,
}

/// One partition to be fetched.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) topic: &'a Arc<str>,
    pub(super) topic_id: [u8; 16],
    pub(super) partition: i32,
    pub(super) leader_epoch: i32,
    pub(super) offset: i64,
    pub(super) max_bytes: i32,
}

/// The part of a request that the session decides.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) session_id: i32,
    pub(super) session_epoch: i32,
    pub(super) topics: Vec<FetchTopic>,
    pub(super) forgotten: Vec<ForgottenTopic>,
}

impl FetchSession {
    /// Plans a request for exactly these partitions; those of one topic stand together. `version` is the request's.
    pub(super) fn plan(&mut self, asks: &[Ask<'_>], version: i16) -> Plan {
        let by_id = version >= 13;
        if version < 7 {
            return Plan { session_epoch: NO_SESSION, topics: topics(asks.iter(), by_id), ..Plan::default() };
        }
        self.round += 1;
        if self.by_id != by_id || asks.iter().any(|ask| self.is_recreated(ask)) {
            // The broker would take the two for different topics.
            self.restart();
            self.by_id = by_id;
        }
        let (session_id, session_epoch) = (self.id, self.epoch);
        if session_epoch == INITIAL_EPOCH {
            self.known.clear();
            for ask in asks {
                self.remember(ask);
            }
            return Plan { session_id, session_epoch, topics: topics(asks.iter(), by_id), forgotten: Vec::new() };
        }
        let changed: Vec<&Ask<'_>> = asks.iter().filter(|ask| self.remember(ask)).collect();
        let forgotten = self.forget_the_rest();
        Plan { session_id, session_epoch, topics: topics(changed.into_iter(), by_id), forgotten }
    }

    /// Takes note of the answer to the last request; false if it has to be asked again.
    pub(super) fn answered(&mut self, error: ErrorCode, session_id: i32) -> bool {
        match error {
            ErrorCode::NONE if session_id == 0 => {
                // The broker made none, for its cache is full, or has closed it.
                self.lost();
                true
            }
            ErrorCode::NONE => {
                self.id = session_id;
                self.epoch = self.epoch.checked_add(1).unwrap_or(INITIAL_EPOCH + 1);
                true
            }
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND => {
                // Evicted, or the broker was restarted: nothing is left to be closed.
                self.lost();
                false
            }
            _ => {
                self.restart();
                false
            }
        }
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self) {
        self.id = 0;
        self.restart();
    }

    /// The next request makes a new session in place of the one there is.
    fn restart(&mut self) {
        self.epoch = INITIAL_EPOCH;
        self.known.clear();
    }

    fn is_recreated(&self, ask: &Ask<'_>) -> bool {
        self.by_id && self.known.get(ask.topic).is_some_and(|topic| topic.id != ask.topic_id)
    }

    /// True if the broker has to be told.
    fn remember(&mut self, ask: &Ask<'_>) -> bool {
        if !self.known.contains_key(ask.topic) {
            self.known.insert(ask.topic.clone(), KnownTopic { id: ask.topic_id, partitions: HashMap::new() });
        }
        let Some(topic) = self.known.get_mut(ask.topic) else { return true };
        let now =
            Known { leader_epoch: ask.leader_epoch, offset: ask.offset, max_bytes: ask.max_bytes, round: self.round };
        let before = topic.partitions.insert(ask.partition, now);
        before.is_none_or(|b| (b.leader_epoch, b.offset, b.max_bytes) != (ask.leader_epoch, ask.offset, ask.max_bytes))
    }

    fn forget_the_rest(&mut self) -> Vec<ForgottenTopic> {
        let mut forgotten = Vec::new();
        let (round, by_id) = (self.round, self.by_id);
        self.known.retain(|name, topic| {
            let gone: Vec<i32> = topic.partitions.extract_if(|_, known| known.round != round).map(|(p, _)| p).collect();
            if !gone.is_empty() {
                let name = if by_id { String::new() } else { name.to_string() };
                forgotten.push(ForgottenTopic { topic: name, topic_id: topic.id, partitions: gone });
            }
            !topic.partitions.is_empty()
        });
        forgotten
    }
}

/// Errors after which only the session has to be made anew.
pub(super) fn is_of_session(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
            | ErrorCode::INVALID_FETCH_SESSION_EPOCH
            | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
    )
}

fn topics<'a: 'b, 'b>(asks: impl Iterator<Item = &'b Ask<'a>>, by_id: bool) -> Vec<FetchTopic> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut current: Option<&Arc<str>> = None;
    for ask in asks {
        if current != Some(ask.topic) {
            let topic = if by_id { String::new() } else { ask.topic.to_string() };
            topics.push(FetchTopic { topic, topic_id: ask.topic_id, partitions: Vec::new() });
            current = Some(ask.topic);
        }
        let partition = FetchPartition {
            partition: ask.partition,
            current_leader_epoch: ask.leader_epoch,
            fetch_offset: ask.offset,
            partition_max_bytes: ask.max_bytes,
            ..FetchPartition::default()
        };
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(partition);
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 16] = [7; 16];

    fn ask(topic: &Arc<str>, partition: i32, offset: i64) -> Ask<'_> {
        Ask { topic, topic_id: ID, partition, leader_epoch: 3, offset, max_bytes: 100 }
    }

    fn named(plan: &Plan) -> Vec<(i32, i64)> {
        plan.topics.iter().flat_map(|t| &t.partitions).map(|p| (p.partition, p.fetch_offset)).collect()
    }

    #[test]
    fn a_second_request_names_what_has_changed_and_what_is_not_wanted_any_more() {
        let t: Arc<str> = "t".into();
        let mut session = FetchSession::default();
        let full = session.plan(&[ask(&t, 0, 5), ask(&t, 1, 6), ask(&t, 2, 7)], 12);
        assert_eq!((full.session_id, full.session_epoch), (0, 0));
        assert_eq!(named(&full), [(0, 5), (1, 6), (2, 7)]);
        assert_eq!(full.topics[0].topic, "t");
        assert!(session.answered(ErrorCode::NONE, 42));

        let next = session.plan(&[ask(&t, 0, 9), ask(&t, 1, 6)], 12);
        assert_eq!((next.session_id, next.session_epoch), (42, 1));
        assert_eq!(named(&next), [(0, 9)]);
        assert_eq!(next.forgotten, [ForgottenTopic { topic: "t".into(), topic_id: ID, partitions: vec![2] }]);
        assert!(session.answered(ErrorCode::NONE, 42));

        let back = session.plan(&[ask(&t, 0, 9), ask(&t, 1, 6), ask(&t, 2, 7)], 12);
        assert_eq!((back.session_epoch, named(&back)), (2, vec![(2, 7)]));
        assert!(back.forgotten.is_empty());
    }

    #[test]
    fn a_changed_leader_epoch_or_size_is_told() {
        let t: Arc<str> = "t".into();
        let mut session = FetchSession::default();
        session.plan(&[ask(&t, 0, 5)], 12);
        session.answered(ErrorCode::NONE, 42);
        let epoch = session.plan(&[Ask { leader_epoch: 4, ..ask(&t, 0, 5) }], 12);
        assert_eq!(epoch.topics[0].partitions[0].current_leader_epoch, 4);
        session.answered(ErrorCode::NONE, 42);
        let size = session.plan(&[Ask { leader_epoch: 4, max_bytes: 200, ..ask(&t, 0, 5) }], 12);
        assert_eq!(size.topics[0].partitions[0].partition_max_bytes, 200);
    }

    #[test]
    fn errors_of_the_session_lead_to_a_full_request() {
        let t: Arc<str> = "t".into();
        for (code, id) in [
            (ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0),
            (ErrorCode::INVALID_FETCH_SESSION_EPOCH, 42),
            (ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR, 42),
        ] {
            let mut session = FetchSession::default();
            session.plan(&[ask(&t, 0, 5), ask(&t, 1, 5)], 12);
            session.answered(ErrorCode::NONE, 42);
            session.plan(&[ask(&t, 0, 6), ask(&t, 1, 5)], 12);
            assert!(!session.answered(code, 0), "{code}");
            let again = session.plan(&[ask(&t, 0, 6), ask(&t, 1, 5)], 12);
            assert_eq!((again.session_id, again.session_epoch), (id, 0), "{code}");
            assert_eq!(named(&again), [(0, 6), (1, 5)], "{code}");
        }
    }

    #[test]
    fn a_broker_without_room_for_a_session_is_asked_in_full_each_time() {
        let t: Arc<str> = "t".into();
        let mut session = FetchSession::default();
        for _ in 0..3 {
            let plan = session.plan(&[ask(&t, 0, 5)], 12);
            assert_eq!((plan.session_id, plan.session_epoch, named(&plan)), (0, 0, vec![(0, 5)]));
            assert!(session.answered(ErrorCode::NONE, 0));
        }
    }

    #[test]
    fn a_lost_connection_takes_the_session_with_it() {
        let t: Arc<str> = "t".into();
        let mut session = FetchSession::default();
        session.plan(&[ask(&t, 0, 5)], 12);
        session.answered(ErrorCode::NONE, 42);
        session.lost();
        let plan = session.plan(&[ask(&t, 0, 5)], 12);
        assert_eq!((plan.session_id, plan.session_epoch, named(&plan)), (0, 0, vec![(0, 5)]));
    }

    #[test]
    fn t3_a_recreated_topic_or_a_change_between_names_and_ids_starts_anew() {
        let t: Arc<str> = "t".into();
        let mut session = FetchSession::default();
        let plan = session.plan(&[ask(&t, 0, 5)], 13);
        assert_eq!((plan.topics[0].topic.as_str(), plan.topics[0].topic_id), ("", ID));
        session.answered(ErrorCode::NONE, 42);
        let plan = session.plan(&[Ask { topic_id: [8; 16], ..ask(&t, 0, 0) }], 13);
        assert_eq!((plan.session_id, plan.session_epoch, plan.topics[0].topic_id), (42, 0, [8; 16]));
        assert!(plan.forgotten.is_empty());
        session.answered(ErrorCode::NONE, 43);
        let plan = session.plan(&[ask(&t, 0, 0)], 12);
        assert_eq!((plan.session_id, plan.session_epoch, plan.topics[0].topic.as_str()), (43, 0, "t"));
    }

    #[test]
    fn the_epoch_wraps_to_one_and_old_brokers_get_no_session() {
        let t: Arc<str> = "t".into();
        let mut session = FetchSession { id: 1, epoch: i32::MAX, ..FetchSession::default() };
        assert!(session.answered(ErrorCode::NONE, 1));
        assert_eq!(session.epoch, 1);
        let plan = session.plan(&[ask(&t, 0, 5)], 6);
        assert_eq!((plan.session_id, plan.session_epoch, named(&plan)), (0, -1, vec![(0, 5)]));
    }
}
