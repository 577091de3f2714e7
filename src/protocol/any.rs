//! Messages of any API, chosen by number at run time: for servers, tools and tests.

use super::messages::{APIS, ApiKey};
use super::{Reader, Request, Response, Writer};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::any::Any;
use std::fmt::Debug;

/// A request or response body whose type is known at run time only.
pub trait Message: Debug + Send {
    /// Writes the body.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<()>;
    /// For getting at the concrete type.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
    /// For changing the concrete type.
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// A response asks the client to be silent for so many milliseconds; without effect where there is no such field.
    fn set_throttle_time_ms(&mut self, _throttle_time_ms: i32) {}
}

type Decode = fn(&mut Reader, i16) -> Result<Box<dyn Message>>;

/// An API: its number, name and versions, and how its messages are read.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    /// The number.
    pub key: ApiKey,
    /// The name, as in Kafka's documentation.
    pub name: &'static str,
    /// The lowest version.
    pub min_version: i16,
    /// The highest version.
    pub max_version: i16,
    /// The first version with compact lengths and tagged fields (`i16::MAX` if there is none).
    pub flexible_version: i16,
    request: Decode,
    response: Decode,
}

impl Api {
    /// Every API that has messages, in the order of the numbers.
    pub fn all() -> &'static [Self] {
        &APIS
    }

    /// The API of this number.
    pub fn find(key: ApiKey) -> Result<&'static Self> {
        let at = APIS.binary_search_by_key(&key, |api| api.key);
        at.ok().and_then(|at| APIS.get(at)).ok_or_else(|| {
            let name = key.name().unwrap_or("unknown");
            Error::new(ErrorKind::Unsupported, format!("no messages for API {} ({name})", key.0))
        })
    }

    /// Reads the body of a request. What follows it in `bytes` is ignored, as Kafka's brokers do: librdkafka's request for
    /// the metadata of all topics has such bytes.
    pub fn decode_request(&self, version: i16, bytes: Bytes) -> Result<Box<dyn Message>> {
        (self.request)(&mut Reader::new(bytes), version)
    }

    /// Reads the body of a response, all of `bytes`.
    pub fn decode_response(&self, version: i16, bytes: Bytes) -> Result<Box<dyn Message>> {
        whole(self.response, version, bytes)
    }

    /// A request with made-up values; see [`Reader::inventing`].
    #[cfg(test)]
    pub(crate) fn invent_request(&self, version: i16, reader: &mut Reader) -> Box<dyn Message> {
        (self.request)(reader, version).expect("what is made up can be read")
    }

    pub(super) const fn of<R>() -> Self
    where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        Self {
            key: ApiKey(R::KEY),
            name: R::NAME,
            min_version: R::MIN_VERSION,
            max_version: R::MAX_VERSION,
            flexible_version: R::FLEXIBLE_VERSION,
            request: |reader, version| Ok(Box::new(OfRequest(R::decode(reader, version)?))),
            response: |reader, version| Ok(Box::new(OfResponse(R::Response::decode(reader, version)?))),
        }
    }
}

/// A response as a message whose type is known at run time only.
pub fn response_message<R: Response + Send + 'static>(response: R) -> Box<dyn Message> {
    Box::new(OfResponse(response))
}

fn whole(decode: Decode, version: i16, bytes: Bytes) -> Result<Box<dyn Message>> {
    let mut reader = Reader::new(bytes);
    let message = decode(&mut reader, version)?;
    reader.finish()?;
    Ok(message)
}

// Two wrappers, since one type could be both a request and a response as far as the compiler knows.
#[derive(Debug)]
struct OfRequest<R>(R);

impl<R: Request + Send + 'static> Message for OfRequest<R> {
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<()> {
        self.0.encode(writer, version)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        Box::new(self.0)
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        &mut self.0
    }
}

#[derive(Debug)]
struct OfResponse<R>(R);

