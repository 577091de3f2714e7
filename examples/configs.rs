//! Kafka's configs tool: describes and changes the settings of topics, brokers, groups and client metrics, and the quotas
//! of users, clients and addresses.
//!
//! The options and the output are those of `kafka-configs`.

mod support;

use clap::{ArgGroup, Parser};
use sarameya::admin::{
    Admin, AlterConfig, ClientQuotaEntity, ClientQuotaFilter, ClientQuotaMatch, Config, ConfigResource,
    ConfigResourceType, ConfigSource, GroupFilter, ScramAlteration, ScramMechanism,
};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use support::admin::{admin, all};
use support::{Connection, Outcome};

/// Describes and changes settings and quotas
#[derive(Debug, Parser)]
#[command(group = ArgGroup::new("action").required(true).args(["alter", "describe"]))]
struct Args {
    #[command(flatten)]
    connection: Connection,

    /// Change settings
    #[arg(long)]
    alter: bool,

    /// Show the settings that were made for what is named
    #[arg(long)]
    describe: bool,

    /// Show all settings, also those of the broker's file and the defaults
    #[arg(long)]
    all: bool,

    /// Of what: topics, brokers, broker-loggers, client-metrics, groups, users, clients, ips
    #[arg(long, value_name = "TYPE")]
    entity_type: Vec<String>,

    /// Its name or id; `--entity-default` stands for the defaults of its type
    #[arg(long, value_name = "NAME")]
    entity_name: Vec<String>,

    /// Settings to make, with commas between; commas in values stand in square brackets
    #[arg(long, value_name = "NAME=VALUE,...", requires = "alter")]
    add_config: Option<String>,

    /// A file of settings to make
    #[arg(long, value_name = "FILE", requires = "alter", conflicts_with = "add_config")]
    add_config_file: Option<PathBuf>,

    /// Settings to take back
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', requires = "alter")]
    delete_config: Vec<String>,
}

/// What each short option stands for, and whether it takes a name.
const SHORT: [(&str, &str, bool); 12] = [
    ("--topic", "topics", true),
    ("--client", "clients", true),
    ("--client-defaults", "clients", false),
    ("--user", "users", true),
    ("--user-defaults", "users", false),
    ("--broker", "brokers", true),
    ("--broker-defaults", "brokers", false),
    ("--broker-logger", "broker-loggers", true),
    ("--ip", "ips", true),
    ("--ip-defaults", "ips", false),
    ("--group", "groups", true),
    ("--client-metrics", "client-metrics", true),
];

/// The arguments with the short options spelled out.
fn spelled_out(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all = Vec::new();
    for argument in arguments {
        let short = SHORT.iter().find(|(option, ..)| argument.to_str() == Some(option));
        match short {
            Some((_, entity_type, true)) => {
                all.extend(["--entity-type", entity_type, "--entity-name"].map(OsString::from))
            }
            Some((_, entity_type, false)) => {
                all.extend(["--entity-type", entity_type, "--entity-name="].map(OsString::from))
            }
            None if argument == "--entity-default" => all.push("--entity-name=".into()),
            None => all.push(argument),
        }
    }
    all
}

