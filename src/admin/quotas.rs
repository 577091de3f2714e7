//! Quotas of users, clients and addresses (KIP-546).

use super::routing::{Entity, Route};
use super::{Admin, Results, outcome};
use crate::protocol::messages::alter_client_quotas::{
    AlterClientQuotasRequest, OpData, RequestEntityData, RequestEntryData,
};
use crate::protocol::messages::describe_client_quotas::{ComponentData, DescribeClientQuotasRequest};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Whom a quota is for: names by entity types, `user`, `client-id` or `ip`. `None` instead of a name stands for the default
/// of that type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ClientQuotaEntity(pub BTreeMap<String, Option<String>>);

impl ClientQuotaEntity {
    /// A user.
    pub fn user(name: impl Into<String>) -> Self {
        Self::default().and("user", Some(name.into()))
    }

    /// All users without a quota of their own.
    pub fn default_user() -> Self {
        Self::default().and("user", None)
    }

    /// A client id.
    pub fn client_id(id: impl Into<String>) -> Self {
        Self::default().and("client-id", Some(id.into()))
    }

    /// An address. Brokers from 2.8 on.
    pub fn ip(address: impl Into<String>) -> Self {
        Self::default().and("ip", Some(address.into()))
    }

    /// Narrowed down by one more type.
    #[must_use]
    pub fn and(mut self, entity_type: impl Into<String>, name: Option<String>) -> Self {
        self.0.insert(entity_type.into(), name);
        self
    }
}

impl fmt::Display for ClientQuotaEntity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (entity_type, name)) in self.0.iter().enumerate() {
            let separator = if nth == 0 { "" } else { ", " };
            match name {
                Some(name) => write!(f, "{separator}{entity_type} {name:?}")?,
                None => write!(f, "{separator}the default {entity_type}")?,
            }
        }
        Ok(())
    }
}

impl Entity for ClientQuotaEntity {}

/// Which entities are meant, by one entity type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientQuotaMatch {
    /// The one of this name.
    Exact(String),
    /// The default of the type.
    Default,
    /// All that have the type.
    Any,
}

/// Which entities are meant: those that fit for every type that is given.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ClientQuotaFilter {
    components: Vec<(String, ClientQuotaMatch)>,
    strict: bool,
}

impl ClientQuotaFilter {
    /// All entities.
    pub fn all() -> Self {
        Self::default()
    }

    /// Entities that have this type and fit.
    pub fn with(mut self, entity_type: impl Into<String>, what: ClientQuotaMatch) -> Self {
        self.components.push((entity_type.into(), what));
        self
    }

    /// Only entities that have no other types.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }
}

/// What quotas an entity is to have: values by keys such as `producer_byte_rate`, `None` to remove one.
pub type ClientQuotaChanges = BTreeMap<String, Option<f64>>;

