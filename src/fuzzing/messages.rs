//! Answers of brokers, and requests to the embedded cluster, of every API and version.
//!
//! Input: the number of the API and the version, two bytes each, as a request begins; then, of an answer, the frame without
//! its length, and of a request all the rest.

use crate::Result;
use crate::cluster::Snapshot;
use crate::net::answer_body;
use crate::protocol::messages::{ApiKey, MetadataResponse};
use crate::protocol::{Api, Message, Reader, Writer};
use bytes::Bytes;
use std::time::Instant;

type Decode = fn(&Api, i16, Bytes) -> Result<Box<dyn Message>>;

/// The API and the version that the input begins with, if there are such.
fn api(reader: &mut Reader) -> Option<(&'static Api, i16)> {
    let (key, version) = (reader.i16().ok()?, reader.i16().ok()?);
    let api = Api::find(ApiKey(key)).ok()?;
    (api.min_version..=api.max_version).contains(&version).then_some((api, version))
}

fn rest(mut reader: Reader) -> Result<Bytes> {
    let remaining = reader.remaining();
    reader.bytes_of(remaining)
}

fn response(data: &[u8]) -> Option<(&'static Api, i16, Bytes)> {
    let mut reader = Reader::new(Bytes::copy_from_slice(data));
    let (api, version) = api(&mut reader)?;
    let frame = rest(reader).ok()?;
    let correlation_id = i32::from_be_bytes(*frame.first_chunk()?);
    let flexible = version >= api.flexible_version && api.key != ApiKey::API_VERSIONS;
    let body = answer_body(frame, correlation_id, i16::from(flexible)).and_then(rest).ok()?;
    Some((api, version, body))
}

fn request(data: &[u8]) -> Option<(&'static Api, i16, Bytes)> {
    let mut reader = Reader::new(Bytes::copy_from_slice(data));
    let (api, version) = api(&mut reader)?;
    reader.i32().ok()?;
    reader.nullable_string(false).ok()?;
    if version >= api.flexible_version {
        reader.skip_tagged_fields().ok()?;
    }
    Some((api, version, rest(reader).ok()?))
}

pub(super) fn decode_response(data: &[u8]) {
    let Some((api, version, body)) = response(data) else { return };
    let Ok(message) = api.decode_response(version, body) else { return };
    if let Ok(metadata) = message.into_any().downcast::<MetadataResponse>() {
        merged(&metadata);
    }
}

pub(super) fn check_response(data: &[u8]) {
    decode_response(data);
    if let Some((api, version, body)) = response(data) {
        check(api, version, body, Api::decode_response);
    }
}

/// What a client makes of it, when it knows nothing and when it knows all of it.
fn merged(metadata: &MetadataResponse) {
    let now = Instant::now();
    let first = Snapshot::default().merge(metadata, now, |_| true);
    let second = first.merge(metadata, now, |_| true);
    for topic in metadata.topics.iter().filter_map(|topic| topic.name.as_deref()) {
        assert_eq!(first.partition_count(topic), second.partition_count(topic));
    }
}

pub(super) fn decode_request(data: &[u8]) {
    if let Some((api, version, body)) = request(data) {
        let _ = api.decode_request(version, body);
    }
}

pub(super) fn check_request(data: &[u8]) {
    if let Some((api, version, body)) = request(data) {
        check(api, version, body, Api::decode_request);
    }
}

/// What was read can be written, and what is written then is read as the same again.
fn check(api: &Api, version: i16, body: Bytes, decode: Decode) {
    let Ok(message) = decode(api, version, body) else { return };
    let encoded = |message: &dyn Message| {
        let mut writer = Writer::new();
        message.encode(&mut writer, version).unwrap_or_else(|error| panic!("{} v{version}: {error}", api.name));
        Bytes::from(writer.into_bytes())
    };
    let bytes = encoded(&*message);
    let again = decode(api, version, bytes.clone()).unwrap_or_else(|error| panic!("{} v{version}: {error}", api.name));
    assert_eq!(format!("{message:?}"), format!("{again:?}"), "{} v{version}", api.name);
    assert_eq!(bytes, encoded(&*again), "{} v{version}", api.name);
}
