//! What a load was told about its records, held against what Kafka's own tool finds in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use sarameya::{RecordMetadata, SendError};

use crate::support::kafka::Cluster;

/// Records by offset, by partition.
pub(crate) type Log = BTreeMap<i32, Vec<Entry>>;

/// One record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) offset: i64,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// What became of one send. The value is `LOAD:KEY:SEQUENCE`, with sequences from 0 for each load and key.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) value: String,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Written {
        partition: i32,
        offset: Option<i64>,
    },
    NotPersisted(String),
    #[expect(dead_code, reason = "a failed assertion shows it")]
    PossiblyPersisted(String),
}

impl Sent {
    pub(crate) fn new(value: String, outcome: Result<RecordMetadata, SendError>) -> Self {
        let outcome = match outcome {
            Ok(written) => Outcome::Written { partition: written.partition(), offset: written.offset() },
            Err(SendError::NotPersisted(error)) => Outcome::NotPersisted(error.to_string()),
            Err(SendError::PossiblyPersisted(error)) => Outcome::PossiblyPersisted(error.to_string()),
        };
        Self { value, outcome }
    }

    pub(crate) fn is_written(&self) -> bool {
        matches!(self.outcome, Outcome::Written { .. })
    }
}

pub(crate) fn value(load: impl Display, key: &str, sequence: usize) -> String {
    format!("{load}:{key}:{sequence}")
}

/// The log of all partitions of a topic on their leaders, as `kafka-dump-log` prints it.
pub(crate) fn log(cluster: &Cluster, topic: &str, partitions: i32) -> Log {
    let each = |partition| cluster.segments(cluster.leader(topic, partition), topic, partition);
    let files: Vec<_> = (0..partitions).flat_map(each).collect();
    parse(&cluster.tools().dump_log(&files).stdout, topic)
}

fn parse(dump: &str, topic: &str) -> Log {
    let mut log = Log::new();
    let mut partition = None;
    for line in dump.lines() {
        if let Some(path) = line.strip_prefix("Dumping ") {
            let folder = path.split('/').rev().nth(1).expect("a segment lies in its partition's folder");
            let index = folder.strip_prefix(topic).and_then(|rest| rest.strip_prefix('-')).expect("the topic's folder");
            partition = Some(index.parse().expect("a partition"));
        } else if let Some(record) = line.strip_prefix("| offset: ") {
            let offset = record.split(' ').next().and_then(|offset| offset.parse().ok()).expect("an offset");
            let (_, data) = record.split_once(" key: ").expect("a key");
            let (key, value) = data.split_once(" payload: ").expect("a value");
            let entry = Entry { offset, key: key.to_owned(), value: value.to_owned() };
            log.entry(partition.expect("a file before its records")).or_default().push(entry);
        }
    }
    log
}

/// What is wrong, one line each: acked but lost or elsewhere (I1, I2), rejected but there (I3), twice (I4), out of order
/// (I5), a gap of an acked sequence (I6, the same as I1), under a wrong key (I7), never sent.
pub(crate) fn violations(log: &Log, sent: &[Sent]) -> Vec<String> {
    let mut found = Vec::new();
    let mut placed: BTreeMap<&str, (i32, i64)> = BTreeMap::new();
    let mut last: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (&partition, entries) in log {
        for entry in entries {
            let [load, key, sequence] = entry.value.split(':').collect::<Vec<_>>()[..] else {
                found.push(format!("I7: {entry:?} is none of ours"));
                continue;
            };
            if key != entry.key {
                found.push(format!("I7: {entry:?} has another's key"));
            }
            if placed.insert(&entry.value, (partition, entry.offset)).is_some() {
                found.push(format!("I4: {entry:?} is there twice"));
            }
            let sequence = sequence.parse().unwrap_or(usize::MAX);
            if let Some(before) = last.insert((load, key), sequence)
                && before >= sequence
            {
                found.push(format!("I5: {entry:?} comes behind sequence {before}"));
            }
        }
    }
    let all: BTreeSet<&str> = sent.iter().map(|each| each.value.as_str()).collect();
    found
        .extend(placed.keys().filter(|value| !all.contains(*value)).map(|value| format!("I7: {value} was never sent")));
    for Sent { value, outcome } in sent {
        let there = placed.get(value.as_str());
        match outcome {
            Outcome::Written { partition, offset } => match there {
                None => found.push(format!("I1: {value} was acked and is not there")),
                Some(place) if offset.is_some_and(|offset| (*partition, offset) != *place) => {
                    found.push(format!("I2: {value} was acked at {partition}/{offset:?} and is at {place:?}"));
                }
                Some(_) => {}
            },
            Outcome::NotPersisted(error) if there.is_some() => {
                found.push(format!("I3: {value} was refused ({error}) and is there"));
            }
            Outcome::NotPersisted(_) | Outcome::PossiblyPersisted(_) => {}
        }
    }
    found
}

