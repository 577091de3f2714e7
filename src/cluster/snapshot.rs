//! An immutable view of the cluster, and how a new metadata answer changes it. Pure: no I/O, no clock of its own.

use crate::ErrorCode;
use crate::net::Peer;
use crate::protocol::messages::metadata::{MetadataResponse, MetadataResponseTopic};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a topic that was there may be reported unknown before that is believed: a broker that has just started
/// does not know all topics yet. Kafka's own clients wait as long.
const PROPAGATION: Duration = Duration::from_secs(30);

/// The cluster as of one metadata answer. Published as a whole, never changed; a larger generation is newer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) cluster_id: Option<String>,
    pub(crate) controller: Option<i32>,
    pub(crate) brokers: HashMap<i32, Peer>,
    pub(crate) topics: HashMap<Arc<str>, Arc<Topic>>,
}

/// One topic.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) id: [u8; 16],
    /// Why it can't be used; `NONE` if it can. Its partitions may be known from earlier.
    pub(crate) error: ErrorCode,
    /// Indexed by partition.
    pub(crate) partitions: Vec<Partition>,
    /// Since when the brokers say that they do not know it.
    unknown_since: Option<Instant>,
}

/// One partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Partition {
    /// The leader's node id; `None` while it has none.
    pub(crate) leader: Option<i32>,
    /// -1 if the broker is too old to say.
    pub(crate) leader_epoch: i32,
}

/// Who leads a partition, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) node_id: i32,
    pub(crate) epoch: i32,
}

impl Snapshot {
    pub(crate) fn topic(&self, topic: &str) -> Option<&Arc<Topic>> {
        self.topics.get(topic)
    }

    /// The number of partitions of a topic that can be used.
    pub(crate) fn partition_count(&self, topic: &str) -> Option<usize> {
        self.topics.get(topic).map(|t| t.partitions.len()).filter(|n| *n > 0)
    }

    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<Leader> {
        let partition = self.topics.get(topic)?.partitions.get(usize::try_from(partition).ok()?)?;
        // A leader whose address is not in the same answer can't be reached.
        let node_id = partition.leader.filter(|id| self.brokers.contains_key(id))?;
        Some(Leader { node_id, epoch: partition.leader_epoch })
    }

    /// Whether this topic needs another look soon: unknown, or a partition without a leader.
    pub(crate) fn is_unsettled(&self, topic: &str) -> bool {
        match self.topics.get(topic) {
            Some(t) => {
                t.error != ErrorCode::NONE || t.partitions.is_empty() || t.partitions.iter().any(|p| p.leader.is_none())
            }
            None => true,
        }
    }

    /// What is left when all brokers are forgotten: the topics and their size, but no leaders.
    pub(crate) fn forgotten(&self) -> Self {
        let forget = |topic: &Arc<Topic>| {
            let unled = Partition { leader: None, leader_epoch: -1 };
            // No id: the topic of the same name is taken as it will be found.
            let partitions = vec![unled; topic.partitions.len()];
            Arc::new(Topic { id: [0; 16], partitions, ..Topic::clone(topic) })
        };
        Self {
            generation: self.generation + 1,
            cluster_id: self.cluster_id.clone(),
            controller: None,
            brokers: HashMap::new(),
            topics: self.topics.iter().map(|(name, topic)| (name.clone(), forget(topic))).collect(),
        }
    }

    /// Whether an answer is from another cluster than this one.
    pub(crate) fn is_of_another_cluster(&self, response: &MetadataResponse) -> bool {
        matches!((&self.cluster_id, &response.cluster_id), (Some(known), Some(answered)) if known != answered)
    }

    /// The snapshot after this answer. `kept` says which topics are still in use; others are forgotten.
    pub(crate) fn merge(&self, response: &MetadataResponse, now: Instant, kept: impl Fn(&str) -> bool) -> Self {
        let mut next = Self {
            generation: self.generation + 1,
            cluster_id: response.cluster_id.clone().or_else(|| self.cluster_id.clone()),
            controller: Some(response.controller_id).filter(|id| *id >= 0),
            brokers: response
                .brokers
                .iter()
                .filter_map(|b| Some((b.node_id, peer(b.node_id, &b.host, b.port)?)))
                .collect(),
            topics: self.topics.iter().filter(|(name, _)| kept(name)).map(|(n, t)| (n.clone(), t.clone())).collect(),
        };
        if next.brokers.is_empty() {
            // No cluster has no brokers: an answer without any tells nothing.
            next.brokers = self.brokers.clone();
        }
        for answered in &response.topics {
            let Some(name) = answered.name.as_deref().filter(|name| kept(name)) else { continue };
            let merged = merge_topic(next.topics.get(name).map(|t| &**t), answered, now);
            next.topics.insert(Arc::from(name), Arc::new(merged));
        }
        next
    }
}

