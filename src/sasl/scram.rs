//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677), the client's side and what both sides share.
//!
//! The client proves that it knows the password without sending it, and the server that it knows the password's hash:
//!
//! ```text
//!     client                                        server
//!     n,,n=user,r=NONCE                  ────▶
//!                                        ◀────      r=NONCE+MORE,s=SALT,i=ITERATIONS
//!     c=biws,r=NONCE+MORE,p=PROOF        ────▶
//!                                        ◀────      v=SIGNATURE   or   e=why
//! ```
//!
//! A step consumes the state and returns the next one, so that nothing can be said twice or out of order.
//!
//! Passwords and names are taken as they are, in UTF-8, like Kafka's brokers, tools and Java client do. The RFC's SASLprep
//! would change some of them (a no-break space, a ligature), and Kafka would then refuse what its own tools accept.

mod server;
#[cfg(test)]
mod tests;

pub(crate) use server::{ScramChallenge, ScramCredential, ScramFirst};

use super::Secret;
use crate::{Error, ErrorKind, Result};
use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use std::fmt;
use std::ops::Deref;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Kafka's minimum; fewer make a stolen exchange cheap to try passwords on.
pub(crate) const MIN_ITERATIONS: u32 = 4096;
/// More would let a broker keep a processor of this machine busy for longer than a dial may take. Kafka's own maximum is
/// 16,384.
pub(crate) const MAX_ITERATIONS: u32 = 1_000_000;
/// Random bytes in a nonce; base64 makes 32 characters of them, none of which is a comma.
const NONCE_BYTES: usize = 24;
/// No message of an honest peer comes near; it bounds the work for a hostile one.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// The header for "no channel binding", and its base64 in the final message.
const GS2_HEADER: &str = "n,,";
const GS2_HEADER_BASE64: &str = "biws";
/// More than hashing a password takes of the stack.
const HASHING_STACK_BYTES: usize = 16 * 1024;

/// Which hash is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ScramMechanism {
    Sha256,
    Sha512,
}

/// The client before the server's first message.
#[derive(Debug)]
pub(crate) struct ScramClient {
    mechanism: ScramMechanism,
    password: Secret,
    nonce: String,
    first_bare: String,
}

/// The server's first message.
struct Challenge<'a> {
    text: &'a str,
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

/// The client before the server's final message.
#[derive(Debug)]
pub(crate) struct ScramVerifier {
    mechanism: ScramMechanism,
    expected: Key,
}

/// A derived key or a proof: as good as the password for one server. Hidden when printed, wiped when dropped.
#[derive(Clone)]
pub(crate) struct Key(Zeroizing<Vec<u8>>);

impl ScramClient {
    /// Begins an exchange, and returns the first message. `token` says that user and password are the id and the HMAC of a
    /// delegation token (KIP-48).
    pub(crate) fn start(
        mechanism: ScramMechanism,
        user: &str,
        password: &Secret,
        token: bool,
    ) -> Result<(Self, Vec<u8>)> {
        let nonce = random_nonce()?;
        Self::start_with(mechanism, user, password, token, nonce)
    }

    pub(crate) fn start_with(
        mechanism: ScramMechanism,
        user: &str,
        password: &Secret,
        token: bool,
        nonce: String,
    ) -> Result<(Self, Vec<u8>)> {
        if user.is_empty() || password.is_empty() {
            return Err(Error::new(
                ErrorKind::Authentication,
                format!("{} needs a user and a password", mechanism.name()),
            ));
        }
        let mut first_bare = format!("n={},r={nonce}", escape(user));
        if token {
            first_bare.push_str(",tokenauth=true");
        }
        let message = format!("{GS2_HEADER}{first_bare}").into_bytes();
        Ok((Self { mechanism, password: password.clone(), nonce, first_bare }, message))
    }

    /// Takes the server's first message and returns the client's final one. A server that does not keep to the rules is
    /// refused before the password is worked on.
    pub(crate) fn server_first(self, message: &[u8]) -> Result<(ScramVerifier, Vec<u8>)> {
        let mechanism = self.mechanism;
        let challenge = self.read_challenge(message).map_err(|why| refused(mechanism, &why))?;
        let salted = mechanism.salted_password(self.password.expose(), &challenge.salt, challenge.iterations);
        let without_proof = format!("c={GS2_HEADER_BASE64},r={}", challenge.nonce);
        let auth_message = format!("{},{},{without_proof}", self.first_bare, challenge.text);
        let client_key = mechanism.client_key(&salted);
        let signature = mechanism.hmac(&mechanism.hash(&client_key), auth_message.as_bytes());
        let proof = client_key.xor(&signature).ok_or_else(|| refused(mechanism, "the proof has no length"))?;
        let expected = mechanism.hmac(&mechanism.server_key(&salted), auth_message.as_bytes());
        let message = format!("{without_proof},p={}", Base64::encode_string(&proof)).into_bytes();
        Ok((ScramVerifier { mechanism, expected }, message))
    }

