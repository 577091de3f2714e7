//! Errors at single partitions, on purpose.

use super::State;
use crate::ErrorCode;
use crate::protocol::messages::ApiKey;
use std::collections::BTreeMap;

/// What to answer for a partition instead of serving it.
#[derive(Debug, Default)]
pub(in crate::embedded) struct PartitionFaults {
    /// Of each topic and partition: the API, `None` for all, and the code.
    codes: BTreeMap<String, BTreeMap<i32, Vec<(Option<ApiKey>, ErrorCode)>>>,
}

impl PartitionFaults {
    fn code(&self, api: ApiKey, topic: &str, partition: i32) -> Option<ErrorCode> {
        let codes = self.codes.get(topic)?.get(&partition)?;
        // One for this API goes before one for all.
        let of = |wanted| codes.iter().find(|(api, _)| *api == wanted).map(|(_, code)| *code);
        of(Some(api)).or_else(|| of(None))
    }
}

impl State {
    /// Refuses a partition to an API if that was asked for.
    pub(super) fn fault_at(&self, api: ApiKey, topic: &str, partition: i32) -> Result<(), ErrorCode> {
        self.partition_faults.code(api, topic, partition).map_or(Ok(()), Err)
    }

    /// From now on a partition is answered with this code; NONE ends it.
    pub(in crate::embedded) fn fail_partition(
        &mut self,
        topic: &str,
        partition: i32,
        api: Option<ApiKey>,
        code: ErrorCode,
    ) {
        let partitions = self.partition_faults.codes.entry(topic.to_owned()).or_default();
        let codes = partitions.entry(partition).or_default();
        codes.retain(|(known, _)| *known != api);
        if code != ErrorCode::NONE {
            codes.push((api, code));
        }
        // Whoever waits for records there is told at once.
        self.wake_fetches(topic, partition);
    }

    /// Takes back the errors of an API, or all.
    pub(in crate::embedded) fn clear_partition_faults(&mut self, api: Option<ApiKey>) {
        let Some(api) = api else {
            self.partition_faults.codes.clear();
            return;
        };
        for codes in self.partition_faults.codes.values_mut().flat_map(BTreeMap::values_mut) {
            codes.retain(|(known, _)| *known != Some(api));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_records::*;
    use super::super::test_support::Harness;
    use super::*;
    use crate::protocol::messages::fetch::FetchRequest;

    fn harness() -> Harness {
        let mut harness = Harness::new(1);
        harness.state.create_topic("t", 2, 1, BTreeMap::new()).unwrap();
        harness
    }

    #[test]
    fn one_partition_is_refused_to_one_api_without_effect_until_it_is_taken_back() {
        let mut harness = harness();
        harness.state.fail_partition("t", 0, Some(ApiKey::PRODUCE), ErrorCode::KAFKA_STORAGE_ERROR);
        assert_eq!(outcome(&mut harness, &batch(1)), (ErrorCode::KAFKA_STORAGE_ERROR.0, -1));
        assert_eq!(fetch(&mut harness, fetch_request(0)).high_watermark, 0, "nothing was written");
        harness.state.fail_partition("t", 0, None, ErrorCode::NOT_LEADER_OR_FOLLOWER);
        assert_eq!(outcome(&mut harness, &batch(1)).0, ErrorCode::KAFKA_STORAGE_ERROR.0, "the one for the API first");
        assert_eq!(fetch(&mut harness, fetch_request(0)).error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER.0);
        harness.state.clear_partition_faults(Some(ApiKey::PRODUCE));
        assert_eq!(outcome(&mut harness, &batch(1)).0, ErrorCode::NOT_LEADER_OR_FOLLOWER.0);
        harness.state.fail_partition("t", 0, None, ErrorCode::NONE);
        assert_eq!(outcome(&mut harness, &batch(1)), (0, 0));
        harness.state.fail_partition("t", 1, None, ErrorCode::NOT_LEADER_OR_FOLLOWER);
        assert_eq!(outcome(&mut harness, &batch(1)), (0, 1), "another partition");
        harness.state.clear_partition_faults(None);
        assert!(harness.state.fault_at(ApiKey::FETCH, "t", 1).is_ok());
    }

    #[test]
    fn a_fetch_that_waits_is_told_at_once() {
        let mut harness = harness();
        let connection = harness.connect();
        let request = FetchRequest { max_wait_ms: 500, ..fetch_request(0) };
        assert!(harness.send(connection, 1, 12, request).is_none());
        harness.state.fail_partition("t", 0, Some(ApiKey::FETCH), ErrorCode::KAFKA_STORAGE_ERROR);
        let mut response = harness.answer::<FetchRequest>(connection, 12).unwrap();
        let data = response.responses.remove(0).partitions.remove(0);
        assert_eq!(data.error_code, ErrorCode::KAFKA_STORAGE_ERROR.0);
    }
}
