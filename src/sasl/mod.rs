//! SASL exchanges as pure state machines: bytes in, bytes out, no I/O and no clock.
//!
//! Both sides are here: the client's, whose bytes `net` moves, and the server's, for a broker in this process.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod exchange;
mod oauth;
pub(crate) mod plain;
pub(crate) mod scram;
mod settings;

pub(crate) use crate::config::Secret;
pub(crate) use exchange::{Exchange, Step};
pub use settings::{CredentialProvider, Credentials, OAuthBearerToken, OAuthBearerTokenProvider, Sasl};
