//! The one error type of the crate, and the one place that classifies errors.

mod code;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

pub use code::ErrorCode;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong: cheap to clone, the size of a pointer.
///
/// It names the topic, partition, broker or setting it is about where there is one, keeps the
/// broker's error code as a number even if this crate does not know it, and says whether the same
/// call may succeed later ([`is_retriable`](Self::is_retriable)) or the object that returned it
/// can't go on ([`is_fatal`](Self::is_fatal)).
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    code: Option<ErrorCode>,
    topic: Option<Arc<str>>,
    partition: Option<i32>,
    broker: Option<i32>,
    address: Option<String>,
    setting: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The kinds of [`Error`]; match on this, show the error itself to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is unknown, out of range, or in conflict with another; the error names it.
    Config,
    /// An argument of the call can't be used: an empty topic name, a partition out of range.
    InvalidArgument,
    /// A connection could not be made or broke.
    Network,
    /// A deadline passed.
    Timeout,
    /// The peer sent bytes that are not the Kafka protocol, or not the answer to the request.
    Protocol,
    /// The broker does not know the API, or no version of it that this client knows.
    Unsupported,
    /// A record, batch, request or response is larger than a limit allows.
    TooLarge,
    /// A record batch failed its CRC check or can't be decoded.
    Corrupt,
    /// TLS could not be agreed on: a certificate is not trusted, expired or for another name, the broker refuses this
    /// client's certificate, or the two have no version in common.
    Tls,
    /// The broker refused the credentials.
    Authentication,
    /// The principal may not do this; the error names the topic or group.
    Authorization,
    /// Another member or producer with the same identity took over, or the broker took this one for dead.
    Fenced,
    /// A fetch position lies outside the partition's log.
    OffsetOutOfRange,
    /// The memory budget was used up for longer than the call may block.
    QueueFull,
    /// The client, producer, consumer or group is closed.
    Closed,
    /// The user's handler returned an error; it is the source.
    Handler,
    /// The user's handler panicked.
    HandlerPanic,
    /// A thread could not be started, or one of the crate's threads died.
    Thread,
    /// The broker answered with an error code that no other kind covers: see [`Error::code`].
    Broker,
}

