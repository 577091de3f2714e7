use super::super::test_records::*;
use super::super::test_support::Harness;
use super::*;
use crate::batch::Compression;
use crate::protocol::messages::produce::PartitionProduceData;
use bytes::Bytes;
use std::collections::BTreeMap;

fn code(code: ErrorCode) -> i16 {
    code.0
}

/// One broker, with the topic `t` of one partition and these settings.
fn harness(configs: &[(&str, &str)]) -> Harness {
    let mut harness = Harness::new(1);
    let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    harness.state.create_topic("t", 1, 1, configs).unwrap();
    harness
}

#[test]
fn offsets_follow_each_other_and_the_leaders_epoch_is_in_the_batches() {
    let mut harness = harness(&[]);
    for (codec, base_offset) in Compression::ALL.into_iter().filter(|codec| codec.is_supported()).zip([0, 3, 6, 9, 12])
    {
        let written = produce(&mut harness, &Batch { codec, ..batch(3) });
        assert_eq!((written.error_code, written.base_offset), (0, base_offset), "{codec}");
        assert_eq!((written.log_append_time_ms, written.log_start_offset), (-1, 0));
    }
    harness.state.broker_stopped(1);
    harness.state.broker_started(1);
    assert_eq!(outcome(&mut harness, &batch(1)).0, 0);
    let (_, batches) = harness.state.batches("t", 0).unwrap();
    assert_eq!(batches.first().unwrap().leader_epoch(), 0);
    assert_eq!(batches.last().unwrap().leader_epoch(), 2);
}

#[test]
fn what_is_no_batch_is_refused() {
    let mut harness = harness(&[]);
    let good = batch(2).bytes();
    let two = [good.clone(), good.clone()].concat();
    let cut = good.slice(..good.len() - 1);
    for none in [Bytes::new(), two.into(), cut] {
        assert_eq!(produce_bytes(&mut harness, none).error_code, code(ErrorCode::INVALID_RECORD));
    }
    let mut old = good.to_vec();
    old[16] = 1;
    assert_eq!(produce_bytes(&mut harness, old.into()).error_code, code(ErrorCode::INVALID_RECORD));
    // Any flipped bit behind the checksum, and a length that can't be.
    for at in [17, 22, 30, good.len() - 1] {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        assert_eq!(produce_bytes(&mut harness, bad.into()).error_code, code(ErrorCode::CORRUPT_MESSAGE), "{at}");
    }
    let mut short = good.to_vec();
    short[8..12].copy_from_slice(&5i32.to_be_bytes());
    assert_eq!(produce_bytes(&mut harness, short.into()).error_code, code(ErrorCode::CORRUPT_MESSAGE));
    let mut unknown = good.to_vec();
    (unknown[8..12]).copy_from_slice(&i32::MAX.to_be_bytes());
    unknown[16] = 7;
    assert_eq!(
        produce_bytes(&mut harness, unknown.into()).error_code,
        code(ErrorCode::CORRUPT_MESSAGE),
        "not too large"
    );
    assert_eq!(harness.state.log("t", 0).unwrap().end_offset(), 0);
}

