//! SASL over a connection: right after the versions, and again before the broker's limit for a session (KIP-368).

use super::{Connection, Deadline};
use crate::protocol::messages::sasl_authenticate::SaslAuthenticateRequest;
use crate::protocol::messages::sasl_handshake::SaslHandshakeRequest;
use crate::sasl::{Exchange, Sasl, Step};
use crate::{Error, ErrorCode, ErrorKind, Result};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// The version from which on the exchange goes in requests of its own (KIP-152), as all brokers from 1.0 on have it.
const HANDSHAKE_VERSION: i16 = 1;
/// Answers before and during SASL are small; a broker that has proved nothing yet gets no more memory than this.
pub(super) const UNPROVED_RESPONSE_BYTES: usize = 512 * 1024;
/// A session is renewed at this part of its lifetime, and up to [`RENEWAL_SPREAD`] later, like Kafka's own clients do it,
/// so that many clients that began together do not renew together.
const RENEWAL: f64 = 0.85;
const RENEWAL_SPREAD: f64 = 0.10;

impl Connection {
    /// Proves to the broker who this client is. Nothing else may be outstanding. Any failure is the connection's end.
    pub(super) fn authenticate(&mut self, sasl: &Sasl, deadline: Deadline) -> Result<()> {
        let limit = self.set_max_response_bytes(UNPROVED_RESPONSE_BYTES);
        let outcome = self.authenticate_limited(sasl, deadline);
        self.set_max_response_bytes(limit);
        let renewal = outcome.map_err(|error| self.broke(error))?;
        log::debug!("{}: authenticated with {}", self.peer().address(), sasl.mechanism());
        self.set_renewal(renewal);
        Ok(())
    }

    /// Returns when to do it again.
    fn authenticate_limited(&mut self, sasl: &Sasl, deadline: Deadline) -> Result<Option<Instant>> {
        // The session begins no later than the broker thinks it does.
        let begun = Instant::now();
        self.agree_on_mechanism(sasl.mechanism(), deadline)?;
        let (mut exchange, mut message) = Exchange::start(sasl)?;
        loop {
            let request = SaslAuthenticateRequest { auth_bytes: Bytes::from_owner(message) };
            let version = self.version::<SaslAuthenticateRequest>()?;
            self.write_request(&request, version, true, deadline)?;
            let response = self.receive::<SaslAuthenticateRequest>(deadline)?;
            match ErrorCode(response.error_code) {
                ErrorCode::NONE => {}
                code => {
                    let words = exchange.explain(response.error_message.as_deref().unwrap_or_default());
                    return Err(Error::from_code(code, format!("{}: {words}", sasl.mechanism())));
                }
            }
            match exchange.step(&response.auth_bytes)? {
                Step::Done => return Ok(renewal(begun, response.session_lifetime_ms, fastrand::f64())),
                Step::Reply(next, reply) => (exchange, message) = (next, reply),
            }
        }
    }

    fn agree_on_mechanism(&mut self, mechanism: &str, deadline: Deadline) -> Result<()> {
        let version = self.version::<SaslHandshakeRequest>()?;
        if version < HANDSHAKE_VERSION {
            return Err(Error::new(ErrorKind::Unsupported, "the broker is too old for SASL as this client speaks it"));
        }
        let request = SaslHandshakeRequest { mechanism: mechanism.to_owned() };
        self.write_request(&request, version, true, deadline)?;
        let response = self.receive::<SaslHandshakeRequest>(deadline)?;
        match ErrorCode(response.error_code) {
            ErrorCode::NONE => Ok(()),
            ErrorCode::UNSUPPORTED_SASL_MECHANISM => {
                let has = response.mechanisms.join(", ");
                let message = format!("the broker does not take {mechanism} here; it takes: {has}");
                Err(Error::from_code(ErrorCode::UNSUPPORTED_SASL_MECHANISM, message).with_setting("sasl.mechanism"))
            }
            // It answers so on a listener without SASL.
            code => Err(Error::from_code(code, format!("the broker refuses to begin {mechanism}"))
                .with_setting("security.protocol")),
        }
    }
}

/// When a session that began at `begun` is to be renewed; never if the broker sets no limit.
fn renewal(begun: Instant, lifetime_ms: i64, random: f64) -> Option<Instant> {
    let lifetime = u64::try_from(lifetime_ms).ok().filter(|ms| *ms > 0)?;
    // A limit beyond a year is none.
    const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
    let lifetime = Duration::from_millis(lifetime.min(YEAR_MS));
    begun.checked_add(lifetime.mul_f64(RENEWAL + RENEWAL_SPREAD * random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s7_a_session_is_renewed_before_it_ends() {
        let begun = Instant::now();
        let after = |ms| Some(begun + Duration::from_millis(ms));
        for (lifetime, random, expected) in
            [(0, 0.5, None), (-1, 0.5, None), (1000, 0.0, after(850)), (1000, 1.0, after(950)), (1, 1.0, after(0))]
        {
            let at = renewal(begun, lifetime, random);
            let close = |a: Instant, b: Instant| a.max(b) - a.min(b) < Duration::from_millis(1);
            assert!(at.zip(expected).map_or(at == expected, |(a, b)| close(a, b)), "{lifetime} {random}: {at:?}");
        }
        let endless = renewal(begun, i64::MAX, 1.0).unwrap();
        assert!(endless - begun < Duration::from_secs(365 * 24 * 3600), "a year stands for it");
    }
}
