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

    /// Whether the broker has not said anything yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The version to use for `R`, or an error that names the API and both ranges.
    pub(crate) fn pick<R: Request>(&self) -> Result<i16> {
        self.pick_of(R::KEY, R::NAME, R::MIN_VERSION, R::MAX_VERSION)
    }

    fn pick_of(&self, key: i16, name: &str, min: i16, max: i16) -> Result<i16> {
        let Some(&(lowest, highest)) = self.ranges.get(&key) else {
            let message = format!("the broker does not know the API {name}: by those it knows {}", self.release());
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let version = highest.min(max);
        if version < lowest || version < min {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "no common version of {name}: the broker has {lowest} to {highest}, this client {min} to {max}: {}",
                    self.release()
                ),
            ));
        }
        Ok(version)
    }

    /// Between which releases of Kafka the broker is, by the APIs it knows.
    pub(crate) fn release(&self) -> String {
        let newest = MARKERS.iter().rposition(|(_, key)| self.ranges.contains_key(key));
        let from = newest.and_then(|at| MARKERS.get(at)).map(|(release, _)| release);
        let before = newest.map_or(MARKERS.first(), |at| MARKERS.get(at.saturating_add(1))).map(|(release, _)| release);
        match (from, before) {
            (Some(from), Some(before)) => format!("it is Kafka {from} or newer, and older than {before}"),
            (Some(from), None) => format!("it is Kafka {from} or newer"),
            (None, _) => "it is older than Kafka 1.0".to_owned(),
        }
    }
}

/// APIs that tell releases of Kafka apart, with ZooKeeper and without: which release they came with.
const MARKERS: &[(&str, i16)] = &[
    ("1.0", 37),
    ("1.1", 42),
    ("2.2", 43),
    ("2.3", 44),
    ("2.4", 47),
    ("2.6", 48),
    ("2.7", 57),
    ("2.8", 60),
    ("3.0", 66),
    ("4.1", 90),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::{IncrementalAlterConfigsRequest, ListOffsetsRequest};

    fn speaking(ranges: &[(i16, i16, i16)]) -> ApiVersions {
        ApiVersions { ranges: ranges.iter().map(|(key, lowest, highest)| (*key, (*lowest, *highest))).collect() }
    }

    #[test]
    fn the_error_for_an_unknown_api_names_it_and_the_brokers_release() {
        for (keys, release) in [
            (&[0, 1, 37][..], "it is Kafka 1.0 or newer, and older than 1.1"),
            (&[0, 37, 42, 43], "it is Kafka 2.2 or newer, and older than 2.3"),
            (&[0, 90], "it is Kafka 4.1 or newer"),
            (&[0, 1], "it is older than Kafka 1.0"),
        ] {
            let ranges: Vec<_> = keys.iter().map(|key| (*key, 0, 1)).collect();
            let error = speaking(&ranges).pick::<IncrementalAlterConfigsRequest>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let text = error.to_string();
            assert!(text.contains("IncrementalAlterConfigs") && text.ends_with(release), "{text}");
        }
    }

    #[test]
    fn the_error_for_versions_without_overlap_names_both_ranges() {
        let error = speaking(&[(ListOffsetsRequest::KEY, 99, 101)]).pick::<ListOffsetsRequest>().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("ListOffsets") && text.contains("99 to 101"), "{text}");
        assert_eq!(speaking(&[(ListOffsetsRequest::KEY, 0, 5)]).pick::<ListOffsetsRequest>().unwrap(), 5);
    }
}
