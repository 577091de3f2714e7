//! DescribeConfigs, versions 1 to 4, and ListConfigResources, versions 0 and 1 (KIP-1142).

use super::definitions::{Kind, Resource, definitions};
use super::{Entry, Synonym, Values, source};
use crate::ErrorCode;
use crate::embedded::state::refusal::Refusal;
use crate::embedded::state::topics::check_name;
use crate::embedded::state::{Context, Reply, State};
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::protocol::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

/// The one logger whose level can be seen and set.
pub(super) const ROOT_LOGGER: &str = "root";

impl State {
    pub(in crate::embedded::state) fn describe_configs(
        &mut self,
        context: &Context,
        request: DescribeConfigsRequest,
    ) -> Reply {
        let synonyms = request.include_synonyms;
        let results = request.resources.into_iter().map(|asked| {
            let found = self.described_configs(&asked, context.broker);
            let (error_code, error_message, entries) = match found {
                // As Kafka has it: no words, but not null.
                Ok(entries) => (ErrorCode::NONE.0, Some(String::new()), entries),
                Err(refusal) => (refusal.code.0, refusal.message, Vec::new()),
            };
            let wanted =
                |entry: &Entry| asked.configuration_keys.as_ref().is_none_or(|keys| keys.contains(&entry.name));
            let configs = entries.into_iter().filter(wanted).map(|entry| answered(entry, synonyms)).collect();
            DescribeConfigsResult {
                error_code,
                error_message,
                resource_type: asked.resource_type,
                resource_name: asked.resource_name,
                configs,
            }
        });
        Reply::of(DescribeConfigsResponse { results: results.collect(), ..Default::default() })
    }

