//! A Kafka cluster inside this process: for a first run, for tests, for programs that are tried out.
//!
//! [`Cluster`] starts brokers on loopback ports that speak the real protocol, with all their state in memory. Any Kafka
//! client can talk to them, this crate's or another's.
//!
//! ```
//! use sarameya::embedded::Cluster;
//! use sarameya::Client;
//!
//! let cluster = Cluster::start(3)?;
//! cluster.create_topic("test3", 3)?;
//! let client = Client::connect(cluster.bootstrap_servers())?;
//! # Ok::<(), sarameya::Error>(())
//! ```
//!
//! It is no engine for production: nothing is kept on disk, and all replicas of a partition are one log in memory. It is
//! there with the feature `embedded`.
//!
//! How to test a program with it, with two complete tests: [`testing`].
//!
//! # Inside
//!
//! `state/` is what the brokers know and do: pure, asked by `core`, which has the lock, the clock and the parked
//! requests. `server` accepts connections, `connection` serves one; `wire` moves its bytes and `link` is how the core
//! reaches it. `faults/` keeps what is to go wrong and what was seen.

#[allow(clippy::test_attr_in_doctest, reason = "they are tests to be copied; each is also called, so that it runs")]
pub mod testing {
    #![doc = include_str!("testing.md")]
}

mod builder;
mod clock;
mod cluster;
mod connection;
mod core;
mod faults;
mod groups;
mod link;
mod listener;
mod memory;
mod port;
mod records;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

pub use builder::ClusterBuilder;
pub use cluster::Cluster;
pub use faults::{Garble, Intercept, ReceivedRequest};
pub use groups::{CommittedOffset, GroupMember};
pub use listener::Listener;
pub use records::StoredRecord;
