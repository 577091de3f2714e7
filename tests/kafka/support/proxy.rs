//! A TCP proxy between client and broker that makes the network fail on purpose, frame by frame.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::kafka::loopback;
use super::{lock, ports, wire};

/// How often a thread that waits looks whether its connection was reset meanwhile.
const TICK: Duration = Duration::from_millis(10);
/// Frames in flight per direction. With a delay this bounds the throughput far above what tests send; when paused it
/// is what the proxy still takes before the sender's own buffers fill up.
const QUEUED_FRAMES: usize = 64;

/// Which way bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From client to broker.
    Request,
    /// From broker to client.
    Response,
}

/// A whole request or response on its way.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) direction: Direction,
    /// Connections of a proxy are numbered from 0 in the order of their coming.
    pub(crate) connection: usize,
    /// Of the request, also for its response; -1 where that is unknown.
    pub(crate) api_key: i16,
    pub(crate) api_version: i16,
    pub(crate) correlation_id: i32,
    /// All bytes, with the length before them.
    pub(crate) bytes: Vec<u8>,
}

/// What becomes of a frame.
#[derive(Debug)]
pub(crate) enum Action {
    Forward,
    /// It gets lost; the connection stays.
    Swallow,
    /// Its first bytes get through, as many as said, then the connection is reset on both sides.
    CutAfter(usize),
    /// The connection is reset on both sides, the frame is lost.
    Reset,
    /// It gets through this much later, and what follows after it.
    Delay(Duration),
    /// It gets through at this many bytes a second.
    Drip(u64),
    /// Other bytes get through in its place.
    Replace(Vec<u8>),
}

/// A proxy; ends with all its connections when dropped.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

type Decide = Arc<dyn Fn(&Frame) -> Action + Send + Sync>;

struct Shared {
    address: SocketAddr,
    target: SocketAddr,
    rules: Mutex<Rules>,
    changed: Condvar,
    links: Mutex<Vec<Weak<Link>>>,
    accepted: AtomicUsize,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Rules {
    paused: bool,
    refusing: bool,
    /// Whether the acceptor has come to the state that `refusing` asks for.
    listening: bool,
    delay: Duration,
    rate: Option<u64>,
    decide: Option<Decide>,
}

/// A connection of a client and the one to the broker that belongs to it. Threads share it without duplicates of the
/// sockets: the last one to let go closes them, and only that sends the reset.
struct Link {
    number: usize,
    client: TcpStream,
    broker: TcpStream,
    reset: AtomicBool,
    /// Key and version of requests by correlation id, until their response.
    requests: Mutex<HashMap<i32, (i16, i16)>>,
}

enum Passing {
    Bytes { bytes: Vec<u8>, due: Instant, rate: Option<u64>, then_reset: bool },
    End,
}

impl Proxy {
    /// A proxy on a free port before `target`.
    pub(crate) fn start(target: SocketAddr) -> Self {
        Self::at(loopback(ports::free(1)[0]), target)
    }