    fn described_configs(&self, asked: &DescribeConfigsResource, asked_broker: i32) -> Result<Vec<Entry>, Refusal> {
        let name = &asked.resource_name;
        let refused = |words: String| Err(Refusal::new(ErrorCode::INVALID_REQUEST, words));
        match Resource::of(asked.resource_type) {
            Some(Resource::Topic) => {
                check_name(name)?;
                // Here too Kafka has no words.
                let unknown = || Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "");
                let topic = self.topics.get(name).ok_or_else(unknown)?;
                Ok(self.topic_config_entries(&topic.configs))
            }
            Some(Resource::Broker) if name.is_empty() => Ok(self.cluster_entries()),
            Some(Resource::Broker) => match name.parse::<i32>() {
                Err(_) => refused(format!("Broker id must be an integer, but it is: {name}")),
                Ok(id) if id != asked_broker => refused(format!(
                    "Unexpected broker id, expected {asked_broker} or empty string, but received {name}"
                )),
                Ok(id) => Ok(self.broker_entries(id)),
            },
            Some(Resource::BrokerLogger) => match name.parse::<i32>() {
                _ if name.is_empty() => refused("Broker id must not be empty".into()),
                Err(_) => refused(format!("Broker id must be an integer, but it is: {name}")),
                Ok(id) if id != asked_broker => {
                    refused(format!("Unexpected broker id, expected {asked_broker} but received {name}"))
                }
                Ok(_) => Ok(vec![self.logger_entry(name)]),
            },
            Some(Resource::ClientMetrics) if name.is_empty() => {
                refused("Client metrics subscription name must not be empty".into())
            }
            Some(Resource::ClientMetrics) => Ok(self.plain_entries(Resource::ClientMetrics, name)),
            Some(Resource::Group) if name.is_empty() => refused("Group name must not be empty".into()),
            Some(Resource::Group) => Ok(self.group_entries(name)),
            None => refused(format!("Unsupported resource type: {}", asked.resource_type)),
        }
    }

    fn broker_entries(&self, broker: i32) -> Vec<Entry> {
        let entries = definitions(Resource::Broker).iter().map(|(name, definition)| {
            let synonyms = self.broker_synonyms(Some(broker), name);
            let value = synonyms.first().and_then(|first| first.value.clone());
            Entry {
                name: (*name).to_owned(),
                value,
                read_only: definition.read_only,
                is_sensitive: definition.sensitive,
                source: synonyms.first().map_or(source::DEFAULT, |first| first.source),
                synonyms,
                kind: definition.kind as i8,
            }
        });
        entries.collect()
    }

    /// What was set for all brokers while they ran.
    fn cluster_entries(&self) -> Vec<Entry> {
        let values = self.settings.dynamic(None).into_iter().flatten();
        values
            .map(|(name, value)| self.set_entry(Resource::Broker, name, value, source::DYNAMIC_DEFAULT_BROKER))
            .collect()
    }

    fn group_entries(&self, group: &str) -> Vec<Entry> {
        let own = self.configs.get(&(Resource::Group, group.to_owned()));
        let entries = definitions(Resource::Group).iter().map(|(name, definition)| {
            let set = own.and_then(|own| own.get(*name));
            let mut synonyms = Vec::new();
            if let Some(value) = set {
                let value = Some(value.clone());
                synonyms.push(Synonym { name: (*name).to_owned(), value, source: source::GROUP });
            }
            match definition.broker {
                Some(broker) => synonyms.extend(self.broker_synonyms(None, broker)),
                None => synonyms.push(Synonym {
                    name: (*name).to_owned(),
                    value: definition.default.map(str::to_owned),
                    source: source::DEFAULT,
                }),
            }
            Entry {
                name: (*name).to_owned(),
                value: self.group_config(group, name).map(str::to_owned),
                read_only: definition.read_only,
                is_sensitive: definition.sensitive,
                source: synonyms.first().map_or(source::DEFAULT, |first| first.source),
                synonyms,
                kind: definition.kind as i8,
            }
        });
        entries.collect()
    }

    /// All configs of a resource whose configs have no synonyms.
    fn plain_entries(&self, resource: Resource, name: &str) -> Vec<Entry> {
        let own = self.configs.get(&(resource, name.to_owned()));
        let entries = definitions(resource).iter().map(|(config, definition)| {
            let set = own.and_then(|own| own.get(*config));
            let source = if set.is_some() { source::CLIENT_METRICS } else { source::DEFAULT };
            let value = set.map(String::as_str).or(definition.default).unwrap_or_default();
            self.set_entry(resource, config, value, source)
        });
        entries.collect()
    }

    fn set_entry(&self, resource: Resource, name: &str, value: &str, source: i8) -> Entry {
        let definition = definitions(resource).get(name);
        let is_sensitive = definition.is_some_and(|definition| definition.sensitive);
        let value = Some(value.to_owned()).filter(|_| !is_sensitive);
        let synonym = Synonym { name: name.to_owned(), value: value.clone(), source };
        Entry {
            name: name.to_owned(),
            value,
            read_only: definition.is_some_and(|definition| definition.read_only),
            is_sensitive,
            source,
            // What is the default here is no config of the brokers'.
            synonyms: if [source::DEFAULT, source::BROKER_LOGGER].contains(&source) {
                Vec::new()
            } else {
                vec![synonym]
            },
            kind: definition.map_or(0, |definition| definition.kind as i8),
        }
    }

    fn logger_entry(&self, broker: &str) -> Entry {
        let levels: Option<&Values> = self.configs.get(&(Resource::BrokerLogger, broker.to_owned()));
        let level = levels.and_then(|levels| levels.get(ROOT_LOGGER)).map_or("INFO", String::as_str);
        Entry { kind: 0, ..self.set_entry(Resource::BrokerLogger, ROOT_LOGGER, level, source::BROKER_LOGGER) }
    }

    pub(in crate::embedded::state) fn list_config_resources(
        &mut self,
        context: &Context,
        request: ListConfigResourcesRequest,
    ) -> Reply {
        // Version 0 was for client metrics only.
        let wanted = match (context.version, request.resource_types.is_empty()) {
            (0, _) => vec![Resource::ClientMetrics as i8],
            (_, true) => Resource::ALL.map(|resource| resource as i8).to_vec(),
            _ => request.resource_types,
        };
        let mut config_resources = Vec::new();
        for number in wanted {
            let Some(resource) = Resource::of(number) else {
                let error_code = ErrorCode::UNSUPPORTED_VERSION.0;
                return Reply::of(ListConfigResourcesResponse { error_code, ..Default::default() });
            };
            let names: Vec<String> = match resource {
                Resource::Topic => self.topics.iter().map(|topic| topic.name.clone()).collect(),
                Resource::Broker | Resource::BrokerLogger => {
                    self.brokers.running().map(|broker| broker.id.to_string()).collect()
                }
                Resource::ClientMetrics | Resource::Group => {
                    let set = self.configs.iter().filter(|((of, _), values)| *of == resource && !values.is_empty());
                    set.map(|((_, name), _)| name.clone()).collect()
                }
            };
            let listed = |resource_name| ConfigResource { resource_name, resource_type: number };
            config_resources.extend(names.into_iter().map(listed));
        }
        Reply::of(ListConfigResourcesResponse { config_resources, ..Default::default() })
    }
}

fn answered(entry: Entry, synonyms: bool) -> DescribeConfigsResourceResult {
    let synonyms = if synonyms { entry.synonyms } else { Vec::new() };
    let synonym =
        |synonym: Synonym| DescribeConfigsSynonym { name: synonym.name, value: synonym.value, source: synonym.source };
    DescribeConfigsResourceResult {
        name: entry.name,
        value: entry.value.filter(|_| !entry.is_sensitive && entry.kind != Kind::Password as i8),
        read_only: entry.read_only,
        config_source: entry.source,
        is_sensitive: entry.is_sensitive,
        synonyms: synonyms.into_iter().map(synonym).collect(),
        config_type: entry.kind,
        documentation: None,
    }
}