/// The peer of a broker, if its address can be one.
pub(super) fn peer(node_id: i32, host: &str, port: i32) -> Option<Peer> {
    let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
    let plain = !host.is_empty() && !host.contains(['/', '@', '\0']) && !host.contains(char::is_whitespace);
    plain.then(|| Peer { node_id, host: Arc::from(host), port })
}

fn merge_topic(old: Option<&Topic>, answered: &MetadataResponseTopic, now: Instant) -> Topic {
    let error = ErrorCode(answered.error_code);
    let recreated = old.is_some_and(|o| o.id != answered.topic_id && o.id != [0; 16] && answered.topic_id != [0; 16]);
    let old = old.filter(|_| !recreated);
    if error != ErrorCode::NONE || answered.partitions.is_empty() {
        // No error and no partitions happens while a topic is being created: try again, and forget nothing.
        let error = if error == ErrorCode::NONE { ErrorCode::LEADER_NOT_AVAILABLE } else { error };
        return keep_through_error(old, answered.topic_id, error, now);
    }
    // Partitions never get fewer: one that is missing from an answer is missing from that answer only.
    let highest = answered.partitions.iter().filter_map(|p| usize::try_from(p.partition_index).ok()).max();
    // Bounded by what was received: an index beyond the number of entries would leave holes.
    let count = highest.map_or(0, |highest| highest.saturating_add(1)).min(answered.partitions.len());
    let mut partitions = old.map(|o| o.partitions.clone()).unwrap_or_default();
    if partitions.len() < count {
        partitions.resize(count, Partition { leader_epoch: -1, ..Partition::default() });
    }
    for p in &answered.partitions {
        let Some(slot) = usize::try_from(p.partition_index).ok().and_then(|i| partitions.get_mut(i)) else { continue };
        if p.leader_epoch >= 0 && p.leader_epoch < slot.leader_epoch {
            // From a broker that lags behind: the leader it names has been replaced already.
            continue;
        }
        *slot = Partition { leader: Some(p.leader_id).filter(|id| *id >= 0), leader_epoch: p.leader_epoch };
    }
    Topic { id: answered.topic_id, error: ErrorCode::NONE, partitions, unknown_since: None }
}

