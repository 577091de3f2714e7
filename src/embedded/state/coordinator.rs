//! FindCoordinator, versions 0 to 6 (KIP-699 for several keys), and who coordinates what.
//!
//! As in Kafka a coordinator is the leader of one partition of an internal topic: of `__consumer_offsets` for groups, of
//! `__transaction_state` for transactional ids. The partition is the hash of the key as Java computes it. The topics are
//! made when a coordinator is asked for; until then there is none, so the first question is answered
//! COORDINATOR_NOT_AVAILABLE. Share groups are not served: their keys are refused as by a broker without them.

use super::topics::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use std::collections::BTreeMap;

/// What is coordinated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) enum Coordinated {
    /// Groups, by their ids.
    Group,
    /// Transactions, by their transactional ids.
    Transaction,
}

impl Coordinated {
    fn of_key_type(key_type: i8) -> Option<Self> {
        match key_type {
            0 => Some(Self::Group),
            1 => Some(Self::Transaction),
            _ => None,
        }
    }

    /// What the leaders of this topic coordinate.
    pub(super) fn of_topic(name: &str) -> Option<Self> {
        [Self::Group, Self::Transaction].into_iter().find(|kind| kind.topic() == name)
    }

    /// The topic whose partitions' leaders are the coordinators.
    pub(in crate::embedded) fn topic(self) -> &'static str {
        match self {
            Self::Group => OFFSETS_TOPIC,
            Self::Transaction => TRANSACTIONS_TOPIC,
        }
    }

    /// The settings for the topic's partitions and replicas.
    fn settings(self) -> (&'static str, &'static str) {
        match self {
            Self::Group => ("offsets.topic.num.partitions", "offsets.topic.replication.factor"),
            Self::Transaction => ("transaction.state.log.num.partitions", "transaction.state.log.replication.factor"),
        }
    }
}

impl State {
    pub(super) fn find_coordinator(&mut self, context: &Context, request: FindCoordinatorRequest) -> Reply {
        if context.version >= 4 {
            let keys = request.coordinator_keys.into_iter();
            let coordinators = keys.map(|key| self.found(context, request.key_type, key)).collect();
            return Reply::of(FindCoordinatorResponse { coordinators, ..Default::default() });
        }
        let found = self.found(context, request.key_type, request.key);
        let code = ErrorCode(found.error_code);
        Reply::of(FindCoordinatorResponse {
            error_code: found.error_code,
            // Kafka's name for the lack of an error.
            error_message: Some(if code == ErrorCode::NONE { "NONE".into() } else { code.to_string() }),
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            ..Default::default()
        })
    }

    fn found(&mut self, context: &Context, key_type: i8, key: String) -> Coordinator {
        let broker = match Coordinated::of_key_type(key_type) {
            Some(kind) => self
                .make_coordinators_topic(kind)
                .and_then(|()| self.coordinator(kind, &key))
                .and_then(|id| self.brokers.get(id).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)),
            None => Err(ErrorCode::INVALID_REQUEST),
        };
        match broker {
            Ok(broker) => Coordinator {
                key,
                node_id: broker.id,
                host: broker.host.clone(),
                port: broker.port(context.listener).into(),
                ..Default::default()
            },
            Err(code) => Coordinator { key, node_id: -1, port: -1, error_code: code.0, ..Default::default() },
        }
    }

    /// Makes the internal topic if it is not there; then, as in Kafka, the asker has to come again.
    pub(in crate::embedded) fn make_coordinators_topic(&mut self, kind: Coordinated) -> Result<(), ErrorCode> {
        if self.topics.get(kind.topic()).is_some() {
            return Ok(());
        }
        let (partitions, factor) = kind.settings();
        let partitions = i32::try_from(self.settings.number(partitions)).unwrap_or(i32::MAX);
        // Kafka waits for as many brokers as the setting names. A small cluster has to do with those it has.
        let factor = i16::try_from(self.settings.number(factor)).unwrap_or(i16::MAX);
        let brokers = i16::try_from(self.brokers.running().count()).unwrap_or(i16::MAX);
        let configs = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
        let _ = self.create_topic(kind.topic(), partitions, factor.min(brokers), configs);
        Err(ErrorCode::COORDINATOR_NOT_AVAILABLE)
    }

    /// The partition of the internal topic that a key belongs to; `None` before the topic is made.
    pub(in crate::embedded) fn coordinators_partition(&self, kind: Coordinated, key: &str) -> Option<i32> {
        let partitions = i32::try_from(self.topics.get(kind.topic())?.partitions.len()).ok()?;
        // Kafka's `Utils.abs`: the one number without an absolute value counts as 0.
        java_hash(key).checked_abs().unwrap_or(0).checked_rem(partitions)
    }

    /// The broker that coordinates a group or a transactional id.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE if there is none at the moment.
    pub(in crate::embedded) fn coordinator(&self, kind: Coordinated, key: &str) -> Result<i32, ErrorCode> {
        let partition = self.coordinators_partition(kind, key);
        let leader = partition.and_then(|partition| self.topics.partition(kind.topic(), partition)?.leader);
        leader.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)
    }

    /// Whether the broker that was asked is the coordinator.
    ///
    /// # Errors
    /// NOT_COORDINATOR if it is not.
    pub(in crate::embedded) fn check_coordinator(
        &self,
        context: &Context,
        kind: Coordinated,
        key: &str,
    ) -> Result<(), ErrorCode> {
        let is_it = self.coordinator(kind, key) == Ok(context.broker);
        is_it.then_some(()).ok_or(ErrorCode::NOT_COORDINATOR)
    }
}

