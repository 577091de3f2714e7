//! DescribeClientQuotas and AlterClientQuotas, versions 0 and 1 (KIP-546). Quotas are kept and shown, not enforced.

use super::refusal::{Refusal, code_and_message};
use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, OpData, RequestEntityData, ResponseEntityData,
    ResponseEntryData,
};
use crate::protocol::messages::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse, EntityData, EntryData, ValueData,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

/// Who a quota is for: names by type; `None` stands for all that have none of their own.
type Entity = BTreeMap<String, Option<String>>;

/// What clients have set.
pub(super) type Quotas = BTreeMap<Entity, BTreeMap<String, f64>>;

/// The quotas of users and clients, and whether they are whole numbers.
const USER_QUOTAS: [(&str, bool); 4] = [
    ("producer_byte_rate", true),
    ("consumer_byte_rate", true),
    ("request_percentage", false),
    ("controller_mutation_rate", false),
];
const IP_QUOTAS: [(&str, bool); 1] = [("connection_creation_rate", true)];

/// How a component of a filter matches, as on the wire.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const SPECIFIED: i8 = 2;

fn invalid<T>(words: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(ErrorCode::INVALID_REQUEST, words))
}

impl State {
    pub(super) fn alter_client_quotas(&mut self, _context: &Context, request: AlterClientQuotasRequest) -> Reply {
        let mut entries = Vec::new();
        for entry in request.entries {
            let outcome = self.alter_quotas(&entry.entity, &entry.ops, request.validate_only);
            let (error_code, error_message) = code_and_message(&outcome);
            let entity = entry
                .entity
                .into_iter()
                .map(|part| ResponseEntityData { entity_type: part.entity_type, entity_name: part.entity_name });
            entries.push(ResponseEntryData { error_code, error_message, entity: entity.collect() });
        }
        Reply::of(AlterClientQuotasResponse { entries, ..Default::default() })
    }

    fn alter_quotas(
        &mut self,
        parts: &[RequestEntityData],
        changes: &[OpData],
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let entity = entity(parts)?;
        let known: &[(&str, bool)] = if entity.contains_key(IP) { &IP_QUOTAS } else { &USER_QUOTAS };
        let mut quotas = self.quotas.get(&entity).cloned().unwrap_or_default();
        let mut changed = BTreeMap::new();
        for OpData { key, value, remove } in changes {
            if changed.insert(key, ()).is_some() {
                return invalid(format!("Duplicate quota key {key} not updating quota for this entity"));
            }
            if *remove {
                quotas.remove(key);
                continue;
            }
            check_quota(known, key, *value)?;
            quotas.insert(key.clone(), *value);
        }
        match (validate_only, quotas.is_empty()) {
            (true, _) => {}
            (false, true) => {
                self.quotas.remove(&entity);
            }
            (false, false) => {
                self.quotas.insert(entity, quotas);
            }
        }
        Ok(())
    }

    pub(super) fn describe_client_quotas(&mut self, _context: &Context, request: DescribeClientQuotasRequest) -> Reply {
        if let Err(refusal) = check_filter(&request.components) {
            let (error_code, error_message) = (refusal.code.0, refusal.message);
            return Reply::of(DescribeClientQuotasResponse {
                error_code,
                error_message,
                entries: None,
                ..Default::default()
            });
        }
        let found = self.quotas.iter().filter(|(entity, _)| matches(entity, &request.components, request.strict));
        let entries = found.map(|(entity, quotas)| {
            let part = |(kind, name): (&String, &Option<String>)| EntityData {
                entity_type: kind.clone(),
                entity_name: name.clone(),
            };
            let value = |(key, value): (&String, &f64)| ValueData { key: key.clone(), value: *value };
            EntryData { entity: entity.iter().map(part).collect(), values: quotas.iter().map(value).collect() }
        });
        Reply::of(DescribeClientQuotasResponse { entries: Some(entries.collect()), ..Default::default() })
    }
}

