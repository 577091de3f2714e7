//! Every API that can fail, in every version.

use super::*;
use crate::protocol::{Api, Reader, Writer};

/// A request with something in each of its lists.
fn invented(api: &Api, version: i16) -> Box<dyn Message> {
    // A seed whose lists are not empty is found by trying.
    let requests = (0..50).map(|seed| api.invent_request(version, &mut Reader::inventing(seed)));
    requests.max_by_key(|request| format!("{request:?}").len()).unwrap()
}

#[test]
fn everything_that_is_served_can_fail_in_every_version_and_the_code_is_in_the_answer() {
    let served: Vec<ApiKey> = crate::embedded::state::SERVED.to_vec();
    let failing = Api::all().iter().filter(|api| {
        let reply = error_answer(api.key, api.max_version, invented(api, api.max_version), ErrorCode(77));
        matches!(reply, Reply::Answer(_))
    });
    let failing: Vec<&Api> = failing.collect();
    for key in served {
        assert!(failing.iter().any(|api| api.key == key), "{:?} is served and can't fail", key.name());
    }
    for api in failing {
        for version in api.min_version..=api.max_version {
            let Reply::Answer(answer) = error_answer(api.key, version, invented(api, version), ErrorCode(77)) else {
                panic!("{} v{version} has no answer", api.name);
            };
            let mut writer = Writer::new();
            answer.encode(&mut writer, version).unwrap_or_else(|error| panic!("{} v{version}: {error}", api.name));
            let read = api.decode_response(version, writer.into_bytes().into()).unwrap();
            let text = format!("{read:?}");
            assert!(text.contains("error_code: 77"), "{} v{version}: {text}", api.name);
        }
    }
}

#[test]
fn the_error_stands_at_each_partition_and_a_produce_without_acks_has_no_answer() {
    use crate::protocol::messages::produce::{PartitionProduceData, TopicProduceData};
    let partition = |index| PartitionProduceData { index, records: None };
    let topic =
        TopicProduceData { name: "t".into(), partition_data: vec![partition(0), partition(3)], ..Default::default() };
    let request = ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() };
    let response = request.clone().fail(9, 6);
    let partitions = &response.responses[0].partition_responses;
    assert_eq!(
        partitions.iter().map(|p| (p.index, p.error_code, p.base_offset)).collect::<Vec<_>>(),
        [(0, 6, -1), (3, 6, -1)]
    );
    let unanswered = ProduceRequest { acks: 0, ..request };
    let mut writer = Writer::new();
    unanswered.encode(&mut writer, 9).unwrap();
    let api = Api::find(ApiKey::PRODUCE).unwrap();
    let body = api.decode_request(9, writer.into_bytes().into()).unwrap();
    assert!(matches!(error_answer(api.key, 9, body, ErrorCode(6)), Reply::Close));
}
