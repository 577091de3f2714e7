//! Where the claims of a session start: what to ask with OffsetFetch, and what the answer means. Pure.

use super::assignor::Assignment;
use super::offsets::Position;
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use crate::{Error, ErrorCode};
use std::collections::BTreeMap;

/// What an answer to OffsetFetch says of the claims that were asked for.
///
/// A claim for which the broker gave no clear answer is pending: it must not start, since starting it by the policy for
/// partitions without a committed offset would skip or repeat records.
#[derive(Debug, Default)]
pub(crate) struct FetchedOffsets {
    /// The answered claims; `None` means that nothing has ever been committed.
    pub(crate) found: BTreeMap<(String, i32), Option<Position>>,
    /// The claims to be asked for again, after a wait.
    pub(crate) pending: Assignment,
    /// Why they are pending; each error names its partition.
    pub(crate) errors: Vec<Error>,
    /// Whether to look for the coordinator before asking again.
    pub(crate) find_coordinator: bool,
    /// Asking again would not help: an error for the user.
    pub(crate) failed: Option<Error>,
}

/// The request for the committed offsets of these claims, for a version up to [`MAX_OFFSET_VERSION`].
///
/// With `require_stable`, partitions with offsets of an undecided transaction are not answered until it is decided.
///
/// [`MAX_OFFSET_VERSION`]: super::offsets::MAX_OFFSET_VERSION
pub(crate) fn fetch_request(
    group_id: &str,
    claims: &Assignment,
    require_stable: bool,
    version: i16,
) -> OffsetFetchRequest {
    let claims = || claims.iter().map(|(topic, partitions)| (topic.clone(), partitions.clone()));
    // Older brokers answer at once with what they have; there is nothing they could be asked to wait for.
    let require_stable = require_stable && version >= 7;
    if version < 8 {
        let topics = claims().map(|(name, partition_indexes)| OffsetFetchRequestTopic { name, partition_indexes });
        let topics = Some(topics.collect());
        return OffsetFetchRequest { group_id: group_id.to_owned(), topics, require_stable, ..Default::default() };
    }
    let topic = |(name, partition_indexes)| OffsetFetchRequestTopics { name, partition_indexes, ..Default::default() };
    let topics = Some(claims().map(topic).collect());
    let group = OffsetFetchRequestGroup { group_id: group_id.to_owned(), topics, ..Default::default() };
    OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() }
}

/// Reads the answer to [`fetch_request`] for the same claims and version.
pub(crate) fn fetched_offsets(
    group_id: &str,
    claims: &Assignment,
    response: OffsetFetchResponse,
    version: i16,
) -> FetchedOffsets {
    let mut fetched = FetchedOffsets::default();
    let (code, mut answers) = answers(group_id, response, version);
    if let Some(error) = code {
        fetched.note(error);
    }
    for (topic, partitions) in claims {
        for &partition in partitions {
            let named = |error: Error| error.with_topic(topic.as_str()).with_partition(partition);
            let missing = || Err(Error::protocol("the answer to OffsetFetch lacks a partition"));
            match answers.remove(&(topic.clone(), partition)).unwrap_or_else(missing) {
                Ok(position) => {
                    fetched.found.insert((topic.clone(), partition), position);
                }
                Err(error) => {
                    fetched.note(named(error));
                    fetched.pending.entry(topic.clone()).or_default().push(partition);
                }
            }
        }
    }
    fetched
}

type Answers = BTreeMap<(String, i32), Result<Option<Position>, Error>>;

