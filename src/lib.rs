//! A synchronous, blocking Apache Kafka client: OS threads and channels, no async runtime.
//!
//! A [`Client`] knows the cluster; everything else is built on one and shares it:
//!
//! - [`SyncProducer`] sends a record and waits for its offset; [`Producer`] sends without waiting and is the faster one.
//! - [`ConsumerGroup`] hands the records of its share of the partitions to a handler, one thread per partition.
//! - [`PartitionConsumer`] reads one partition without a group.
//! - [`Admin`] administers the cluster: topics, configs, groups and their lag, offsets, ACLs, users, transactions.
//!
//! ```no_run
//! use sarameya::{Client, ConsumerGroup, ConsumerGroupClaim, ConsumerGroupSession, ProducerRecord, SyncProducer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("localhost:9092")?;
//!
//! let producer = SyncProducer::builder(&client).build_sync()?;
//! producer.send(&ProducerRecord::new("test3").key("k1").value("v1"))?;
//!
//! let mut group = ConsumerGroup::builder(&client, "g1").build()?;
//! group.consume(&["test3"], &|session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| {
//!     for record in claim {
//!         session.mark(&record?);
//!     }
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # What can be relied on
//!
//! - Every call returns by its own deadline, whatever a broker does; calls without one say what ends them.
//! - A failed send says whether the record can be in the log: [`SendError`].
//! - A consumer skips no record. Only an offset that the broker reports as out of range is moved, by the policy you set.
//! - User code runs on the caller's threads and on claim threads, so it can stall neither heartbeats nor other partitions.
//! - An [`Error`] names the topic, partition, broker or setting, and says whether trying again can help.
//!
//! # Brokers
//!
//! Kafka 1.0 to 4.3. Versions are negotiated on every connection; there is nothing to configure.
//!
//! # Settings
//!
//! Builders have a method for each setting, whose documentation gives Kafka's name for it and the default; and
//! `properties`, which takes settings by those names, as in a `client.properties` of Kafka's own tools: [`Properties`].
//!
//! # Security
//!
//! TLS with [`Tls`] and authentication with [`Sasl`], or by Kafka's own settings:
//!
//! ```no_run
//! # fn main() -> Result<(), sarameya::Error> {
//! let client = sarameya::Client::builder()
//!     .bootstrap_servers("broker:9093")
//!     .properties(&sarameya::Properties::from_file("client.properties")?)?
//!     .build()?;
//! # Ok(())
//! # }
//! ```
//!
//! where `client.properties` is one that Kafka's tools take, with stores in PEM, or also in PKCS#12 and JKS with the feature
//! `stores`:
//!
//! ```text
//! security.protocol=SASL_SSL
//! ssl.truststore.type=PEM
//! ssl.truststore.location=/etc/kafka/ca.pem
//! sasl.mechanism=SCRAM-SHA-512
//! sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="secret";
//! ```
//!
//! Passwords, tokens and keys show neither in `Debug` nor in errors nor in logs of any level.
//!
//! # Log levels
//!
//! Through the `log` crate. *error*: something has ended that was to go on. *warn*: data or time was lost that a person may
//! want to know of, such as a moved offset or a broken connection under load. *info*: sessions of a group. *debug*:
//! connections, retries. *trace*: requests, by name and size only.
//!
//! # Features
//!
//! `gzip`, `snappy`, `lz4`, `zstd` and `tls`, all on by default. `zstd` is the only one of them that needs a C compiler.
//!
//! `tls` takes its cryptography from the provider that the process has installed for rustls, and if there is none, from
//! graviola, which needs no C compiler but a processor of about 2014 or later. `tls-ring`, not on by default, puts ring in
//! its place, for any processor, and needs a C compiler. `oidc`, not on by default, gets tokens for OAUTHBEARER from an OpenID
//! provider. `stores`, not on by default, reads Java's stores of certificates and keys, and encrypted keys in PEM.
//!
//! `embedded`, not on by default, is a Kafka cluster in this process, `sarameya::embedded::Cluster`, for first runs and for tests
//! of programs that use Kafka.
#![forbid(unsafe_code)]
// Where this crate could panic is told by the compiler, not by a peer.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

#[cfg(not(unix))]
compile_error!("sarameya waits for sockets with poll(2) and runs on Unix only");

pub mod admin;
mod backoff;
pub mod batch;
mod cluster;
mod config;
mod consumer;
#[cfg(all(test, target_os = "linux"))]
mod copies;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod group;
#[cfg(test)]
mod logged;
mod net;
mod producer;
pub mod protocol;
mod record;
#[cfg_attr(
    not(feature = "embedded"),
    allow(dead_code, unused_imports, reason = "the server's side is for the embedded cluster")
)]
mod sasl;

pub use admin::{Admin, NewTopic, Results, TopicPartition};
pub use cluster::{Client, ClientBuilder, MetadataRecovery};
pub use config::Properties;
#[cfg(feature = "tls")]
pub use config::{Tls, TlsVersion};
pub use consumer::{
    BatchRecords, FetchedBatch, IntoRecords, IsolationLevel, OffsetReset, PartitionConsumer, PartitionConsumerBuilder,
    PartitionRecords, StartOffset,
};
pub use error::{Error, ErrorCode, ErrorKind, Result};
pub use group::{
    Assignment, Assignor, ClaimRecords, ConsumerGroup, ConsumerGroupBuilder, ConsumerGroupClaim, ConsumerGroupHandler,
    ConsumerGroupSession, Errors, GroupAssignment, GroupMember, HandlerResult, RangeAssignor, RoundRobinAssignor,
    StopHandle,
};
#[cfg(feature = "oidc")]
pub use net::OidcClientCredentials;
pub use net::{Dial, Proxy};
pub use producer::{
    Acks, Crc32Partitioner, Deliveries, Delivery, Fnv1aPartitioner, Murmur2Partitioner, Partitioner, Producer,
    ProducerBuilder, RandomPartitioner, RecordMetadata, RoundRobinPartitioner, SendError, SyncProducer,
};
pub use record::{ConsumerRecord, Header, ProducerRecord, TimestampType};
pub use sasl::{CredentialProvider, Credentials, OAuthBearerToken, OAuthBearerTokenProvider, Sasl};
