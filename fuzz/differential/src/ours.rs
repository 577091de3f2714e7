//! What this crate makes of it.

use crate::Kind;
use bytes::Bytes;
use sarameya::TimestampType;
use sarameya::batch::{Decompressor, RecordBatches};
use sarameya::protocol::messages::ApiKey;
use sarameya::protocol::{Api, Message, Reader, Writer};

/// The most that a batch may unpack to.
const CAP: usize = 1 << 24;

/// The message written anew, or the records as text; an error says why it is refused. `None` if it is not for comparison.
pub(crate) fn meaning(kind: Kind, bytes: &[u8], oldest_magic: u8) -> Option<Result<Vec<u8>, String>> {
    if kind == Kind::Batches {
        return Some(records(bytes, oldest_magic));
    }
    let (api, version, body) = body(kind, bytes)?;
    Some(decode(kind, api, version, body).and_then(|message| encode(&*message, version)))
}

/// What theirs has written, read and written by ours: then fields without meaning, such as tags nobody knows, are gone.
pub(crate) fn normalized(kind: Kind, bytes: &[u8], theirs: Vec<u8>) -> Vec<u8> {
    if kind == Kind::Batches {
        return theirs;
    }
    let Some((api, version, _)) = body(kind, bytes) else { return theirs };
    let read = decode(kind, api, version, theirs.clone().into());
    read.and_then(|message| encode(&*message, version)).unwrap_or(theirs)
}

fn decode(kind: Kind, api: &Api, version: i16, body: Bytes) -> Result<Box<dyn Message>, String> {
    match kind {
        Kind::Request => api.decode_request(version, body),
        Kind::Response | Kind::Batches => api.decode_response(version, body),
    }
    .map_err(|error| error.to_string())
}

fn encode(message: &dyn Message, version: i16) -> Result<Vec<u8>, String> {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).map_err(|error| error.to_string())?;
    Ok(writer.into_bytes())
}

/// The API, the version and the body behind the headers of a case.
pub(crate) fn body(kind: Kind, bytes: &[u8]) -> Option<(&'static Api, i16, Bytes)> {
    let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
    let (key, version) = (reader.i16().ok()?, reader.i16().ok()?);
    let api = Api::find(ApiKey(key)).ok()?;
    if !(api.min_version..=api.max_version).contains(&version) {
        return None;
    }
    reader.i32().ok()?;
    let flexible = version >= api.flexible_version;
    if kind == Kind::Request {
        reader.nullable_string(false).ok()?;
    }
    if flexible && (kind == Kind::Request || api.key != ApiKey::API_VERSIONS) {
        reader.skip_tagged_fields().ok()?;
    }
    let rest = reader.remaining();
    Some((api, version, reader.bytes_of(rest).ok()?))
}

/// One line for each record.
fn records(bytes: &[u8], oldest_magic: u8) -> Result<Vec<u8>, String> {
    let mut text = String::new();
    let mut decompressor = Decompressor::new();
    let mut batches = RecordBatches::new(Bytes::copy_from_slice(bytes));
    for batch in batches.by_ref() {
        let batch = batch.map_err(|error| error.to_string())?;
        if batch.magic() < oldest_magic {
            return Err("a magic that the other one does not read".into());
        }
        batch.verify_crc().map_err(|error| error.to_string())?;
        let by_the_broker = batch.timestamp_type() == TimestampType::LogAppendTime;
        let decoded = batch.decode(&mut decompressor, CAP).map_err(|error| error.to_string())?;
        for record in decoded.records() {
            let record = record.map_err(|error| error.to_string())?;
            let headers: Vec<_> = record.headers().map(|header| (header.key, header.value)).collect();
            let timestamp = (!by_the_broker).then(|| record.timestamp());
            text += &line(record.offset(), timestamp, record.key(), record.value(), &headers);
        }
    }
    match batches.incomplete() {
        Some(_) => Err("the last batch is cut".into()),
        None => Ok(text.into_bytes()),
    }
}

/// kafka-protocol knows nothing of the broker's time, which stands in the batch's header once for all records: no timestamp
/// is compared then.
pub(crate) fn line(
    offset: i64,
    timestamp: Option<i64>,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&str, Option<&[u8]>)],
) -> String {
    let timestamp = timestamp.map_or("-".to_owned(), |timestamp| timestamp.to_string());
    let mut line = format!("{offset} {timestamp} {} {}", hex(key), hex(value));
    for (key, value) in headers {
        line += &format!(" {}={}", hex(Some(key.as_bytes())), hex(*value));
    }
    line + "\n"
}

fn hex(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "-".to_owned() };
    bytes.iter().fold("x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
