//! The least of Kafka's protocol, by hand, so that the harness does not trust the client it helps to test.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Brokers answer these requests in milliseconds once they serve; a starting or stopped one must not hold us up.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// How long the broker itself may take to create a topic.
const CREATE_LIMIT: Duration = Duration::from_secs(20);
/// Far above any frame in a test; a frame announced longer is no frame.
const MAX_FRAME: u32 = 256 << 20;

/// A broker's view of the cluster and of the topics asked for.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) brokers: BTreeSet<i32>,
    pub(crate) controller: i32,
    pub(crate) topics: Vec<Topic>,
}

#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) error: i16,
    pub(crate) name: String,
    pub(crate) partitions: Vec<Partition>,
}

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) error: i16,
    pub(crate) index: i32,
    pub(crate) leader: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) isr: Vec<i32>,
}

/// Asks the broker at `address` with Metadata version 4, which creates no topic.
pub(crate) fn metadata(address: SocketAddr, topics: &[&str]) -> io::Result<Metadata> {
    let mut request = Vec::new();
    put_count(&mut request, topics.len());
    for topic in topics {
        put_string(&mut request, topic);
    }
    request.push(0); // create no topics
    let response = call(address, 3, 4, &request, ANSWER_LIMIT)?;
    let mut rest = Cursor(&response);
    rest.i32()?; // throttle time
    let brokers = rest.array(|rest| {
        let id = rest.i32()?;
        rest.string()?; // host
        rest.i32()?; // port
        rest.string()?; // rack
        Ok(id)
    })?;
    rest.string()?; // cluster id
    let controller = rest.i32()?;
    let topics = rest.array(|rest| {
        let (error, name) = (rest.i16()?, rest.string()?.unwrap_or_default());
        rest.bytes(1)?; // internal
        let partitions = rest.array(|rest| {
            Ok(Partition {
                error: rest.i16()?,
                index: rest.i32()?,
                leader: rest.i32()?,
                replicas: rest.array(Cursor::i32)?,
                isr: rest.array(Cursor::i32)?,
            })
        })?;
        Ok(Topic { error, name, partitions })
    })?;
    Ok(Metadata { brokers: brokers.into_iter().collect(), controller, topics })
}

/// Creates a topic through CreateTopics version 2; returns the broker's error code.
pub(crate) fn create_topic(
    address: SocketAddr,
    name: &str,
    partitions: i32,
    replication_factor: i16,
    settings: &[(&str, &str)],
) -> io::Result<i16> {
    let mut request = Vec::new();
    put_count(&mut request, 1);
    put_string(&mut request, name);
    request.extend(partitions.to_be_bytes());
    request.extend(replication_factor.to_be_bytes());
    put_count(&mut request, 0); // no assignments by hand
    put_count(&mut request, settings.len());
    for (key, value) in settings {
        put_string(&mut request, key);
        put_string(&mut request, value);
    }
    let limit = i32::try_from(CREATE_LIMIT.as_millis()).expect("a short limit");
    request.extend(limit.to_be_bytes());
    request.push(0); // do it, do not only validate
    let response = call(address, 19, 2, &request, CREATE_LIMIT + ANSWER_LIMIT)?;
    let mut rest = Cursor(&response);
    rest.i32()?; // throttle time
    let errors = rest.array(|rest| {
        rest.string()?; // name
        let error = rest.i16()?;
        rest.string()?; // message
        Ok(error)
    })?;
    errors.first().copied().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The coordinator of a group, through FindCoordinator version 0, or the broker's error code.
pub(crate) fn group_coordinator(address: SocketAddr, group: &str) -> io::Result<Result<i32, i16>> {
    let mut request = Vec::new();
    put_string(&mut request, group);
    let response = call(address, 10, 0, &request, ANSWER_LIMIT)?;
    let mut rest = Cursor(&response);
    let (error, id) = (rest.i16()?, rest.i32()?);
    Ok(if error == 0 { Ok(id) } else { Err(error) })
}

/// One request on a connection of its own; its answer without the correlation id.
fn call(address: SocketAddr, api_key: i16, version: i16, body: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let mut request = Vec::new();
    request.extend(api_key.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(1i32.to_be_bytes()); // correlation id
    put_string(&mut request, "harness");
    request.extend(body);
    stream.write_all(&framed(&request))?;
    let mut response = read_frame(&mut stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if response.len() < 4 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    response.drain(..4);
    Ok(response)
}

/// Reads a frame's bytes after the length; `None` if the stream ends before one begins.
pub(crate) fn read_frame(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..])?;
    let length = u32::from_be_bytes(length);
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut frame = Vec::new();
    stream.take(length.into()).read_to_end(&mut frame)?;
    if frame.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(frame))
}

/// `body` with its length before it.
pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a frame below 4 GiB");
    [&length.to_be_bytes()[..], body].concat()
}

/// Appends a string with a length of two bytes.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend(i16::try_from(text.len()).expect("a short string").to_be_bytes());
    out.extend(text.as_bytes());
}

/// Appends the number of an array's elements.
pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(i32::try_from(count).expect("a short array").to_be_bytes());
}

/// Reads the fixed-width types of the protocol; an error at the end of the bytes.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn i16(&mut self) -> io::Result<i16> {
        Ok(i16::from_be_bytes(self.bytes(2)?.try_into().expect("two bytes")))
    }

    pub(crate) fn i32(&mut self) -> io::Result<i32> {
        Ok(i32::from_be_bytes(self.bytes(4)?.try_into().expect("four bytes")))
    }

    /// A string that may be null.
    pub(crate) fn string(&mut self) -> io::Result<Option<String>> {
        match usize::try_from(self.i16()?) {
            Ok(length) => Ok(Some(String::from_utf8_lossy(self.bytes(length)?).into_owned())),
            Err(_) => Ok(None),
        }
    }

    /// An array; none if it is null.
    pub(crate) fn array<T>(&mut self, mut element: impl FnMut(&mut Self) -> io::Result<T>) -> io::Result<Vec<T>> {
        let count = self.i32()?;
        (0..count).map(|_| element(self)).collect()
    }
}