impl<R: Response + Send + 'static> Message for OfResponse<R> {
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<()> {
        self.0.encode(writer, version)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        Box::new(self.0)
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        &mut self.0
    }

    fn set_throttle_time_ms(&mut self, throttle_time_ms: i32) {
        self.0.set_throttle_time_ms(throttle_time_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, MetadataRequest};
    use super::super::messages::{InitProducerIdRequest, SaslAuthenticateRequest};
    use super::*;

    /// Every API, version and direction, with what reads it.
    fn every_message() -> impl Iterator<Item = (String, i16, Decode)> {
        Api::all().iter().flat_map(|api| {
            (api.min_version..=api.max_version).flat_map(|version| {
                [("request", api.request), ("response", api.response)]
                    .map(|(side, decode)| (format!("{} {side} v{version}", api.name), version, decode))
            })
        })
    }

    fn encoded(message: &dyn Message, version: i16) -> Bytes {
        let mut writer = Writer::new();
        message.encode(&mut writer, version).unwrap();
        writer.into_bytes().into()
    }

    #[test]
    fn every_message_survives_a_round_trip() {
        for (name, version, decode) in every_message() {
            for seed in 0..8 {
                let message = decode(&mut Reader::inventing(seed), version).unwrap();
                let bytes = encoded(&*message, version);
                let again = whole(decode, version, bytes.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(format!("{message:?}"), format!("{again:?}"), "{name}");
                // `Debug` hides secrets and prints all NaNs alike, the bytes do not.
                assert_eq!(bytes, encoded(&*again, version), "{name}");
            }
        }
    }

    #[test]
    fn w10_every_truncation_is_refused() {
        for (name, version, decode) in every_message() {
            let bytes = encoded(&*decode(&mut Reader::inventing(3), version).unwrap(), version);
            let step = bytes.len() / 32 + 1;
            for end in (0..bytes.len()).step_by(step) {
                assert!(whole(decode, version, bytes.slice(..end)).is_err(), "{name} cut at {end}");
            }
        }
    }

    #[test]
    fn w10_random_bytes_never_panic() {
        let mut rng = fastrand::Rng::with_seed(17);
        for (_, version, decode) in every_message() {
            for _ in 0..20 {
                // Small values make plausible lengths, so that reading gets further.
                let limit = rng.choice([3, 16, 255]).unwrap_or(255);
                let bytes: Vec<u8> = (0..rng.usize(..200)).map(|_| rng.u8(..=limit)).collect();
                if let Ok(message) = decode(&mut Reader::new(bytes), version) {
                    // A nullable structure may have come as any non-negative byte, so only writing is certain.
                    encoded(&*message, version);
                }
            }
        }
    }

    #[test]
    fn a_response_can_be_told_to_throttle() {
        for api in Api::all() {
            let mut message = (api.response)(&mut Reader::inventing(5), api.max_version).unwrap();
            message.set_throttle_time_ms(1234567);
            let text = format!("{message:?}");
            assert_eq!(text.contains("throttle_time_ms"), text.contains("throttle_time_ms: 1234567"), "{}", api.name);
            encoded(&*message, api.max_version);
        }
    }

    #[test]
    fn embedded_protocols_survive_a_round_trip() {
        for version in ConsumerProtocolSubscription::MIN_VERSION..=ConsumerProtocolSubscription::MAX_VERSION {
            for seed in 0..8 {
                let reader = &mut Reader::inventing(seed);
                let subscription = ConsumerProtocolSubscription::decode(reader, version).unwrap();
                let assignment = ConsumerProtocolAssignment::decode(reader, version).unwrap();
                let mut writer = Writer::new();
                subscription.encode(&mut writer, version).unwrap();
                assignment.encode(&mut writer, version).unwrap();
                let mut reader = Reader::new(writer.into_bytes());
                assert_eq!(ConsumerProtocolSubscription::decode(&mut reader, version).unwrap(), subscription);
                assert_eq!(ConsumerProtocolAssignment::decode(&mut reader, version).unwrap(), assignment);
                reader.finish().unwrap();
            }
        }
    }

    #[test]
    fn values_a_version_can_not_carry_are_refused_by_name() {
        let refused = |error: Error, field: &str| {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(field), "{error}");
        };
        let create = MetadataRequest { allow_auto_topic_creation: false, ..Default::default() };
        refused(create.encode(&mut Writer::new(), 3).unwrap_err(), "MetadataRequest.allow_auto_topic_creation");
        create.encode(&mut Writer::new(), 4).unwrap();
        let all = MetadataRequest { topics: None, ..Default::default() };
        refused(all.encode(&mut Writer::new(), 0).unwrap_err(), "MetadataRequest.topics");
        all.encode(&mut Writer::new(), 1).unwrap();
        refused(all.encode(&mut Writer::new(), 14).unwrap_err(), "no version 14");
    }

    #[test]
    fn a_request_has_the_bytes_kafka_documents() {
        let request = InitProducerIdRequest {
            transactional_id: Some("tx".into()),
            transaction_timeout_ms: 0x01020304,
            producer_id: 5,
            producer_epoch: 6,
        };
        let bytes = |version| {
            let mut writer = Writer::new();
            request.encode(&mut writer, version).unwrap();
            writer.into_bytes()
        };
        assert_eq!(bytes(4), [3, b't', b'x', 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 6, 0]);
        assert!(request.encode(&mut Writer::new(), 1).is_err(), "version 1 has no producer id");
    }

    #[test]
    fn apis_are_found_by_number_and_secrets_are_not_shown() {
        assert!(Api::all().is_sorted_by(|a, b| a.key < b.key));
        assert_eq!(Api::find(ApiKey::FETCH).unwrap().name, "Fetch");
        assert!(Api::find(ApiKey(4)).unwrap_err().to_string().contains("LeaderAndIsr"));
        assert!(Api::find(ApiKey(-1)).is_err());
        let request = SaslAuthenticateRequest { auth_bytes: Bytes::from_static(b"hunter2") };
        assert_eq!(format!("{request:?}"), "SaslAuthenticateRequest { auth_bytes: <7 bytes hidden> }");
        let message = Api::find(ApiKey::SASL_AUTHENTICATE).unwrap().decode_request(0, Bytes::from_static(&[0; 4]));
        assert!(message.unwrap().into_any().downcast::<SaslAuthenticateRequest>().is_ok());
    }

    #[test]
    fn x10_no_message_shows_a_secret() {
        use crate::protocol::messages::{
            alter_user_scram_credentials as scram, describe_delegation_token as describe, *,
        };
        let secret = || Bytes::from_static(b"hunter2");
        let upsertion =
            scram::ScramCredentialUpsertion { salt: secret(), salted_password: secret(), ..Default::default() };
        let token = describe::DescribedDelegationToken { hmac: secret(), ..Default::default() };
        for (message, secrets) in [
            (&SaslAuthenticateRequest { auth_bytes: secret() } as &dyn Debug, 1),
            (&SaslAuthenticateResponse { auth_bytes: secret(), ..Default::default() }, 1),
            (&CreateDelegationTokenResponse { hmac: secret(), ..Default::default() }, 1),
            (&RenewDelegationTokenRequest { hmac: secret(), ..Default::default() }, 1),
            (&ExpireDelegationTokenRequest { hmac: secret(), ..Default::default() }, 1),
            (&DescribeDelegationTokenResponse { tokens: vec![token], ..Default::default() }, 1),
            (&AlterUserScramCredentialsRequest { upsertions: vec![upsertion], ..Default::default() }, 2),
        ] {
            let shown = format!("{message:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            assert_eq!(shown.matches("<7 bytes hidden>").count(), secrets, "{shown}");
        }
    }

    #[test]
    fn bytes_after_a_request_are_ignored_and_after_a_response_refused() {
        let api = Api::find(ApiKey::METADATA).unwrap();
        // What librdkafka sends to ask for all topics: the count is four bytes long although one says it all.
        let all_topics = Bytes::from_static(&[0, 0, 0, 0, 1, 0, 0]);
        let request = api.decode_request(12, all_topics).unwrap().into_any().downcast::<MetadataRequest>().unwrap();
        assert!(request.topics.is_none());
        assert!(api.decode_response(0, Bytes::from_static(&[0; 8])).is_ok());
        assert!(api.decode_response(0, Bytes::from_static(&[0; 9])).is_err());
    }
}
