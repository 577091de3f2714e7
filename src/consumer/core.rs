//! What the partition consumer and the consumer group are made of: streams of partitions, and the threads behind them.

use super::cursor::{Cursor, Start};
use super::router;
use super::settings::FetchConfig;
use super::stream::PartitionStream;
use crate::cluster::{Client, Core};
use crate::net::{Deadline, Interrupt};
use crate::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a drop waits for the threads.
const DROP_LIMIT: Duration = Duration::from_secs(5);

/// Fetches partitions. One per consumer or session of a group; owns the thread `kafka-router` and, through it, one
/// thread `kafka-fetch-{broker}` and one connection per leader of its partitions.
///
/// Memory: each partition has at most two chunks queued and one with its reader, each of at most
/// `max.partition.fetch.bytes` or one batch, and each holding at most a few times its size of the answer it came in; each
/// broker has at most one answer of about `fetch.max.bytes` on its way.
#[derive(Debug)]
pub(crate) struct ConsumerCore {
    shared: Arc<Shared>,
    router: Option<JoinHandle<()>>,
}

/// What the threads of a consumer share.
#[derive(Debug)]
pub(super) struct Shared {
    client: Client,
    pub(super) common: Arc<Common>,
    /// The router's inbox. Bounded by the number of partitions, since a cursor exists once.
    routed: Mutex<Routed>,
    wake_router: Sender<()>,
}

/// What the streams of a consumer share with its threads.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) config: FetchConfig,
    /// Ends every thread and every wait of this consumer.
    pub(super) interrupt: Interrupt,
    /// Why the consumer as a whole can't go on.
    cause: OnceLock<Error>,
}

#[derive(Debug, Default)]
struct Routed {
    cursors: Vec<Cursor>,
    closed: bool,
}

/// A partition to be read.
#[derive(Debug, Clone)]
pub(crate) struct StartPartition {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) start: Start,
}

impl ConsumerCore {
    /// Starts the router; fetchers come with partitions.
    pub(crate) fn start(client: &Client, config: FetchConfig) -> Result<Self> {
        config.check(client.core().config().net.max_response_bytes)?;
        // Bound 1: a token says "look into the inbox", and a second one would say no more.
        let (wake_router, woken) = crossbeam_channel::bounded(1);
        let shared = Arc::new(Shared {
            client: client.clone(),
            common: Arc::new(Common::new(config)?),
            routed: Mutex::default(),
            wake_router,
        });
        let router = router::start(shared.clone(), woken)?;
        Ok(Self { shared, router: Some(router) })
    }

    /// Begins to read partitions; the streams come in the same order. Does not wait. What is known to one leader goes into
    /// one request, so partitions that are to be read together should be added together. Dropping a stream
    /// stops reading its partition; that comes before the partition is added again.
    pub(crate) fn add(&self, partitions: Vec<StartPartition>) -> Vec<PartitionStream> {
        let mut cursors = Vec::with_capacity(partitions.len());
        let mut streams = Vec::with_capacity(partitions.len());
        for StartPartition { topic, partition, start } in partitions {
            let in_use = self.shared.core().use_topic(&topic, false);
            let backoff = self.shared.core().config().retry_backoff.clone();
            let (cursor, reader) = Cursor::new(&topic, partition, start, backoff, Some(in_use));
            cursors.push(cursor);
            streams.push(PartitionStream::new(self.shared.common.clone(), reader));
        }
        self.shared.route(cursors);
        streams
    }

    /// Ends all streams and threads; waits for the threads, at most until the deadline.
    pub(crate) fn close(mut self, deadline: Deadline) -> Result<()> {
        self.end(deadline)
    }

    fn end(&mut self, deadline: Deadline) -> Result<()> {
        self.shared.common.interrupt.trigger();
        let Some(router) = self.router.take() else { return Ok(()) };
        while !router.is_finished() {
            if deadline.has_passed() {
                return Err(Error::new(ErrorKind::Timeout, "the consumer's threads did not end before the deadline"));
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        // What it died of has been logged and told to the streams.
        let _ = router.join();
        Ok(())
    }
}

impl Drop for ConsumerCore {
    fn drop(&mut self) {
        if let Err(error) = self.end(Deadline::after(DROP_LIMIT)) {
            log::error!("{error}");
        }
    }
}

impl Shared {
    pub(super) fn core(&self) -> &Arc<Core> {
        self.client.core()
    }

    /// Gives cursors to the router. After its end they are dropped, which ends their streams.
    pub(super) fn route(&self, cursors: Vec<Cursor>) {
        if cursors.is_empty() {
            return;
        }
        let mut routed = self.routed.lock().unwrap_or_else(PoisonError::into_inner);
        if routed.closed {
            drop(routed);
            return;
        }
        routed.cursors.extend(cursors);
        drop(routed);
        match self.wake_router.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    pub(super) fn take_routed(&self) -> Vec<Cursor> {
        std::mem::take(&mut self.routed.lock().unwrap_or_else(PoisonError::into_inner).cursors)
    }

    /// The router has ended, with a reason if it was not asked to.
    pub(super) fn router_ended(&self, cause: Option<Error>) {
        if let Some(cause) = cause {
            let _ = self.common.cause.set(cause);
        }
        self.common.interrupt.trigger();
        let mut routed = self.routed.lock().unwrap_or_else(PoisonError::into_inner);
        routed.closed = true;
        let left = std::mem::take(&mut routed.cursors);
        drop(routed);
        drop(left);
    }

    pub(super) fn config(&self) -> &FetchConfig {
        &self.common.config
    }

    pub(super) fn interrupt(&self) -> &Interrupt {
        &self.common.interrupt
    }
}

impl Common {
    pub(super) fn new(config: FetchConfig) -> Result<Self> {
        let interrupt = Interrupt::new().map_err(|error| Error::io(error, "making a socket pair"))?;
        Ok(Self { config, interrupt, cause: OnceLock::new() })
    }

    pub(super) fn cause(&self) -> Option<&Error> {
        self.cause.get()
    }

    /// A channel that is disconnected when the consumer ends.
    pub(super) fn ended(&self) -> &Receiver<()> {
        self.interrupt.channel()
    }
}
