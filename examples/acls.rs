//! Kafka's ACL tool: adds, removes and lists access control lists.
//!
//! The options and the output are those of `kafka-acls`.

mod support;

use clap::{ArgGroup, Parser};
use sarameya::admin::{AclBinding, AclFilter, AclOperation, AclPermission, AclResourceType, Admin, PatternType};
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::process::ExitCode;
use support::admin::{admin, all};
use support::{Connection, Outcome};

/// Adds, removes and lists access control lists
#[derive(Debug, Parser)]
#[command(group = ArgGroup::new("action").required(true).args(["add", "remove", "list"]))]
struct Args {
    #[command(flatten)]
    connection: Connection,

    /// Add ACLs
    #[arg(long)]
    add: bool,

    /// Remove ACLs, after asking
    #[arg(long)]
    remove: bool,

    /// List ACLs
    #[arg(long, conflicts_with_all = ["producer", "consumer", "allow_host", "allow_principal", "deny_host", "deny_principal"])]
    list: bool,

    /// For this topic; * is every one
    #[arg(long)]
    topic: Vec<String>,

    /// For this group; * is every one
    #[arg(long)]
    group: Vec<String>,

    /// For the cluster
    #[arg(long)]
    cluster: bool,

    /// For this transactional id; * is every one
    #[arg(long)]
    transactional_id: Vec<String>,

    /// For this delegation token; * is every one
    #[arg(long)]
    delegation_token: Vec<String>,

    /// For the tokens of this user
    #[arg(long)]
    user_principal: Vec<String>,

    /// What the resources' names stand for: literal, prefixed; and to list or remove also any, match
    #[arg(long, default_value = "literal")]
    resource_pattern_type: PatternType,

    /// What is allowed or denied, such as Read [default: All]
    #[arg(long, value_name = "OPERATION", conflicts_with_all = ["producer", "consumer"])]
    operation: Vec<AclOperation>,

    /// Who may, as User:name
    #[arg(long, value_name = "PRINCIPAL")]
    allow_principal: Vec<String>,

    /// Who may not, as User:name
    #[arg(long, value_name = "PRINCIPAL", conflicts_with_all = ["producer", "consumer"])]
    deny_principal: Vec<String>,

    /// From where they may [default: *]
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,

    /// From where they may not [default: *]
    #[arg(long, value_name = "HOST", conflicts_with_all = ["producer", "consumer"])]
    deny_host: Vec<String>,

    /// List those of this principal only
    #[arg(long, requires = "list")]
    principal: Vec<String>,

    /// What a producer needs: Write, Describe and Create on the topic
    #[arg(long, requires = "topic")]
    producer: bool,

    /// What a consumer needs: Read and Describe on the topic, Read on the group
    #[arg(long, requires = "topic", requires = "group")]
    consumer: bool,

    /// What an idempotent producer needs too, before Kafka 2.8
    #[arg(long, requires = "producer")]
    idempotent: bool,

    /// Do not ask before removing
    #[arg(long)]
    force: bool,
}

/// What rules are about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Resource {
    resource_type: AclResourceType,
    name: String,
    pattern_type: PatternType,
}

/// A rule without what it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    principal: String,
    host: String,
    operation: AclOperation,
    permission: AclPermission,
}

