//! Configs of topics, brokers, groups and more.

use super::routing::{Entity, Route};
use super::values::coded;
use super::{Admin, Results, outcome};
use crate::protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource as ReplacedResource, AlterableConfig as ReplacedConfig,
};
use crate::protocol::messages::create_topics::CreatableTopicConfigs;
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::protocol::messages::list_config_resources::ListConfigResourcesRequest;
use crate::{Error, ErrorCode, Result};
use std::collections::HashMap;
use std::fmt;

/// From this version on brokers document their settings.
const DOCUMENTED: i16 = 3;

coded! {
    /// What configs belong to.
    ConfigResourceType {
        /// A topic.
        Topic = 2 "TOPIC",
        /// A broker; its name is its id, the empty name stands for the default of all brokers.
        Broker = 4 "BROKER",
        /// The log levels of one broker.
        BrokerLogger = 8 "BROKER_LOGGER",
        /// A subscription of client metrics (KIP-714).
        ClientMetrics = 16 "CLIENT_METRICS",
        /// A group (KIP-848).
        Group = 32 "GROUP",
    }
}

coded! {
    /// Where a config's value comes from.
    ConfigSource {
        /// The topic's own.
        DynamicTopicConfig = 1 "DYNAMIC_TOPIC_CONFIG",
        /// Set for this broker at run time.
        DynamicBrokerConfig = 2 "DYNAMIC_BROKER_CONFIG",
        /// Set for all brokers at run time.
        DynamicDefaultBrokerConfig = 3 "DYNAMIC_DEFAULT_BROKER_CONFIG",
        /// From the broker's file.
        StaticBrokerConfig = 4 "STATIC_BROKER_CONFIG",
        /// Kafka's default.
        DefaultConfig = 5 "DEFAULT_CONFIG",
        /// A log level set at run time.
        DynamicBrokerLoggerConfig = 6 "DYNAMIC_BROKER_LOGGER_CONFIG",
        /// The subscription's own.
        DynamicClientMetricsConfig = 7 "DYNAMIC_CLIENT_METRICS_CONFIG",
        /// The group's own.
        DynamicGroupConfig = 8 "DYNAMIC_GROUP_CONFIG",
    }
}

coded! {
    /// What kind of value a config has.
    ConfigType {
        /// True or false.
        Boolean = 1 "BOOLEAN",
        /// A text.
        String = 2 "STRING",
        /// A number of 32 bits.
        Int = 3 "INT",
        /// A number of 16 bits.
        Short = 4 "SHORT",
        /// A number of 64 bits.
        Long = 5 "LONG",
        /// A number with a fraction.
        Double = 6 "DOUBLE",
        /// Texts with commas between.
        List = 7 "LIST",
        /// The name of a Java class.
        Class = 8 "CLASS",
        /// A secret.
        Password = 9 "PASSWORD",
    }
}

/// Something that has configs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigResource {
    /// Of which type.
    pub resource_type: ConfigResourceType,
    /// The topic's name, the broker's id, the group's id, …
    pub name: String,
}

impl ConfigResource {
    /// A topic.
    pub fn topic(name: impl Into<String>) -> Self {
        Self { resource_type: ConfigResourceType::Topic, name: name.into() }
    }

    /// A broker, by its node id.
    pub fn broker(id: i32) -> Self {
        Self { resource_type: ConfigResourceType::Broker, name: id.to_string() }
    }

    /// What holds for all brokers that have no value of their own.
    pub fn default_broker() -> Self {
        Self { resource_type: ConfigResourceType::Broker, name: String::new() }
    }

    /// A broker's log levels, by its node id.
    pub fn broker_logger(id: i32) -> Self {
        Self { resource_type: ConfigResourceType::BrokerLogger, name: id.to_string() }
    }

    /// A group.
    pub fn group(id: impl Into<String>) -> Self {
        Self { resource_type: ConfigResourceType::Group, name: id.into() }
    }

    /// The broker that alone knows about it.
    fn broker_id(&self) -> Option<i32> {
        let of_one = [ConfigResourceType::Broker, ConfigResourceType::BrokerLogger].contains(&self.resource_type);
        self.name.parse().ok().filter(|_| of_one)
    }
}

impl fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.resource_type, self.name)
    }
}

