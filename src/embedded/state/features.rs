//! UpdateFeatures, versions 0 to 2 (KIP-584): the levels of features that the cluster has agreed on. They begin as the
//! broker's release has them.

use super::refusal::{Refusal, code_and_message};
use super::releases::Feature;
use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use std::collections::BTreeMap;

/// Kinds of update, as on the wire; the other kinds may lower a level.
const UPGRADE: i8 = 1;

/// The levels that were changed.
#[derive(Debug, Default)]
pub(super) struct Features {
    levels: BTreeMap<&'static str, i16>,
    updates: i64,
}

impl State {
    /// A feature's level as a broker sees it; 0 if its release does not know it or it is switched off.
    pub(in crate::embedded) fn feature(&self, broker: i32, name: &str) -> i16 {
        let release = self.release(broker);
        let Some((name, min, max, level)) = release.features.iter().find(|(known, ..)| *known == name) else {
            return 0;
        };
        self.features.levels.get(name).map_or(*level, |level| (*level).clamp(*min, *max))
    }

    /// How often the levels have been changed, from 1 on.
    pub(super) fn features_epoch(&self) -> i64 {
        self.features.updates.saturating_add(1)
    }

    /// All updates are made or none.
    pub(super) fn update_features(&mut self, context: &Context, request: UpdateFeaturesRequest) -> Reply {
        let mut changes = Vec::new();
        let mut results = Vec::new();
        let mut failure = None;
        for update in request.feature_updates {
            // Version 0 could only say whether a level may be lowered.
            let upgrade = if context.version == 0 { !update.allow_downgrade } else { update.upgrade_type == UPGRADE };
            let outcome = self.check_update(context.broker, &update, upgrade);
            let (error_code, error_message) = code_and_message(&outcome);
            match outcome {
                Ok(name) => changes.push((name, update.max_version_level)),
                Err(refusal) => failure = failure.or(Some(refusal)),
            }
            results.push(UpdatableFeatureResult { feature: update.feature, error_code, error_message });
        }
        if failure.is_none() && !request.validate_only && !changes.is_empty() {
            self.features.levels.extend(changes);
            self.features.updates += 1;
        }
        // From version 2 on there is one error for all.
        let whole = if context.version >= 2 { failure.map_or(Ok(()), Err) } else { Ok(()) };
        let (error_code, error_message) = code_and_message(&whole);
        Reply::of(UpdateFeaturesResponse { error_code, error_message, results, ..Default::default() })
    }

    fn check_update(&self, broker: i32, update: &FeatureUpdateKey, upgrade: bool) -> Result<&'static str, Refusal> {
        let FeatureUpdateKey { feature, max_version_level: level, .. } = update;
        let refused = |why: String| {
            let message = format!("Invalid update version {level} for feature {feature}. {why}");
            Err(Refusal::new(ErrorCode::INVALID_UPDATE_VERSION, message))
        };
        let known: Option<&Feature> = self.release(broker).features.iter().find(|(name, ..)| name == feature);
        let Some((name, min, max, _)) = known else {
            return refused(format!("Local controller {broker} does not support this feature."));
        };
        if !(*min..=*max).contains(level) {
            return refused(format!("Local controller {broker} only supports versions {min}-{max}"));
        }
        let now = self.feature(broker, name);
        if *level < now && upgrade {
            let why = "Can't downgrade the version of this feature without setting the upgrade type to either safe or \
                       unsafe downgrade.";
            return refused(why.into());
        }
        if *level > now && !upgrade {
            return refused("Can't downgrade to a newer version.".into());
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;

    fn update(harness: &mut Harness, feature: &str, max_version_level: i16, upgrade_type: i8) -> (i16, String) {
        let update =
            FeatureUpdateKey { feature: feature.into(), max_version_level, upgrade_type, ..Default::default() };
        let request = UpdateFeaturesRequest { feature_updates: vec![update], timeout_ms: 1000, validate_only: false };
        let response = harness.call(1, 2, request);
        (response.error_code, response.error_message.unwrap_or_default())
    }

    #[test]
    fn a_level_is_lowered_on_purpose_only_and_clients_are_told() {
        let mut harness = Harness::new(1);
        let name = "transaction.version";
        assert_eq!(harness.state.feature(1, name), 2);
        assert_eq!(update(&mut harness, name, 1, UPGRADE).0, 95);
        assert_eq!(harness.state.feature(1, name), 2);
        assert_eq!(update(&mut harness, name, 1, 2).0, 0);
        assert_eq!((harness.state.feature(1, name), harness.state.features_epoch()), (1, 2));
        assert_eq!(update(&mut harness, name, 2, UPGRADE).0, 0);
        assert_eq!(update(&mut harness, name, 0, 2).0, 0);
        assert_eq!(harness.state.feature(1, name), 0, "switched off");
    }

    #[test]
    fn a_level_that_can_not_be_is_refused_in_the_words_of_kafka() {
        let mut harness = Harness::new(1);
        for (feature, level, words) in [
            ("foo", 1, "Invalid update version 1 for feature foo. Local controller 1 does not support this feature."),
            (
                "group.version",
                5,
                "Invalid update version 5 for feature group.version. Local controller 1 only supports versions 0-1",
            ),
        ] {
            assert_eq!(update(&mut harness, feature, level, UPGRADE), (95, words.to_owned()));
        }
    }
}
