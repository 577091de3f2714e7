//! Releases of Kafka that a broker can play: which versions of which APIs each of them speaks, and its features.
//!
//! What a release speaks is offered as far as this crate's messages and the state's APIs go.

use crate::protocol::Api;
use crate::protocol::messages::ApiKey;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

/// What the brokers are if nobody says.
pub(super) const LATEST: &str = "4.3";

/// A feature: its name, the levels that the release supports, and the one that a new cluster has (KIP-584).
pub(super) type Feature = (&'static str, i16, i16, i16);

/// A release.
#[derive(Debug)]
pub(in crate::embedded) struct Release {
    pub(in crate::embedded) name: &'static str,
    number: (u32, u32),
    apis: BTreeMap<ApiKey, RangeInclusive<i16>>,
    pub(super) features: Vec<Feature>,
}

/// One line for each release: its name, then each API with the versions of it that a broker of the release speaks.
static RELEASES: LazyLock<Vec<Release>> =
    LazyLock::new(|| include_str!("releases.txt").lines().filter_map(parse).collect());

fn parse(line: &'static str) -> Option<Release> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let number = number(name)?;
    let mut release = Release { name, number, apis: BTreeMap::new(), features: Vec::new() };
    for word in words {
        let (what, levels) = word.split_once(':')?;
        let mut levels = levels.split('-').map(|level| level.parse::<i16>().ok());
        let (min, max) = (levels.next()??, levels.next()??);
        match what.parse() {
            Ok(key) => {
                release.apis.insert(ApiKey(key), min..=max);
            }
            Err(_) => release.features.push((what, min, max, levels.next()??)),
        }
    }
    Some(release)
}

/// Major and minor of a name like `2.5` or `2.5.1`.
fn number(name: &str) -> Option<(u32, u32)> {
    let mut parts = name.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// The release of this name; its third number does not matter.
pub(in crate::embedded) fn release(name: &str) -> Option<&'static Release> {
    let number = number(name)?;
    RELEASES.iter().find(|release| release.number == number)
}

/// The names of all releases, the oldest first.
pub(in crate::embedded) fn release_names() -> Vec<&'static str> {
    RELEASES.iter().map(|release| release.name).collect()
}

impl Release {
    /// The versions of an API that a broker of this release offers here.
    pub(super) fn offers(&self, key: ApiKey) -> Option<RangeInclusive<i16>> {
        let spoken = self.apis.get(&key)?;
        let api = Api::find(key).ok()?;
        let range = *spoken.start().max(&api.min_version)..=*spoken.end().min(&api.max_version);
        Some(range).filter(|range| !range.is_empty())
    }

    /// Whether the release is this one or a later one.
    pub(super) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        self.number >= (major, minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_is_understood_and_none_speaks_more_than_a_later_one() {
        assert_eq!(RELEASES.len(), include_str!("releases.txt").lines().count());
        assert!(release(LATEST).is_some());
        for pair in RELEASES.windows(2) {
            assert!(pair[0].number < pair[1].number);
            for (key, range) in &pair[0].apis {
                if let Some(later) = pair[1].apis.get(key) {
                    assert!(range.end() <= later.end(), "{key:?} of {} and {}", pair[0].name, pair[1].name);
                }
            }
        }
        assert_eq!(release("2.5.1").unwrap().name, "2.5");
        assert!(release("0.8").is_none() && release("2").is_none() && release("x.y").is_none());
    }

    #[test]
    fn versions_that_the_messages_do_not_have_are_not_offered() {
        let release = release("1.0").unwrap();
        // 1.0 speaks 0 to 5, but this crate's messages begin with 3.
        assert_eq!(release.offers(ApiKey::PRODUCE), Some(3..=5));
        assert_eq!(release.offers(ApiKey::DESCRIBE_CLUSTER), None);
        assert!(release.features.is_empty());
    }
}
