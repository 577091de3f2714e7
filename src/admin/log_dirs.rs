//! Log directories: which replicas are where, and how large.

use super::routing::{Entity, Route};
use super::values::by_topic;
use super::{Admin, Results, TopicPartition, lookup, outcome};
use crate::protocol::messages::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use crate::protocol::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResult,
};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// From this version on an error of the whole request has a place of its own.
const WHOLE_ERROR: i16 = 3;

/// A log directory of a broker.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LogDirDescription {
    /// Its path on the broker.
    pub path: String,
    /// Why it is out of order, if it is.
    pub error: Option<Error>,
    /// The size of its volume in bytes; `None` from brokers before 3.3.
    pub total_bytes: Option<i64>,
    /// How many bytes are free there; `None` as above.
    pub usable_bytes: Option<i64>,
    /// Whether it takes no new replicas (KIP-1066).
    pub cordoned: bool,
    /// The replicas in it.
    pub replicas: Vec<ReplicaDescription>,
}

/// A replica in a log directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaDescription {
    /// The partition.
    pub partition: TopicPartition,
    /// The size of its segments in bytes.
    pub size: i64,
    /// How many records it is behind: the high watermark, or for a future replica, the present one.
    pub offset_lag: i64,
    /// Whether it is being built to replace the one in another directory.
    pub future: bool,
}

/// A replica: a partition on a broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartitionReplica {
    /// The partition.
    pub partition: TopicPartition,
    /// The broker's node id.
    pub broker: i32,
}

impl TopicPartitionReplica {
    /// The replica of this partition on this broker.
    pub fn new(partition: impl Into<TopicPartition>, broker: i32) -> Self {
        Self { partition: partition.into(), broker }
    }
}

impl Entity for TopicPartitionReplica {
    fn named(&self, error: Error) -> Error {
        self.partition.named(error)
    }
}

/// Where a replica is, and where it is going.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaLogDirs {
    /// The directory that it is in, and how many records it is behind the high watermark.
    pub current: (String, i64),
    /// The directory that it moves to, and how many records the copy there is behind.
    pub future: Option<(String, i64)>,
}

impl Admin {
    /// Describes the log directories of brokers, by their node ids, with all replicas in them. RPC DescribeLogDirs to these
    /// brokers, side by side, brokers from 2.0 on. A principal that may not describe the cluster sees no directories.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (broker, dirs) in admin.describe_log_dirs(&[1, 2])? {
    ///     for dir in dirs? {
    ///         println!("{broker} {}: {} replicas", dir.path, dir.replicas.len());
    ///     }
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_log_dirs(&self, brokers: &[i32]) -> Result<Results<Vec<LogDirDescription>, i32>> {
        self.describe_log_dirs_of(brokers, None)
    }

    /// The same of all brokers. RPCs Metadata and DescribeLogDirs, brokers from 2.0 on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (broker, dirs) in admin.describe_all_log_dirs()? {
    ///     println!("{broker}: {} directories", dirs?.len());
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_all_log_dirs(&self) -> Result<Results<Vec<LogDirDescription>, i32>> {
        let brokers = lookup::brokers(&self.call())?;
        self.describe_log_dirs_of(&brokers, None)
    }

    /// Like [`describe_log_dirs`](Self::describe_log_dirs), with replicas of these partitions only; all for `None`.
    /// RPC DescribeLogDirs to these brokers, brokers from 2.0 on.
    ///
    /// ```no_run
    /// use sarameya::admin::TopicPartition;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let partitions = [TopicPartition::new("test3", 0)];
    /// for (broker, outcome) in admin.describe_log_dirs_of(&[1], Some(&partitions))? {
    ///     println!("{broker}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_log_dirs_of(
        &self,
        brokers: &[i32],
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Results<Vec<LogDirDescription>, i32>> {
        self.call().run(brokers.to_vec(), &Route::Broker(&|broker| Some(*broker)), |asking, brokers| {
            let version = asking.version::<DescribeLogDirsRequest>()?;
            let topic =
                |(topic, partitions): (&str, Vec<i32>)| DescribableLogDirTopic { topic: topic.to_owned(), partitions };
            let topics = partitions.map(|partitions| by_topic(partitions).into_iter().map(topic).collect());
            let response = asking.call(&DescribeLogDirsRequest { topics })?;
            if version >= WHOLE_ERROR {
                outcome(response.error_code, None, "log directories were not described")?;
            }
            let dirs = response.results.into_iter().map(described).collect();
            Ok(brokers.iter().take(1).copied().zip([Ok(dirs)]).collect())
        })
    }

