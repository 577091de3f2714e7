//! DescribeLogDirs, versions 1 to 5 (KIP-113, KIP-827): each broker has one directory, which is really memory.

use super::retention::LOG_MEMORY;
use super::{Context, Reply, State};
use crate::protocol::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

impl State {
    pub(super) fn describe_log_dirs(&mut self, context: &Context, request: DescribeLogDirsRequest) -> Reply {
        let wanted = |topic: &str, partition: i32| {
            request.topics.as_ref().is_none_or(|topics| {
                topics.iter().any(|asked| asked.topic == topic && asked.partitions.contains(&partition))
            })
        };
        let mut topics = Vec::new();
        let mut used = 0u64;
        for topic in self.topics.iter() {
            let mut partitions = Vec::new();
            for (partition, partition_index) in topic.partitions.iter().zip(0..) {
                if !partition.replicas.contains(&context.broker) {
                    continue;
                }
                used = used.saturating_add(partition.log.memory());
                if wanted(&topic.name, partition_index) {
                    let partition_size = i64::try_from(partition.log.size()).unwrap_or(i64::MAX);
                    partitions.push(DescribeLogDirsPartition { partition_index, partition_size, ..Default::default() });
                }
            }
            if !partitions.is_empty() {
                topics.push(DescribeLogDirsTopic { name: topic.name.clone(), partitions });
            }
        }
        let total_bytes = self.settings.number(LOG_MEMORY);
        let result = DescribeLogDirsResult {
            log_dir: self.log_dir(),
            topics,
            total_bytes,
            usable_bytes: total_bytes.saturating_sub(i64::try_from(used).unwrap_or(i64::MAX)).max(0),
            ..Default::default()
        };
        Reply::of(DescribeLogDirsResponse { results: vec![result], ..Default::default() })
    }

    fn log_dir(&self) -> String {
        let dirs = self.settings.get("log.dirs").or_else(|| self.settings.get("log.dir")).unwrap_or_default();
        dirs.split(',').next().unwrap_or_default().trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_records::{batch, produce};
    use super::super::test_support::Harness;
    use super::*;
    use crate::protocol::messages::describe_log_dirs::DescribableLogDirTopic;
    use std::collections::BTreeMap;

    #[test]
    fn a_broker_describes_the_replicas_that_it_has() {
        let mut harness = Harness::new(2);
        harness.state.create_topic_on("t", vec![vec![1], vec![2], vec![1, 2]], BTreeMap::new()).unwrap();
        produce(&mut harness, &batch(3));
        let all = harness.call(1, 5, DescribeLogDirsRequest { topics: None }).results.remove(0);
        let sizes: Vec<_> =
            all.topics[0].partitions.iter().map(|found| (found.partition_index, found.partition_size > 0)).collect();
        assert_eq!(sizes, [(0, true), (2, false)]);
        assert!(all.usable_bytes < all.total_bytes && all.usable_bytes > 0);
        let asked = DescribableLogDirTopic { topic: "t".into(), partitions: vec![1, 2] };
        let some = harness.call(1, 5, DescribeLogDirsRequest { topics: Some(vec![asked]) }).results.remove(0);
        assert_eq!(some.topics[0].partitions.len(), 1);
        assert_eq!(some.log_dir, "/tmp/kafka-logs");
    }
}
