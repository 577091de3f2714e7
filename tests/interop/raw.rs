//! Requests as no client sends them, one by one, for what the clients' behaviour does not show.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use sarameya::protocol::messages::*;
use sarameya::protocol::{Reader, Request, Response, Writer, request_header_version, response_header_version};

use crate::target::Target;

/// A busy real broker answers late.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection to a broker.
pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("connect to a broker");
        stream.set_read_timeout(Some(LIMIT)).expect("limit a wait");
        stream.set_nodelay(true).expect("send at once");
        Self(stream)
    }

    /// A connection to the coordinator of a group (0) or a transactional id (1).
    pub(crate) fn coordinator(target: &Target, key_type: i8, key: &str) -> Self {
        let first = target.bootstrap().split(',').next().expect("a broker");
        let request = FindCoordinatorRequest { key_type, coordinator_keys: vec![key.to_owned()], ..Default::default() };
        let deadline = Instant::now() + LIMIT;
        loop {
            let found = Self::connect(first).ask(4, &request).coordinators.remove(0);
            if found.error_code == 0 {
                return Self::connect(&format!("{}:{}", found.host, found.port));
            }
            assert!(Instant::now() < deadline, "no coordinator of {key}: {found:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks until the coordinator is ready for what it has just been chosen for.
    pub(crate) fn ask_ready<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> R::Response {
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = self.ask(version, request);
            // Loading, not available, not the coordinator, or the end of a transaction under way.
            if ![14, 15, 16, 51].contains(&code(&answer)) {
                return answer;
            }
            assert!(Instant::now() < deadline, "not ready: {answer:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request);
        self.receive::<R>(version)
    }

    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) {
        let mut writer = Writer::new();
        writer.i16(R::KEY);
        writer.i16(version);
        writer.i32(7);
        writer.nullable_string(Some("raw"), false);
        if request_header_version::<R>(version) >= 2 {
            writer.no_tagged_fields();
        }
        request.encode(&mut writer, version).expect("a request that can be written");
        let body = writer.into_bytes();
        let length = u32::try_from(body.len()).expect("a short request");
        self.0.write_all(&[&length.to_be_bytes()[..], &body].concat()).expect("write to a broker");
    }

    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap_or_else(|error| panic!("no answer to {}: {error}", R::NAME));
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut answer).expect("a whole answer");
        let mut reader = Reader::new(answer);
        assert_eq!(reader.i32().expect("a correlation id"), 7);
        if response_header_version::<R>(version) >= 1 {
            reader.skip_tagged_fields().expect("a header");
        }
        R::Response::decode(&mut reader, version).expect("a body")
    }
}
