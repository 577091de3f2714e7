//! TLS by rustls: what is trusted and shown ([`connector`]), and one connection's session as a machine that turns bytes
//! into other bytes ([`session`]); [`Stream`](super::stream::Stream) moves them.

#[cfg(feature = "embedded")]
mod acceptor;
mod connector;
pub(crate) mod pem;
pub(super) mod provider;
mod session;
mod store;
#[cfg(test)]
pub(super) mod tests;
mod verifier;

#[cfg(feature = "embedded")]
pub(crate) use acceptor::{ServerIdentity, TlsAcceptor};
pub(crate) use connector::TlsConnector;
pub(super) use session::Session;