    /// Whether it would go to work for this challenge, which takes time.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn takes(&self, message: &[u8]) -> bool {
        self.read_challenge(message).is_ok()
    }

    fn read_challenge<'a>(&self, message: &'a [u8]) -> Result<Challenge<'a>, String> {
        let text = text(message)?;
        let mut attributes = Attributes(Some(text));
        let nonce = attributes.take('r')?;
        let extended = nonce.strip_prefix(&self.nonce).is_some_and(|more| !more.is_empty());
        if !extended || !nonce.bytes().all(|b| matches!(b, 0x21..=0x7e)) {
            return Err("the server's nonce does not extend this client's".into());
        }
        let salt = Base64::decode_vec(attributes.take('s')?).map_err(|_| "the salt is not base64")?;
        if salt.is_empty() {
            return Err("the salt is empty".into());
        }
        let iterations = attributes.take('i')?;
        let iterations = checked_iterations(iterations).ok_or_else(|| {
            format!("{iterations:?} iterations are asked for; allowed are {MIN_ITERATIONS} to {MAX_ITERATIONS}")
        })?;
        attributes.finish()?;
        Ok(Challenge { text, nonce, salt, iterations })
    }
}

impl ScramVerifier {
    /// Knows the signature without an exchange, which takes time.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn expecting(mechanism: ScramMechanism, expected: Key) -> Self {
        Self { mechanism, expected }
    }

    /// Takes the server's final message; only `Ok` means that the server knows the password too.
    pub(crate) fn server_final(self, message: &[u8]) -> Result<()> {
        self.verify(message).map_err(|why| refused(self.mechanism, &why))
    }

    fn verify(&self, message: &[u8]) -> Result<(), String> {
        let text = text(message)?;
        if let Some(why) = text.strip_prefix("e=") {
            return Err(format!("the server says {}", why.split(',').next().unwrap_or_default()));
        }
        let mut attributes = Attributes(Some(text));
        let signature =
            Base64::decode_vec(attributes.take('v')?).map_err(|_| "the server's signature is not base64")?;
        attributes.finish()?;
        if !self.expected.is_same(&signature) {
            return Err("the server's signature is wrong: it does not know the password".into());
        }
        Ok(())
    }
}

impl ScramMechanism {
    /// Its name in the protocol and in `sasl.mechanism`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// The mechanism of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// `Hi` of the RFC: what a server keeps keys of instead of the password, and what `AlterUserScramCredentials` carries.
    pub(crate) fn salted_password(self, password: &str, salt: &[u8], iterations: u32) -> Key {
        let mut salted = Zeroizing::new(vec![0; self.bytes()]);
        match self {
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, &mut salted),
            Self::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(password.as_bytes(), salt, iterations, &mut salted),
        }
        wipe_stack();
        Key(salted)
    }

    fn client_key(self, salted_password: &[u8]) -> Key {
        self.hmac(salted_password, b"Client Key")
    }

    fn server_key(self, salted_password: &[u8]) -> Key {
        self.hmac(salted_password, b"Server Key")
    }

    fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn hash(self, data: &[u8]) -> Key {
        Key::new(match self {
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        })
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Key {
        Key::new(match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, data),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, data),
        })
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn mac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mac = M::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.chain_update(data).finalize().into_bytes().to_vec()
}

/// Writes over what the functions called just before have left below on the stack: hashes on their way, which the hashing
/// crates wipe in part.
#[inline(never)]
fn wipe_stack() {
    let mut left = [0; HASHING_STACK_BYTES];
    left.zeroize();
}

impl Key {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Compares without telling by the time it takes where the first difference is.
    fn is_same(&self, other: &[u8]) -> bool {
        self.0.as_slice().ct_eq(other).into()
    }

    /// `self XOR other`; `None` if they differ in length.
    fn xor(mut self, other: &[u8]) -> Option<Self> {
        if self.0.len() != other.len() {
            return None;
        }
        self.0.iter_mut().zip(other).for_each(|(a, b)| *a ^= b);
        Some(self)
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// What is left of a message: attributes like `r=value` with commas between them, in an order the RFC fixes.
#[derive(Debug, Clone, Copy)]
struct Attributes<'a>(Option<&'a str>);

impl<'a> Attributes<'a> {
    /// The next attribute, which must be `name`. It may be followed by others, but by no empty one.
    fn take(&mut self, name: char) -> Result<&'a str, String> {
        let text = self.0.unwrap_or_default();
        let value = text.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
        let value = value.ok_or_else(|| format!("an attribute {name} is missing"))?;
        let (value, rest) = value.split_once(',').map_or((value, None), |(value, rest)| (value, Some(rest)));
        self.0 = rest;
        Ok(value)
    }

    /// Checks that only optional extensions are left, which are ignored.
    fn finish(self) -> Result<(), String> {
        let well_formed = |extension: &str| {
            let (name, value) = extension.split_once('=').unwrap_or_default();
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic()) && !value.is_empty()
        };
        match self.0 {
            Some(rest) if !rest.split(',').all(well_formed) => Err("an extension is malformed".into()),
            _ => Ok(()),
        }
    }
}

fn text(message: &[u8]) -> Result<&str, String> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(format!("a message of {} bytes", message.len()));
    }
    std::str::from_utf8(message).map_err(|_| "a message is not UTF-8".into())
}

fn checked_iterations(text: &str) -> Option<u32> {
    // Not all that Rust reads as a number is one here: a sign is not.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let iterations = text.parse().ok().filter(|_| digits)?;
    (MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations).then_some(iterations)
}

/// Characters that separate attributes can't stand in a name.
fn escape(user: &str) -> String {
    user.replace('=', "=3D").replace(',', "=2C")
}

fn random_nonce() -> Result<String> {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Authentication, format!("no random numbers for a nonce: {error}")))?;
    Ok(Base64::encode_string(&bytes))
}

fn refused(mechanism: ScramMechanism, why: &str) -> Error {
    Error::new(ErrorKind::Authentication, format!("{}: {why}", mechanism.name()))
}