impl Entity for ConfigResource {
    fn named(&self, error: Error) -> Error {
        match self.resource_type {
            ConfigResourceType::Topic => error.with_topic(self.name.as_str()),
            _ => error,
        }
    }
}

/// A setting and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The setting's name.
    pub name: String,
    /// Its value; `None` if it has none or is secret.
    pub value: Option<String>,
    /// Whether it can only be changed in the broker's file.
    pub read_only: bool,
    /// Whether the value is secret, and so not told.
    pub sensitive: bool,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// What else has a value for it, the one that counts first.
    pub synonyms: Vec<ConfigSynonym>,
    /// What kind of value it is; `None` from brokers before 2.6.
    pub config_type: Option<ConfigType>,
    /// What it is for, if that was [asked for](DescribeConfigs::documentation).
    pub documentation: Option<String>,
}

/// A value of a setting, maybe under another name, in the order in which Kafka looks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigSynonym {
    /// The setting's name there.
    pub name: String,
    /// Its value; `None` if it is secret.
    pub value: Option<String>,
    /// Where it stands.
    pub source: ConfigSource,
}

impl Config {
    /// Whether it is Kafka's default.
    pub fn is_default(&self) -> bool {
        self.source == ConfigSource::DefaultConfig
    }

    pub(super) fn of_created_topic(config: CreatableTopicConfigs) -> Self {
        Self {
            name: config.name,
            value: config.value,
            read_only: config.read_only,
            sensitive: config.is_sensitive,
            source: ConfigSource::from_code(config.config_source),
            synonyms: Vec::new(),
            config_type: None,
            documentation: None,
        }
    }

    fn of_description(config: DescribeConfigsResourceResult) -> Self {
        let synonyms = config.synonyms.into_iter().map(|synonym| ConfigSynonym {
            name: synonym.name,
            value: synonym.value,
            source: ConfigSource::from_code(synonym.source),
        });
        Self {
            name: config.name,
            value: config.value,
            read_only: config.read_only,
            sensitive: config.is_sensitive,
            source: ConfigSource::from_code(config.config_source),
            synonyms: synonyms.collect(),
            config_type: (config.config_type != 0).then(|| ConfigType::from_code(config.config_type)),
            documentation: config.documentation,
        }
    }
}

/// What to ask about configs.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct DescribeConfigs {
    names: Option<Vec<String>>,
    documentation: bool,
}

impl DescribeConfigs {
    /// All settings, without their documentation.
    pub fn new() -> Self {
        Self::default()
    }

    /// These settings only.
    pub fn names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Their documentation too. Brokers from 2.6 on; older ones leave it out.
    pub fn documentation(mut self, include: bool) -> Self {
        self.documentation = include;
        self
    }
}

/// A change of one config.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AlterConfig {
    /// The setting gets this value.
    Set(String, String),
    /// The setting falls back to the default.
    Delete(String),
    /// This is added to the setting's list.
    Append(String, String),
    /// This is taken out of the setting's list.
    Subtract(String, String),
}

impl AlterConfig {
    fn on_the_wire(&self) -> AlterableConfig {
        let (config_operation, name, value) = match self {
            Self::Set(name, value) => (0, name, Some(value)),
            Self::Delete(name) => (1, name, None),
            Self::Append(name, value) => (2, name, Some(value)),
            Self::Subtract(name, value) => (3, name, Some(value)),
        };
        AlterableConfig { name: name.clone(), config_operation, value: value.cloned() }
    }
}

impl Admin {
    /// All configs of resources. RPC DescribeConfigs to the broker that is asked about, else to any; brokers from 1.1
    /// on.
    ///
    /// ```no_run
    /// use sarameya::admin::ConfigResource;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (_, configs) in admin.describe_configs(&[ConfigResource::topic("test3")])? {
    ///     for config in configs?.iter().filter(|config| !config.is_default()) {
    ///         println!("{}={:?}", config.name, config.value);
    ///     }
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_configs(&self, resources: &[ConfigResource]) -> Result<Results<Vec<Config>, ConfigResource>> {
        self.describe_configs_as(resources, &DescribeConfigs::new())
    }