/// The error of the whole answer, if there is one, and the answers for the partitions.
fn answers(group_id: &str, response: OffsetFetchResponse, version: i16) -> (Option<Error>, Answers) {
    let mut answers = Answers::new();
    let mut add = |topic: &str, partition, code, offset, leader_epoch, metadata: Option<String>| {
        let answer = match (ErrorCode(code), offset) {
            (ErrorCode::NONE, 0..) => {
                Ok(Some(Position { offset, leader_epoch, metadata: metadata.unwrap_or_default() }))
            }
            (ErrorCode::NONE, -1) => Ok(None),
            (ErrorCode::NONE, _) => Err(Error::protocol(format!("the committed offset is {offset}"))),
            (code, _) => Err(Error::from_code(code, "committed offset not answered")),
        };
        answers.insert((topic.to_owned(), partition), answer);
    };
    let code = if version < 8 {
        for topic in response.topics {
            for p in topic.partitions {
                let (epoch, metadata) = (p.committed_leader_epoch, p.metadata);
                add(&topic.name, p.partition_index, p.error_code, p.committed_offset, epoch, metadata);
            }
        }
        ErrorCode(response.error_code)
    } else {
        let Some(group) = response.groups.into_iter().find(|group| group.group_id == group_id) else {
            return (Some(Error::protocol(format!("the answer to OffsetFetch lacks group {group_id:?}"))), answers);
        };
        for topic in group.topics {
            for p in topic.partitions {
                let (epoch, metadata) = (p.committed_leader_epoch, p.metadata);
                add(&topic.name, p.partition_index, p.error_code, p.committed_offset, epoch, metadata);
            }
        }
        ErrorCode(group.error_code)
    };
    if code.is_none() {
        return (None, answers);
    }
    // What stands beside an error of the whole is no answer.
    answers.clear();
    (Some(Error::from_code(code, format!("committed offsets of group {group_id:?} not answered"))), answers)
}

