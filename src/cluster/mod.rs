//! What is known of the cluster: brokers, topics, leaders, coordinators, and connections to them.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod brokers;
mod builder;
mod client;
mod coordinator;
mod metadata;
mod pace;
mod recovery;
mod snapshot;
#[cfg(test)]
mod tests;

pub use builder::ClientBuilder;
pub use client::Client;
pub(crate) use client::{Core, TopicUse};
pub(crate) use coordinator::CoordinatorType;
pub use recovery::MetadataRecovery;
pub(crate) use snapshot::{Leader, Snapshot};
