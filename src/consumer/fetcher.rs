//! The fetcher of one broker.

use super::chunk::Chunk;
use super::classify::{DAMAGED_LIMIT, Verdict, classify, long_poll, pins_too_much};
use super::core::Shared;
use super::cursor::{Cursor, Start};
use super::handle::FetcherHandle;
use super::lookup::{self, Found, Validity};
use super::progress::{Progress, progress};
use super::session::{self, Ask, FetchSession};
use super::settings::OffsetReset;
use crate::batch::scan;
use crate::cluster::Leader;
use crate::net::{Connection, Deadline, Readiness};
use crate::protocol::messages::fetch::{FetchRequest, FetchResponse, PartitionData};
use crate::protocol::messages::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use crate::{Error, ErrorCode, ErrorKind, Result};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A fetcher without partitions ends after this time, and its connection with it.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// What an answer has besides one batch: headers of all its partitions.
const ANSWER_OVERHEAD: usize = 64 * 1024;
/// Before this version the broker does not let consumers ask for the ends of epochs, but only other brokers.
const EPOCH_ENDS_FOR_CONSUMERS: i16 = 3;

/// One per leader in use and consumer, thread `kafka-fetch-{broker}`. Owns the connection, the fetch session and the
/// cursors of the partitions it fetches. The router gives it cursors through its inbox, it gives back those that are to go
/// elsewhere or wait; streams wake it when they have made room or want to seek. It ends when it had no partition for a
/// while, or with the consumer.
struct Fetcher {
    shared: Arc<Shared>,
    handle: Arc<FetcherHandle>,
    connection: Option<Connection>,
    session: FetchSession,
    /// In the order of topics and partitions.
    cursors: Vec<Cursor>,
    /// Cursors that are to leave, from the current round.
    leaving: Vec<Cursor>,
    /// Where the next request starts to name partitions, so that each is once the first: the first one's batch comes even
    /// if it is larger than the limits.
    first: usize,
}

/// Starts the thread; on failure the cursors come back.
pub(super) fn start(
    shared: &Arc<Shared>,
    node: i32,
    cursors: Vec<Cursor>,
) -> Result<Arc<FetcherHandle>, (Error, Vec<Cursor>)> {
    let shared = shared.clone();
    FetcherHandle::start(node, cursors, move |handle| {
        let fetcher = Fetcher {
            shared,
            handle,
            connection: None,
            session: FetchSession::default(),
            cursors: Vec::new(),
            leaving: Vec::new(),
            first: 0,
        };
        fetcher.run();
    })
}

impl Fetcher {
    fn run(mut self) {
        let mut idle_since = Instant::now();
        while !self.shared.interrupt().is_triggered() {
            self.take_in();
            self.tidy(Instant::now());
            if self.cursors.is_empty() {
                if self.idle(idle_since) {
                    break;
                }
                continue;
            }
            idle_since = Instant::now();
            if let Err(error) = self.round() {
                self.connection_lost(&error);
            }
            self.give_back();
        }
    }

    fn take_in(&mut self) {
        let arrived = self.handle.take();
        for mut cursor in arrived {
            cursor.serve_with(self.handle.waker());
            cursor.fetch_bytes = self.shared.config().max_partition_bytes;
            cursor.full_since = None;
            cursor.asked = None;
            let place = self.cursors.binary_search_by(|c| c.key().cmp(&cursor.key()));
            let (Ok(at) | Err(at)) = place;
            if place.is_ok() {
                // The partition was taken from its former reader and given to another one.
                self.cursors.remove(at);
            }
            self.cursors.insert(at, cursor);
        }
    }

    /// Follows what readers did meanwhile.
    fn tidy(&mut self, now: Instant) {
        self.cursors.retain(|cursor| !cursor.state.is_ended());
        for cursor in &mut self.cursors {
            cursor.follow_seek();
            match cursor.has_room() {
                true => cursor.full_since = None,
                false => cursor.full_since = cursor.full_since.or(Some(now)),
            }
        }
        let leader_again = |cursor: &Cursor| cursor.preferred.is_some_and(|(_, until)| until <= now);
        self.leaving.extend(self.cursors.extract_if(.., |cursor| leader_again(cursor)));
        self.give_back();
    }

