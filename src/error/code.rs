//! Kafka's error codes.

use super::ErrorKind;
use std::fmt;

/// An error code of the Kafka protocol. Unknown codes keep their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// No error.
    pub const NONE: Self = Self(0);
    /// Not the leader.
    pub const NOT_LEADER_OR_FOLLOWER: Self = Self(6);

    /// Whether Kafka counts it among the errors that may pass when the request is repeated.
    pub fn is_retriable(self) -> bool {
        self == Self::NOT_LEADER_OR_FOLLOWER
    }

    pub(crate) fn kind(self) -> ErrorKind {
        ErrorKind::Broker
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NOT_LEADER_OR_FOLLOWER ({})", self.0)
    }
}