impl FetchedOffsets {
    fn note(&mut self, error: Error) {
        match error.code() {
            // The coordinator has moved, or is not known yet after its broker died.
            Some(ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE) => self.find_coordinator = true,
            // It is still reading the group from its log; or a transaction that wrote offsets is not decided.
            Some(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS | ErrorCode::UNSTABLE_OFFSET_COMMIT) => {}
            // A permission is missing, or the group is of another kind: the answer stays the same.
            Some(code) if !code.is_retriable() && self.failed.is_none() => self.failed = Some(error.clone()),
            // An incomplete or impossible answer: the next one may be whole.
            _ => {}
        }
        self.errors.push(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::offset_fetch::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    };
    use crate::protocol::{Reader, Request, Response, Writer};

    fn claims() -> Assignment {
        Assignment::from([("a".to_owned(), vec![0, 1]), ("b".to_owned(), vec![0])])
    }

    /// An answer of this version: (topic, partition, code, offset).
    fn response(version: i16, code: ErrorCode, answers: &[(&str, i32, ErrorCode, i64)]) -> OffsetFetchResponse {
        let mut response = OffsetFetchResponse::default();
        if version < 8 {
            response.error_code = code.0;
            response.topics.extend(answers.iter().map(|&(topic, partition_index, code, committed_offset)| {
                let partition = OffsetFetchResponsePartition {
                    partition_index,
                    committed_offset,
                    error_code: code.0,
                    metadata: Some("note".into()),
                    ..Default::default()
                };
                OffsetFetchResponseTopic { name: topic.into(), partitions: vec![partition] }
            }));
        } else {
            let topic = |&(topic, partition_index, code, committed_offset): &(&str, i32, ErrorCode, i64)| {
                let partition = OffsetFetchResponsePartitions {
                    partition_index,
                    committed_offset,
                    error_code: code.0,
                    metadata: Some("note".into()),
                    ..Default::default()
                };
                OffsetFetchResponseTopics { name: topic.into(), partitions: vec![partition], ..Default::default() }
            };
            let topics = answers.iter().map(topic).collect();
            response.groups.push(OffsetFetchResponseGroup { group_id: "g".into(), topics, error_code: code.0 });
        }
        // Through the bytes, so that only what this version has is seen.
        let mut writer = Writer::new();
        response.encode(&mut writer, version).unwrap();
        OffsetFetchResponse::decode(&mut Reader::new(writer.into_bytes()), version).unwrap()
    }

    fn read(version: i16, code: ErrorCode, answers: &[(&str, i32, ErrorCode, i64)]) -> FetchedOffsets {
        fetched_offsets("g", &claims(), response(version, code, answers), version)
    }

    const OK: ErrorCode = ErrorCode::NONE;

    #[test]
    fn o9_only_answered_partitions_start() {
        for version in [1, 7, 8, 9] {
            let fetched = read(version, OK, &[("a", 0, OK, 7), ("a", 1, OK, -1), ("b", 0, OK, 0)]);
            let offset = |topic: &str, partition| {
                fetched.found[&(topic.to_owned(), partition)].as_ref().map(|p| (p.offset, p.metadata.as_str()))
            };
            assert_eq!([offset("a", 0), offset("a", 1), offset("b", 0)], [Some((7, "note")), None, Some((0, "note"))]);
            assert!(fetched.pending.is_empty() && fetched.errors.is_empty() && fetched.failed.is_none());

            let unstable = ErrorCode::UNSTABLE_OFFSET_COMMIT;
            let fetched = read(version, OK, &[("a", 0, unstable, -1), ("a", 1, OK, 3)]);
            assert_eq!(fetched.pending, Assignment::from([("a".into(), vec![0]), ("b".into(), vec![0])]));
            assert_eq!(fetched.found.len(), 1);
            assert!(fetched.failed.is_none() && !fetched.find_coordinator);
            assert_eq!(fetched.errors.len(), 2);
            assert_eq!((fetched.errors[0].topic(), fetched.errors[0].partition()), (Some("a"), Some(0)));
        }
    }

    #[test]
    fn o10_an_impossible_offset_is_no_answer() {
        let fetched = read(9, OK, &[("a", 0, OK, -2), ("a", 1, OK, i64::MIN), ("b", 0, OK, 1)]);
        assert_eq!(fetched.pending["a"], [0, 1]);
        assert_eq!(fetched.found.len(), 1);
    }

    #[test]
    fn an_error_of_the_whole_answer_leaves_everything_pending() {
        for version in [2, 8] {
            for (code, find) in [
                (ErrorCode::NOT_COORDINATOR, true),
                (ErrorCode::COORDINATOR_NOT_AVAILABLE, true),
                (ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, false),
            ] {
                let fetched = read(version, code, &[("a", 0, OK, 7)]);
                assert_eq!((fetched.pending, fetched.find_coordinator), (claims(), find), "{code}");
                assert!(fetched.found.is_empty() && fetched.failed.is_none());
            }
            let refused = read(version, ErrorCode::GROUP_AUTHORIZATION_FAILED, &[]).failed.unwrap();
            assert!(refused.to_string().contains("\"g\""), "{refused}");
        }
        // Version 1 has no error of the whole: each partition carries it.
        assert!(read(1, OK, &[("a", 0, ErrorCode::NOT_COORDINATOR, -1)]).find_coordinator);
        // An answer for another group is none for ours.
        let other = fetched_offsets("h", &claims(), response(9, OK, &[("a", 0, OK, 7)]), 9);
        assert_eq!((other.pending, other.found.len()), (claims(), 0));
    }

    #[test]
    fn a_missing_permission_fails_with_the_topic_named() {
        let failed = read(9, OK, &[("a", 0, ErrorCode::TOPIC_AUTHORIZATION_FAILED, -1)]).failed.unwrap();
        assert_eq!((failed.topic(), failed.code()), (Some("a"), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED)));
    }

    #[test]
    fn the_request_can_be_written_in_every_version() {
        for version in 1..=9 {
            let request = fetch_request("g", &claims(), true, version);
            let mut writer = Writer::new();
            request.encode(&mut writer, version).unwrap();
            let read = OffsetFetchRequest::decode(&mut Reader::new(writer.into_bytes()), version).unwrap();
            assert_eq!(read.require_stable, version >= 7);
            let names = match version {
                ..8 => read.topics.unwrap().into_iter().map(|topic| topic.name).collect::<Vec<_>>(),
                _ => read.groups[0].topics.iter().flatten().map(|topic| topic.name.clone()).collect(),
            };
            assert_eq!(names, ["a", "b"]);
        }
    }
}