/// Changes a batch and sets its checksum right.
fn altered(batch: &Batch, change: impl Fn(&mut Vec<u8>)) -> Bytes {
    let mut bytes = batch.bytes().to_vec();
    change(&mut bytes);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

#[test]
fn a_batch_that_contradicts_itself_is_invalid() {
    let mut harness = harness(&[]);
    let nothing = |bytes: &mut Vec<u8>| {
        bytes[23..27].fill(0xff);
        bytes[57..61].fill(0);
    };
    let invalid: [(&str, Bytes); 8] = [
        ("neither records nor offsets", altered(&batch(2), nothing)),
        ("base offset", altered(&batch(2), |bytes| bytes[7] = 1)),
        ("last offset delta", altered(&batch(2), |bytes| bytes[26] = 5)),
        ("more records than offsets", altered(&batch(2), |bytes| bytes[60] = 9)),
        ("no records", altered(&batch(2), |bytes| bytes[60] = 0)),
        ("control", altered(&batch(1), |bytes| bytes[22] |= 0x20)),
        ("sequence", altered(&idempotent(1, 5, 0, 0), |bytes| bytes[53] = 0xff)),
        ("record", altered(&batch(1), |bytes| bytes[61] = 0x7e)),
    ];
    for (what, bytes) in invalid {
        assert_eq!(produce_bytes(&mut harness, bytes).error_code, code(ErrorCode::INVALID_RECORD), "{what}");
    }
    if any_codec() == Compression::None {
        return;
    }
    let packed = Batch { codec: any_codec(), ..batch(50) };
    let damaged = altered(&packed, |bytes| bytes[61..65].fill(0xff));
    assert_eq!(produce_bytes(&mut harness, damaged).error_code, code(ErrorCode::UNKNOWN_SERVER_ERROR));
}

#[test]
fn a_batch_larger_than_the_topic_takes_is_refused() {
    let size = batch(2).bytes().len();
    let mut harness = harness(&[("max.message.bytes", &size.to_string())]);
    assert_eq!(outcome(&mut harness, &batch(2)), (0, 0));
    let mut one_more = batch(2);
    one_more.records[1].2 = Some("value+");
    assert_eq!(one_more.bytes().len(), size + 1);
    let refused = produce(&mut harness, &one_more);
    assert_eq!((refused.error_code, refused.base_offset), (code(ErrorCode::MESSAGE_TOO_LARGE), -1));
    assert_eq!(refused.log_start_offset, -1, "the log was not asked");
    let mut damaged = batch(50).bytes().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(produce_bytes(&mut harness, damaged.into()).error_code, code(ErrorCode::MESSAGE_TOO_LARGE));
}

#[test]
fn a_batch_that_is_too_large_as_the_topic_wants_it_is_refused() {
    let mut harness = harness(&[("max.message.bytes", "300"), ("compression.type", "uncompressed")]);
    let packed = Batch { codec: any_codec(), ..batch(50) };
    assert_eq!(outcome(&mut harness, &packed).0, code(ErrorCode::MESSAGE_TOO_LARGE));
}

#[test]
fn a_compacted_topic_names_the_records_without_a_key() {
    let mut harness = harness(&[("cleanup.policy", "compact")]);
    let mut keyless = batch(4);
    keyless.records[1].1 = None;
    keyless.records[3].1 = None;
    let refused = produce(&mut harness, &keyless);
    let records: Vec<i32> = refused.record_errors.iter().map(|error| error.batch_index).collect();
    assert_eq!((refused.error_code, records), (code(ErrorCode::INVALID_RECORD), vec![1, 3]));
    assert!(refused.error_message.is_some());
    assert_eq!(refused.log_start_offset, 0);
    assert_eq!(outcome(&mut harness, &batch(4)), (0, 0));
}

#[test]
fn timestamps_out_of_range_are_named() {
    let limits = [("message.timestamp.before.max.ms", "1000"), ("message.timestamp.after.max.ms", "1000")];
    let mut harness = harness(&limits);
    let at = |offset: i64| {
        let mut batch = batch(3);
        batch.records[2].0 = START_MS + offset;
        batch
    };
    for allowed in [-1000, 0, 1000] {
        assert_eq!(outcome(&mut harness, &at(allowed)).0, 0, "{allowed}");
    }
    for refused in [-1001, 1001] {
        let refused = produce(&mut harness, &at(refused));
        assert_eq!(refused.error_code, code(ErrorCode::INVALID_TIMESTAMP));
        assert_eq!(refused.record_errors.len(), 1);
        assert_eq!(refused.record_errors[0].batch_index, 2);
    }
    let mut timeless = at(-1001);
    timeless.records[0].0 = -1;
    let records = produce(&mut harness, &timeless).record_errors;
    assert_eq!(records.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [2], "no time is no wrong time");
    let append_time = altered(&batch(2), |bytes| bytes[22] |= 0x08);
    assert_eq!(produce_bytes(&mut harness, append_time).error_code, code(ErrorCode::INVALID_TIMESTAMP));
}

#[test]
fn with_append_time_the_brokers_clock_goes_for_all_records() {
    let mut harness = harness(&[("message.timestamp.type", "LogAppendTime")]);
    harness.pass(std::time::Duration::from_secs(5));
    let mut old = batch(2);
    old.records[0].0 = 17;
    assert_eq!(produce(&mut harness, &old).log_append_time_ms, START_MS + 5000);
    let (_, batches) = harness.state.batches("t", 0).unwrap();
    batches[0].verify_crc().unwrap();
    assert_eq!(batches[0].timestamp_type(), crate::record::TimestampType::LogAppendTime);
    assert_eq!(batches[0].max_timestamp(), START_MS + 5000);
}

#[test]
fn a_topics_compression_goes_before_the_producers() {
    let mut harness = harness(&[("compression.type", any_codec().name())]);
    for codec in [Compression::None, any_codec()] {
        assert_eq!(outcome(&mut harness, &Batch { codec, ..batch(20) }).0, 0);
    }
    let (_, batches) = harness.state.batches("t", 0).unwrap();
    for batch in batches {
        batch.verify_crc().unwrap();
        assert_eq!(batch.compression().unwrap(), any_codec());
    }
    let data = fetch(&mut harness, fetch_request(0));
    assert_eq!(offsets(&data), (0..40).collect::<Vec<i64>>());
}

#[test]
fn only_the_leader_writes_and_says_who_it_is() {
    let mut harness = Harness::new(3);
    harness.state.create_topic_on("t", vec![vec![2, 3]], BTreeMap::new()).unwrap();
    for version in [9, 12] {
        let mut response = harness.call(1, version, produce_request(1, Some(batch(1).bytes())));
        let partition = response.responses.remove(0).partition_responses.remove(0);
        assert_eq!(partition.error_code, code(ErrorCode::NOT_LEADER_OR_FOLLOWER));
        let leader = (partition.current_leader.leader_id, partition.current_leader.leader_epoch);
        assert_eq!(leader, if version < 10 { (-1, -1) } else { (2, 0) });
        let nodes: Vec<i32> = response.node_endpoints.iter().map(|node| node.node_id).collect();
        assert_eq!(nodes, if version < 10 { vec![] } else { vec![2] });
    }
    let response = harness.call(2, 12, produce_request(1, Some(batch(1).bytes())));
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

#[test]
fn acks_all_needs_enough_replicas_and_acks_must_be_known() {
    let mut harness = Harness::new(2);
    let configs = BTreeMap::from([("min.insync.replicas".to_owned(), "2".to_owned())]);
    harness.state.create_topic_on("t", vec![vec![1, 2]], configs).unwrap();
    assert_eq!(outcome(&mut harness, &batch(1)).0, 0);
    harness.state.broker_stopped(2);
    assert_eq!(outcome(&mut harness, &batch(1)).0, code(ErrorCode::NOT_ENOUGH_REPLICAS));
    let response = harness.call(1, 12, produce_request(1, Some(batch(1).bytes())));
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    let response = harness.call(1, 12, produce_request(2, Some(batch(1).bytes())));
    assert_eq!(response.responses[0].partition_responses[0].error_code, code(ErrorCode::INVALID_REQUIRED_ACKS));
}

#[test]
fn acks_0_has_no_answer_and_an_error_closes() {
    let mut harness = harness(&[]);
    let connection = harness.connect();
    let good = produce_request(0, Some(batch(1).bytes()));
    assert!(matches!(harness.reply(connection, 1, 9, good), Reply::Silence));
    assert!(matches!(harness.reply(connection, 1, 9, produce_request(0, None)), Reply::Close));
    assert_eq!(harness.state.log("t", 0).unwrap().end_offset(), 1);
}

#[test]
fn topics_are_known_by_id_from_version_13_on() {
    let mut harness = harness(&[]);
    let id = harness.state.topics.get("t").unwrap().id;
    for (topic_id, expected) in [(id, ErrorCode::NONE), ([9; 16], ErrorCode::UNKNOWN_TOPIC_ID)] {
        let mut request = produce_request(1, Some(batch(1).bytes()));
        request.topic_data[0].topic_id = topic_id;
        let response = harness.call(1, 13, request);
        assert_eq!(response.responses[0].topic_id, topic_id);
        assert_eq!(response.responses[0].partition_responses[0].error_code, code(expected));
    }
    let mut request = produce_request(1, Some(batch(1).bytes()));
    request.topic_data[0].partition_data[0].index = 7;
    let response = harness.call(1, 12, request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_needs_version_7() {
    let mut harness = harness(&[]);
    let zstd = Batch { codec: Compression::Zstd, ..batch(20) };
    for (version, expected) in [(6, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE), (7, ErrorCode::NONE)] {
        let response = harness.call(1, version, produce_request(1, Some(zstd.bytes())));
        assert_eq!(response.responses[0].partition_responses[0].error_code, code(expected));
    }
}

#[test]
fn internal_topics_are_not_for_clients() {
    let mut harness = harness(&[]);
    harness.state.create_topic("__consumer_offsets", 1, 1, BTreeMap::new()).unwrap();
    let mut request = produce_request(1, Some(batch(1).bytes()));
    request.topic_data[0].name = "__consumer_offsets".into();
    let response = harness.call(1, 12, request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, code(ErrorCode::INVALID_TOPIC_EXCEPTION));
    let mut request = produce_request(1, Some(batch(1).bytes()));
    request.topic_data[0].name = "__consumer_offsets".into();
    let context = Context { client_id: ADMIN_CLIENT_ID.into(), ..harness.context::<ProduceRequest>(1, 12) };
    let mut writer = Writer::new();
    request.encode(&mut writer, 12).unwrap();
    let body = context.api.decode_request(12, writer.into_bytes().into()).unwrap();
    let Reply::Answer(answer) = harness.state.handle(&context, body) else { panic!("an answer") };
    let answer: Box<ProduceResponse> = answer.into_any().downcast().unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "except for administrators");
}

#[test]
fn a_duplicate_among_the_last_five_gets_its_old_offset() {
    let mut harness = harness(&[]);
    for sequence in 0..6 {
        assert_eq!(outcome(&mut harness, &idempotent(1, 7, 0, sequence)), (0, i64::from(sequence)));
    }
    for sequence in 1..6 {
        assert_eq!(outcome(&mut harness, &idempotent(1, 7, 0, sequence)), (0, i64::from(sequence)));
    }
    let out_of_order = code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(outcome(&mut harness, &idempotent(1, 7, 0, 0)), (out_of_order, -1), "no longer remembered");
    assert_eq!(outcome(&mut harness, &idempotent(2, 7, 0, 5)), (out_of_order, -1), "another batch");
    assert_eq!(outcome(&mut harness, &idempotent(1, 7, 0, 7)), (out_of_order, -1), "a gap");
    assert_eq!(harness.state.log("t", 0).unwrap().end_offset(), 6);
}

#[test]
fn a_new_epoch_starts_at_0_and_fences_the_old_one() {
    let mut harness = harness(&[]);
    assert_eq!(outcome(&mut harness, &idempotent(2, 7, 3, 0)), (0, 0));
    let out_of_order = code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(outcome(&mut harness, &idempotent(1, 7, 4, 2)), (out_of_order, -1));
    assert_eq!(outcome(&mut harness, &idempotent(1, 7, 4, 0)), (0, 2));
    let fenced = code(ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(outcome(&mut harness, &idempotent(1, 7, 3, 2)), (fenced, -1));
    assert_eq!(outcome(&mut harness, &idempotent(2, 7, 3, 0)), (fenced, -1), "no duplicate of an old epoch");
    assert_eq!(outcome(&mut harness, &idempotent(1, 7, 4, 1)), (0, 3));
}

#[test]
fn an_unknown_producer_may_start_anywhere_and_sequences_wrap() {
    let mut harness = harness(&[]);
    assert_eq!(outcome(&mut harness, &idempotent(2, 8, 0, i32::MAX - 1)), (0, 0));
    assert_eq!(outcome(&mut harness, &idempotent(1, 8, 0, 0)), (0, 2));
    assert_eq!(outcome(&mut harness, &idempotent(3, 9, 0, i32::MAX)), (0, 3), "wraps within the batch");
    assert_eq!(outcome(&mut harness, &idempotent(1, 9, 0, 2)), (0, 6));
    assert_eq!(outcome(&mut harness, &idempotent(1, 10, -1, 5)), (0, 7));
    assert_eq!(outcome(&mut harness, &idempotent(1, 10, -1, 2)), (0, 8), "without an epoch there is no sequence");
}

#[test]
fn transactional_batches_need_a_transaction() {
    let mut harness = harness(&[]);
    let batch = Batch { transactional: true, ..idempotent(1, 7, 0, 0) };
    assert_eq!(outcome(&mut harness, &batch).0, code(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
    let request = ProduceRequest { transactional_id: Some("tx".into()), ..produce_request(-1, Some(batch.bytes())) };
    let response = harness.call(1, 12, request);
    // There is no coordinator that knows of it.
    assert_eq!(response.responses[0].partition_responses[0].error_code, code(ErrorCode::NOT_ENOUGH_REPLICAS));
    let next_epoch = Batch { transactional: true, ..idempotent(1, 7, 1, 0) };
    let mut two = ProduceRequest { transactional_id: Some("tx".into()), ..produce_request(-1, Some(batch.bytes())) };
    two.topic_data[0].partition_data.push(PartitionProduceData { index: 1, records: Some(next_epoch.bytes()) });
    let response = harness.call(1, 12, two);
    let codes = response.responses[0].partition_responses.iter().map(|partition| partition.error_code);
    assert_eq!(
        codes.collect::<Vec<_>>(),
        [code(ErrorCode::INVALID_PRODUCER_ID_MAPPING); 2],
        "two epochs in one request"
    );
}