fn entity(parts: &[RequestEntityData]) -> Result<Entity, Refusal> {
    let mut entity = Entity::new();
    for RequestEntityData { entity_type, entity_name } in parts {
        if ![USER, CLIENT_ID, IP].contains(&entity_type.as_str()) {
            return invalid(format!("Unhandled client quota entity type: {entity_type}"));
        }
        if entity_name.as_deref() == Some("") {
            return invalid(format!("Empty {entity_type} not supported"));
        }
        if entity.insert(entity_type.clone(), entity_name.clone()).is_some() {
            return invalid(format!("Invalid client quota entity, duplicate entity entry {entity_type}"));
        }
    }
    if entity.is_empty() {
        return invalid("Invalid empty client quota entity");
    }
    if let Some(ip) = entity.get(IP) {
        if entity.len() > 1 {
            let words = "Invalid quota entity combination, IP entity should not be combined with User or ClientId";
            return invalid(words);
        }
        if let Some(ip) = ip.as_deref().filter(|ip| ip.parse::<IpAddr>().is_err()) {
            return invalid(format!("{ip} is not a valid IP or resolvable host."));
        }
    }
    Ok(entity)
}

fn check_quota(known: &[(&str, bool)], key: &str, value: f64) -> Result<(), Refusal> {
    let Some((_, whole)) = known.iter().find(|(known, _)| *known == key) else {
        return invalid(format!("Invalid configuration key {key}"));
    };
    if value.is_nan() || value <= 0.0 {
        return invalid(format!("Quota {key} must be greater than 0"));
    }
    if *whole && (value % 1.0).abs() > 1e-6 {
        return invalid(format!("{key} cannot be a fractional value."));
    }
    Ok(())
}

fn check_filter(components: &[ComponentData]) -> Result<(), Refusal> {
    let mut kinds = Vec::new();
    for ComponentData { entity_type, match_type, r#match } in components {
        if entity_type.is_empty() {
            return invalid("Invalid empty entity type.");
        }
        if kinds.contains(&entity_type.as_str()) {
            return invalid(format!("Entity type {entity_type} cannot appear more than once in the filter."));
        }
        if ![USER, CLIENT_ID, IP].contains(&entity_type.as_str()) {
            return Err(Refusal::new(ErrorCode::UNSUPPORTED_VERSION, format!("Unsupported entity type {entity_type}")));
        }
        match (*match_type, r#match) {
            (EXACT, None) => return invalid("Request specified MATCH_TYPE_EXACT, but set match string to null."),
            (DEFAULT, Some(_)) => {
                return invalid("Request specified MATCH_TYPE_DEFAULT, but also specified a match string.");
            }
            (SPECIFIED, Some(_)) => {
                return invalid("Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.");
            }
            (EXACT | DEFAULT | SPECIFIED, _) => {}
            (other, _) => return invalid(format!("Unknown match type {other}")),
        }
        kinds.push(entity_type.as_str());
    }
    if kinds.contains(&IP) && kinds.len() > 1 {
        return invalid(
            "Invalid entity filter component combination. IP filter component should not be used with user or clientId \
             filter component.",
        );
    }
    Ok(())
}

