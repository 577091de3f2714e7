//! Features: what the brokers could do, and what the cluster has been told to do.

use super::cluster::api_versions;
use super::routing::{Asking, Route};
use super::{Admin, Results, outcome};
use crate::Result;
use crate::protocol::messages::api_versions::ApiVersionsRequest;
use crate::protocol::messages::update_features::{FeatureUpdateKey, UpdateFeaturesRequest, UpdateFeaturesResponse};
use std::collections::{BTreeMap, HashMap};

/// From this version on the answer to ApiVersions has features.
const FEATURES: i16 = 3;
/// From this version on a downgrade may be an unsafe one, and updates can be checked only.
const UPGRADE_TYPES: i16 = 1;

/// The features of a cluster, such as `metadata.version`. Levels are version numbers of a feature.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FeatureMetadata {
    /// The lowest and highest level that the cluster works with, by feature. Off if missing.
    pub finalized: BTreeMap<String, (i16, i16)>,
    /// How often those have changed; `None` if the broker does not know.
    pub finalized_epoch: Option<i64>,
    /// The lowest and highest level that the asked broker could do, by feature.
    pub supported: BTreeMap<String, (i16, i16)>,
}

/// Whether a feature may lose levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpgradeType {
    /// It must not.
    Upgrade,
    /// It may, as long as no metadata is lost.
    SafeDowngrade,
    /// It may, even if metadata is lost.
    UnsafeDowngrade,
}

/// The level a feature is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// The feature's name.
    pub feature: String,
    /// Its highest level from now on; 0 turns it off.
    pub max_version_level: i16,
    /// Whether that may be lower than now.
    pub upgrade_type: UpgradeType,
}

impl FeatureUpdate {
    /// Raises a feature to this level.
    pub fn upgrade(feature: impl Into<String>, max_version_level: i16) -> Self {
        Self { feature: feature.into(), max_version_level, upgrade_type: UpgradeType::Upgrade }
    }

    fn on_the_wire(&self, asking: &Asking<'_>) -> Result<FeatureUpdateKey> {
        let version = asking.version::<UpdateFeaturesRequest>()?;
        if self.upgrade_type == UpgradeType::UnsafeDowngrade {
            let without = format!("{} can't be downgraded unsafely", self.feature);
            asking.needs::<UpdateFeaturesRequest>(UPGRADE_TYPES, &without)?;
        }
        let upgrade_type = match self.upgrade_type {
            UpgradeType::Upgrade => 1,
            UpgradeType::SafeDowngrade => 2,
            UpgradeType::UnsafeDowngrade => 3,
        };
        Ok(FeatureUpdateKey {
            feature: self.feature.clone(),
            max_version_level: self.max_version_level,
            allow_downgrade: version < UPGRADE_TYPES && self.upgrade_type != UpgradeType::Upgrade,
            upgrade_type: if version < UPGRADE_TYPES { 1 } else { upgrade_type },
        })
    }
}

impl Admin {
    /// The cluster's features, as one broker knows them. RPC ApiVersions 3 to any broker, brokers from 2.4 on; features
    /// exist from 2.7 on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (feature, (_, level)) in admin.describe_features()?.finalized {
    ///     println!("{feature} {level}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_features(&self) -> Result<FeatureMetadata> {
        self.call().ask(&Route::Any, |asking| {
            asking.needs::<ApiVersionsRequest>(FEATURES, "the broker does not know of features")?;
            let response = api_versions(asking)?;
            let finalized = response.finalized_features.into_iter();
            let supported = response.supported_features.into_iter();
            Ok(FeatureMetadata {
                finalized: finalized.map(|f| (f.name, (f.min_version_level, f.max_version_level))).collect(),
                finalized_epoch: Some(response.finalized_features_epoch).filter(|epoch| *epoch >= 0),
                supported: supported.map(|f| (f.name, (f.min_version, f.max_version))).collect(),
            })
        })
    }

    /// Changes the levels of features. RPC UpdateFeatures to the controller, brokers from 2.7 on.
    ///
    /// ```no_run
    /// use sarameya::admin::FeatureUpdate;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (feature, outcome) in admin.update_features(&[FeatureUpdate::upgrade("transaction.version", 2)])? {
    ///     println!("{feature}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn update_features(&self, updates: &[FeatureUpdate]) -> Result<Results> {
        self.update_or_validate_features(updates, false)
    }

    /// Checks as [`update_features`](Self::update_features) does, and changes nothing. RPC UpdateFeatures 1 to the
    /// controller, brokers from 3.3 on.
    ///
    /// ```no_run
    /// use sarameya::admin::FeatureUpdate;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (feature, outcome) in admin.validate_update_features(&[FeatureUpdate::upgrade("transaction.version", 2)])? {
    ///     println!("{feature}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn validate_update_features(&self, updates: &[FeatureUpdate]) -> Result<Results> {
        self.update_or_validate_features(updates, true)
    }

    fn update_or_validate_features(&self, updates: &[FeatureUpdate], validate_only: bool) -> Result<Results> {
        let wanted: HashMap<&str, &FeatureUpdate> = updates.iter().map(|u| (u.feature.as_str(), u)).collect();
        let features = updates.iter().map(|update| update.feature.clone()).collect();
        self.call().run(features, &Route::Controller, |asking, features| {
            if validate_only {
                let without = "feature updates can't be checked only";
                asking.needs::<UpdateFeaturesRequest>(UPGRADE_TYPES, without)?;
            }
            let chosen = features.iter().filter_map(|feature| wanted.get(feature.as_str()));
            let feature_updates = chosen.map(|update| update.on_the_wire(asking)).collect::<Result<_>>()?;
            let timeout_ms = asking.timeout_ms();
            let response = asking.call(&UpdateFeaturesRequest { timeout_ms, feature_updates, validate_only })?;
            outcome(response.error_code, response.error_message.as_deref(), "no features were changed")?;
            Ok(updated(features, response))
        })
    }
}

fn updated(features: &[String], response: UpdateFeaturesResponse) -> Results {
    // From version 2 on there is one result for all.
    if response.results.is_empty() {
        return features.iter().map(|feature| (feature.clone(), Ok(()))).collect();
    }
    let result = |result: crate::protocol::messages::update_features::UpdatableFeatureResult| {
        let doing = format!("the feature {} was not changed", result.feature);
        let outcome = outcome(result.error_code, result.error_message.as_deref(), &doing);
        (result.feature, outcome)
    };
    response.results.into_iter().map(result).collect()
}
