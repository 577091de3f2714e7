//! Admin calls against scripted brokers.

mod brokers;
mod groups;
mod topics;
#[cfg(target_os = "linux")]
mod wiped;
mod world;