fn main() -> ExitCode {
    let args = Args::parse_from(spelled_out(std::env::args_os()));
    support::run(|| {
        let admin = admin(&args.connection)?;
        let Some(entity_type) = args.entity_type.first() else {
            return Err("At least one --entity-type is needed".into());
        };
        let quotas = ["users", "clients", "ips"].contains(&entity_type.as_str());
        match (args.alter, quotas) {
            (true, _) if args.entity_type.len() != args.entity_name.len() => {
                return Err("An entity name must be specified for every entity type".into());
            }
            (true, true) => alter_quotas(&admin, &args, entity_type)?,
            (true, false) => alter(&admin, &args, entity_type)?,
            (false, true) => describe_quotas(&admin, &args)?,
            (false, false) => describe(&admin, &args, entity_type)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn resource_type(entity_type: &str) -> Outcome<ConfigResourceType> {
    Ok(match entity_type {
        "topics" => ConfigResourceType::Topic,
        "brokers" => ConfigResourceType::Broker,
        "broker-loggers" => ConfigResourceType::BrokerLogger,
        "client-metrics" => ConfigResourceType::ClientMetrics,
        "groups" => ConfigResourceType::Group,
        other => return Err(format!("Invalid entity type: {other}").into()),
    })
}

/// All of a type.
fn names(admin: &Admin, resource_type: ConfigResourceType) -> Outcome<Vec<String>> {
    let brokers = || -> Outcome<Vec<String>> {
        Ok(admin.describe_cluster()?.brokers.iter().map(|broker| broker.id.to_string()).collect())
    };
    Ok(match resource_type {
        ConfigResourceType::Topic => admin.list_topics()?.into_iter().map(|topic| topic.name).collect(),
        ConfigResourceType::Broker => {
            let mut names = brokers()?;
            names.push(String::new());
            names
        }
        ConfigResourceType::BrokerLogger => brokers()?,
        ConfigResourceType::Group => {
            admin.list_groups(&GroupFilter::new())?.all()?.into_iter().map(|group| group.group_id).collect()
        }
        other => admin.list_config_resources(&[other])?.into_iter().map(|resource| resource.name).collect(),
    })
}

fn describe(admin: &Admin, args: &Args, entity_type: &str) -> Outcome {
    let resource_type = resource_type(entity_type)?;
    let names = if args.entity_name.is_empty() { names(admin, resource_type)? } else { args.entity_name.clone() };
    let resources: Vec<_> = names.into_iter().map(|name| ConfigResource { resource_type, name }).collect();
    for (resource, mut configs) in all(admin.describe_configs(&resources)?)? {
        let one = entity_type.strip_suffix('s').unwrap_or(entity_type);
        match (resource.name.as_str(), args.all) {
            ("", _) => println!("Default configs for {entity_type} in the cluster are:"),
            (name, true) => println!("All configs for {one} {name} are:"),
            (name, false) => println!("Dynamic configs for {one} {name} are:"),
        }
        let own = own_source(&resource);
        configs.retain(|config| args.all || own.is_none_or(|source| config.source == source));
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        configs.iter().for_each(print_config);
    }
    Ok(())
}

/// Where settings come from that were made for this resource.
fn own_source(resource: &ConfigResource) -> Option<ConfigSource> {
    Some(match resource.resource_type {
        ConfigResourceType::Topic => ConfigSource::DynamicTopicConfig,
        ConfigResourceType::Broker if resource.name.is_empty() => ConfigSource::DynamicDefaultBrokerConfig,
        ConfigResourceType::Broker => ConfigSource::DynamicBrokerConfig,
        ConfigResourceType::ClientMetrics => ConfigSource::DynamicClientMetricsConfig,
        ConfigResourceType::Group => ConfigSource::DynamicGroupConfig,
        _ => return None,
    })
}

fn print_config(config: &Config) {
    let or_null = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let synonym = |s: &sarameya::admin::ConfigSynonym| format!("{}:{}={}", s.source, s.name, or_null(&s.value));
    let synonyms = config.synonyms.iter().map(synonym).collect::<Vec<_>>().join(", ");
    let Config { name, value, sensitive, .. } = config;
    println!("  {name}={} sensitive={sensitive} synonyms={{{synonyms}}}", or_null(value));
}

/// The settings to be made.
fn added(args: &Args) -> Outcome<BTreeMap<String, String>> {
    if let Some(path) = &args.add_config_file {
        let text = std::fs::read_to_string(path)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        return lines.map(|line| Ok(support::name_and_value(line)?)).map(|pair| pair.map(trimmed)).collect();
    }
    let Some(text) = &args.add_config else { return Ok(BTreeMap::new()) };
    let mut pairs = vec![String::new()];
    let mut bracketed = false;
    for character in text.chars() {
        match character {
            '[' => bracketed = true,
            ']' => bracketed = false,
            ',' if !bracketed => pairs.push(String::new()),
            other => {
                if let Some(pair) = pairs.last_mut() {
                    pair.push(other);
                }
            }
        }
    }
    pairs.iter().map(|pair| Ok(trimmed(support::name_and_value(pair)?))).collect()
}

fn trimmed((name, value): (String, String)) -> (String, String) {
    (name.trim().to_owned(), value.trim().to_owned())
}

fn alter(admin: &Admin, args: &Args, entity_type: &str) -> Outcome {
    let name = args.entity_name.first().cloned().unwrap_or_default();
    let resource = ConfigResource { resource_type: resource_type(entity_type)?, name: name.clone() };
    let mut changes: Vec<AlterConfig> =
        added(args)?.into_iter().map(|(name, value)| AlterConfig::Set(name, value)).collect();
    changes.extend(args.delete_config.iter().map(|name| AlterConfig::Delete(name.trim().to_owned())));
    all(admin.incremental_alter_configs(&[(resource, changes)])?)?;
    completed(entity_type, &name);
    Ok(())
}

fn completed(entity_type: &str, name: &str) {
    let one = entity_type.strip_suffix('s').unwrap_or(entity_type);
    if name.is_empty() {
        println!("Completed updating default config for {entity_type} in the cluster.");
    } else {
        println!("Completed updating config for {one} {name}.");
    }
}

/// Kafka's name for a type of entities that have quotas.
fn quota_type(entity_type: &str) -> Outcome<&'static str> {
    Ok(match entity_type {
        "users" => "user",
        "clients" => "client-id",
        "ips" => "ip",
        other => return Err(format!("Unexpected entity type: {other}").into()),
    })
}

/// Changes quotas, or passwords of a user.
fn alter_quotas(admin: &Admin, args: &Args, entity_type: &str) -> Outcome {
    let added = added(args)?;
    let (passwords, quotas): (Vec<_>, Vec<_>) = added.into_iter().partition(|(name, _)| is_scram(name));
    let (no_passwords, no_quotas): (Vec<String>, Vec<String>) =
        args.delete_config.iter().map(|name| name.trim().to_owned()).partition(|name| is_scram(name));
    let of_a_user = args.entity_type == ["users"] && args.entity_name.iter().all(|name| !name.is_empty());
    let name = args.entity_name.first().map_or("", String::as_str);
    match (passwords.is_empty() && no_passwords.is_empty(), quotas.is_empty() && no_quotas.is_empty()) {
        (false, false) => return Err("Only one of quota and SCRAM configs can be altered at a time".into()),
        (false, true) if !of_a_user => return Err("SCRAM passwords are those of one user by name".into()),
        (false, true) => alter_passwords(admin, name, passwords, &no_passwords)?,
        (true, _) => change_quotas(admin, args, quotas, no_quotas)?,
    }
    completed(entity_type, name);
    Ok(())
}

fn is_scram(name: &str) -> bool {
    name.parse::<ScramMechanism>().is_ok()
}

fn alter_passwords(admin: &Admin, user: &str, new: Vec<(String, String)>, deleted: &[String]) -> Outcome {
    let mut alterations = Vec::new();
    for (mechanism, value) in new {
        let wrong = || format!("Invalid credential property {mechanism}: expected [iterations=N,password=...]");
        let (iterations, password) = match value.strip_prefix("iterations=").and_then(|rest| rest.split_once(',')) {
            Some((iterations, password)) => (iterations.trim().parse().map_err(|_| wrong())?, password.trim_start()),
            None => (4096, value.as_str()),
        };
        let password = password.strip_prefix("password=").ok_or_else(wrong)?;
        alterations.push(ScramAlteration::upsert(user, mechanism.parse()?, password).iterations(iterations));
    }
    for mechanism in deleted {
        alterations.push(ScramAlteration::delete(user, mechanism.parse()?));
    }
    all(admin.alter_user_scram_credentials(&alterations)?)?;
    Ok(())
}

fn change_quotas(admin: &Admin, args: &Args, added: Vec<(String, String)>, deleted: Vec<String>) -> Outcome {
    let mut entity = ClientQuotaEntity::default();
    for (entity_type, name) in args.entity_type.iter().zip(&args.entity_name) {
        entity = entity.and(quota_type(entity_type)?, Some(name.clone()).filter(|name| !name.is_empty()));
    }
    let number = |(key, value): (String, String)| {
        let number: f64 =
            value.parse().map_err(|_| format!("Cannot parse quota configuration value for {key}: {value}"))?;
        Ok((key, Some(number)))
    };
    let mut changes: BTreeMap<String, Option<f64>> = added.into_iter().map(number).collect::<Outcome<_>>()?;
    changes.extend(deleted.into_iter().map(|key| (key, None)));
    all(admin.alter_client_quotas(&[(entity, changes)])?)?;
    Ok(())
}

fn describe_quotas(admin: &Admin, args: &Args) -> Outcome {
    let mut filter = ClientQuotaFilter::all().strict();
    for (at, entity_type) in args.entity_type.iter().enumerate() {
        let what = match args.entity_name.get(at).map(String::as_str) {
            None => ClientQuotaMatch::Any,
            Some("") => ClientQuotaMatch::Default,
            Some(name) => ClientQuotaMatch::Exact(name.to_owned()),
        };
        filter = filter.with(quota_type(entity_type)?, what);
    }
    for (entity, quotas) in admin.describe_client_quotas(&filter)? {
        let part = |(key, label): (&str, &str)| {
            let name = entity.0.get(key)?;
            Some(name.as_ref().map_or_else(|| format!("the default {label}"), |name| format!("{label} '{name}'")))
        };
        let parts = [("user", "user-principal"), ("client-id", "client-id"), ("ip", "ip")].into_iter().filter_map(part);
        let quotas = quotas.iter().map(|(key, value)| format!("{key}={}", java_double(*value)));
        println!(
            "Quota configs for {} are {}",
            parts.collect::<Vec<_>>().join(", "),
            quotas.collect::<Vec<_>>().join(", ")
        );
    }
    let users_only = args.entity_type.iter().all(|entity_type| entity_type == "users");
    if users_only && !args.entity_name.contains(&String::new()) {
        describe_scram(admin, &args.entity_name)?;
    }
    Ok(())
}

fn describe_scram(admin: &Admin, users: &[String]) -> Outcome {
    let described = if users.is_empty() {
        admin.describe_all_user_scram_credentials()
    } else {
        admin.describe_user_scram_credentials(&users.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let described = match described {
        Ok(described) => described,
        // Older than 2.7: passwords are in ZooKeeper only.
        Err(error) if error.kind() == sarameya::ErrorKind::Unsupported => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for (user, infos) in described {
        match infos {
            Ok(infos) => {
                let info = |info: &sarameya::admin::ScramCredentialInfo| {
                    format!("{}=iterations={}", info.mechanism, info.iterations)
                };
                let infos = infos.iter().map(info).collect::<Vec<_>>().join(", ");
                println!("SCRAM credential configs for user-principal '{user}' are {infos}");
            }
            Err(error) if error.code() == Some(sarameya::ErrorCode::RESOURCE_NOT_FOUND) => {}
            Err(error) => {
                println!("Error retrieving SCRAM credential configs for user-principal '{user}': {error}");
            }
        }
    }
    Ok(())
}

/// A number as Java prints it.
fn java_double(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}
