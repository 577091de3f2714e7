//! Which version of an API to speak on a connection: always the highest that both sides know.

use crate::protocol::Request;
use crate::protocol::messages::api_versions::ApiVersionsResponse;
use crate::{Error, ErrorKind, Result};
use std::collections::HashMap;

/// What one broker said it speaks.
#[derive(Debug, Clone, Default)]
pub(crate) struct ApiVersions {
    ranges: HashMap<i16, (i16, i16)>,
    /// Finalized features, such as `transaction.version`.
    features: HashMap<String, i16>,
}

impl ApiVersions {
    pub(crate) fn from_response(response: &ApiVersionsResponse) -> Self {
        let ranges = response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        let features = response.finalized_features.iter().map(|f| (f.name.clone(), f.max_version_level)).collect();
        Self { ranges, features }
    }

    /// The version to use for `R`, or an error that names the API and both ranges.
    pub(crate) fn pick<R: Request>(&self) -> Result<i16> {
        let Some(&(lowest, highest)) = self.ranges.get(&R::KEY) else {
            return Err(Error::new(ErrorKind::Unsupported, format!("the broker does not know the API {}", R::NAME)));
        };
        let version = highest.min(R::MAX_VERSION);
        if version < lowest || version < R::MIN_VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "no common version of {}: the broker has {lowest} to {highest}, this client {} to {}",
                    R::NAME,
                    R::MIN_VERSION,
                    R::MAX_VERSION
                ),
            ));
        }
        Ok(version)
    }

    /// The highest version of the API that the broker knows; `None` if it does not know the API.
    pub(crate) fn highest(&self, key: i16) -> Option<i16> {
        self.ranges.get(&key).map(|range| range.1)
    }

    /// The finalized level of a feature; 0 if the cluster does not have it.
    pub(crate) fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }
}
