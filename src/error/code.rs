//! Kafka's error codes.

use super::ErrorKind;
use std::fmt;

/// An error code of the Kafka protocol. Unknown codes keep their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// Kafka's name for it; `None` for a code that came into use after Kafka 4.3.
    pub fn name(self) -> Option<&'static str> {
        self.entry().map(|entry| entry.1)
    }

    /// Whether Kafka counts it among the errors that may pass when the request is repeated. Unknown codes do not count.
    pub fn is_retriable(self) -> bool {
        self.entry().is_some_and(|entry| entry.2 != Passes::Never)
    }

    /// Whether the client's picture of the cluster is out of date: refresh the metadata before trying again.
    pub fn needs_metadata_refresh(self) -> bool {
        self.entry().is_some_and(|entry| entry.2 == Passes::AfterRefresh)
    }

    /// Whether it stands for success.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    pub(crate) fn kind(self) -> ErrorKind {
        match self {
            // An operator must grant a permission; asking again as the same principal changes nothing.
            Self::TOPIC_AUTHORIZATION_FAILED
            | Self::GROUP_AUTHORIZATION_FAILED
            | Self::CLUSTER_AUTHORIZATION_FAILED
            | Self::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            | Self::DELEGATION_TOKEN_AUTHORIZATION_FAILED => ErrorKind::Authorization,
            // Wrong mechanism or credentials: trying again could lock an account.
            Self::UNSUPPORTED_SASL_MECHANISM | Self::ILLEGAL_SASL_STATE | Self::SASL_AUTHENTICATION_FAILED => {
                ErrorKind::Authentication
            }
            // The reset policy decides where to go on, so consumers must tell it apart.
            Self::OFFSET_OUT_OF_RANGE => ErrorKind::OffsetOutOfRange,
            // A smaller record or batch would be taken: the same kind as for the limits checked on this side.
            Self::MESSAGE_TOO_LARGE | Self::RECORD_LIST_TOO_LARGE => ErrorKind::TooLarge,
            // The broker's check of the CRC is the same finding as ours.
            Self::CORRUPT_MESSAGE => ErrorKind::Corrupt,
            // Somebody else owns the identity now; going on would make two writers or two members of one.
            Self::FENCED_INSTANCE_ID | Self::INVALID_PRODUCER_EPOCH | Self::PRODUCER_FENCED => ErrorKind::Fenced,
            // The same as finding no common version before sending.
            Self::UNSUPPORTED_VERSION => ErrorKind::Unsupported,
            // The broker's deadline for the request ran out, which callers treat like their own.
            Self::REQUEST_TIMED_OUT => ErrorKind::Timeout,
            // Everything else is told apart by its code.
            _ => ErrorKind::Broker,
        }
    }

    fn entry(self) -> Option<&'static (i16, &'static str, Passes)> {
        let at = usize::try_from(i32::from(self.0) - i32::from(FIRST)).ok()?;
        TABLE.get(at)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "unknown error code {}", self.0),
        }
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self(code)
    }
}

/// Whether the same request may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passes {
    /// Not without a change by someone.
    Never,
    /// By waiting, or by asking another broker that a coordinator or controller look-up names.
    Later,
    /// Once the client knows the present leaders, replicas or topic ids.
    AfterRefresh,
}

/// The first code of [`TABLE`], whose entries follow one another without a gap.
const FIRST: i16 = -1;

