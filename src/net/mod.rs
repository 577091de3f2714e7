//! One blocking connection to one broker: TCP, proxies, TLS, SASL, framing, version negotiation, deadlines.
//!
//! A [`Connection`] has exactly one owner: a thread for its life, or a caller for one call. Nothing here is shared,
//! so nothing here is locked.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod aside;
mod authentication;
#[cfg(test)]
mod authentication_tests;
mod connection;
mod deadline;
mod dial;
mod dialer;
mod epoch;
mod inbox;
mod interrupt;
#[cfg(feature = "oidc")]
mod oidc;
mod proxy;
#[cfg(test)]
pub(crate) mod scripted;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod versions;
#[cfg(all(test, target_os = "linux"))]
mod wiped_tests;

#[cfg(feature = "fuzzing")]
pub(crate) use connection::answer_body;
pub(crate) use connection::{Connection, NetConfig, Peer, Security};
pub(crate) use deadline::Deadline;
pub use dialer::Dial;
pub(crate) use dialer::{Dialer, SocketSettings};
pub(crate) use epoch::Epoch;
#[cfg(feature = "fuzzing")]
pub(crate) use inbox::Inbox;
pub(crate) use interrupt::{Interrupt, Waker};
#[cfg(feature = "oidc")]
pub use oidc::OidcClientCredentials;
pub use proxy::Proxy;
pub(crate) use stream::Readiness;
#[cfg(feature = "embedded")]
pub(crate) use stream::wait_for;
#[cfg(feature = "tls")]
pub(crate) use tls::TlsConnector;
#[cfg(all(feature = "tls", feature = "fuzzing"))]
pub(crate) use tls::pem;
#[cfg(all(test, feature = "tls", target_os = "linux"))]
pub(crate) use tls::tests::in_front_of as tls_in_front_of;
#[cfg(all(feature = "tls", feature = "embedded"))]
pub(crate) use tls::{ServerIdentity, TlsAcceptor};