fn keep_through_error(old: Option<&Topic>, id: [u8; 16], error: ErrorCode, now: Instant) -> Topic {
    let Some(old) = old else {
        return Topic { id, error, partitions: Vec::new(), unknown_since: Some(now) };
    };
    let since = old.unknown_since.unwrap_or(now);
    let believed = !error.is_retriable() || now.saturating_duration_since(since) >= PROPAGATION;
    let partitions = if believed { Vec::new() } else { old.partitions.clone() };
    Topic { id: old.id, error, partitions, unknown_since: Some(since) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::metadata::{MetadataResponseBroker, MetadataResponsePartition};

    fn answer(topic: &str, error: ErrorCode, leaders: &[(i32, i32)]) -> MetadataResponse {
        let partitions = leaders.iter().enumerate().map(|(i, (leader, epoch))| MetadataResponsePartition {
            partition_index: i as i32,
            leader_id: *leader,
            leader_epoch: *epoch,
            ..Default::default()
        });
        MetadataResponse {
            brokers: (1..=3)
                .map(|id| MetadataResponseBroker { node_id: id, host: "h".into(), port: 9092, ..Default::default() })
                .collect(),
            topics: vec![MetadataResponseTopic {
                name: Some(topic.into()),
                error_code: error.0,
                partitions: partitions.collect(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn merged(snapshot: &Snapshot, response: &MetadataResponse, now: Instant) -> Snapshot {
        snapshot.merge(response, now, |_| true)
    }

    #[test]
    fn b12_an_older_leader_epoch_is_ignored() {
        let now = Instant::now();
        let newer = merged(&Snapshot::default(), &answer("t", ErrorCode::NONE, &[(2, 5)]), now);
        let after = merged(&newer, &answer("t", ErrorCode::NONE, &[(1, 4)]), now);
        assert_eq!(after.leader("t", 0), Some(Leader { node_id: 2, epoch: 5 }));
        let after = merged(&newer, &answer("t", ErrorCode::NONE, &[(1, 6)]), now);
        assert_eq!(after.leader("t", 0), Some(Leader { node_id: 1, epoch: 6 }));
    }

    #[test]
    fn b10_a_known_topic_survives_unknown_answers_until_the_propagation_limit() {
        let now = Instant::now();
        let known = merged(&Snapshot::default(), &answer("t", ErrorCode::NONE, &[(1, 0), (2, 0)]), now);
        let unknown = answer("t", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, &[]);
        let soon = merged(&known, &unknown, now + Duration::from_secs(5));
        assert_eq!(soon.partition_count("t"), Some(2));
        assert!(soon.is_unsettled("t"));
        let still = merged(&soon, &unknown, now + Duration::from_secs(34));
        assert_eq!(still.partition_count("t"), Some(2), "29 s after the first such answer");
        let late = merged(&still, &unknown, now + Duration::from_secs(36));
        assert_eq!(late.partition_count("t"), None);
        let back = merged(&late, &answer("t", ErrorCode::NONE, &[(1, 0)]), now);
        assert_eq!(back.partition_count("t"), Some(1));
    }

    #[test]
    fn b11_no_partitions_and_omitted_partitions_forget_nothing() {
        let now = Instant::now();
        let known = merged(&Snapshot::default(), &answer("t", ErrorCode::NONE, &[(1, 0), (2, 0)]), now);
        let empty = merged(&known, &answer("t", ErrorCode::NONE, &[]), now);
        assert_eq!(empty.partition_count("t"), Some(2));
        assert!(empty.is_unsettled("t"));
        let fewer = merged(&known, &answer("t", ErrorCode::NONE, &[(3, 1)]), now);
        assert_eq!(fewer.partition_count("t"), Some(2));
        assert_eq!(fewer.leader("t", 1).unwrap().node_id, 2);
        let leaderless = merged(&known, &answer("t", ErrorCode::NONE, &[(-1, 1), (2, 0)]), now);
        assert_eq!(leaderless.leader("t", 0), None);
        assert!(leaderless.is_unsettled("t"));
    }

    #[test]
    fn b13_after_a_new_beginning_a_lower_leader_epoch_is_believed() {
        let now = Instant::now();
        let mut response = answer("t", ErrorCode::NONE, &[(2, 5), (2, 5)]);
        response.cluster_id = Some("old".into());
        response.topics[0].topic_id = [1; 16];
        let known = merged(&Snapshot::default(), &response, now);
        let forgotten = known.forgotten();
        assert_eq!((forgotten.partition_count("t"), forgotten.leader("t", 0)), (Some(2), None));
        assert!(forgotten.generation > known.generation && forgotten.brokers.is_empty());
        assert!(forgotten.is_unsettled("t"));
        let mut response = answer("t", ErrorCode::NONE, &[(1, 0), (1, 0)]);
        response.cluster_id = Some("new".into());
        assert!(known.is_of_another_cluster(&response) && forgotten.is_of_another_cluster(&response));
        let found = merged(&forgotten, &response, now);
        assert_eq!(found.leader("t", 0), Some(Leader { node_id: 1, epoch: 0 }));
        assert!(!found.is_of_another_cluster(&response));
        response.cluster_id = None;
        assert!(!found.is_of_another_cluster(&response), "brokers older than 0.10.1 do not say");
    }

    #[test]
    fn an_address_is_believed_only_if_it_is_a_host_and_a_port() {
        for (host, port, believed) in [
            ("h", 1, true),
            ("::1", 65_535, true),
            ("h", 0, false),
            ("h", -1, false),
            // Cut to 16 bits it would be 9092.
            ("h", 65_536 + 9092, false),
            ("h", i32::MIN + 9092, false),
            ("", 1, false),
            (" ", 1, false),
            ("h h", 1, false),
            ("h\n", 1, false),
            ("file:///etc", 1, false),
            ("u@h", 1, false),
            ("h\0", 1, false),
        ] {
            let mut response = answer("t", ErrorCode::NONE, &[(1, 0)]);
            response.brokers.truncate(1);
            (response.brokers[0].host, response.brokers[0].port) = (host.into(), port);
            let merged = merged(&Snapshot::default(), &response, Instant::now());
            assert_eq!(merged.brokers.len(), usize::from(believed), "{host:?} {port}");
        }
    }

    #[test]
    fn hostile_indexes_and_addresses_are_not_believed() {
        let now = Instant::now();
        let mut response = answer("t", ErrorCode::NONE, &[(1, 0)]);
        response.brokers[0].port = 0;
        response.brokers[1].host = "file:///etc".into();
        for index in [i32::MAX, i32::MAX - 1, i32::MIN, -1] {
            response.topics[0].partitions[0].partition_index = index;
            let merged = merged(&Snapshot::default(), &response, now);
            assert!(merged.topics["t"].partitions.len() <= 1, "{index}");
            assert_eq!(merged.brokers.len(), 1);
        }
    }
}
