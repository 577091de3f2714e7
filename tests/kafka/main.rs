//! Tests against real Kafka, against scripted brokers and of the example programs.
//!
//! One binary, so that it is linked once and all tests share the clusters that `support` starts. A test that needs
//! Kafka begins with `require_kafka!()` and has the version in its name.

#[macro_use]
mod support;

mod admin_frozen;
mod admin_methods;
mod admin_operations;
mod admin_partial;
mod admin_quorum;
mod admin_tool_resets;
mod admin_tools;
mod administration;
mod authorization;
mod bad_input;
mod broker_faults;
mod captures;
mod consuming;
mod faulty_network;
mod group_members;
mod group_stop;
mod groups;
mod history;
mod members;
mod membership;
mod offset_faults;
mod producing;
mod programs;
mod security_sasl;
#[cfg(all(feature = "oidc", feature = "stores"))]
mod security_secrets;
mod security_tls;
mod versions;