impl Admin {
    /// Quotas by the entities they are for: values by keys such as `producer_byte_rate`. RPC DescribeClientQuotas to any
    /// broker, brokers from 2.6 on.
    ///
    /// ```no_run
    /// use sarameya::admin::ClientQuotaFilter;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (entity, quotas) in admin.describe_client_quotas(&ClientQuotaFilter::all())? {
    ///     println!("{entity:?}: {quotas:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_client_quotas(
        &self,
        filter: &ClientQuotaFilter,
    ) -> Result<BTreeMap<ClientQuotaEntity, BTreeMap<String, f64>>> {
        let component = |(entity_type, what): &(String, ClientQuotaMatch)| {
            let (match_type, name) = match what {
                ClientQuotaMatch::Exact(name) => (0, Some(name.clone())),
                ClientQuotaMatch::Default => (1, None),
                ClientQuotaMatch::Any => (2, None),
            };
            ComponentData { entity_type: entity_type.clone(), match_type, r#match: name }
        };
        self.call().ask(&Route::Any, |asking| {
            let components = filter.components.iter().map(component).collect();
            let response = asking.call(&DescribeClientQuotasRequest { components, strict: filter.strict })?;
            outcome(response.error_code, response.error_message.as_deref(), "quotas were not described")?;
            let entries = response.entries.unwrap_or_default().into_iter().map(|entry| {
                let entity = entry.entity.into_iter().map(|e| (e.entity_type, e.entity_name)).collect();
                (ClientQuotaEntity(entity), entry.values.into_iter().map(|value| (value.key, value.value)).collect())
            });
            Ok(entries.collect())
        })
    }

    /// Sets and removes quotas. RPC AlterClientQuotas to any broker, brokers from 2.6 on.
    ///
    /// ```no_run
    /// use sarameya::admin::{ClientQuotaChanges, ClientQuotaEntity};
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let changes = ClientQuotaChanges::from([("producer_byte_rate".to_owned(), Some(1e6))]);
    /// for (entity, outcome) in admin.alter_client_quotas(&[(ClientQuotaEntity::user("alice"), changes)])? {
    ///     println!("{entity:?}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn alter_client_quotas(
        &self,
        changes: &[(ClientQuotaEntity, ClientQuotaChanges)],
    ) -> Result<Results<(), ClientQuotaEntity>> {
        self.alter_or_validate_quotas(changes, false)
    }

    /// Checks as [`alter_client_quotas`](Self::alter_client_quotas) does, and changes nothing. RPC AlterClientQuotas to any
    /// broker, brokers from 2.6 on.
    ///
    /// ```no_run
    /// use sarameya::admin::{ClientQuotaChanges, ClientQuotaEntity};
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let changes = ClientQuotaChanges::from([("producer_byte_rate".to_owned(), Some(1e6))]);
    /// for (entity, outcome) in admin.validate_alter_client_quotas(&[(ClientQuotaEntity::user("alice"), changes)])? {
    ///     println!("{entity:?}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn validate_alter_client_quotas(
        &self,
        changes: &[(ClientQuotaEntity, ClientQuotaChanges)],
    ) -> Result<Results<(), ClientQuotaEntity>> {
        self.alter_or_validate_quotas(changes, true)
    }

    fn alter_or_validate_quotas(
        &self,
        changes: &[(ClientQuotaEntity, ClientQuotaChanges)],
        validate_only: bool,
    ) -> Result<Results<(), ClientQuotaEntity>> {
        let wanted: HashMap<&ClientQuotaEntity, &ClientQuotaChanges> = changes.iter().map(|(e, c)| (e, c)).collect();
        let entities = changes.iter().map(|(entity, _)| entity.clone()).collect();
        self.call().run(entities, &Route::Any, |asking, entities| {
            let part = |(entity_type, name): (&String, &Option<String>)| RequestEntityData {
                entity_type: entity_type.clone(),
                entity_name: name.clone(),
            };
            let op = |(key, value): (&String, &Option<f64>)| OpData {
                key: key.clone(),
                value: value.unwrap_or_default(),
                remove: value.is_none(),
            };
            let entry = |entity: &ClientQuotaEntity| RequestEntryData {
                entity: entity.0.iter().map(part).collect(),
                ops: wanted.get(entity).into_iter().flat_map(|ops| ops.iter()).map(op).collect(),
            };
            let entries = entities.iter().map(entry).collect();
            let response = asking.call(&AlterClientQuotasRequest { entries, validate_only })?;
            let answers = response.entries.into_iter().map(|entry| {
                let entity = entry.entity.into_iter().map(|e| (e.entity_type, e.entity_name)).collect();
                let entity = ClientQuotaEntity(entity);
                let doing = format!("the quotas of {entity} were not changed");
                let outcome: Result<(), Error> = outcome(entry.error_code, entry.error_message.as_deref(), &doing);
                (entity, outcome)
            });
            Ok(answers.collect())
        })
    }
}