type Rules = BTreeMap<Resource, BTreeSet<Entry>>;

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(|| {
        let admin = admin(&args.connection)?;
        if args.add {
            add(&admin, &args)?;
        } else if args.remove {
            remove(&admin, &args)?;
        } else {
            list(&admin, &args)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl Args {
    fn resources(&self) -> Vec<Resource> {
        let mut resources = Vec::new();
        let named = [
            (AclResourceType::Topic, &self.topic),
            (AclResourceType::Group, &self.group),
            (AclResourceType::TransactionalId, &self.transactional_id),
            (AclResourceType::DelegationToken, &self.delegation_token),
            (AclResourceType::User, &self.user_principal),
        ];
        for (resource_type, names) in named {
            let resource = |name: &String| Resource {
                resource_type,
                name: name.trim().to_owned(),
                pattern_type: self.resource_pattern_type,
            };
            resources.extend(names.iter().map(resource));
        }
        if self.cluster {
            resources.push(cluster());
        }
        resources
    }

    fn entries(&self, operations: &[AclOperation]) -> BTreeSet<Entry> {
        let everywhere = ["*".to_owned()];
        let mut entries = BTreeSet::new();
        for (permission, principals, hosts) in [
            (AclPermission::Allow, &self.allow_principal, &self.allow_host),
            (AclPermission::Deny, &self.deny_principal, &self.deny_host),
        ] {
            let hosts = if hosts.is_empty() { &everywhere[..] } else { hosts };
            for (principal, host) in principals.iter().flat_map(|p| hosts.iter().map(move |host| (p, host))) {
                entries.extend(operations.iter().map(|operation| Entry {
                    principal: principal.trim().to_owned(),
                    host: host.trim().to_owned(),
                    operation: *operation,
                    permission,
                }));
            }
        }
        entries
    }

    /// The rules that the options describe, to be added or removed.
    fn rules(&self) -> Outcome<Rules> {
        use AclOperation::{All, Create, Describe, IdempotentWrite, Read, Write};
        let mut rules = Rules::new();
        let mut rule = |resource, operations: &[AclOperation]| {
            rules.entry(resource).or_default().extend(self.entries(operations));
        };
        for resource in self.resources() {
            let resource_type = resource.resource_type;
            if !self.producer && !self.consumer {
                let every = [All];
                rule(resource, if self.operation.is_empty() { &every } else { &self.operation });
                continue;
            }
            match resource_type {
                AclResourceType::Topic if self.producer => rule(resource.clone(), &[Write, Describe, Create]),
                AclResourceType::TransactionalId if self.producer => rule(resource.clone(), &[Write, Describe]),
                _ => {}
            }
            match resource_type {
                AclResourceType::Topic if self.consumer => rule(resource, &[Read, Describe]),
                AclResourceType::Group if self.consumer => rule(resource, &[Read]),
                _ => {}
            }
        }
        if self.idempotent {
            rule(cluster(), &[IdempotentWrite]);
        }
        if rules.is_empty() {
            let message = "You must provide at least one resource: --topic <topic> or --cluster or --group <group> \
                           or --delegation-token <Delegation Token ID>";
            return Err(message.into());
        }
        Ok(rules)
    }
}

fn cluster() -> Resource {
    let name = AclBinding::CLUSTER_NAME.to_owned();
    Resource { resource_type: AclResourceType::Cluster, name, pattern_type: PatternType::Literal }
}

fn binding(resource: &Resource, entry: &Entry) -> AclBinding {
    AclBinding {
        resource_type: resource.resource_type,
        resource_name: resource.name.clone(),
        pattern_type: resource.pattern_type,
        principal: entry.principal.clone(),
        host: entry.host.clone(),
        operation: entry.operation,
        permission: entry.permission,
    }
}

fn filter(resource: &Resource) -> AclFilter {
    AclFilter {
        resource_type: resource.resource_type,
        resource_name: Some(resource.name.clone()),
        pattern_type: resource.pattern_type,
        ..AclFilter::any()
    }
}

fn lines(entries: &BTreeSet<Entry>) -> String {
    let line = |entry: &Entry| {
        let Entry { principal, host, operation, permission } = entry;
        format!("\t(principal={principal}, host={host}, operation={operation}, permissionType={permission})")
    };
    entries.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn pattern(class: &str, resource: &Resource) -> String {
    let Resource { resource_type, name, pattern_type } = resource;
    format!("`{class}(resourceType={resource_type}, name={name}, patternType={pattern_type})`")
}

fn add(admin: &Admin, args: &Args) -> Outcome {
    if ![PatternType::Literal, PatternType::Prefixed].contains(&args.resource_pattern_type) {
        let message = "is not valid when adding acls";
        return Err(format!("A '--resource-pattern-type' value of '{}' {message}.", args.resource_pattern_type).into());
    }
    let rules = args.rules()?;
    if rules.values().any(BTreeSet::is_empty) {
        return Err("You must specify one of: --allow-principal, --deny-principal when trying to add ACLs.".into());
    }
    for (resource, entries) in &rules {
        println!("Adding ACLs for resource {}: \n {} \n", pattern("ResourcePattern", resource), lines(entries));
        let bindings: Vec<AclBinding> = entries.iter().map(|entry| binding(resource, entry)).collect();
        all(admin.create_acls(&bindings)?)?;
    }
    Ok(())
}

fn remove(admin: &Admin, args: &Args) -> Outcome {
    for (resource, entries) in &args.rules()? {
        let which = pattern("ResourcePatternFilter", resource);
        let (question, filters) = if entries.is_empty() {
            let question = format!("Are you sure you want to delete all ACLs for resource filter {which}? (y/n)");
            (question, vec![filter(resource)])
        } else {
            let entries_text = lines(entries);
            let question = format!(
                "Are you sure you want to remove ACLs: \n {entries_text} \n from resource filter {which}? (y/n)"
            );
            (question, entries.iter().map(|entry| binding(resource, entry).into()).collect())
        };
        if args.force || confirmed(&question)? {
            for (_, deleted) in all(admin.delete_acls(&filters)?)? {
                all(deleted)?;
            }
        }
    }
    Ok(())
}

fn confirmed(question: &str) -> Outcome<bool> {
    support::print_line(question)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn list(admin: &Admin, args: &Args) -> Outcome {
    let mut filters: Vec<AclFilter> = args.resources().iter().map(filter).collect();
    if filters.is_empty() {
        filters.push(AclFilter::any());
    }
    let mut rules = Rules::new();
    for filter in &filters {
        for acl in admin.describe_acls(filter)? {
            let resource =
                Resource { resource_type: acl.resource_type, name: acl.resource_name, pattern_type: acl.pattern_type };
            let (principal, host, operation, permission) = (acl.principal, acl.host, acl.operation, acl.permission);
            rules.entry(resource).or_default().insert(Entry { principal, host, operation, permission });
        }
    }
    let print = |meant: &dyn Fn(&Entry) -> bool| {
        for (resource, entries) in &rules {
            let entries: BTreeSet<Entry> = entries.iter().filter(|entry| meant(entry)).cloned().collect();
            if !entries.is_empty() {
                println!("Current ACLs for resource {}:\n{}\n", pattern("ResourcePattern", resource), lines(&entries));
            }
        }
    };
    if args.principal.is_empty() {
        print(&|_| true);
    }
    for principal in &args.principal {
        println!("ACLs for principal `{principal}`");
        print(&|entry| entry.principal == *principal);
    }
    Ok(())
}
