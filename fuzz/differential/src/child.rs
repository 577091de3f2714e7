//! The other decoder, in a process whose memory is limited: kafka-protocol or Kafka's own classes.

use crate::{Kind, ours};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use kafka_protocol::records::{RecordBatchDecoder, TimestampType};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A length from the wire can be 2 GiB.
const ADDRESS_SPACE: u64 = 1 << 30;

/// What it says of a case.
pub(crate) enum Answer {
    Meaning(Vec<u8>),
    Refused,
    /// It does not know the API or the version.
    Skipped,
    Died,
}

/// Who decodes.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// The crate, in this program as a child.
    KafkaProtocol,
    /// Kafka's classes, in the jars of this folder.
    Kafka(PathBuf),
}

impl Peer {
    fn command(&self) -> Command {
        match self {
            Self::KafkaProtocol => {
                let mut command = Command::new(std::env::current_exe().expect("a program"));
                command.arg("--child");
                command
            }
            Self::Kafka(jars) => {
                let mut command = Command::new("java");
                let program = concat!(env!("CARGO_MANIFEST_DIR"), "/java/Decoder.java");
                command.args(["-Xmx256m", "-XX:+ExitOnOutOfMemoryError", "-cp"]).arg(jars.join("*")).arg(program);
                command
            }
        }
    }
}

pub(crate) struct Child {
    peer: Peer,
    process: std::process::Child,
}

impl Child {
    pub(crate) fn start(peer: Peer) -> Self {
        let mut command = peer.command();
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let process = process.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { peer, process }
    }

    pub(crate) fn ask(&mut self, kind: Kind, bytes: &[u8]) -> Answer {
        match self.exchange(kind, bytes) {
            Ok((0, _)) => Answer::Refused,
            Ok((1, meaning)) => Answer::Meaning(meaning),
            Ok(_) => Answer::Skipped,
            Err(_) => {
                *self = Self::start(self.peer.clone());
                Answer::Died
            }
        }
    }

    fn exchange(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<(u8, Vec<u8>)> {
        let (Some(to), Some(from)) = (&mut self.process.stdin, &mut self.process.stdout) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        write(to, kind as u8, bytes)?;
        read(from)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

fn write(to: &mut impl Write, tag: u8, bytes: &[u8]) -> io::Result<()> {
    let mut message = vec![tag];
    message.extend((bytes.len() as u32).to_be_bytes());
    message.extend(bytes);
    to.write_all(&message)?;
    to.flush()
}

fn read(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let mut bytes = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize];
    from.read_exact(&mut bytes)?;
    Ok((head[0], bytes))
}

/// The child: answers until its input ends.
pub(crate) fn serve() {
    let limit = Rlimit { current: Some(ADDRESS_SPACE), maximum: Some(ADDRESS_SPACE) };
    setrlimit(Resource::As, limit).expect("a lower limit is always allowed");
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    while let Ok((kind, bytes)) = read(&mut from) {
        let kind = Kind::ALL[usize::from(kind) % Kind::ALL.len()];
        let answered = match meaning(kind, &bytes) {
            None => write(&mut to, 2, &[]),
            Some(None) => write(&mut to, 0, &[]),
            Some(Some(meaning)) => write(&mut to, 1, &meaning),
        };
        if answered.is_err() {
            return;
        }
    }
}

fn meaning(kind: Kind, bytes: &[u8]) -> Option<Option<Vec<u8>>> {
    if kind == Kind::Batches {
        return Some(records(bytes));
    }
    let (api, version, mut body) = ours::body(kind, bytes)?;
    let key = ApiKey::try_from(api.key.0).ok()?;
    let versions = key.valid_versions();
    if !(versions.min..=versions.max).contains(&version) {
        return None;
    }
    let mut written = BytesMut::new();
    let done = match kind {
        Kind::Request => RequestKind::decode(key, &mut body, version).and_then(|m| m.encode(&mut written, version)),
        _ => ResponseKind::decode(key, &mut body, version).and_then(|m| m.encode(&mut written, version)),
    };
    // What follows a request is ignored, as brokers do.
    let whole = body.is_empty() || kind == Kind::Request;
    Some((done.is_ok() && whole).then(|| written.to_vec()))
}

fn records(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Bytes::copy_from_slice(bytes);
    let mut text = String::new();
    for set in RecordBatchDecoder::decode_all(&mut bytes).ok()? {
        for record in set.records {
            let headers: Vec<_> = record.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            let timestamp = (record.timestamp_type == TimestampType::Creation).then_some(record.timestamp);
            text += &ours::line(record.offset, timestamp, key, value, &headers);
        }
    }
    Some(text.into_bytes())
}