    fn give_back(&mut self) {
        self.shared.route(std::mem::take(&mut self.leaving));
    }

    /// Waits without partitions; true if the fetcher has retired.
    fn idle(&mut self, since: Instant) -> bool {
        let waited = self.handle.waker().wait(self.shared.interrupt(), Deadline::at(since + IDLE_LIMIT));
        self.handle.waker().drain();
        match waited {
            Ok(Readiness::TimedOut) => {
                // What came in between is served; nothing comes after.
                self.handle.retire()
            }
            Ok(_) => false,
            Err(_) => true,
        }
    }

    /// One request and its answer, or a wait for room. An error is one of the connection.
    fn round(&mut self) -> Result<()> {
        if !self.cursors.iter().any(Cursor::has_room) {
            return self.wait_for_room();
        }
        if self.connection.as_ref().is_none_or(Connection::is_broken) && !self.connect()? {
            return Ok(());
        }
        self.look_up()?;
        self.validate()?;
        self.fetch()
    }

    fn wait_for_room(&mut self) -> Result<()> {
        for cursor in &self.cursors {
            cursor.want_room();
        }
        // Room made before the reader could see that it is wanted is seen here.
        if !self.cursors.iter().any(Cursor::has_room) {
            let waited = self.handle.waker().wait(self.shared.interrupt(), Deadline::after(IDLE_LIMIT));
            if let Err(error) = waited {
                log::debug!("kafka-fetch-{}: {error}", self.handle.node());
            }
        }
        self.handle.waker().drain();
        Ok(())
    }

    /// True if there is a connection now. Partitions do not wait here for a broker that may be gone, but with the router,
    /// which sees it when they have a new leader.
    fn connect(&mut self) -> Result<bool> {
        /// Time for two retransmissions of the first packet, and more after each failure.
        const FIRST_ATTEMPT: Duration = Duration::from_secs(3);
        self.session.lost();
        let core = self.shared.core().clone();
        let delay = core.dial_delay(self.handle.node());
        if !delay.is_zero() {
            let (generation, at) = (core.snapshot().generation, Instant::now() + delay);
            self.cursors.iter_mut().for_each(|cursor| cursor.wait_for_broker(at, generation));
            self.leaving.append(&mut self.cursors);
            return Ok(false);
        }
        let failures = self.cursors.iter().map(Cursor::failures).max().unwrap_or(0);
        let deadline = Deadline::after(FIRST_ATTEMPT.saturating_mul(failures.saturating_add(1)));
        self.connection = Some(core.dial(self.handle.node(), self.shared.interrupt(), deadline)?);
        Ok(true)
    }

    /// Finds the offsets of partitions that begin at an end of the log or at a time.
    fn look_up(&mut self) -> Result<()> {
        let core = self.shared.core().clone();
        let timeout = core.config().request_timeout;
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let isolation = self.shared.config().isolation.code();
        let Some(request) = lookup::list_offsets(&self.cursors, isolation, timeout_ms) else { return Ok(()) };
        let generation = core.snapshot().generation;
        let response = self.call(&request, Deadline::after(timeout))?;
        let mut answered = HashMap::new();
        for topic in &response.topics {
            for partition in &topic.partitions {
                answered.insert((topic.name.as_str(), partition.partition_index), partition);
            }
        }
        let now = Instant::now();
        for mut cursor in std::mem::take(&mut self.cursors) {
            if cursor.offset().is_some() || !cursor.is_current() {
                self.cursors.push(cursor);
                continue;
            }
            let answer = answered.get(&cursor.key());
            let found = answer.map_or(Found::Failed(Verdict::Later), |answer| lookup::found(cursor.at, answer));
            match found {
                Found::At(offset) => {
                    cursor.begin_at(offset);
                    cursor.succeeded();
                    self.cursors.push(cursor);
                }
                Found::BeyondEnd => {
                    cursor.at = Start::Latest;
                    self.cursors.push(cursor);
                }
                Found::Failed(verdict) => {
                    let code = answer.map_or(ErrorCode::OFFSET_NOT_AVAILABLE, |answer| ErrorCode(answer.error_code));
                    let error = Error::from_code(code, "looking up an offset failed");
                    self.set_back(cursor, verdict, error, now, generation, None);
                }
            }
        }
        Ok(())
    }

