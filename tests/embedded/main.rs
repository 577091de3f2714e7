//! The library against the embedded cluster: what can go wrong, and what it makes of it.
//!
//! Tests are named after the scenarios they are about (C: connections, W: frames and messages, B: brokers and leaders,
//! R: record batches, O: offsets, T: topics, G: groups, M: commits, P: producing). Those that need no faults also run
//! against a real cluster if `SARAMEYA_BOOTSTRAP` names one, so that the two can be compared.

mod administration;
mod batches;
mod brokers;
mod commits;
mod connections;
mod data;
mod groups;
mod members;
mod offsets;
mod producing;
mod proxies;
mod proxy_server;
mod support;
mod topics;
mod wire;