fn history() -> (Log, Vec<Sent>) {
    let mut log = Log::new();
    let mut sent = Vec::new();
    for sequence in 0..4 {
        for (partition, key) in [(0, "a"), (1, "b")] {
            let (value, offset) = (value("load", key, sequence), 10 + i64::try_from(sequence).expect("few"));
            let entry = Entry { offset, key: key.to_owned(), value: value.clone() };
            log.entry(partition).or_default().push(entry);
            sent.push(Sent { value, outcome: Outcome::Written { partition, offset: Some(offset) } });
        }
    }
    (log, sent)
}

#[test]
fn the_checker_finds_what_is_wrong() {
    type Change = fn(&mut Log, &mut Vec<Sent>);
    fn entries(log: &mut Log) -> &mut Vec<Entry> {
        log.get_mut(&0).expect("partition 0")
    }
    let (log, sent) = history();
    assert_eq!(violations(&log, &sent), [""; 0]);
    let changes: [(&str, Change); 8] = [
        ("I1", |log, _| drop(entries(log).remove(2))),
        ("I2", |log, _| entries(log)[3].offset += 1),
        ("I3", |_, sent| sent[0].outcome = Outcome::NotPersisted("no".to_owned())),
        ("I4", |log, _| {
            let twice = entries(log)[3].clone();
            entries(log).push(twice);
        }),
        ("I5", |log, _| entries(log).swap(1, 2)),
        ("I7", |log, _| entries(log)[0].key = "b".to_owned()),
        ("I7", |log, _| entries(log)[0].value = "other".to_owned()),
        ("I7", |_, sent| drop(sent.pop())),
    ];
    for (at, (expected, change)) in changes.into_iter().enumerate() {
        let (mut log, mut sent) = history();
        change(&mut log, &mut sent);
        let found = violations(&log, &sent);
        assert!(found.iter().any(|each| each.starts_with(expected)), "change {at}: {found:?}");
    }
    let (mut log, mut sent) = history();
    sent[7].outcome = Outcome::PossiblyPersisted("who knows".to_owned());
    assert_eq!(violations(&log, &sent), [""; 0]);
    log.get_mut(&1).expect("partition 1").pop();
    assert_eq!(violations(&log, &sent), [""; 0]);
}

#[test]
fn the_dump_of_a_log_is_read() {
    let dump = "Dumping /data/my-topic-2/00000000000000000000.log\nLog starting offset: 0\n\
                baseOffset: 0 lastOffset: 1 count: 2 baseSequence: 0 producerId: 1 isvalid: true\n\
                | offset: 0 CreateTime: 5 keySize: 1 valueSize: 3 sequence: 0 headerKeys: [] key: a payload: x y\n\
                | offset: 1 CreateTime: 5 keySize: 1 valueSize: 3 sequence: 1 headerKeys: [] key: b payload: z\n";
    let entry = |offset, key: &str, value: &str| Entry { offset, key: key.to_owned(), value: value.to_owned() };
    assert_eq!(parse(dump, "my-topic"), Log::from([(2, vec![entry(0, "a", "x y"), entry(1, "b", "z")])]));
}