    /// Asks whether the log was cut under partitions that have a new leader (KIP-320).
    fn validate(&mut self) -> Result<()> {
        let Some(request) = lookup::epoch_ends(&self.cursors) else { return Ok(()) };
        let version = self.connection()?.version::<OffsetForLeaderEpochRequest>();
        if !version.is_ok_and(|version| version >= EPOCH_ENDS_FOR_CONSUMERS) {
            self.cursors.iter_mut().for_each(|cursor| cursor.unvalidated = false);
            return Ok(());
        }
        let core = self.shared.core().clone();
        let generation = core.snapshot().generation;
        let response = self.call(&request, Deadline::after(core.config().request_timeout))?;
        let mut answered = HashMap::new();
        for topic in &response.topics {
            for partition in &topic.partitions {
                answered.insert((topic.topic.as_str(), partition.partition), partition);
            }
        }
        let now = Instant::now();
        for mut cursor in std::mem::take(&mut self.cursors) {
            let Some(offset) = cursor.offset().filter(|_| cursor.unvalidated && cursor.is_current()) else {
                self.cursors.push(cursor);
                continue;
            };
            let answer = answered.get(&cursor.key());
            match answer.map_or(Validity::Failed(Verdict::Later), |answer| lookup::validity(offset, answer)) {
                Validity::Valid => {
                    cursor.unvalidated = false;
                    self.cursors.push(cursor);
                }
                Validity::Truncated(end) => self.truncated(cursor, offset, end),
                Validity::Failed(verdict) => {
                    let code = answer.map_or(ErrorCode::OFFSET_NOT_AVAILABLE, |answer| ErrorCode(answer.error_code));
                    let error = Error::from_code(code, "checking for a truncated log failed");
                    self.set_back(cursor, verdict, error, now, generation, None);
                }
            }
        }
        Ok(())
    }

    /// The log was cut at `end`, and records beyond that were read: others may stand there now.
    fn truncated(&mut self, mut cursor: Cursor, offset: i64, end: i64) {
        if self.shared.config().reset == OffsetReset::Fail {
            let message = format!("the log was truncated from offset {offset} to {end}");
            cursor.stop(Error::new(ErrorKind::OffsetOutOfRange, message));
            return;
        }
        // The first offset that may have another record than the one that was read.
        cursor.reset_from = Some((offset, "the log was truncated"));
        cursor.begin_at(end);
        self.cursors.push(cursor);
    }

    fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(|| Error::new(ErrorKind::Network, "no connection"))
    }

    fn call<R: crate::protocol::Request>(&mut self, request: &R, deadline: Deadline) -> Result<R::Response> {
        self.connection()?.call(request, deadline)
    }

    fn fetch(&mut self) -> Result<()> {
        let Some((request, version)) = self.request()? else { return Ok(()) };
        let generation = self.shared.core().snapshot().generation;
        // A broker may ask for silence longer than any request takes; the consumer's end ends the wait.
        self.connection()?.wait_while_throttled(Deadline::after(Duration::MAX))?;
        let max_wait = Duration::from_millis(request.max_wait_ms.unsigned_abs().into());
        let deadline = Deadline::after(self.shared.core().config().request_timeout + max_wait);
        self.connection()?.send_version(&request, version, true, deadline)?;
        self.wait_for_answer(max_wait, deadline)?;
        let response = match self.connection()?.receive::<FetchRequest>(deadline) {
            Ok(response) => response,
            Err(error) if error.kind() == ErrorKind::TooLarge => return self.answer_too_large(error),
            Err(error) => return Err(error),
        };
        let code = ErrorCode(response.error_code);
        let again = !self.session.answered(code, response.session_id);
        match classify(code) {
            Verdict::Go => self.answered(response, version, generation),
            _ if again && session::is_of_session(code) => {
                log::debug!("kafka-fetch-{}: {code}; a full fetch", self.handle.node())
            }
            _ => return Err(Error::from_code(code, "the broker refused a fetch")),
        }
        Ok(())
    }

    /// Waits until an answer begins to arrive. A broker that says nothing for longer than it was allowed to is given up
    /// as soon as one of its partitions has a new leader: it hangs, or the network to it is cut.
    fn wait_for_answer(&mut self, max_wait: Duration, deadline: Deadline) -> Result<()> {
        const SLACK: Duration = Duration::from_secs(1);
        let core = self.shared.core().clone();
        let mut allowed = max_wait + SLACK;
        loop {
            match self.connection()?.wait_readable(None, deadline.within(allowed))? {
                Readiness::TimedOut if !deadline.has_passed() => {}
                // After the deadline the attempt to receive says so.
                _ => return Ok(()),
            }
            let snapshot = core.snapshot();
            let led_elsewhere = |cursor: &Cursor| {
                let (topic, partition) = cursor.key();
                let leader = snapshot.leader(topic, partition);
                cursor.preferred.is_none() && leader.is_some_and(|leader| leader.node_id != cursor.leader.node_id)
            };
            if self.cursors.iter().any(led_elsewhere) {
                return Err(Error::new(ErrorKind::Network, "no answer, and there is a new leader"));
            }
            core.refresh_since(snapshot.generation);
            allowed = SLACK;
        }
    }

    /// The next request; `None` if there is nothing to ask for.
    fn request(&mut self) -> Result<Option<(FetchRequest, i16)>> {
        let mut version = self.connection()?.version::<FetchRequest>()?;
        // From version 13 on topics go by their ids, which all must be known.
        if version >= 13 && self.cursors.iter().any(|cursor| cursor.topic_id == [0; 16]) {
            version = 12;
        }
        let suspect = self.cursors.iter().position(|cursor| cursor.suspect && cursor.has_room());
        let count = self.cursors.len();
        self.first = (self.first + 1) % count.max(1);
        for (index, cursor) in self.cursors.iter_mut().enumerate() {
            let wanted = suspect.is_none_or(|suspect| suspect == index) && cursor.has_room();
            cursor.asked = cursor.offset().filter(|_| wanted);
        }
        let (behind, ahead) = self.cursors.split_at(self.first.min(count));
        let asks: Vec<Ask<'_>> = ahead.iter().chain(behind).filter_map(ask).collect();
        let Some(most) = asks.iter().map(|ask| ask.max_bytes).max() else { return Ok(None) };
        let plan = self.session.plan(&asks, version);
        let config = self.shared.config();
        let full_since = self.cursors.iter().filter_map(|cursor| cursor.full_since).min();
        let max_wait = long_poll(Instant::now(), full_since, config.max_wait);
        let request = FetchRequest {
            max_wait_ms: i32::try_from(max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: config.min_bytes,
            max_bytes: config.max_bytes.max(most),
            isolation_level: config.isolation.code(),
            session_id: plan.session_id,
            session_epoch: plan.session_epoch,
            topics: plan.topics,
            forgotten_topics_data: plan.forgotten,
            rack_id: self.rack(),
            ..FetchRequest::default()
        };
        Ok(Some((request, version)))
    }

    /// Empty if there is none, or some partition has to be served by the leader itself.
    fn rack(&self) -> String {
        let now = Instant::now();
        let rackless = |cursor: &Cursor| cursor.rackless.is_some_and(|until| now < until);
        if self.cursors.iter().any(rackless) {
            return String::new();
        }
        self.shared.core().config().client_rack.clone().unwrap_or_default()
    }

    /// An answer was over the limit of the connection, which is broken now. Its partitions are asked one by one, to find
    /// the one with the batch that does not fit.
    fn answer_too_large(&mut self, error: Error) -> Result<()> {
        let asked = self.cursors.iter().filter(|cursor| cursor.asked.is_some()).count();
        if asked == 1 {
            // Twice is no accident: a length that was damaged on its way does not come again.
            for cursor in self.cursors.extract_if(.., |cursor| cursor.asked.is_some() && cursor.suspect) {
                cursor.stop(error.clone());
            }
        }
        for cursor in &mut self.cursors {
            cursor.suspect |= cursor.asked.is_some();
        }
        self.connection = None;
        Ok(())
    }

    fn answered(&mut self, response: FetchResponse, version: i16, generation: u64) {
        let now = Instant::now();
        let size = |data: &PartitionData| data.records.as_ref().map_or(0, Bytes::len);
        let answer_bytes: usize = response.responses.iter().flat_map(|topic| &topic.partitions).map(size).sum();
        let mut names: HashMap<[u8; 16], Arc<str>> = HashMap::new();
        if version >= 13 {
            // Those of one topic stand together.
            for topic in self.cursors.chunk_by(|a, b| a.topic_id == b.topic_id).filter_map(<[Cursor]>::first) {
                names.insert(topic.topic_id, topic.state.topic.clone());
            }
        }
        for topic in response.responses {
            let by_id = names.get(&topic.topic_id).filter(|_| version >= 13).cloned();
            let name = by_id.as_deref().unwrap_or(&topic.topic);
            for data in topic.partitions {
                let found = self.cursors.binary_search_by(|c| c.key().cmp(&(name, data.partition_index)));
                let Ok(index) = found else { continue };
                self.partition_answered(index, data, answer_bytes, now, generation);
            }
        }
        // A session's answer leaves out what has no news.
        self.cursors.iter_mut().filter(|cursor| cursor.asked.is_some()).for_each(Cursor::succeeded);
    }

    fn partition_answered(&mut self, index: usize, data: PartitionData, answer: usize, now: Instant, generation: u64) {
        let Some(cursor) = self.cursors.get_mut(index) else { return };
        // A partition stands in an answer once; and one that was taken in or moved since was not asked for.
        let Some(offset) = cursor.asked.take().filter(|_| cursor.is_current()) else { return };
        cursor.state.set_marks(data.high_watermark, data.log_start_offset);
        let verdict = classify(ErrorCode(data.error_code));
        if verdict == Verdict::Go {
            let here = self.handle.node();
            if data.preferred_read_replica >= 0 && data.preferred_read_replica != here {
                let mut cursor = self.cursors.remove(index);
                let until = now + self.shared.core().config().metadata_max_age;
                cursor.preferred = Some((data.preferred_read_replica, until));
                self.leaving.push(cursor);
                return;
            }
            cursor.succeeded();
            return self.take_batches(index, offset, data, answer, now);
        }
        let error = Error::from_code(ErrorCode(data.error_code), format!("fetching from offset {offset} failed"));
        if verdict == Verdict::OutOfRange {
            return self.out_of_range(index, offset, error, now, generation);
        }
        let hint = Leader { node_id: data.current_leader.leader_id, epoch: data.current_leader.leader_epoch };
        let cursor = self.cursors.remove(index);
        self.set_back(cursor, verdict, error, now, generation, Some(hint).filter(|hint| hint.node_id >= 0));
    }

    fn take_batches(&mut self, index: usize, offset: i64, data: PartitionData, answer: usize, now: Instant) {
        let bytes = data.records.unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        let limit = self.shared.core().config().net.max_response_bytes.saturating_sub(ANSWER_OVERHEAD);
        let found = scan(&bytes);
        let Some(cursor) = self.cursors.get_mut(index) else { return };
        if let Some(next_offset) = found.next_offset.filter(|next| *next > offset) {
            let aborted = data.aborted_transactions.unwrap_or_default();
            let aborted = aborted.into_iter().map(|a| (a.producer_id, a.first_offset)).collect();
            let whole = bytes.slice(..found.complete.min(bytes.len()));
            let reader_waits = cursor.reader_waits();
            let bytes = match pins_too_much(whole.len(), answer, reader_waits) {
                true => Bytes::copy_from_slice(&whole),
                false => whole,
            };
            cursor.damaged = 0;
            cursor.fetch_bytes = self.shared.config().max_partition_bytes;
            cursor
                .deliver(Chunk { bytes, fetch_offset: offset, next_offset, aborted }, found.leader_epoch.unwrap_or(-1));
            return;
        }
        match progress(&found, offset, limit) {
            Progress::Larger(size) => cursor.fetch_bytes = i32::try_from(size).unwrap_or(i32::MAX),
            Progress::TooLarge(error) => self.cursors.remove(index).stop(error),
            Progress::Damaged(error) => {
                let cursor = self.cursors.remove(index);
                self.set_back(cursor, Verdict::Damaged, error, now, 0, None);
            }
            Progress::Hopeless(error) => self.cursors.remove(index).stop(error),
        }
    }

    /// The only place where an error leads to another offset.
    fn out_of_range(&mut self, index: usize, offset: i64, error: Error, now: Instant, generation: u64) {
        let mut cursor = self.cursors.remove(index);
        // A replica may be behind or ahead of what its leader deleted; and a broker too old for leader epochs can't
        // tell that our metadata is out of date. The leader's word counts.
        let from_replica = cursor.preferred.is_some();
        if from_replica || (cursor.leader.epoch < 0 && !cursor.doubted) {
            cursor.doubted = true;
            cursor.moved(now, generation, None);
            self.leaving.push(cursor);
            return;
        }
        cursor.at = match self.shared.config().reset {
            OffsetReset::Earliest => Start::Earliest,
            OffsetReset::Latest => Start::Latest,
            OffsetReset::Fail => {
                // The broker may leave out the ends of its log in an error.
                let message = match (cursor.state.log_start(), cursor.state.high_watermark()) {
                    (Some(start), Some(end)) => format!("offset {offset} is out of range {start} to {end}"),
                    _ => format!("offset {offset} is out of range"),
                };
                cursor.stop(Error::new(ErrorKind::OffsetOutOfRange, message).with_source(error));
                return;
            }
        };
        cursor.reset_from = Some((offset, "the broker does not have the offset"));
        cursor.unvalidated = false;
        self.cursors.insert(index, cursor);
    }

    /// Acts on an error of one partition, which is no longer among the cursors.
    fn set_back(
        &mut self,
        mut cursor: Cursor,
        verdict: Verdict,
        error: Error,
        now: Instant,
        generation: u64,
        hint: Option<Leader>,
    ) {
        let (topic, partition) = cursor.key();
        log::debug!("{topic}-{partition} at broker {}: {error}", self.handle.node());
        match verdict {
            Verdict::Moved => {
                self.shared.core().refresh_since(generation);
                cursor.moved(now, generation, hint);
            }
            Verdict::Damaged => {
                cursor.damaged += 1;
                if cursor.damaged >= DAMAGED_LIMIT {
                    cursor.stop(error);
                    return;
                }
                log::warn!("{}; reading it again", cursor.state.name(error));
                cursor.failed(now);
            }
            Verdict::Hopeless => {
                cursor.stop(error);
                return;
            }
            Verdict::Refused => {
                cursor.complain(error);
                cursor.failed(now);
            }
            Verdict::Go | Verdict::Later | Verdict::OutOfRange => cursor.failed(now),
        }
        self.leaving.push(cursor);
    }

    /// The connection broke or could not be made: perhaps the leaders have moved.
    fn connection_lost(&mut self, error: &Error) {
        self.connection = None;
        self.session.lost();
        if error.kind() == ErrorKind::Closed {
            return;
        }
        // Attempts go on until the broker is back or the leaders have moved; the first failure says it all.
        let first = self.cursors.iter().any(|cursor| cursor.failures() == 0);
        let level = if first { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "fetching from broker {}: {error}", self.handle.node());
        let generation = self.shared.core().snapshot().generation;
        self.shared.core().refresh_since(generation);
        let now = Instant::now();
        let tell = matches!(
            error.kind(),
            ErrorKind::Authentication | ErrorKind::Tls | ErrorKind::Authorization | ErrorKind::Unsupported
        );
        for mut cursor in self.cursors.drain(..) {
            if tell {
                // Waiting does not help with these; the user must do something.
                cursor.complain(error.clone());
                cursor.failed(now);
            }
            cursor.moved(now, generation, None);
            self.leaving.push(cursor);
        }
    }
}

fn ask(cursor: &Cursor) -> Option<Ask<'_>> {
    Some(Ask {
        topic: &cursor.state.topic,
        topic_id: cursor.topic_id,
        partition: cursor.state.partition,
        leader_epoch: cursor.leader.epoch,
        offset: cursor.asked?,
        max_bytes: cursor.fetch_bytes,
    })
}