macro_rules! codes {
    ($($code:literal $name:ident $passes:ident $doc:literal)*) => {
        impl ErrorCode {
            $(#[doc = $doc] pub const $name: Self = Self($code);)*
        }
        static TABLE: &[(i16, &str, Passes)] = &[$(($code, stringify!($name), Passes::$passes)),*];
    };
}

codes! {
    -1 UNKNOWN_SERVER_ERROR Never "The broker failed in a way it has no code for."
    0 NONE Never "Success."
    1 OFFSET_OUT_OF_RANGE Never "The offset lies outside the partition's log."
    2 CORRUPT_MESSAGE Later "A record batch has a wrong CRC or size, or breaks a rule of its topic."
    3 UNKNOWN_TOPIC_OR_PARTITION AfterRefresh "The broker does not host the partition, or the topic does not exist."
    4 INVALID_FETCH_SIZE Never "The fetch asks for a size the broker does not accept."
    5 LEADER_NOT_AVAILABLE AfterRefresh "The partition has no leader at the moment."
    6 NOT_LEADER_OR_FOLLOWER AfterRefresh "The broker is not the leader (or not a replica) of the partition."
    7 REQUEST_TIMED_OUT Later "The request took longer on the broker than it was given."
    8 BROKER_NOT_AVAILABLE Never "The broker is not there."
    9 REPLICA_NOT_AVAILABLE AfterRefresh "The replica is not there."
    10 MESSAGE_TOO_LARGE Never "The record is larger than the topic or broker allows."
    11 STALE_CONTROLLER_EPOCH Never "The controller has changed since."
    12 OFFSET_METADATA_TOO_LARGE Never "The commit's metadata text is larger than the broker allows."
    13 NETWORK_EXCEPTION AfterRefresh "The broker's connection to another one broke."
    14 COORDINATOR_LOAD_IN_PROGRESS Later "The coordinator is still loading the group's or transaction's state."
    15 COORDINATOR_NOT_AVAILABLE Later "There is no coordinator at the moment."
    16 NOT_COORDINATOR Later "The broker is not the coordinator of this group or transactional id."
    17 INVALID_TOPIC_EXCEPTION Never "The topic's name is not valid, or the topic is internal."
    18 RECORD_LIST_TOO_LARGE Never "The batch is larger than the topic's or broker's segment allows."
    19 NOT_ENOUGH_REPLICAS Later "Fewer replicas are in sync than the topic asks for; nothing was written."
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND Later "The batch was written, but by then fewer replicas were in sync than the topic asks for."
    21 INVALID_REQUIRED_ACKS Never "The acks of the request are neither -1, 0 nor 1."
    22 ILLEGAL_GENERATION Never "The generation of the member is not the group's present one."
    23 INCONSISTENT_GROUP_PROTOCOL Never "The member's protocols do not fit those of the group."
    24 INVALID_GROUP_ID Never "The group id is not valid."
    25 UNKNOWN_MEMBER_ID Never "The coordinator does not know the member."
    26 INVALID_SESSION_TIMEOUT Never "The session timeout is outside the broker's limits."
    27 REBALANCE_IN_PROGRESS Never "The group is rebalancing: join again."
    28 INVALID_COMMIT_OFFSET_SIZE Never "The commit's data is larger than the broker allows."
    29 TOPIC_AUTHORIZATION_FAILED Never "The principal may not use the topic."
    30 GROUP_AUTHORIZATION_FAILED Never "The principal may not use the group."
    31 CLUSTER_AUTHORIZATION_FAILED Never "The principal may not do this on the cluster."
    32 INVALID_TIMESTAMP Never "The record's timestamp is outside the topic's limits."
    33 UNSUPPORTED_SASL_MECHANISM Never "The broker does not offer the SASL mechanism."
    34 ILLEGAL_SASL_STATE Never "The request does not fit the state of the SASL exchange."
    35 UNSUPPORTED_VERSION Never "The broker does not speak this version of the API."
    36 TOPIC_ALREADY_EXISTS Never "A topic of this name exists."
    37 INVALID_PARTITIONS Never "The number of partitions is not valid."
    38 INVALID_REPLICATION_FACTOR Never "The replication factor is below 1 or above the number of brokers."
    39 INVALID_REPLICA_ASSIGNMENT Never "The replica assignment is not valid."
    40 INVALID_CONFIG Never "The configuration is not valid."
    41 NOT_CONTROLLER Later "The broker is not the controller."
    42 INVALID_REQUEST Never "The request contradicts itself, or what this API expects."
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT Never "The log's message format is too old for this operation."
    44 POLICY_VIOLATION Never "A policy set by the cluster's operator forbids it."
    45 OUT_OF_ORDER_SEQUENCE_NUMBER Never "The batch's sequence number is not the one the broker expects next."
    46 DUPLICATE_SEQUENCE_NUMBER Never "The broker has this batch already."
    47 INVALID_PRODUCER_EPOCH Never "The producer's epoch is older than the broker's."
    48 INVALID_TXN_STATE Never "The transaction's state does not allow the request."
    49 INVALID_PRODUCER_ID_MAPPING Never "The producer id is not the one the transactional id has now."
    50 INVALID_TRANSACTION_TIMEOUT Never "The transaction timeout is larger than the broker allows."
    51 CONCURRENT_TRANSACTIONS Later "The transaction coordinator is still busy with this producer's last transaction."
    52 TRANSACTION_COORDINATOR_FENCED Never "The transaction coordinator that wrote the marker is no longer the coordinator."
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED Never "The principal may not use the transactional id."
    54 SECURITY_DISABLED Never "The broker has no authorizer or security feature set up."
    55 OPERATION_NOT_ATTEMPTED Never "The broker did not try this part, since another part of the request failed."
    56 KAFKA_STORAGE_ERROR AfterRefresh "The disk of the replica failed."
    57 LOG_DIR_NOT_FOUND Never "The broker has no such log directory."
    58 SASL_AUTHENTICATION_FAILED Never "The credentials are not valid."
    59 UNKNOWN_PRODUCER_ID Never "The broker holds no state of the producer id."
    60 REASSIGNMENT_IN_PROGRESS Never "The partition's replicas are being reassigned already."
    61 DELEGATION_TOKEN_AUTH_DISABLED Never "Delegation tokens are not enabled."
    62 DELEGATION_TOKEN_NOT_FOUND Never "The broker does not know the delegation token."
    63 DELEGATION_TOKEN_OWNER_MISMATCH Never "The principal may not manage the delegation token."
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED Never "Delegation tokens can't be requested over this connection."
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED Never "The principal may not use delegation tokens this way."
    66 DELEGATION_TOKEN_EXPIRED Never "The delegation token has expired."
    67 INVALID_PRINCIPAL_TYPE Never "The principal's type is not supported."
    68 NON_EMPTY_GROUP Never "The group has members."
    69 GROUP_ID_NOT_FOUND Never "There is no such group."
    70 FETCH_SESSION_ID_NOT_FOUND Later "The broker does not know the fetch session: start a new one."
    71 INVALID_FETCH_SESSION_EPOCH Later "The epoch of the fetch session is not the one the broker expects: start a new session."
    72 LISTENER_NOT_FOUND AfterRefresh "The leader has no endpoint on the listener the request came in by."
    73 TOPIC_DELETION_DISABLED Never "Topics can't be deleted on this cluster."
    74 FENCED_LEADER_EPOCH AfterRefresh "The request's leader epoch is older than the broker's."
    75 UNKNOWN_LEADER_EPOCH Later "The request's leader epoch is newer than the broker's."
    76 UNSUPPORTED_COMPRESSION_TYPE Never "The broker can't read or store the compression of the batch."
    77 STALE_BROKER_EPOCH Never "The broker's epoch is out of date."
    78 OFFSET_NOT_AVAILABLE Later "The leader does not know its high watermark yet, shortly after its election."
    79 MEMBER_ID_REQUIRED Never "The member must join again with the id it was given."
    80 PREFERRED_LEADER_NOT_AVAILABLE AfterRefresh "The preferred leader is not there to be elected."
    81 GROUP_MAX_SIZE_REACHED Never "The group has as many members as the broker allows."
    82 FENCED_INSTANCE_ID Never "Another member took over this group instance id."
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE AfterRefresh "No replica may be elected leader."
    84 ELECTION_NOT_NEEDED AfterRefresh "The partition has the wanted leader already."
    85 NO_REASSIGNMENT_IN_PROGRESS Never "The partition's replicas are not being reassigned."
    86 GROUP_SUBSCRIBED_TO_TOPIC Never "The group still consumes the topic."
    87 INVALID_RECORD Never "The broker's check of the record failed."
    88 UNSTABLE_OFFSET_COMMIT Later "A transaction that wrote offsets is not decided yet."
    89 THROTTLING_QUOTA_EXCEEDED Later "A quota is used up: wait."
    90 PRODUCER_FENCED Never "A newer producer has the same transactional id."
    91 RESOURCE_NOT_FOUND Never "The thing the request names does not exist."
    92 DUPLICATE_RESOURCE Never "The request names the same thing twice."
    93 UNACCEPTABLE_CREDENTIAL Never "The credential does not meet the broker's demands."
    94 INCONSISTENT_VOTER_SET Never "The voters of the request differ from the cluster's."
    95 INVALID_UPDATE_VERSION Never "The feature's version can't be set to that."
    96 FEATURE_UPDATE_FAILED Never "The features could not be updated."
    97 PRINCIPAL_DESERIALIZATION_FAILURE Never "A forwarded principal could not be read."
    98 SNAPSHOT_NOT_FOUND Never "There is no such snapshot."
    99 POSITION_OUT_OF_RANGE Never "The position lies outside the snapshot."
    100 UNKNOWN_TOPIC_ID AfterRefresh "The broker does not know the topic id."
    101 DUPLICATE_BROKER_REGISTRATION Never "A broker with this id is registered already."
    102 BROKER_ID_NOT_REGISTERED Never "The broker's id is not registered."
    103 INCONSISTENT_TOPIC_ID AfterRefresh "The topic id is not the one the broker's log has."
    104 INCONSISTENT_CLUSTER_ID Never "The cluster id is not that of this cluster."
    105 TRANSACTIONAL_ID_NOT_FOUND Never "There is no such transactional id."
    106 FETCH_SESSION_TOPIC_ID_ERROR Later "A topic id of the fetch session is inconsistent: start a new session."
    107 INELIGIBLE_REPLICA Never "The replica may not join the in-sync replicas."
    108 NEW_LEADER_ELECTED Never "The in-sync replicas changed, and with them the leader."
    109 OFFSET_MOVED_TO_TIERED_STORAGE Never "The offset now is in tiered storage."
    110 FENCED_MEMBER_EPOCH Never "The member's epoch is older than the coordinator's: join again."
    111 UNRELEASED_INSTANCE_ID Never "Another member still holds the group instance id."
    112 UNSUPPORTED_ASSIGNOR Never "The coordinator does not offer the assignor."
    113 STALE_MEMBER_EPOCH Never "The member's epoch is not the coordinator's: try again with the next one."
    114 MISMATCHED_ENDPOINT_TYPE Never "The request went to a broker's listener and belongs to a controller's, or the other way round."
    115 UNSUPPORTED_ENDPOINT_TYPE Never "This type of endpoint is not known."
    116 UNKNOWN_CONTROLLER_ID Never "The controller's id is not known."
    117 UNKNOWN_SUBSCRIPTION_ID Never "The telemetry subscription is out of date: ask for the present one."
    118 TELEMETRY_TOO_LARGE Never "The telemetry push is larger than the broker allows."
    119 INVALID_REGISTRATION Never "The broker's registration is not valid."
    120 TRANSACTION_ABORTABLE Never "The transaction must be aborted; the producer can go on after that."
    121 INVALID_RECORD_STATE Never "The share group's record is not in a state that allows the acknowledgement."
    122 SHARE_SESSION_NOT_FOUND Later "The broker does not know the share session: start a new one."
    123 INVALID_SHARE_SESSION_EPOCH Later "The epoch of the share session is not the one the broker expects: start a new session."
    124 FENCED_STATE_EPOCH Never "The share coordinator has a newer state epoch."
    125 INVALID_VOTER_KEY Never "The voter's key is not its own."
    126 DUPLICATE_VOTER Never "The voter is one already."
    127 VOTER_NOT_FOUND Never "There is no such voter."
    128 INVALID_REGULAR_EXPRESSION Never "The regular expression is not valid."
    129 REBOOTSTRAP_REQUIRED Never "The client must bootstrap again."
    130 STREAMS_INVALID_TOPOLOGY Never "The streams topology is not valid."
    131 STREAMS_INVALID_TOPOLOGY_EPOCH Never "The streams topology's epoch is not valid."
    132 STREAMS_TOPOLOGY_FENCED Never "The streams topology is older than the group's."
    133 SHARE_SESSION_LIMIT_REACHED Later "The broker holds as many share sessions as it may."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_code_in_its_place() {
        for (at, (code, name, _)) in TABLE.iter().enumerate() {
            assert_eq!(*code, at as i16 + FIRST, "{name}");
        }
        assert_eq!(TABLE.last().map(|entry| entry.0), Some(133));
    }

    #[test]
    fn names_and_unknown_codes_are_shown() {
        assert_eq!(ErrorCode(6).to_string(), "NOT_LEADER_OR_FOLLOWER (6)");
        assert_eq!(ErrorCode(-1).to_string(), "UNKNOWN_SERVER_ERROR (-1)");
        for unknown in [-2, 134, 9999, i16::MIN, i16::MAX] {
            assert_eq!(ErrorCode(unknown).to_string(), format!("unknown error code {unknown}"));
            assert!(!ErrorCode(unknown).is_retriable());
            assert_eq!(ErrorCode(unknown).kind(), ErrorKind::Broker);
        }
    }

    #[test]
    fn stale_metadata_is_retriable_and_the_rest_is_told_apart() {
        for stale in [ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::UNKNOWN_TOPIC_ID, ErrorCode::FENCED_LEADER_EPOCH] {
            assert!(stale.is_retriable() && stale.needs_metadata_refresh(), "{stale}");
        }
        assert!(ErrorCode::NOT_COORDINATOR.is_retriable());
        assert!(!ErrorCode::NOT_COORDINATOR.needs_metadata_refresh());
        assert!(!ErrorCode::REBALANCE_IN_PROGRESS.is_retriable());
        assert!(!ErrorCode::NONE.is_retriable());
        assert_eq!(TABLE.iter().filter(|entry| entry.2 != Passes::Never).count(), 32);
    }
}
