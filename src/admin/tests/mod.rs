//! Admin calls against scripted brokers.

mod brokers;
mod groups;
mod topics;
mod world;
