//! ApiVersions, versions 0 to 4 (KIP-35, KIP-511, KIP-584): what a broker of this release speaks.

use super::{Context, Reply, SERVED, State};
use crate::ErrorCode;
use crate::protocol::messages::ApiKey;
use crate::protocol::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::{Api, Request};
use std::ops::RangeInclusive;

impl State {
    pub(super) fn api_versions(&mut self, _context: &Context, _request: ApiVersionsRequest) -> Reply {
        Reply::of(self.offered_versions())
    }

    /// The versions of an API that are offered; `None` if it is not served.
    pub(in crate::embedded) fn offers(&self, key: ApiKey) -> Option<RangeInclusive<i16>> {
        SERVED.contains(&key).then_some(())?;
        let api = Api::find(key).ok()?;
        Some(api.min_version..=api.max_version)
    }

    fn offered_versions(&self) -> ApiVersionsResponse {
        let range = |key: ApiKey| {
            let range = self.offers(key)?;
            Some(ApiVersion { api_key: key.0, min_version: *range.start(), max_version: *range.end() })
        };
        let api_keys = SERVED.iter().copied().filter_map(range).collect();
        ApiVersionsResponse { api_keys, finalized_features_epoch: 0, ..Default::default() }
    }

    /// The answer to an ApiVersions request of a version that the broker does not know: in the layout of version 0,
    /// with the versions it does know.
    pub(in crate::embedded) fn unsupported_api_versions(&self) -> ApiVersionsResponse {
        let mut response = self.offered_versions();
        response.api_keys.retain(|api| api.api_key == ApiVersionsRequest::KEY);
        ApiVersionsResponse { error_code: ErrorCode::UNSUPPORTED_VERSION.0, ..response }
    }
}
