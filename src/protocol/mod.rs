//! The Kafka wire protocol: primitives, messages. No I/O, no threads, no clock.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod any;
pub mod messages;
mod reader;
mod writer;

pub use any::{Api, Message, response_message};
pub use reader::Reader;
pub use writer::{Frame, Writer};

use crate::{Error, ErrorKind, Result};

/// A request body: which API it speaks, in which versions, and how it is written and read.
pub trait Request: Sized + Default + std::fmt::Debug {
    /// The API's number.
    const KEY: i16;
    /// The API's name, as in Kafka's documentation.
    const NAME: &'static str;
    /// The lowest version this crate can write.
    const MIN_VERSION: i16;
    /// The highest version this crate can write.
    const MAX_VERSION: i16;
    /// The first version with compact lengths and tagged fields (`i16::MAX` if there is none).
    const FLEXIBLE_VERSION: i16;
    /// Whether a field holds a password, a key or a token: no copy of it may stay in memory.
    const CARRIES_SECRETS: bool = false;
    /// The answer to it.
    type Response: Response;

    /// Writes the body.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<()>;
    /// Reads a body.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self>;
}

/// A response body.
pub trait Response: Sized + Default + std::fmt::Debug {
    /// Whether a field holds a password, a key or a token: no copy of it may stay in memory.
    const CARRIES_SECRETS: bool = false;

    /// How long the broker asks the client to be silent, in milliseconds (KIP-219); 0 where the answer has no such field.
    fn throttle_time_ms(&self) -> i32 {
        0
    }

    /// Asks the client to be silent for so many milliseconds; without effect where the answer has no such field.
    fn set_throttle_time_ms(&mut self, _throttle_time_ms: i32) {}

    /// Writes the body.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<()>;
    /// Reads a body.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self>;
}

/// The version of the request header that goes with a version of the body.
pub fn request_header_version<R: Request>(version: i16) -> i16 {
    if version >= R::FLEXIBLE_VERSION { 2 } else { 1 }
}

/// The version of the response header that goes with a version of the body.
pub fn response_header_version<R: Request>(version: i16) -> i16 {
    // A client must be able to read the answer to ApiVersions before it knows what the broker speaks (KIP-511).
    const API_VERSIONS: i16 = 18;
    i16::from(version >= R::FLEXIBLE_VERSION && R::KEY != API_VERSIONS)
}

/// Refuses a version that the schemas of this message do not have.
fn check_version(message: &str, version: i16, lowest: i16, highest: i16) -> Result<()> {
    if (lowest..=highest).contains(&version) {
        return Ok(());
    }
    let text = format!("{message} has no version {version}, only {lowest} to {highest}");
    Err(Error::new(ErrorKind::Unsupported, text))
}

/// The error for a value that would be lost, since the version has no such field.
#[cold]
fn not_in_version(field: &str, version: i16) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{field} can't be sent in version {version}"))
}

/// The value of a field that may be null in other versions.
fn required<'a, T>(value: &'a Option<T>, field: &str, version: i16) -> Result<&'a T> {
    let missing = || Error::new(ErrorKind::Unsupported, format!("{field} can't be null in version {version}"));
    value.as_ref().ok_or_else(missing)
}

/// Stands for a secret of this length in `Debug`.
struct Hidden(usize);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} bytes hidden>", self.0)
    }
}
