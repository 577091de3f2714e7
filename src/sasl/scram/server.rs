//! SCRAM, the server's side.

use super::{Attributes, Key, MAX_ITERATIONS, MIN_ITERATIONS, ScramMechanism, random_nonce, refused, text};
use crate::Result;
use base64ct::{Base64, Encoding};

/// What a server keeps of a password. Who steals it can pose as the server, but not as the client.
#[derive(Debug, Clone)]
pub(crate) struct ScramCredential {
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
    pub(crate) stored_key: Key,
    pub(crate) server_key: Key,
}

/// A client's first message.
#[derive(Debug)]
pub(crate) struct ScramFirst {
    mechanism: ScramMechanism,
    user: String,
    authorization_id: Option<String>,
    token: bool,
    nonce: String,
    /// The GS2 header, which the final message repeats.
    header: String,
    bare: String,
}

/// The server before the client's final message.
#[derive(Debug)]
pub(crate) struct ScramChallenge {
    mechanism: ScramMechanism,
    credential: ScramCredential,
    nonce: String,
    header: String,
    /// Both first messages, as they go into what is signed.
    signed: String,
}

impl ScramCredential {
    /// From the salted password, as `AlterUserScramCredentials` carries it. Its caller checks the iterations.
    pub(crate) fn from_salted_password(
        mechanism: ScramMechanism,
        salted_password: &[u8],
        salt: Vec<u8>,
        iterations: u32,
    ) -> Self {
        Self {
            salt,
            iterations,
            stored_key: mechanism.hash(&mechanism.client_key(salted_password)),
            server_key: mechanism.server_key(salted_password),
        }
    }

    /// From the password, which costs the iterations.
    pub(crate) fn from_password(mechanism: ScramMechanism, password: &str, salt: Vec<u8>, iterations: u32) -> Self {
        debug_assert!((MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations), "clients will refuse {iterations}");
        let salted = mechanism.salted_password(password, &salt, iterations);
        Self::from_salted_password(mechanism, &salted, salt, iterations)
    }
}

impl ScramFirst {
    /// Reads a client's first message.
    pub(crate) fn read(mechanism: ScramMechanism, message: &[u8]) -> Result<Self> {
        Self::parse(mechanism, message).map_err(|why| refused(mechanism, &why))
    }

    fn parse(mechanism: ScramMechanism, message: &[u8]) -> Result<Self, String> {
        let text = text(message)?;
        let rest = text.strip_prefix("n,").ok_or("channel binding is not supported")?;
        let (authorization_id, bare) = rest.split_once(',').ok_or("the first message is not complete")?;
        let authorization_id = match authorization_id {
            "" => None,
            id => Some(unescape(id.strip_prefix("a=").ok_or("the authorization id is malformed")?)?),
        };
        let header = text.strip_suffix(bare).unwrap_or_default().to_owned();
        let mut attributes = Attributes(Some(bare));
        let user = unescape(attributes.take('n')?)?;
        let nonce = attributes.take('r')?.to_owned();
        if user.is_empty() || nonce.is_empty() || !nonce.bytes().all(|b| matches!(b, 0x21..=0x7e)) {
            return Err("the user or the nonce is empty or not printable".into());
        }
        attributes.finish()?;
        let extensions = attributes.0.unwrap_or_default();
        let token = extensions.split(',').any(|extension| extension.eq_ignore_ascii_case("tokenauth=true"));
        Ok(Self { mechanism, user, authorization_id, token, nonce, header, bare: bare.to_owned() })
    }

    /// Who wants to prove an identity; the id of a delegation token if [`is_token`](Self::is_token).
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// Whom the client wants to act for, if it says so; Kafka refuses all but the user itself.
    pub(crate) fn authorization_id(&self) -> Option<&str> {
        self.authorization_id.as_deref()
    }

    /// Whether the user is the id of a delegation token, and the password its HMAC in base64.
    pub(crate) fn is_token(&self) -> bool {
        self.token
    }

    /// Asks for proof: the state to go on with, and the server's first message.
    pub(crate) fn challenge(self, credential: ScramCredential) -> Result<(ScramChallenge, Vec<u8>)> {
        let more = random_nonce()?;
        Ok(self.challenge_with(credential, &more))
    }

    pub(crate) fn challenge_with(self, credential: ScramCredential, more: &str) -> (ScramChallenge, Vec<u8>) {
        let nonce = format!("{}{more}", self.nonce);
        let salt = Base64::encode_string(&credential.salt);
        let message = format!("r={nonce},s={salt},i={}", credential.iterations);
        let signed = format!("{},{message}", self.bare);
        (
            ScramChallenge { mechanism: self.mechanism, credential, nonce, header: self.header, signed },
            message.into_bytes(),
        )
    }
}

impl ScramChallenge {
    /// Takes the client's final message. `Ok` is the server's final one: the client has proved that it knows the password.
    pub(crate) fn finish(self, message: &[u8]) -> Result<Vec<u8>> {
        self.verify(message).map_err(|why| refused(self.mechanism, &why))
    }

    fn verify(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let text = text(message)?;
        let mut attributes = Attributes(Some(text));
        if attributes.take('c')? != Base64::encode_string(self.header.as_bytes()) {
            return Err("the channel binding is not the one of the first message".into());
        }
        if attributes.take('r')? != self.nonce {
            return Err("the nonce is not the server's".into());
        }
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or("an attribute p is missing")?;
        let proof = Base64::decode_vec(proof).map_err(|_| "the proof is not base64")?;
        let signed = format!("{},{without_proof}", self.signed);
        let signature = self.mechanism.hmac(&self.credential.stored_key, signed.as_bytes());
        let client_key = signature.xor(&proof).ok_or("the proof has a wrong length")?;
        if !self.mechanism.hash(&client_key).is_same(&self.credential.stored_key) {
            return Err("the proof is wrong".into());
        }
        let signature = self.mechanism.hmac(&self.credential.server_key, signed.as_bytes());
        Ok(format!("v={}", Base64::encode_string(&signature)).into_bytes())
    }
}

/// The name that was escaped to stand between commas.
fn unescape(name: &str) -> Result<String, String> {
    let mut parts = name.split('=');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (c, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err("a name holds = without 2C or 3D".into()),
        };
        plain.push(c);
        plain.push_str(rest);
    }
    Ok(plain)
}
