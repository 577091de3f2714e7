//! For tests: a peer on a loopback port that does what a script says, a broker as far as the script makes it one.

use crate::protocol::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::{Reader, Request, Response, Writer, request_header_version, response_header_version};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// An address of this machine that refuses connections.
pub(crate) const REFUSING: &str = "127.0.0.9:9";

/// A peer. One thread accepts, one more per connection runs the script; all end when it is dropped.
#[derive(Debug)]
pub(crate) struct Scripted {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
    requests: Mutex<Vec<(Instant, i16, i16)>>,
}

/// One connection, seen from the peer.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) socket: TcpStream,
    /// Counts the connections to this peer from 0.
    pub(crate) nth: usize,
    shared: Arc<Shared>,
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) key: i16,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    rest: Reader,
}

/// What a broker does with a request.
pub(crate) enum Reply {
    /// Writes these bytes.
    Bytes(Vec<u8>),
    Silence,
    Close,
}

impl Scripted {
    /// Runs `script` for each connection, which is closed when the script returns.
    pub(crate) fn new(script: impl Fn(&mut Session) + Send + Sync + 'static) -> Self {
        Self::listening(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub(crate) fn listening(listener: TcpListener, script: impl Fn(&mut Session) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let script = Arc::new(script);
        let accepting = shared.clone();
        let acceptor = std::thread::spawn(move || {
            let mut threads = Vec::new();
            for (nth, socket) in listener.incoming().enumerate() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    break;
                }
                let socket = socket.unwrap();
                socket.set_nodelay(true).unwrap();
                accepting.sockets.lock().unwrap().push(socket.try_clone().unwrap());
                let (script, shared) = (script.clone(), accepting.clone());
                threads.push(std::thread::spawn(move || {
                    let mut session = Session { socket, nth, shared };
                    script(&mut session);
                    let _ = session.socket.shutdown(Shutdown::Both);
                }));
            }
            drop(listener);
            for thread in threads {
                let _ = thread.join();
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// A broker that speaks these APIs `(key, lowest, highest)` and does with a request what `reply` says. ApiVersions is
    /// answered by itself.
    pub(crate) fn broker(apis: &[(i16, i16, i16)], reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::broker_on(TcpListener::bind("127.0.0.1:0").unwrap(), apis, reply)
    }

    pub(crate) fn broker_on(
        listener: TcpListener,
        apis: &[(i16, i16, i16)],
        reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let apis = apis.to_vec();
        Self::listening(listener, move |session| {
            while let Some(asked) = session.request() {
                let reply = match asked.key {
                    ApiVersionsRequest::KEY => Reply::Bytes(asked.api_versions(&apis)),
                    _ => reply(&asked),
                };
                match reply {
                    Reply::Bytes(bytes) => session.write(&bytes),
                    Reply::Silence => {}
                    Reply::Close => return,
                }
            }
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.sockets.lock().unwrap().len()
    }

    /// When which request came in which version.
    pub(crate) fn requests(&self) -> Vec<(Instant, i16, i16)> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, key: i16) -> usize {
        self.requests().iter().filter(|(_, k, _)| *k == key).count()
    }

    /// Closes all its connections but goes on listening.
    pub(crate) fn close_connections(&self) {
        for socket in &*self.shared.sockets.lock().unwrap() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.close_connections();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Session {
    /// The next request; `None` at the end of the connection.
    pub(crate) fn request(&mut self) -> Option<Asked> {
        let mut prefix = [0; 4];
        self.socket.read_exact(&mut prefix).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.socket.read_exact(&mut frame).ok()?;
        let mut rest = Reader::new(frame);
        let (key, version) = (rest.i16().unwrap(), rest.i16().unwrap());
        let correlation_id = rest.i32().unwrap();
        assert!(rest.nullable_string(false).unwrap().is_some(), "a client id");
        self.shared.requests.lock().unwrap().push((Instant::now(), key, version));
        Some(Asked { key, version, correlation_id, rest })
    }

    /// Answers the first request, ApiVersions.
    pub(crate) fn handshake(&mut self, apis: &[(i16, i16, i16)]) {
        if let Some(asked) = self.request() {
            assert_eq!(asked.key, ApiVersionsRequest::KEY);
            self.write(&asked.api_versions(apis));
        }
    }

    /// Writes bytes; that the other end is gone is no concern of a script.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Keeps the connection open, without a word, until the other end closes it.
    pub(crate) fn fall_silent(&mut self) {
        let mut sink = [0; 4096];
        while self.socket.read(&mut sink).is_ok_and(|n| n > 0) {}
    }

    /// Keeps the connection open without reading, as long as the peer lives.
    pub(crate) fn play_dead(&mut self) {
        while !self.shared.stopped.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Asked {
    pub(crate) fn decode<R: Request>(&self) -> R {
        assert_eq!(self.key, R::KEY);
        let mut reader = self.rest.clone();
        if request_header_version::<R>(self.version) >= 2 {
            reader.skip_tagged_fields().unwrap();
        }
        let request = R::decode(&mut reader, self.version).unwrap();
        reader.finish().unwrap();
        request
    }

    /// The whole frame of the answer.
    pub(crate) fn answer<R: Request>(&self, response: &R::Response) -> Vec<u8> {
        assert_eq!(self.key, R::KEY);
        framed(self.correlation_id, response_header_version::<R>(self.version) >= 1, &body(response, self.version))
    }

    pub(crate) fn reply<R: Request>(&self, response: &R::Response) -> Reply {
        Reply::Bytes(self.answer::<R>(response))
    }

    pub(crate) fn api_versions(&self, apis: &[(i16, i16, i16)]) -> Vec<u8> {
        let own = (ApiVersionsRequest::KEY, 0, ApiVersionsRequest::MAX_VERSION);
        let keys = apis.iter().chain([&own]);
        let response = ApiVersionsResponse {
            api_keys: keys
                .map(|&(api_key, min_version, max_version)| ApiVersion { api_key, min_version, max_version })
                .collect(),
            ..Default::default()
        };
        self.answer::<ApiVersionsRequest>(&response)
    }
}

/// The body of a response.
pub(crate) fn body(response: &impl Response, version: i16) -> Vec<u8> {
    let mut writer = Writer::new();
    response.encode(&mut writer, version).unwrap();
    writer.into_bytes()
}

/// A frame with a response header and this body.
pub(crate) fn framed(correlation_id: i32, tagged: bool, body: &[u8]) -> Vec<u8> {
    let mut frame = ((4 + usize::from(tagged) + body.len()) as u32).to_be_bytes().to_vec();
    frame.extend(correlation_id.to_be_bytes());
    if tagged {
        frame.push(0);
    }
    frame.extend(body);
    frame
}
