//! ApiVersions, versions 0 to 4 (KIP-35, KIP-511, KIP-584): what a broker of its release speaks.

use super::releases::{LATEST, Release, release};
use super::{Context, Reply, SERVED, State};
use crate::ErrorCode;
use crate::protocol::Request;
use crate::protocol::messages::ApiKey;
use crate::protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use crate::protocol::messages::produce::ProduceRequest;
use std::ops::RangeInclusive;

const ELIGIBLE_LEADER_REPLICAS: &str = "eligible.leader.replicas.version";

impl State {
    pub(super) fn api_versions(&mut self, context: &Context, request: ApiVersionsRequest) -> Reply {
        let release = self.release(context.broker);
        let named = [&request.client_software_name, &request.client_software_version];
        if context.version >= 3 && release.is_at_least(2, 4) && !named.into_iter().all(|name| is_software(name)) {
            let error_code = ErrorCode::INVALID_REQUEST.0;
            return Reply::of(ApiVersionsResponse { error_code, ..self.offered_versions(context.broker) });
        }
        let mut response = self.offered_versions(context.broker);
        if context.version < 4 {
            // Clients up to then take a lowest level of 0 for an error.
            response.supported_features.retain(|feature| feature.min_version > 0);
        }
        Reply::of(response)
    }

    /// The versions of an API that a broker offers; `None` if it does not serve it.
    pub(in crate::embedded) fn offers(&self, broker: i32, key: ApiKey) -> Option<RangeInclusive<i16>> {
        SERVED.contains(&key).then_some(())?;
        self.release(broker).offers(key)
    }

    fn offered_versions(&self, broker: i32) -> ApiVersionsResponse {
        let range = |key: ApiKey| {
            let range = self.offers(broker, key)?;
            // Kafka 4 says so although it has no versions before 3: librdkafka would see no compression (KAFKA-18659).
            let min_version = if key.0 == ProduceRequest::KEY { 0 } else { *range.start() };
            Some(ApiVersion { api_key: key.0, min_version, max_version: *range.end() })
        };
        let mut api_keys: Vec<ApiVersion> = SERVED.iter().copied().filter_map(range).collect();
        api_keys.sort_by_key(|api| api.api_key);
        let release = self.release(broker);
        let mut response = ApiVersionsResponse { api_keys, ..Default::default() };
        if release.is_at_least(2, 7) {
            response.finalized_features_epoch = if release.features.is_empty() { 0 } else { self.features_epoch() };
        }
        for (name, min_version, max_version, _) in &release.features {
            let level = self.feature(broker, name);
            let (min_version, max_version) = (*min_version, *max_version);
            response.supported_features.push(SupportedFeatureKey { name: (*name).into(), min_version, max_version });
            if level > 0 {
                let (name, max_version_level, min_version_level) = ((*name).into(), level, level);
                let feature = FinalizedFeatureKey { name, max_version_level, min_version_level };
                response.finalized_features.push(feature);
            }
        }
        response
    }

    /// The answer to an ApiVersions request of a version that the broker does not know, in the layout of version 0: from
    /// 2.4 on with the versions of ApiVersions that it does know.
    pub(in crate::embedded) fn unsupported_api_versions(&self, broker: i32) -> ApiVersionsResponse {
        let mut response = self.offered_versions(broker);
        let told = self.release(broker).is_at_least(2, 4);
        response.api_keys.retain(|api| told && api.api_key == ApiVersionsRequest::KEY);
        ApiVersionsResponse { error_code: ErrorCode::UNSUPPORTED_VERSION.0, ..response }
    }

