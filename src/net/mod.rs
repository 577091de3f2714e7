//! One blocking connection to one broker: TCP, framing, version negotiation, deadlines.
//!
//! A [`Connection`] has exactly one owner: a thread for its life, or a caller for one call. Nothing here is shared,
//! so nothing here is locked.

mod connection;
mod deadline;
mod dial;
mod interrupt;
#[cfg(test)]
pub(crate) mod scripted;
mod stream;
#[cfg(test)]
mod tests;
mod versions;

pub(crate) use connection::{Connection, NetConfig, Peer};
pub(crate) use deadline::Deadline;
pub(crate) use interrupt::{Interrupt, Waker};
pub(crate) use stream::Readiness;
#[cfg(feature = "embedded")]
pub(crate) use stream::wait_for;
