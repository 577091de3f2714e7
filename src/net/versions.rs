//! Which version of an API to speak on a connection: always the highest that both sides know.

use crate::protocol::Request;
use crate::protocol::messages::api_versions::ApiVersionsResponse;
use crate::{Error, ErrorKind, Result};
use std::collections::HashMap;

/// What one broker said it speaks.
#[derive(Debug, Clone, Default)]
pub(crate) struct ApiVersions {
    ranges: HashMap<i16, (i16, i16)>,
}

impl ApiVersions {
    pub(crate) fn from_response(response: &ApiVersionsResponse) -> Self {
        let ranges = response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Self { ranges }
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
}
