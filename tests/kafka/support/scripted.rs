//! A broker that says what a test tells it to, however wrong, and remembers what it was asked.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::wire::{self, Cursor, put_count, put_string};
use super::{lock, wait_until};

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Connections are numbered from 0 in the order of their coming.
    pub(crate) connection: usize,
    /// When all of it was there.
    pub(crate) at: Instant,
    pub(crate) api_key: i16,
    pub(crate) api_version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<String>,
    /// What follows the client id: in flexible versions first the header's tagged fields.
    pub(crate) body: Vec<u8>,
}

/// One step of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A frame with the request's correlation id and these bytes; in flexible versions they begin with the header's
    /// tagged fields (except in answers to ApiVersions).
    Body(Vec<u8>),
    /// A frame with exactly these bytes after the length, correlation id and all.
    Frame(Vec<u8>),
    /// These bytes as they are.
    Raw(Vec<u8>),
    /// The next step comes later, and so does all that this connection is still asked.
    Delay(Duration),
    /// Closes the connection as brokers do, after what was written has gone out.
    Close,
    /// Resets the connection.
    Reset,
    /// Nothing is read any more, nothing answered; the connection stays.
    Hang,
}

/// A scripted broker; ends with all its connections when dropped.
pub(crate) struct ScriptedBroker {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

type Script = Box<dyn Fn(&Request) -> Vec<Reply> + Send + Sync>;

struct Shared {
    script: Mutex<Arc<Script>>,
    requests: Mutex<Vec<Request>>,
    connections: Mutex<Vec<Weak<TcpStream>>>,
    accepted: Mutex<Vec<Instant>>,
    stopped: AtomicBool,
}

impl ScriptedBroker {
    /// A broker on a free port that answers with what `script` makes of each request; an empty answer is silence.
    /// Connections are served side by side, the requests of one in order. `script` runs without any lock.
    pub(crate) fn start(script: impl Fn(&Request) -> Vec<Reply> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the port");
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(Box::new(script))),
            requests: Mutex::default(),
            connections: Mutex::default(),
            accepted: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept_all(&listener)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `HOST:PORT`, for a client's bootstrap.
    pub(crate) fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Answers with another script from now on; needed where the script must know the broker's own address.
    pub(crate) fn set_script(&self, script: impl Fn(&Request) -> Vec<Reply> + Send + Sync + 'static) {
        *lock(&self.shared.script) = Arc::new(Box::new(script));
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// All requests of one API so far.
    pub(crate) fn requests_of(&self, api_key: i16) -> Vec<Request> {
        lock(&self.shared.requests).iter().filter(|request| request.api_key == api_key).cloned().collect()
    }

    /// Waits until at least `count` requests of one API have come.
    #[track_caller]
    pub(crate) fn wait_requests(&self, api_key: i16, count: usize, limit: Duration) -> Vec<Request> {
        wait_until(&format!("{count} requests of API {api_key}"), limit, || self.requests_of(api_key).len() >= count);
        self.requests_of(api_key)
    }

    /// When each connection came.
    pub(crate) fn accepted(&self) -> Vec<Instant> {
        lock(&self.shared.accepted).clone()
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        lock(&self.shared.connections).iter().filter(|connection| connection.strong_count() > 0).count()
    }

    /// Resets all open connections.
    pub(crate) fn reset_all(&self) {
        for connection in lock(&self.shared.connections).iter().filter_map(Weak::upgrade) {
            reset(&connection);
        }
    }
}

impl Drop for ScriptedBroker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // The acceptor waits for a connection: be one.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.reset_all();
    }
}

impl Request {
    /// An answer to ApiVersions, in the version asked for (up to 4), that offers these APIs: key, lowest and highest version.
    pub(crate) fn api_versions(&self, apis: &[(i16, i16, i16)]) -> Reply {
        assert_eq!(self.api_key, API_VERSIONS);
        let flexible = self.api_version >= 3;
        let mut body = Vec::new();
        body.extend(0i16.to_be_bytes()); // error
        if flexible {
            body.push(u8::try_from(apis.len() + 1).ok().filter(|count| *count < 128).expect("few APIs"));
        } else {
            put_count(&mut body, apis.len());
        }
        for (key, lowest, highest) in apis {
            body.extend([key, lowest, highest].into_iter().flat_map(|number| number.to_be_bytes()));
            body.extend(flexible.then_some(0)); // tagged fields
        }
        if self.api_version >= 1 {
            body.extend(0i32.to_be_bytes()); // throttle time
        }
        body.extend(flexible.then_some(0));
        Reply::Body(body)
    }