impl Error {
    /// A new error of this kind. Contexts are added by the `with_` methods.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            code: None,
            topic: None,
            partition: None,
            broker: None,
            address: None,
            setting: None,
            source: None,
        }))
    }

    /// The error for a code in a broker's answer.
    pub(crate) fn from_code(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut error = Self::new(code.kind(), message);
        error.inner().code = Some(code);
        error
    }

    /// An I/O error of a connection.
    pub(crate) fn io(source: std::io::Error, doing: &str) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::TimedOut | Io::WouldBlock => ErrorKind::Timeout,
            _ => ErrorKind::Network,
        };
        Self::new(kind, format!("{doing}: {source}")).with_source(source)
    }

    pub(crate) fn config(setting: &str, message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorKind::Config, message);
        error.inner().setting = Some(setting.to_owned());
        error
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Protocol, message)
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }

    pub(crate) fn with_topic(mut self, topic: impl Into<Arc<str>>) -> Self {
        self.inner().topic = Some(topic.into());
        self
    }

    pub(crate) fn with_partition(mut self, partition: i32) -> Self {
        self.inner().partition = Some(partition);
        self
    }

    pub(crate) fn with_broker(mut self, node_id: i32, address: impl Into<String>) -> Self {
        let inner = self.inner();
        inner.broker = (node_id >= 0).then_some(node_id);
        inner.address = Some(address.into());
        self
    }

    pub(crate) fn with_code(mut self, code: ErrorCode) -> Self {
        self.inner().code = Some(code);
        self
    }

    pub(crate) fn with_setting(mut self, setting: &str) -> Self {
        self.inner().setting = Some(setting.to_owned());
        self
    }

    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.inner().source = Some(Arc::new(source));
        self
    }

    pub(crate) fn with_boxed_source(mut self, source: Box<dyn StdError + Send + Sync>) -> Self {
        self.inner().source = Some(Arc::from(source));
        self
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The broker's error code, if the error came as one. Codes this crate does not know keep their number.
    pub fn code(&self) -> Option<ErrorCode> {
        self.0.code
    }

    /// The topic the error is about.
    pub fn topic(&self) -> Option<&str> {
        self.0.topic.as_deref()
    }

    /// The partition the error is about.
    pub fn partition(&self) -> Option<i32> {
        self.0.partition
    }

    /// The node id of the broker the error is about; `None` for a bootstrap address.
    pub fn broker(&self) -> Option<i32> {
        self.0.broker
    }

    /// The address (`host:port`) of the broker the error is about.
    pub fn address(&self) -> Option<&str> {
        self.0.address.as_deref()
    }

    /// The setting the error is about, by its Kafka name.
    pub fn setting(&self) -> Option<&str> {
        self.0.setting.as_deref()
    }

    /// Whether the same call may succeed if it is made again later.
    pub fn is_retriable(&self) -> bool {
        match self.0.kind {
            // The next connection may be made, the next answer may be in time.
            ErrorKind::Network | ErrorKind::Timeout | ErrorKind::QueueFull => true,
            // A refetch reads the bytes again; damage on the way is gone, damage on disk is not, so callers bound their tries.
            ErrorKind::Corrupt => true,
            // Kafka's own table says which codes pass by themselves.
            _ => self.0.code.is_some_and(ErrorCode::is_retriable),
        }
    }

    /// Whether the producer, consumer or group that returned it can't go on and must be made anew.
    pub fn is_fatal(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Fenced | ErrorKind::Closed | ErrorKind::Tls | ErrorKind::Authentication | ErrorKind::Thread
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &*self.0;
        escape(f, &e.message)?;
        if let Some(code) = e.code {
            write!(f, " [{code}]")?;
        }
        if let Some(topic) = &e.topic {
            f.write_str(", topic ")?;
            escape(f, topic)?;
        }
        if let Some(partition) = e.partition {
            write!(f, ", partition {partition}")?;
        }
        match (e.broker, &e.address) {
            (Some(id), Some(address)) => {
                write!(f, ", broker {id} at ")?;
                escape(f, address)?;
            }
            (None, Some(address)) => {
                f.write_str(", address ")?;
                escape(f, address)?;
            }
            (Some(id), None) => write!(f, ", broker {id}")?,
            (None, None) => {}
        }
        if let Some(setting) = &e.setting {
            write!(f, ", setting {setting}")?;
        }
        Ok(())
    }
}

/// Text from the network may hold terminal control codes, and no bound on its length.
fn escape(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars().take(1024) {
        if c.is_control() {
            write!(f, "{}", c.escape_default())?;
        } else {
            write!(f, "{c}")?;
        }
    }
    Ok(())
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_pointer_and_can_cross_threads() {
        fn assert_bounds<T: StdError + Send + Sync + Clone + 'static>() {}
        assert_bounds::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn text_from_the_network_is_escaped_and_cut() {
        let error = Error::new(ErrorKind::Broker, format!("\u{1b}[2J{}", "x".repeat(5000)));
        let text = error.to_string();
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.len() < 1100, "{}", text.len());
    }

    #[test]
    fn names_from_the_network_are_escaped_too() {
        let error = || Error::new(ErrorKind::Broker, "no");
        let hostile = "a\u{1b}[2J\r\nb";
        for error in [
            error().with_topic(hostile),
            error().with_broker(1, hostile),
            // One that is known by its address alone.
            error().with_broker(-1, hostile),
        ] {
            let text = error.to_string();
            assert!(!text.chars().any(char::is_control) && text.contains("[2J"), "{text:?}");
        }
    }

    #[test]
    fn display_names_topic_partition_broker_and_code() {
        let error = Error::from_code(ErrorCode::NOT_LEADER_OR_FOLLOWER, "fetch failed")
            .with_topic("t")
            .with_partition(3)
            .with_broker(1, "localhost:9092");
        assert_eq!(
            error.to_string(),
            "fetch failed [NOT_LEADER_OR_FOLLOWER (6)], topic t, partition 3, broker 1 at localhost:9092"
        );
        assert!(error.is_retriable());
    }
}
