//! Reports what becomes of the records of a pipelined producer, as soon as it is known.

use sarameya::{Delivery, RecordMetadata, SendError};
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The outcome of one record.
pub(crate) type Sent = Result<RecordMetadata, SendError>;

/// One thread, `deliveries`: owns the deliveries that are not reported yet, gets them from the thread that sends, and
/// ends when [`finish`](Self::finish) is called and all are reported.
#[derive(Debug)]
pub(crate) struct Deliveries<T> {
    sender: SyncSender<(Delivery, T)>,
    thread: JoinHandle<()>,
}

impl<T: Send + 'static> Deliveries<T> {
    /// Starts the thread, which calls `report` with what was pushed beside a delivery and its outcome.
    pub(crate) fn start(report: impl FnMut(T, Sent) + Send + 'static) -> io::Result<Self> {
        // Bound 1000: lets the sender run ahead of one look at what is pending, and stops it when reporting is slow.
        let (sender, receiver) = sync_channel(1000);
        let thread = std::thread::Builder::new().name("deliveries".into()).spawn(move || run(&receiver, report))?;
        Ok(Self { sender, thread })
    }

    /// Hands over a delivery.
    pub(crate) fn push(&self, delivery: Delivery, context: T) {
        // The thread is gone only if `report` panicked, which has been said by then.
        let _ = self.sender.send((delivery, context));
    }

    /// Waits until all are reported.
    pub(crate) fn finish(self) {
        drop(self.sender);
        let _ = self.thread.join();
    }
}

/// What is pending is bounded by the producer's memory: a record is pending here only while the producer holds it.
fn run<T>(receiver: &Receiver<(Delivery, T)>, mut report: impl FnMut(T, Sent)) {
    let mut pending: VecDeque<(Delivery, T)> = VecDeque::new();
    let mut open = true;
    while open || !pending.is_empty() {
        if pending.is_empty() {
            match receiver.recv() {
                Ok(one) => pending.push_back(one),
                Err(_) => return,
            }
        }
        while open && pending.len() < 1_000_000 {
            match receiver.try_recv() {
                Ok(one) => pending.push_back(one),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => open = false,
            }
        }
        let Some((oldest, _)) = pending.front() else { continue };
        if oldest.wait_timeout(Duration::from_millis(10)).is_some() {
            while let Some(sent) = pending.front().and_then(|(delivery, _)| delivery.poll()) {
                if let Some((_, context)) = pending.pop_front() {
                    report(context, sent);
                }
            }
        } else {
            // The oldest one's partition is stuck; those of the others are not to wait for it.
            let unknown = pending.len();
            for _ in 0..unknown {
                let Some((delivery, context)) = pending.pop_front() else { break };
                match delivery.poll() {
                    Some(sent) => report(context, sent),
                    None => pending.push_back((delivery, context)),
                }
            }
        }
    }
}