    /// A proxy at `address` before `target`, which need not run yet.
    pub(crate) fn at(address: SocketAddr, target: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            address,
            target,
            rules: Mutex::default(),
            changed: Condvar::new(),
            links: Mutex::default(),
            accepted: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept_all()
        });
        let proxy = Self { shared, acceptor: Some(acceptor) };
        proxy.listen();
        proxy
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// How many connections were made so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        lock(&self.shared.links).iter().filter(|link| link.strong_count() > 0).count()
    }

    /// Resets all open connections, to client and broker.
    pub(crate) fn reset_all(&self) {
        for link in lock(&self.shared.links).iter().filter_map(Weak::upgrade) {
            link.reset();
        }
    }

    /// Refuses new connections, as a port where nobody listens. Open ones stay.
    pub(crate) fn refuse(&self) {
        self.set_refusing(true);
    }

    /// Takes connections again after [`Proxy::refuse`].
    pub(crate) fn listen(&self) {
        self.set_refusing(false);
    }

    /// Black hole: connections stay and new ones are accepted, but nothing gets through in either direction.
    pub(crate) fn pause(&self) {
        self.change(|rules| rules.paused = true);
    }

    /// Ends [`Proxy::pause`]; what was held back gets through.
    pub(crate) fn resume(&self) {
        self.change(|rules| rules.paused = false);
    }

    /// Every frame takes this much longer, in each direction; order and throughput stay.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.change(|rules| rules.delay = delay);
    }

    /// Limits each direction of each connection to this many bytes a second.
    pub(crate) fn set_rate(&self, bytes_per_second: Option<u64>) {
        self.change(|rules| rules.rate = bytes_per_second);
    }

    /// Lets `decide` say what becomes of each frame, of all connections, in place of an earlier one.
    pub(crate) fn on_frame(&self, decide: impl Fn(&Frame) -> Action + Send + Sync + 'static) {
        self.change(|rules| rules.decide = Some(Arc::new(decide)));
    }

    /// Lets `count` more responses through and loses those after them; requests get through.
    pub(crate) fn swallow_responses_after(&self, count: usize) {
        let seen = AtomicUsize::new(0);
        self.on_frame(move |frame| {
            let response = frame.direction == Direction::Response;
            if response && seen.fetch_add(1, Ordering::Relaxed) >= count { Action::Swallow } else { Action::Forward }
        });
    }

    /// Resets the connection in place of the next `times` frames of this API. On responses, the broker has acted and
    /// the client does not learn it.
    pub(crate) fn reset_at(&self, direction: Direction, api_key: i16, times: usize) {
        let seen = AtomicUsize::new(0);
        self.on_frame(move |frame| {
            let hit = frame.direction == direction && frame.api_key == api_key;
            if hit && seen.fetch_add(1, Ordering::Relaxed) < times { Action::Reset } else { Action::Forward }
        });
    }

    /// Once `count` more bytes have passed in this direction, over all connections, resets the connection that would
    /// pass the next, and then passes everything.
    pub(crate) fn cut_after(&self, direction: Direction, count: usize) {
        let left = Mutex::new(Some(count));
        self.on_frame(move |frame| {
            let mut left = lock(&left);
            match *left {
                Some(bytes) if frame.direction == direction => {
                    *left = bytes.checked_sub(frame.bytes.len());
                    if left.is_some() { Action::Forward } else { Action::CutAfter(bytes) }
                }
                _ => Action::Forward,
            }
        });
    }

    /// Everything gets through again.
    pub(crate) fn heal(&self) {
        self.change(|rules| {
            *rules = Rules { refusing: rules.refusing, listening: rules.listening, ..Rules::default() };
        });
        self.listen();
    }

    fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut lock(&self.shared.rules));
        self.shared.changed.notify_all();
    }

    fn set_refusing(&self, refusing: bool) {
        self.change(|rules| rules.refusing = refusing);
        super::wait_until("the proxy's listener", Duration::from_secs(20), || {
            lock(&self.shared.rules).listening != refusing
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.reset_all();
    }
}

impl Shared {
    /// One thread per proxy: owns the listener, ends when the proxy is dropped.
    fn accept_all(self: Arc<Self>) {
        let mut listener: Option<TcpListener> = None;
        while !self.stopped.load(Ordering::Relaxed) {
            let refusing = lock(&self.rules).refusing;
            if refusing {
                listener = None;
            } else if listener.is_none() {
                listener = TcpListener::bind(self.address).ok();
            }
            lock(&self.rules).listening = listener.is_some();
            let accepted = listener.as_ref().and_then(|listener| {
                listener.set_nonblocking(true).ok()?;
                listener.accept().ok()
            });
            match accepted {
                Some((client, _)) => self.serve(client),
                None => std::thread::sleep(TICK),
            }
        }
    }

    fn serve(self: &Arc<Self>, client: TcpStream) {
        let number = self.accepted.fetch_add(1, Ordering::Relaxed);
        let broker = TcpStream::connect_timeout(&self.target, Duration::from_secs(5));
        let prepared = broker.and_then(|broker| {
            for socket in [&client, &broker] {
                socket.set_nonblocking(false)?;
                socket.set_nodelay(true)?;
                socket.set_write_timeout(Some(TICK))?;
            }
            Ok(broker)
        });
        let Ok(broker) = prepared else {
            // The broker is down: the client shall see that its connection is.
            let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
            return;
        };
        let link = Arc::new(Link { number, client, broker, reset: AtomicBool::new(false), requests: Mutex::default() });
        let mut links = lock(&self.links);
        links.retain(|link| link.strong_count() > 0);
        links.push(Arc::downgrade(&link));
        for direction in [Direction::Request, Direction::Response] {
            let (sender, receiver) = sync_channel(QUEUED_FRAMES);
            let (shared, own) = (Arc::clone(self), Arc::clone(&link));
            std::thread::spawn(move || shared.read(&own, direction, &sender));
            let (shared, own) = (Arc::clone(self), Arc::clone(&link));
            std::thread::spawn(move || shared.write(&own, direction, &receiver));
        }
    }

    /// One thread per connection and direction: reads frames and decides about them; ends with the connection.
    fn read(&self, link: &Link, direction: Direction, queue: &SyncSender<Passing>) {
        loop {
            let bytes = match wire::read_frame(&mut link.source(direction)) {
                Ok(Some(frame)) => wire::framed(&frame),
                Ok(None) if !link.is_reset() => {
                    let _ = queue.send(Passing::End);
                    return;
                }
                _ => return link.reset(),
            };
            let frame = link.identify(direction, bytes);
            let (decide, delay, usual_rate) = {
                let rules = lock(&self.rules);
                (rules.decide.clone(), rules.delay, rules.rate)
            };
            let action = decide.map_or(Action::Forward, |decide| decide(&frame));
            let (mut bytes, mut due, mut rate, mut then_reset) =
                (frame.bytes, Instant::now() + delay, usual_rate, false);
            match action {
                Action::Forward => {}
                Action::Swallow => continue,
                Action::Reset => (bytes, then_reset) = (Vec::new(), true),
                Action::CutAfter(count) => {
                    bytes.truncate(count);
                    then_reset = true;
                }
                Action::Delay(more) => due += more,
                Action::Drip(bytes_per_second) => rate = Some(bytes_per_second),
                Action::Replace(other) => bytes = other,
            }
            if queue.send(Passing::Bytes { bytes, due, rate, then_reset }).is_err() {
                return;
            }
        }
    }

    /// One thread per connection and direction: passes on what the reader let through, when it is due.
    fn write(&self, link: &Link, direction: Direction, queue: &Receiver<Passing>) {
        while let Ok(passing) = queue.recv() {
            let Passing::Bytes { bytes, due, rate, then_reset } = passing else {
                if self.wait(link, Instant::now()) {
                    let _ = link.sink(direction).shutdown(Shutdown::Write);
                }
                return;
            };
            if !self.wait(link, due) || self.pass(link, direction, &bytes, rate).is_err() || then_reset {
                return link.reset();
            }
        }
    }

    fn pass(&self, link: &Link, direction: Direction, mut bytes: &[u8], rate: Option<u64>) -> io::Result<()> {
        let start = Instant::now();
        let mut passed = 0;
        while !bytes.is_empty() {
            // With a rate: a tenth of a second's worth at a time, each when it is due.
            let chunk = rate.map_or(bytes.len(), |rate| usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1));
            let due =
                rate.map_or(start, |rate| start + Duration::from_secs(1).mul_f64(passed as f64 / rate.max(1) as f64));
            if !self.wait(link, due) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            match link.sink(direction).write(&bytes[..chunk.min(bytes.len())]) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    passed += count;
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until `due` and as long as the proxy is paused; false if the connection ended meanwhile.
    fn wait(&self, link: &Link, due: Instant) -> bool {
        let mut rules = lock(&self.rules);
        loop {
            if link.is_reset() || self.stopped.load(Ordering::Relaxed) {
                return false;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() && !rules.paused {
                return true;
            }
            let nap = if left.is_zero() { TICK } else { left.min(TICK) };
            rules = self.changed.wait_timeout(rules, nap).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}

impl Link {
    fn source(&self, direction: Direction) -> &TcpStream {
        if direction == Direction::Request { &self.client } else { &self.broker }
    }

    fn sink(&self, direction: Direction) -> &TcpStream {
        if direction == Direction::Request { &self.broker } else { &self.client }
    }

    fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Relaxed)
    }

    fn reset(&self) {
        self.reset.store(true, Ordering::Relaxed);
        for socket in [&self.client, &self.broker] {
            // Closing then sends a reset and not an end. To shut down the reading half sends nothing; it wakes readers.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
            let _ = socket.shutdown(Shutdown::Read);
        }
    }

    fn identify(&self, direction: Direction, bytes: Vec<u8>) -> Frame {
        let mut header = wire::Cursor(&bytes[4..]);
        let mut requests = lock(&self.requests);
        let (api_key, api_version, correlation_id) = if direction == Direction::Request {
            let key = header.i16().unwrap_or(-1);
            let version = header.i16().unwrap_or(-1);
            let id = header.i32().unwrap_or(-1);
            requests.insert(id, (key, version));
            (key, version, id)
        } else {
            let id = header.i32().unwrap_or(-1);
            let (key, version) = requests.remove(&id).unwrap_or((-1, -1));
            (key, version, id)
        };
        Frame { direction, connection: self.number, api_key, api_version, correlation_id, bytes }
    }
}
