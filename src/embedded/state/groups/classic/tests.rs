//! Members of classic groups, asked over bytes, with time under control.

mod admin;
mod joining;
mod members;
mod moving;
mod orders;
mod support;
mod syncing;