    /// Like [`describe_configs`](Self::describe_configs), with a choice of settings and their documentation.
    /// RPC DescribeConfigs, brokers from 1.1 on; documentation from 2.6 on.
    ///
    /// ```no_run
    /// use sarameya::admin::{ConfigResource, DescribeConfigs};
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let what = DescribeConfigs::new().names(["retention.ms"]).documentation(true);
    /// for (_, configs) in admin.describe_configs_as(&[ConfigResource::topic("test3")], &what)? {
    ///     println!("{:?}", configs?);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_configs_as(
        &self,
        resources: &[ConfigResource],
        what: &DescribeConfigs,
    ) -> Result<Results<Vec<Config>, ConfigResource>> {
        self.call().run(resources.to_vec(), &Route::Broker(&ConfigResource::broker_id), |asking, resources| {
            let version = asking.version::<DescribeConfigsRequest>()?;
            let resource = |resource: &ConfigResource| DescribeConfigsResource {
                resource_type: resource.resource_type.code(),
                resource_name: resource.name.clone(),
                configuration_keys: what.names.clone(),
            };
            let response = asking.call(&DescribeConfigsRequest {
                resources: resources.iter().map(resource).collect(),
                include_synonyms: true,
                include_documentation: what.documentation && version >= DOCUMENTED,
            })?;
            let answers = response.results.into_iter().map(|result| {
                let resource = answered(result.resource_type, result.resource_name);
                let doing = format!("the configs of {resource} were not described");
                let described = outcome(result.error_code, result.error_message.as_deref(), &doing);
                (resource, described.map(|()| result.configs.into_iter().map(Config::of_description).collect()))
            });
            Ok(answers.collect())
        })
    }

    /// Changes single configs and leaves the others as they are. RPC IncrementalAlterConfigs to the broker that is
    /// concerned, else to any; brokers from 2.3 on. All changes of one resource are made, or none.
    ///
    /// An append or subtraction that was lost on the way back may be made twice, which changes nothing.
    ///
    /// ```no_run
    /// use sarameya::admin::{AlterConfig, ConfigResource};
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let changes = vec![AlterConfig::Set("retention.ms".into(), "3600000".into()), AlterConfig::Delete("flush.ms".into())];
    /// for (topic, changed) in admin.incremental_alter_configs(&[(ConfigResource::topic("test3"), changes)])? {
    ///     println!("{topic:?}: {changed:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn incremental_alter_configs(
        &self,
        changes: &[(ConfigResource, Vec<AlterConfig>)],
    ) -> Result<Results<(), ConfigResource>> {
        self.alter_or_validate_incrementally(changes, false)
    }

    /// Checks as [`incremental_alter_configs`](Self::incremental_alter_configs) does, and changes nothing. RPC
    /// IncrementalAlterConfigs, brokers from 2.3 on.
    ///
    /// ```no_run
    /// use sarameya::admin::{AlterConfig, ConfigResource};
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let changes = vec![AlterConfig::Append("cleanup.policy".into(), "compact".into())];
    /// for (topic, possible) in admin.validate_incremental_alter_configs(&[(ConfigResource::topic("test3"), changes)])? {
    ///     println!("{topic:?}: {possible:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn validate_incremental_alter_configs(
        &self,
        changes: &[(ConfigResource, Vec<AlterConfig>)],
    ) -> Result<Results<(), ConfigResource>> {
        self.alter_or_validate_incrementally(changes, true)
    }

    fn alter_or_validate_incrementally(
        &self,
        changes: &[(ConfigResource, Vec<AlterConfig>)],
        validate_only: bool,
    ) -> Result<Results<(), ConfigResource>> {
        let wanted: HashMap<&ConfigResource, &Vec<AlterConfig>> = changes.iter().map(|(r, c)| (r, c)).collect();
        let resources = changes.iter().map(|(resource, _)| resource.clone()).collect();
        self.call().run(resources, &Route::Broker(&ConfigResource::broker_id), |asking, resources| {
            let resource = |resource: &ConfigResource| AlterConfigsResource {
                resource_type: resource.resource_type.code(),
                resource_name: resource.name.clone(),
                configs: wanted
                    .get(resource)
                    .into_iter()
                    .flat_map(|c| c.iter())
                    .map(AlterConfig::on_the_wire)
                    .collect(),
            };
            let resources = resources.iter().map(resource).collect();
            let response = asking.call(&IncrementalAlterConfigsRequest { resources, validate_only })?;
            let answers = response.responses.into_iter().map(|result| {
                altered(result.error_code, result.error_message, result.resource_type, result.resource_name)
            });
            Ok(answers.collect())
        })
    }

    /// Replaces all configs of resources; what is not given falls back to its default. RPC AlterConfigs, which Kafka
    /// has deprecated since 2.3: it is for older brokers. Brokers from 1.0 on.
    ///
    /// ```no_run
    /// use sarameya::admin::ConfigResource;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let all = vec![("retention.ms".to_owned(), "3600000".to_owned())];
    /// for (topic, changed) in admin.alter_configs(&[(ConfigResource::topic("test3"), all)])? {
    ///     println!("{topic:?}: {changed:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn alter_configs(
        &self,
        configs: &[(ConfigResource, Vec<(String, String)>)],
    ) -> Result<Results<(), ConfigResource>> {
        self.replace_or_validate(configs, false)
    }

    /// Checks as [`alter_configs`](Self::alter_configs) does, and changes nothing. RPC AlterConfigs, brokers from 1.0 on.
    ///
    /// ```no_run
    /// use sarameya::admin::ConfigResource;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let all = vec![("retention.ms".to_owned(), "3600000".to_owned())];
    /// for (topic, possible) in admin.validate_alter_configs(&[(ConfigResource::topic("test3"), all)])? {
    ///     println!("{topic:?}: {possible:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn validate_alter_configs(
        &self,
        configs: &[(ConfigResource, Vec<(String, String)>)],
    ) -> Result<Results<(), ConfigResource>> {
        self.replace_or_validate(configs, true)
    }

    fn replace_or_validate(
        &self,
        configs: &[(ConfigResource, Vec<(String, String)>)],
        validate_only: bool,
    ) -> Result<Results<(), ConfigResource>> {
        let wanted: HashMap<&ConfigResource, &Vec<(String, String)>> = configs.iter().map(|(r, c)| (r, c)).collect();
        let resources = configs.iter().map(|(resource, _)| resource.clone()).collect();
        self.call().run(resources, &Route::Broker(&ConfigResource::broker_id), |asking, resources| {
            let config =
                |(name, value): &(String, String)| ReplacedConfig { name: name.clone(), value: Some(value.clone()) };
            let resource = |resource: &ConfigResource| ReplacedResource {
                resource_type: resource.resource_type.code(),
                resource_name: resource.name.clone(),
                configs: wanted.get(resource).into_iter().flat_map(|c| c.iter()).map(config).collect(),
            };
            let resources = resources.iter().map(resource).collect();
            let response = asking.call(&AlterConfigsRequest { resources, validate_only })?;
            let answers = response.responses.into_iter().map(|result| {
                altered(result.error_code, result.error_message, result.resource_type, result.resource_name)
            });
            Ok(answers.collect())
        })
    }

    /// Everything of these types that has configs; of all types for none. RPC ListConfigResources to any broker, from
    /// 4.1 on; brokers from 3.7 on know it for client metrics only.
    ///
    /// ```no_run
    /// use sarameya::admin::ConfigResourceType;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for resource in admin.list_config_resources(&[ConfigResourceType::Group])? {
    ///     println!("{}", resource.name);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn list_config_resources(&self, types: &[ConfigResourceType]) -> Result<Vec<ConfigResource>> {
        self.call().ask(&Route::Any, |asking| {
            // Version 0 is about client metrics alone.
            if types != [ConfigResourceType::ClientMetrics] {
                asking.needs::<ListConfigResourcesRequest>(1, "only client metrics can be listed")?;
            }
            let resource_types = match asking.version::<ListConfigResourcesRequest>()? {
                0 => Vec::new(),
                _ => types.iter().map(|t| t.code()).collect(),
            };
            let response = asking.call(&ListConfigResourcesRequest { resource_types })?;
            match ErrorCode(response.error_code) {
                ErrorCode::NONE => {}
                code => return Err(Error::from_code(code, "config resources were not listed")),
            }
            let resources = response.config_resources.into_iter();
            Ok(resources.map(|resource| answered(resource.resource_type, resource.resource_name)).collect())
        })
    }
}

fn answered(resource_type: i8, name: String) -> ConfigResource {
    ConfigResource { resource_type: ConfigResourceType::from_code(resource_type), name }
}

fn altered(code: i16, words: Option<String>, resource_type: i8, name: String) -> (ConfigResource, Result<()>) {
    let resource = answered(resource_type, name);
    let outcome = outcome(code, words.as_deref(), &format!("the configs of {resource} were not changed"));
    (resource, outcome)
}
