//! A synchronous, blocking Apache Kafka client: OS threads and channels, no async runtime.
#![forbid(unsafe_code)]

mod backoff;
pub mod batch;
mod cluster;
mod config;
mod error;
mod group;
mod net;
pub mod protocol;
mod record;

pub use cluster::{Client, ClientBuilder};
pub use config::Properties;
pub use error::{Error, ErrorCode, ErrorKind, Result};
pub use group::{Assignment, Assignor, GroupAssignment, GroupMember, RangeAssignor, RoundRobinAssignor};
pub use record::{ConsumerRecord, Header, ProducerRecord, TimestampType};
