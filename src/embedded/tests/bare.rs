//! A client that does only what it is told.

use super::LIMIT;
use crate::embedded::Cluster;
use crate::protocol::{Reader, Request, Response, Writer, request_header_version, response_header_version};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

/// A bare connection to a broker.
pub(super) struct Bare(pub(super) TcpStream);

impl Bare {
    pub(super) fn connect(cluster: &Cluster, broker: usize) -> Self {
        Self::to(cluster.bootstrap_servers().split(',').nth(broker - 1).unwrap())
    }

    pub(super) fn to(address: &str) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.set_write_timeout(Some(LIMIT)).unwrap();
        Self(socket)
    }

    /// A request with correlation id 7 and no client id, in a version that is not flexible.
    pub(super) fn frame(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(((10 + body.len()) as u32).to_be_bytes());
        frame.extend(key.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(7u32.to_be_bytes());
        frame.extend((-1i16).to_be_bytes());
        frame.extend(body);
        frame
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// An answer without its length; `None` if the connection has ended. One of both must come.
    #[track_caller]
    pub(super) fn read(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.read_whole(&mut length)?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.read_whole(&mut answer)?;
        Some(answer)
    }

    #[track_caller]
    fn read_whole(&mut self, bytes: &mut [u8]) -> Option<()> {
        let read = self.0.read_exact(bytes);
        let is_late = |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!read.as_ref().is_err_and(is_late), "neither an answer nor the end of the connection");
        read.ok()
    }

    pub(super) fn ask(&mut self, key: i16, version: i16, body: &[u8]) -> Option<Vec<u8>> {
        self.0.write_all(&Self::frame(key, version, body)).ok()?;
        self.read()
    }

    pub(super) fn send<R: Request>(&mut self, version: i16, request: &R) {
        let mut writer = Writer::new();
        writer.i32(0);
        writer.i16(R::KEY);
        writer.i16(version);
        writer.i32(7);
        writer.nullable_string(Some("bare"), false);
        if request_header_version::<R>(version) >= 2 {
            writer.no_tagged_fields();
        }
        request.encode(&mut writer, version).unwrap();
        let frame = writer.into_frame();
        let bytes: Vec<u8> = frame.slices().iter().flat_map(|slice| slice.to_vec()).collect();
        // The broker may be closing the connection.
        let _ = self.0.write_all(&bytes);
    }

    pub(super) fn receive<R: Request>(&mut self, version: i16) -> Option<R::Response> {
        let mut reader = Reader::new(self.read()?);
        assert_eq!(reader.i32().unwrap(), 7);
        if response_header_version::<R>(version) >= 1 {
            reader.skip_tagged_fields().unwrap();
        }
        let response = R::Response::decode(&mut reader, version).unwrap();
        reader.finish().unwrap();
        Some(response)
    }

    pub(super) fn call<R: Request>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        self.send(version, request);
        self.receive::<R>(version)
    }

    /// Whether the broker has closed the connection; waits for it.
    pub(super) fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(n) => n == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    pub(super) fn shut_down(&self) {
        self.0.shutdown(Shutdown::Both).unwrap();
    }
}