    /// An answer to Metadata version 1 to 8: the broker with id 1 at `address` leads all partitions of these topics
    /// (name, number of partitions).
    pub(crate) fn metadata(&self, address: SocketAddr, topics: &[(&str, i32)]) -> Reply {
        assert_eq!(self.api_key, METADATA);
        let version = self.api_version;
        assert!((1..=8).contains(&version), "offer Metadata 1 to 8 in api_versions");
        let mut body = Vec::new();
        let ids = |body: &mut Vec<u8>, ids: &[i32]| {
            put_count(body, ids.len());
            body.extend(ids.iter().flat_map(|id| id.to_be_bytes()));
        };
        if version >= 3 {
            body.extend(0i32.to_be_bytes()); // throttle time
        }
        put_count(&mut body, 1);
        body.extend(1i32.to_be_bytes());
        put_string(&mut body, &address.ip().to_string());
        body.extend(i32::from(address.port()).to_be_bytes());
        body.extend((-1i16).to_be_bytes()); // rack
        if version >= 2 {
            put_string(&mut body, "scripted"); // cluster id
        }
        body.extend(1i32.to_be_bytes()); // controller
        put_count(&mut body, topics.len());
        for (name, partitions) in topics {
            body.extend(0i16.to_be_bytes());
            put_string(&mut body, name);
            body.push(0); // not internal
            body.extend(partitions.to_be_bytes());
            for index in 0..*partitions {
                body.extend(0i16.to_be_bytes());
                body.extend(index.to_be_bytes());
                body.extend(1i32.to_be_bytes()); // leader
                if version >= 7 {
                    body.extend(0i32.to_be_bytes()); // leader epoch
                }
                ids(&mut body, &[1]); // replicas
                ids(&mut body, &[1]); // in sync
                if version >= 5 {
                    ids(&mut body, &[]); // offline
                }
            }
            if version >= 8 {
                body.extend(i32::MIN.to_be_bytes()); // authorized operations: not asked
            }
        }
        if version >= 8 {
            body.extend(i32::MIN.to_be_bytes());
        }
        Reply::Body(body)
    }
}

impl Shared {
    /// One thread per broker: owns the listener, ends when the broker is dropped.
    fn accept_all(self: Arc<Self>, listener: &TcpListener) {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept() else { return };
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            let _ = stream.set_nodelay(true);
            let stream = Arc::new(stream);
            lock(&self.accepted).push(Instant::now());
            lock(&self.connections).push(Arc::downgrade(&stream));
            let shared = Arc::clone(&self);
            std::thread::spawn(move || {
                // An error is the client's end of the connection: of no interest here.
                let _ = shared.serve(number, &stream);
            });
        }
    }

    /// One thread per connection; ends with it.
    fn serve(&self, connection: usize, stream: &TcpStream) -> io::Result<()> {
        let mut socket = stream;
        while let Some(frame) = wire::read_frame(&mut socket)? {
            let request = parse(connection, &frame)?;
            lock(&self.requests).push(request.clone());
            let script = Arc::clone(&lock(&self.script));
            for reply in script(&request) {
                match reply {
                    Reply::Body(body) => {
                        let id = request.correlation_id.to_be_bytes();
                        socket.write_all(&wire::framed(&[&id[..], &body].concat()))?;
                    }
                    Reply::Frame(bytes) => socket.write_all(&wire::framed(&bytes))?,
                    Reply::Raw(bytes) => socket.write_all(&bytes)?,
                    Reply::Delay(delay) => self.nap(delay),
                    Reply::Close => return stream.shutdown(Shutdown::Write),
                    Reply::Reset => {
                        reset(stream);
                        return Ok(());
                    }
                    Reply::Hang => self.hang(stream),
                }
            }
        }
        Ok(())
    }

    fn nap(&self, delay: Duration) {
        let end = Instant::now() + delay;
        while Instant::now() < end && !self.stopped.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10).min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// Until the broker ends or the connection is reset by a test or by the client.
    fn hang(&self, stream: &TcpStream) {
        let gone = || matches!(stream.take_error(), Ok(Some(_)) | Err(_)) || stream.peer_addr().is_err();
        while !self.stopped.load(Ordering::Relaxed) && !gone() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn parse(connection: usize, frame: &[u8]) -> io::Result<Request> {
    let mut rest = Cursor(frame);
    Ok(Request {
        connection,
        at: Instant::now(),
        api_key: rest.i16()?,
        api_version: rest.i16()?,
        correlation_id: rest.i32()?,
        client_id: rest.string()?,
        body: rest.0.to_vec(),
    })
}

/// Closing will send a reset; shutting down the reading half sends nothing and wakes the thread that reads.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Read);
}
