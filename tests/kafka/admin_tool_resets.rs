//! `consumer_groups --reset-offsets` in every way, `--delete-offsets` and `--delete` beside Kafka's own tool: the same plans,
//! and the same done to two groups alike, but of a reset only with `--execute`.

use sarameya::Admin;
use sarameya::admin::{CommittedOffset, TopicPartition};

use crate::admin_tools::{admin, ours, produce, rows};
use crate::support::kafka::{Cluster, Version};
use crate::support::process::input_file;
use crate::support::unique;

/// Ways to have a plan shown and nothing done.
const PLANS: [&[&str]; 4] = [&[], &["--dry-run"], &["--export"], &["--dry-run", "--export"]];

#[test]
fn admin_tools_kafka_4_3_0_offsets_are_reset_in_every_way_with_execute_only() {
    require_kafka!();
    resets(Cluster::shared(Version::V4_3_0));
}

#[test]
fn admin_tools_kafka_2_5_1_offsets_are_reset_in_every_way_with_execute_only() {
    require_kafka!();
    resets(Cluster::shared(Version::V2_5_1));
}

/// A group for us and one for Kafka's tool, of one topic and with the same offsets.
struct Pair<'a> {
    cluster: &'a Cluster,
    admin: Admin,
    topic: String,
    ours: String,
    theirs: String,
}

impl Pair<'_> {
    /// What both have committed at the beginning.
    const COMMITTED: [(i32, i64); 2] = [(0, 2), (1, 3)];

    fn commit(&self) {
        for group in [&self.ours, &self.theirs] {
            let offset = |(number, offset)| (TopicPartition::new(&self.topic, number), CommittedOffset::new(offset));
            let offsets = Self::COMMITTED.map(offset);
            for (partition, outcome) in self.admin.alter_group_offsets(group, &offsets).expect("an answer") {
                outcome.unwrap_or_else(|error| panic!("{partition}: {error}"));
            }
        }
    }

    fn committed(&self, group: &str) -> Vec<(i32, i64)> {
        let (_, offsets) = self.admin.list_group_offsets(&[group]).expect("an answer").pop().expect("one");
        let offset = |(partition, committed): (TopicPartition, sarameya::Result<CommittedOffset>)| {
            (partition.partition, committed.expect("an offset").offset)
        };
        offsets.expect("offsets").into_iter().map(offset).collect()
    }

    /// Has each program do the same to its group, which both must take and tell alike. Returns what both groups have
    /// committed then, which must be the same.
    #[track_caller]
    fn both(&self, arguments: &[&str]) -> Vec<(i32, i64)> {
        fn of<'a>(group: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
            [&["--group", group], arguments].concat()
        }
        let mut theirs = self.cluster.tools().consumer_groups(&of(&self.theirs, arguments)).stdout;
        let own = ours(self.cluster, "consumer-groups", &of(&self.ours, arguments)).success().stdout;
        let mut own = own.replace(&self.ours, &self.theirs);
        if self.cluster.version() != Version::V4_3_0 {
            // Older tools do not say that they fall back to the end, and say in other words what was deleted.
            own = own.lines().filter(|line| !line.starts_with("Warn: Partition")).collect::<Vec<_>>().join("\n");
            let deleted = format!("Request succeed for deleting offsets with topic {}:0 group", self.topic);
            theirs = theirs.replace(&deleted, "Request succeeded for deleting offsets from group");
            theirs =
                theirs.replace(&format!("from group {}\n", self.theirs), &format!("from group {}.\n", self.theirs));
        }
        assert_eq!(rows(&own), rows(&theirs), "{arguments:?}\nours:\n{own}\ntheirs:\n{theirs}");
        let committed = self.committed(&self.ours);
        assert_eq!(committed, self.committed(&self.theirs), "{arguments:?}");
        committed
    }
}

fn resets(cluster: &Cluster) {
    let topic = unique("toolways");
    cluster.create_topic(&topic, 2);
    produce(cluster, &topic, 20);
    let pair = Pair { cluster, admin: admin(cluster), topic, ours: unique("ours"), theirs: unique("theirs") };
    let topic = pair.topic.as_str();
    pair.commit();
    let folder = tempfile::tempdir().expect("a folder");
    let plan = input_file(folder.path(), &format!("{topic},0,1\n{topic},1,4\n")).display().to_string();
    let only_one = format!("{topic}:1");
    // How many records each partition has depends on the keys' hashes, which never change.
    let ends = pair.both(&["--reset-offsets", "--topic", topic, "--to-latest", "--execute"]);
    pair.commit();
    let [(0, first), (1, second)] = ends[..] else { panic!("{ends:?}") };
    assert!(first > 4 && second > 5, "{ends:?}");
    let ways: [(&[&str], [i64; 2]); 12] = [
        (&["--topic", topic, "--to-earliest"], [0, 0]),
        (&["--topic", topic, "--to-latest"], [first, second]),
        (&["--topic", topic, "--to-current"], [2, 3]),
        (&["--topic", topic, "--to-offset", "4"], [4, 4]),
        (&["--topic", topic, "--to-offset", "1000000"], [first, second]),
        (&["--all-topics", "--shift-by", "2"], [4, 5]),
        (&["--topic", topic, "--shift-by", "-1000"], [0, 0]),
        (&["--topic", &only_one, "--shift-by", "-1"], [2, 2]),
        (&["--topic", topic, "--by-duration", "P1DT1H"], [0, 0]),
        (&["--topic", topic, "--to-datetime", "2020-01-01T00:00:00.000"], [0, 0]),
        (&["--topic", topic, "--to-datetime", "2100-01-01T00:00:00.000"], [first, second]),
        (&["--from-file", &plan], [1, 4]),
    ];
    for (nth, (way, expected)) in ways.into_iter().enumerate() {
        let reset = [&["--reset-offsets"], way].concat();
        let shown = pair.both(&[&reset[..], PLANS[nth % PLANS.len()]].concat());
        assert_eq!(shown, Pair::COMMITTED, "a plan is shown only: {way:?}");
        let done = pair.both(&[&reset[..], &["--execute"]].concat());
        assert_eq!(done, [(0, expected[0]), (1, expected[1])], "{way:?}");
        pair.commit();
    }

    let left = pair.both(&["--delete-offsets", "--topic", &format!("{topic}:0")]);
    assert_eq!(left, [(1, 3)]);
    assert_eq!(pair.both(&["--delete"]), []);
    let listed = ours(cluster, "consumer-groups", &["--list"]).success().stdout;
    assert!(!listed.lines().any(|line| line == pair.ours || line == pair.theirs), "{listed}");
}