/// Java's `String.hashCode`.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;

    fn asking(key_type: i8, keys: &[&str]) -> FindCoordinatorRequest {
        let coordinator_keys = keys.iter().map(|key| (*key).to_owned()).collect();
        FindCoordinatorRequest { key_type, coordinator_keys, ..Default::default() }
    }

    #[test]
    fn strings_hash_as_in_java() {
        assert_eq!(
            [java_hash(""), java_hash("console-consumer"), java_hash("grüße 🦀")],
            [0, -648_006_740, 347_378_987]
        );
        // The one hash without an absolute value.
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        let mut harness = Harness::new(1);
        harness.call(1, 4, asking(0, &["g"]));
        assert_eq!(harness.state.coordinators_partition(Coordinated::Group, "polygenelubricants"), Some(0));
        assert_eq!(harness.state.coordinators_partition(Coordinated::Group, "g"), Some(103 % 50));
    }

    #[test]
    fn the_first_question_makes_the_topic_and_then_every_broker_knows_the_coordinators() {
        let mut harness = Harness::with(3, &[("offsets.topic.num.partitions", "3")]);
        assert_eq!(harness.call(1, 4, asking(0, &["g"])).coordinators[0].error_code, 15);
        assert_eq!(harness.state.topics.get(OFFSETS_TOPIC).unwrap().partitions.len(), 3);
        let keys = ["a", "b", "c", "d"];
        let first = harness.call(1, 4, asking(0, &keys)).coordinators;
        assert_eq!(first, harness.call(3, 6, asking(0, &keys)).coordinators);
        assert_eq!(first.iter().map(|found| &*found.key).collect::<Vec<_>>(), keys);
        assert_eq!(first[0].node_id, first[3].node_id, "three partitions apart");
        let single = FindCoordinatorRequest { key: "a".into(), ..Default::default() };
        let answer = harness.call(2, 3, single);
        assert_eq!((answer.node_id, answer.error_message.as_deref()), (first[0].node_id, Some("NONE")));
    }

    #[test]
    fn transactions_have_a_topic_of_their_own_and_share_groups_are_refused() {
        let mut harness = Harness::new(1);
        assert_eq!(harness.call(1, 4, asking(1, &["t"])).coordinators[0].error_code, 15);
        assert_eq!(harness.call(1, 4, asking(1, &["t"])).coordinators[0].node_id, 1);
        assert!(harness.state.topics.get(OFFSETS_TOPIC).is_none());
        let refused = harness.call(1, 6, asking(2, &["g:AAAAAAAAAAAAAAAAAAAAAA:0"])).coordinators.remove(0);
        assert_eq!((refused.error_code, refused.node_id, refused.port), (42, -1, -1));
    }

    #[test]
    fn the_coordinator_moves_with_the_leader_and_without_one_there_is_none() {
        let mut harness = Harness::with(2, &[("offsets.topic.replication.factor", "2")]);
        harness.call(1, 4, asking(0, &["g"]));
        let first = harness.call(1, 4, asking(0, &["g"])).coordinators[0].node_id;
        let second = 3 - first;
        harness.state.broker_stopped(first);
        assert_eq!(harness.call(second, 4, asking(0, &["g"])).coordinators[0].node_id, second);
        harness.state.broker_stopped(second);
        harness.state.broker_started(first);
        let none = harness.call(first, 4, asking(0, &["g"])).coordinators.remove(0);
        assert_eq!((none.error_code, none.node_id), (15, -1), "the last in-sync replica is not this one");
    }
}
