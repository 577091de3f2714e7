//! IncrementalAlterConfigs, versions 0 and 1, and AlterConfigs, versions 0 to 2, which replaces all that was set.
//!
//! Each resource is changed as a whole or not at all.

use super::Values;
use super::definitions::{Kind, Resource, definitions};
use super::describe::ROOT_LOGGER;
use crate::ErrorCode;
use crate::embedded::state::refusal::{Refusal, code_and_message};
use crate::embedded::state::settings::MIN_INSYNC_REPLICAS;
use crate::embedded::state::topics::check_name;
use crate::embedded::state::{Context, Reply, State};
use crate::protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse as ReplacedResource, AlterConfigsResponse,
};
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use std::collections::BTreeSet;

/// What to do with a config, as on the wire.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

const LOG_LEVELS: [&str; 6] = ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];

struct Change {
    name: String,
    operation: i8,
    value: Option<String>,
}

/// A resource that is to be changed.
struct Alteration {
    resource_type: i8,
    name: String,
    changes: Vec<Change>,
    /// Whether what is not named goes back to its default.
    replace: bool,
}

impl State {
    pub(in crate::embedded::state) fn incremental_alter_configs(
        &mut self,
        context: &Context,
        request: IncrementalAlterConfigsRequest,
    ) -> Reply {
        let alterations = request.resources.into_iter().map(|resource| {
            let change = |config: crate::protocol::messages::incremental_alter_configs::AlterableConfig| Change {
                name: config.name,
                operation: config.config_operation,
                value: config.value,
            };
            Alteration {
                resource_type: resource.resource_type,
                name: resource.resource_name,
                changes: resource.configs.into_iter().map(change).collect(),
                replace: false,
            }
        });
        let responses = self.alter_all(context.broker, alterations.collect(), request.validate_only);
        let response = |(alteration, outcome): (Alteration, Result<(), Refusal>)| {
            let (error_code, error_message) = code_and_message(&outcome);
            AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: alteration.resource_type,
                resource_name: alteration.name,
            }
        };
        let responses = responses.into_iter().map(response).collect();
        Reply::of(IncrementalAlterConfigsResponse { responses, ..Default::default() })
    }

    pub(in crate::embedded::state) fn alter_configs(
        &mut self,
        context: &Context,
        request: AlterConfigsRequest,
    ) -> Reply {
        let alterations = request.resources.into_iter().map(|resource| {
            let change = |config: crate::protocol::messages::alter_configs::AlterableConfig| Change {
                name: config.name,
                operation: SET,
                value: config.value,
            };
            Alteration {
                resource_type: resource.resource_type,
                name: resource.resource_name,
                changes: resource.configs.into_iter().map(change).collect(),
                replace: true,
            }
        });
        let responses = self.alter_all(context.broker, alterations.collect(), request.validate_only);
        let response = |(alteration, outcome): (Alteration, Result<(), Refusal>)| {
            let (error_code, error_message) = code_and_message(&outcome);
            ReplacedResource {
                error_code,
                error_message,
                resource_type: alteration.resource_type,
                resource_name: alteration.name,
            }
        };
        let responses = responses.into_iter().map(response).collect();
        Reply::of(AlterConfigsResponse { responses, ..Default::default() })
    }

    fn alter_all(
        &mut self,
        broker: i32,
        alterations: Vec<Alteration>,
        validate_only: bool,
    ) -> Vec<(Alteration, Result<(), Refusal>)> {
        let mut seen = BTreeSet::new();
        let twice: BTreeSet<(i8, String)> = alterations
            .iter()
            .map(|alteration| (alteration.resource_type, alteration.name.clone()))
            .filter(|resource| !seen.insert(resource.clone()))
            .collect();
        let mut outcomes = Vec::new();
        for alteration in alterations {
            let outcome = if twice.contains(&(alteration.resource_type, alteration.name.clone())) {
                Err(Refusal::new(ErrorCode::INVALID_REQUEST, "Each resource must appear at most once."))
            } else {
                self.alter(broker, &alteration, validate_only)
            };
            outcomes.push((alteration, outcome));
        }
        outcomes
    }

    fn alter(&mut self, broker: i32, alteration: &Alteration, validate_only: bool) -> Result<(), Refusal> {
        let invalid = |words: String| Refusal::new(ErrorCode::INVALID_REQUEST, words);
        let mut names = BTreeSet::new();
        if !alteration.changes.iter().all(|change| names.insert(&change.name)) {
            return Err(invalid("Error due to duplicate config keys".into()));
        }
        let unset = alteration.changes.iter().filter(|change| change.value.is_none() && change.operation != DELETE);
        let unset: Vec<&str> = unset.map(|change| change.name.as_str()).collect();
        if !unset.is_empty() {
            return Err(invalid(format!("Null value not supported for : {}", unset.join(","))));
        }
        let unknown = || invalid(format!("Unknown resource type {}", alteration.resource_type));
        let resource = Resource::of(alteration.resource_type).ok_or_else(unknown)?;
        let name = &alteration.name;
        match resource {
            Resource::Topic if name.is_empty() => {
                return Err(invalid("Default topic resources are not allowed.".into()));
            }
            Resource::Topic => check_name(name)?,
            Resource::Group if name.is_empty() => {
                return Err(invalid("Default group resources are not allowed.".into()));
            }
            Resource::ClientMetrics if name.is_empty() => {
                return Err(invalid("Subscription name can't be empty".into()));
            }
            Resource::Broker if !name.is_empty() => check_broker(name, broker, "Unexpected broker id, expected")?,
            Resource::BrokerLogger => check_broker(name, broker, "Unexpected node id. Expected")?,
            _ => {}
        }
        let now = self.altered(resource, alteration)?;
        self.check_configs(resource, &now, alteration)?;
        if resource == Resource::Broker && self.has_eligible_leader_replicas(broker) {
            check_min_insync_replicas(name, &self.stored(resource, name), &now)?;
        }
        if resource == Resource::Topic && self.topics.get(name).is_none() {
            let words = format!("The topic '{name}' does not exist.");
            return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, words));
        }
        if !validate_only {
            self.store(resource, name, now);
        }
        Ok(())
    }

    /// What is set for a resource now.
    fn stored(&self, resource: Resource, name: &str) -> Values {
        let stored = match resource {
            Resource::Topic => self.topics.get(name).map(|topic| &topic.configs),
            Resource::Broker => self.settings.dynamic(name.parse().ok()),
            _ => self.configs.get(&(resource, name.to_owned())),
        };
        stored.cloned().unwrap_or_default()
    }

    fn store(&mut self, resource: Resource, name: &str, values: Values) {
        match resource {
            Resource::Topic => {
                if let Some(topic) = self.topics.get_mut(name) {
                    topic.configs = values;
                }
            }
            Resource::Broker => *self.settings.dynamic_mut(name.parse().ok()) = values,
            _ => {
                self.configs.insert((resource, name.to_owned()), values);
            }
        }
    }

    /// What would be set after the change.
    fn altered(&self, resource: Resource, alteration: &Alteration) -> Result<Values, Refusal> {
        let mut values = if alteration.replace { Values::new() } else { self.stored(resource, &alteration.name) };
        for Change { name, operation, value } in &alteration.changes {
            let value = value.clone().unwrap_or_default();
            match *operation {
                SET => {
                    values.insert(name.clone(), value);
                }
                DELETE => {
                    values.remove(name);
                }
                APPEND | SUBTRACT => {
                    let definition = definitions(resource).get(name.as_str());
                    if definition.is_none_or(|definition| definition.kind != Kind::List) {
                        let what = if *operation == APPEND { "APPEND" } else { "SUBTRACT" };
                        let words = format!("Can't {what} to key {name} because its type is not LIST.");
                        return Err(Refusal::new(ErrorCode::INVALID_CONFIG, words));
                    }
                    let default = definition.and_then(|definition| definition.default).unwrap_or_default();
                    let before = values.get(name).map_or(default, String::as_str);
                    let mut parts: Vec<&str> = before.split(',').filter(|part| !part.is_empty()).collect();
                    for part in value.split(',') {
                        if *operation == SUBTRACT {
                            parts.retain(|have| *have != part);
                        } else if !parts.contains(&part) {
                            parts.push(part);
                        }
                    }
                    let parts = parts.join(",");
                    values.insert(name.clone(), parts);
                }
                _ => return Err(ErrorCode::UNKNOWN_SERVER_ERROR.into()),
            }
        }
        Ok(values)
    }

    fn check_configs(&self, resource: Resource, values: &Values, alteration: &Alteration) -> Result<(), Refusal> {
        match resource {
            Resource::Topic => self.check_topic_configs(values),
            Resource::Broker => check_broker_configs(values, alteration),
            Resource::Group => self.check_group_configs(values),
            Resource::ClientMetrics => check_client_metrics(values),
            Resource::BrokerLogger => check_levels(values),
        }
    }

    fn check_group_configs(&self, values: &Values) -> Result<(), Refusal> {
        let refused = |words: String| Err(Refusal::new(ErrorCode::INVALID_CONFIG, words));
        for (name, value) in values {
            let Some(definition) = definitions(Resource::Group).get(name.as_str()) else {
                return refused(format!("Unknown group config name: {name}"));
            };
            definition.check(name, value).or_else(refused)?;
            // The brokers' limits: consumer.X lies between group.consumer.min.X and group.consumer.max.X. One is named
            // without its beginning.
            let (Some((protocol, rest)), Ok(number)) = (name.split_once('.'), value.trim().parse::<i64>()) else {
                continue;
            };
            let limit = |which: &str| {
                let limit = format!("group.{protocol}.{which}.{}", rest.strip_prefix("num.").unwrap_or(rest));
                let value = self.settings.get(&limit)?.parse::<i64>().ok()?;
                Some((limit, value))
            };
            match (limit("min"), limit("max")) {
                (Some((limit, least)), _) if number < least => {
                    return refused(format!("{name} must be greater than or equal to {limit}"));
                }
                (_, Some((limit, most))) if number > most => {
                    return refused(format!("{name} must be less than or equal to {limit}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Each broker changes its own configs only.
fn check_broker(name: &str, asked: i32, expected: &str) -> Result<(), Refusal> {
    let words = match name.parse::<i32>() {
        Ok(id) if id == asked => return Ok(()),
        Ok(_) => format!("{expected} {asked}, but received {name}"),
        Err(_) => format!("Node id must be an integer, but it is: {name}"),
    };
    Err(Refusal::new(ErrorCode::INVALID_REQUEST, words))
}

/// Brokers keep names they do not know, for their plug-ins.
fn check_broker_configs(values: &Values, alteration: &Alteration) -> Result<(), Refusal> {
    let refused = |words: String| Err(Refusal::new(ErrorCode::INVALID_REQUEST, words));
    let known = definitions(Resource::Broker);
    let read_only = |name: &&str| known.get(*name).is_some_and(|definition| definition.read_only);
    let names = alteration.changes.iter().map(|change| change.name.as_str());
    let fixed: Vec<&str> = names.filter(read_only).collect();
    if !fixed.is_empty() {
        return refused(format!("Cannot update these configs dynamically: [{}]", fixed.join(", ")));
    }
    for (name, value) in values {
        if let Some(definition) = known.get(name.as_str()) {
            definition.check(name, value).or_else(refused)?;
        }
    }
    Ok(())
}

/// All brokers share one value, always (KIP-966).
fn check_min_insync_replicas(broker: &str, before: &Values, now: &Values) -> Result<(), Refusal> {
    let refused = |words: &str| Err(Refusal::new(ErrorCode::INVALID_CONFIG, format!("{words} while ELR is enabled.")));
    let value = now.get(MIN_INSYNC_REPLICAS);
    if !broker.is_empty() && value != before.get(MIN_INSYNC_REPLICAS) {
        return refused("Broker-level min.insync.replicas cannot be altered");
    }
    if broker.is_empty() && value.is_none() {
        return refused("Cluster-level min.insync.replicas cannot be removed");
    }
    Ok(())
}

fn check_client_metrics(values: &Values) -> Result<(), Refusal> {
    const KEYS: [&str; 6] = [
        "client_instance_id",
        "client_id",
        "client_software_name",
        "client_software_version",
        "client_source_address",
        "client_source_port",
    ];
    let invalid = |words: String| Err(Refusal::new(ErrorCode::INVALID_REQUEST, words));
    for (name, value) in values {
        let Some(definition) = definitions(Resource::ClientMetrics).get(name.as_str()) else {
            return invalid(format!("Unknown client metrics configuration: {name}"));
        };
        let wrong = |words: String| Err(Refusal::new(ErrorCode::INVALID_CONFIG, words));
        definition.check(name, value).or_else(wrong)?;
        match name.as_str() {
            "interval.ms" if !value.parse().is_ok_and(|interval| (100..=3_600_000).contains(&interval)) => {
                let rest = "interval must be between 100 and 3600000 (1 hour)";
                return invalid(format!("Invalid value {value} for interval.ms, {rest}"));
            }
            "match" => {
                let fits = |part: &str| part.split_once('=').is_some_and(|(key, _)| KEYS.contains(&key.trim()));
                if let Some(part) = value.split(',').find(|part| !part.is_empty() && !fits(part)) {
                    return wrong(format!("Illegal client matching pattern: {part}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_levels(values: &Values) -> Result<(), Refusal> {
    let refused = |words: String| Err(Refusal::new(ErrorCode::INVALID_CONFIG, words));
    for (name, level) in values {
        if name != ROOT_LOGGER {
            return refused(format!("Logger {name} does not exist!"));
        }
        if !LOG_LEVELS.contains(&level.as_str()) {
            let rest = format!("Valid log levels are {}", LOG_LEVELS.join(", "));
            return refused(format!(
                "Cannot set the log level of {name} to {level} as it is not a supported log level. {rest}"
            ));
        }
    }
    Ok(())
}