/// Whether an entity has all that the filter asks for, and with `strict` nothing else.
fn matches(entity: &Entity, components: &[ComponentData], strict: bool) -> bool {
    let fits = |component: &ComponentData| match (entity.get(&component.entity_type), component.match_type) {
        (Some(_), SPECIFIED) => true,
        // The default's match string is null, as its name is.
        (Some(name), _) => *name == component.r#match,
        (None, _) => false,
    };
    components.iter().all(fits) && (!strict || entity.len() == components.len())
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;
    use crate::protocol::messages::alter_client_quotas::RequestEntryData;

    fn alter(harness: &mut Harness, parts: &[(&str, Option<&str>)], key: &str, value: Option<f64>) -> (i16, String) {
        let part = |(kind, name): &(&str, Option<&str>)| RequestEntityData {
            entity_type: (*kind).into(),
            entity_name: name.map(str::to_owned),
        };
        let change = OpData { key: key.into(), value: value.unwrap_or_default(), remove: value.is_none() };
        let entry = RequestEntryData { entity: parts.iter().map(part).collect(), ops: vec![change] };
        let request = AlterClientQuotasRequest { entries: vec![entry], validate_only: false };
        let result = harness.call(1, 1, request).entries.remove(0);
        (result.error_code, result.error_message.unwrap_or_default())
    }

    fn describe(harness: &mut Harness, filter: &[(&str, i8, Option<&str>)], strict: bool) -> Result<Vec<String>, i16> {
        let component = |(kind, match_type, name): &(&str, i8, Option<&str>)| ComponentData {
            entity_type: (*kind).into(),
            match_type: *match_type,
            r#match: name.map(str::to_owned),
        };
        let request = DescribeClientQuotasRequest { components: filter.iter().map(component).collect(), strict };
        let response = harness.call(1, 1, request);
        let shown = |entry: EntryData| {
            let part = |part: &EntityData| part.entity_name.clone().unwrap_or("<default>".into());
            let value = |value: &ValueData| format!("{}={}", value.key, value.value);
            let parts: Vec<_> = entry.entity.iter().map(part).chain(entry.values.iter().map(value)).collect();
            parts.join(" ")
        };
        let entries = response.entries.ok_or(response.error_code)?;
        Ok(entries.into_iter().map(shown).collect())
    }

    #[test]
    fn quotas_are_found_by_who_they_are_for() {
        let mut harness = Harness::new(1);
        for (parts, value) in [
            (&[(USER, Some("a"))][..], 1.0),
            (&[(USER, None)], 2.0),
            (&[(USER, Some("a")), (CLIENT_ID, Some("c"))], 3.0),
        ] {
            assert_eq!(alter(&mut harness, parts, "producer_byte_rate", Some(value)).0, 0);
        }
        let exact = [(USER, EXACT, Some("a"))];
        let (alone, both) = ("a producer_byte_rate=1".to_owned(), "c a producer_byte_rate=3".to_owned());
        assert_eq!(describe(&mut harness, &exact, false), Ok(vec![both, alone.clone()]));
        assert_eq!(describe(&mut harness, &exact, true), Ok(vec![alone]));
        assert_eq!(
            describe(&mut harness, &[(USER, DEFAULT, None)], false).unwrap(),
            ["<default> producer_byte_rate=2"]
        );
        assert_eq!(describe(&mut harness, &[(USER, SPECIFIED, None)], true).unwrap().len(), 2);
        assert_eq!(describe(&mut harness, &[], false).unwrap().len(), 3);
        assert_eq!(describe(&mut harness, &[(IP, EXACT, None)], false), Err(42));
        assert_eq!(describe(&mut harness, &[("group", EXACT, Some("g"))], false), Err(35));
        assert_eq!(describe(&mut harness, &[(IP, DEFAULT, None), (USER, DEFAULT, None)], false), Err(42));
    }

    #[test]
    fn a_quota_that_is_taken_away_is_gone() {
        let mut harness = Harness::new(1);
        let user = [(USER, Some("a"))];
        alter(&mut harness, &user, "request_percentage", Some(12.5));
        assert_eq!(alter(&mut harness, &user, "request_percentage", None).0, 0);
        assert_eq!(describe(&mut harness, &[], false), Ok(vec![]));
    }

    #[test]
    fn a_quota_that_makes_no_sense_is_refused_in_the_words_of_kafka() {
        let mut harness = Harness::new(1);
        let user = &[(USER, Some("a"))][..];
        for (parts, key, value, words) in [
            (&[][..], "producer_byte_rate", 1.0, "Invalid empty client quota entity"),
            (&[("group", None)], "producer_byte_rate", 1.0, "Unhandled client quota entity type: group"),
            (user, "foo", 1.0, "Invalid configuration key foo"),
            (user, "producer_byte_rate", 0.0, "Quota producer_byte_rate must be greater than 0"),
            (user, "producer_byte_rate", 1.5, "producer_byte_rate cannot be a fractional value."),
            (&[(IP, Some("1.2.3.4"))], "producer_byte_rate", 1.0, "Invalid configuration key producer_byte_rate"),
            (&[(IP, Some("x y"))], "connection_creation_rate", 1.0, "x y is not a valid IP or resolvable host."),
        ] {
            assert_eq!(alter(&mut harness, parts, key, Some(value)), (42, words.to_owned()));
        }
    }
}