    /// In which directories replicas are, and to which they move. RPC DescribeLogDirs to their brokers, side by side,
    /// brokers from 2.0 on.
    ///
    /// ```no_run
    /// use sarameya::admin::TopicPartitionReplica;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (replica, outcome) in admin.describe_replica_log_dirs(&[TopicPartitionReplica::new(("test3", 0), 1)])? {
    ///     println!("{replica:?}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_replica_log_dirs(
        &self,
        replicas: &[TopicPartitionReplica],
    ) -> Result<Results<ReplicaLogDirs, TopicPartitionReplica>> {
        let brokers: BTreeSet<i32> = replicas.iter().map(|replica| replica.broker).collect();
        let partitions: BTreeSet<&TopicPartition> = replicas.iter().map(|replica| &replica.partition).collect();
        let partitions: Vec<TopicPartition> = partitions.into_iter().cloned().collect();
        let brokers: Vec<i32> = brokers.into_iter().collect();
        let described = self.describe_log_dirs_of(&brokers, Some(&partitions))?;
        let described: HashMap<i32, Result<Vec<LogDirDescription>>> = described.into_iter().collect();
        let find = |replica: &TopicPartitionReplica| {
            let missing = || Err(Error::protocol("nothing is known of the broker"));
            let dirs = described.get(&replica.broker).cloned().unwrap_or_else(missing)?;
            let place = |future: bool| {
                dirs.iter().find_map(|dir| {
                    let wanted = |r: &&ReplicaDescription| r.partition == replica.partition && r.future == future;
                    dir.replicas.iter().find(wanted).map(|found| (dir.path.clone(), found.offset_lag))
                })
            };
            let absent = || {
                let code = crate::ErrorCode::REPLICA_NOT_AVAILABLE;
                replica.named(Error::from_code(code, format!("broker {} has no such replica", replica.broker)))
            };
            Ok(ReplicaLogDirs { current: place(false).ok_or_else(absent)?, future: place(true) })
        };
        Ok(replicas.iter().map(|replica| (replica.clone(), find(replica))).collect())
    }

    /// Moves replicas to other directories of their brokers, or says where ones that are to come will be. RPC
    /// AlterReplicaLogDirs to the brokers, side by side, brokers from 2.0 on. Returns when it has begun.
    ///
    /// ```no_run
    /// use sarameya::admin::TopicPartitionReplica;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let replica = TopicPartitionReplica::new(("test3", 0), 1);
    /// for (replica, outcome) in admin.alter_replica_log_dirs(&[(replica, "/disk2".into())])? {
    ///     println!("{replica:?}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn alter_replica_log_dirs(
        &self,
        moves: &[(TopicPartitionReplica, String)],
    ) -> Result<Results<(), TopicPartitionReplica>> {
        let wanted: HashMap<&TopicPartitionReplica, &str> = moves.iter().map(|(r, path)| (r, path.as_str())).collect();
        let replicas = moves.iter().map(|(replica, _)| replica.clone()).collect();
        let route = Route::Broker(&|replica: &TopicPartitionReplica| Some(replica.broker));
        self.call().run(replicas, &route, |asking, replicas| {
            let broker = asking.node_id();
            let mut dirs: BTreeMap<&str, Vec<&TopicPartition>> = BTreeMap::new();
            for replica in replicas {
                if let Some(path) = wanted.get(replica) {
                    dirs.entry(path).or_default().push(&replica.partition);
                }
            }
            let topic =
                |(topic, partitions): (&str, Vec<i32>)| AlterReplicaLogDirTopic { name: topic.to_owned(), partitions };
            let dirs = dirs.into_iter().map(|(path, partitions)| AlterReplicaLogDir {
                path: path.to_owned(),
                topics: by_topic(partitions).into_iter().map(topic).collect(),
            });
            let response = asking.call(&AlterReplicaLogDirsRequest { dirs: dirs.collect() })?;
            let answers = response.results.into_iter().flat_map(|topic| {
                topic.partitions.into_iter().map(move |p| {
                    let replica = TopicPartitionReplica::new((topic.topic_name.as_str(), p.partition_index), broker);
                    let doing = format!("the replica on broker {broker} was not moved");
                    (replica, outcome(p.error_code, None, &doing))
                })
            });
            Ok(answers.collect())
        })
    }
}

fn described(dir: DescribeLogDirsResult) -> LogDirDescription {
    let replicas = dir.topics.into_iter().flat_map(|topic| {
        topic.partitions.into_iter().map(move |p| ReplicaDescription {
            partition: TopicPartition::new(&topic.name, p.partition_index),
            size: p.partition_size,
            offset_lag: p.offset_lag,
            future: p.is_future_key,
        })
    });
    let mut replicas: Vec<_> = replicas.collect();
    replicas.sort_by(|a, b| a.partition.cmp(&b.partition));
    let doing = format!("the log directory {} is out of order", dir.log_dir);
    LogDirDescription {
        error: outcome(dir.error_code, None, &doing).err(),
        path: dir.log_dir,
        total_bytes: Some(dir.total_bytes).filter(|bytes| *bytes >= 0),
        usable_bytes: Some(dir.usable_bytes).filter(|bytes| *bytes >= 0),
        cordoned: dir.is_cordoned,
        replicas,
    }
}