    /// The release that a broker plays.
    #[expect(clippy::expect_used, reason = "a test looks it up")]
    pub(super) fn release(&self, broker: i32) -> &'static Release {
        let latest = || release(LATEST).expect("the table has the latest release");
        self.releases.get(&broker).copied().unwrap_or_else(latest)
    }

    /// Makes a broker play a release.
    pub(in crate::embedded) fn set_release(&mut self, broker: i32, release: &'static Release) {
        self.releases.insert(broker, release);
        if !self.has_eligible_leader_replicas(broker) {
            self.settings.unshare_min_insync_replicas();
        }
    }

    /// Whether a broker plays a release with eligible leader replicas (KIP-966).
    pub(super) fn has_eligible_leader_replicas(&self, broker: i32) -> bool {
        self.feature(broker, ELIGIBLE_LEADER_REPLICAS) > 0
    }

    /// Whether a broker refuses what only the controller does: before KRaft no broker passed requests on.
    pub(super) fn is_refused_by_follower(&self, context: &Context) -> bool {
        !self.release(context.broker).is_at_least(3, 3) && self.brokers.controller() != Some(context.broker)
    }
}

/// Letters and digits, with `-` and `.` between them (KIP-511).
fn is_software(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.chars().all(inner) && outer(name.chars().next()) && outer(name.chars().last())
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;

    fn asking() -> ApiVersionsRequest {
        let (client_software_name, client_software_version) = ("sarameya".to_owned(), "1.0-rc.1".to_owned());
        ApiVersionsRequest { client_software_name, client_software_version }
    }

    fn versions(response: &ApiVersionsResponse, key: ApiKey) -> Option<(i16, i16)> {
        let api = response.api_keys.iter().find(|api| api.api_key == key.0)?;
        Some((api.min_version, api.max_version))
    }

    #[test]
    fn each_broker_answers_as_its_release_does() {
        let mut harness = Harness::new(2);
        harness.state.set_release(2, release("2.5").unwrap());
        let new = harness.call(1, 4, asking());
        assert_eq!(versions(&new, ApiKey::METADATA), Some((0, 13)));
        assert_eq!(versions(&new, ApiKey::API_VERSIONS), Some((0, 4)));
        assert!(new.api_keys.is_sorted_by_key(|api| api.api_key));
        let old = harness.call(2, 3, asking());
        assert_eq!(versions(&old, ApiKey::METADATA), Some((0, 9)));
        assert_eq!(versions(&old, ApiKey::DESCRIBE_TOPIC_PARTITIONS), None);
        assert_eq!((old.finalized_features_epoch, old.supported_features.len()), (-1, 0));
        assert_eq!(harness.state.offers(2, ApiKey::METADATA), Some(0..=9));
    }

    #[test]
    fn features_whose_levels_begin_with_0_are_for_version_4() {
        let mut harness = Harness::new(1);
        let names = |response: &ApiVersionsResponse| -> Vec<String> {
            response.supported_features.iter().map(|feature| feature.name.clone()).collect()
        };
        let response = harness.call(1, 3, asking());
        assert_eq!(names(&response), ["metadata.version"]);
        let response = harness.call(1, 4, asking());
        assert!(names(&response).contains(&"transaction.version".to_owned()));
        let level = |name: &str| {
            let found = response.finalized_features.iter().find(|feature| feature.name == name);
            found.map(|feature| feature.max_version_level)
        };
        assert_eq!(
            (level("transaction.version"), level("group.version"), level("kraft.version")),
            (Some(2), Some(1), None)
        );
    }

    #[test]
    fn an_unknown_version_is_answered_with_those_of_api_versions_and_before_2_4_with_nothing() {
        let mut harness = Harness::new(1);
        let response = harness.state.unsupported_api_versions(1);
        assert_eq!((response.error_code, response.api_keys.len()), (35, 1));
        harness.state.set_release(1, release("2.3").unwrap());
        let response = harness.state.unsupported_api_versions(1);
        assert_eq!((response.error_code, response.api_keys.len()), (35, 0));
    }

    #[test]
    fn a_client_that_names_its_software_wrongly_is_told_so() {
        let mut harness = Harness::new(1);
        for name in ["", "-x", "x y", "x."] {
            let request = ApiVersionsRequest { client_software_name: name.into(), ..asking() };
            assert_eq!(harness.call(1, 3, request).error_code, 42, "{name:?}");
        }
        assert_eq!(harness.call(1, 3, asking()).error_code, 0);
        assert_eq!(harness.call(1, 0, ApiVersionsRequest::default()).error_code, 0);
    }
}
