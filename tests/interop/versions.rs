//! What the brokers say they can do.

use std::collections::BTreeSet;

use crate::java::quiet;
use crate::target::compare;
use crate::transcript::Transcript;

/// What the embedded cluster does not serve, and so does not offer: share and streams groups, delegation tokens, and the care
/// of real disks and controllers.
const NOT_SERVED: [&str; 21] = [
    "AddRaftVoter",
    "AlterReplicaLogDirs",
    "AlterShareGroupOffsets",
    "CreateDelegationToken",
    "DeleteShareGroupOffsets",
    "DeleteShareGroupState",
    "DescribeDelegationToken",
    "DescribeShareGroupOffsets",
    "ExpireDelegationToken",
    "InitializeShareGroupState",
    "ReadShareGroupState",
    "ReadShareGroupStateSummary",
    "RemoveRaftVoter",
    "RenewDelegationToken",
    "ShareAcknowledge",
    "ShareFetch",
    "ShareGroupDescribe",
    "ShareGroupHeartbeat",
    "StreamsGroupDescribe",
    "StreamsGroupHeartbeat",
    "WriteShareGroupState",
];

#[test]
fn brokers_offer_the_apis_and_versions_of_kafka() {
    require_kafka!();
    compare("versions", |target| {
        let said = quiet(target, "org.apache.kafka.tools.BrokerApiVersionsCommand", &[], "");
        assert_eq!(said.status, 0, "{said:?}");
        // All brokers offer the same, one API a line, in the order of their keys.
        let apis: BTreeSet<&str> = said.output.iter().map(|line| line.trim().trim_end_matches(',')).collect();
        let mut transcript = Transcript::default();
        for api in apis.into_iter().filter(|line| line.contains("): ")) {
            if !NOT_SERVED.iter().any(|name| api.starts_with(&format!("{name}("))) {
                transcript.line(api);
            }
        }
        transcript
    });
}
