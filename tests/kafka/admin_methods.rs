//! What all methods of `Admin` must do alike: name the API an old broker lacks, name what may not be touched, tell the
//! entities of a call apart, and come back by the deadline.

use std::time::{Duration, Instant};

use sarameya::admin::*;
use sarameya::{Client, Error, ErrorCode, ErrorKind, NewTopic};

use crate::authorization::{SOON, allow, carol, root};
use crate::support::admin_methods::{METHODS, Method, Names, Right};
use crate::support::kafka::{Cluster, ClusterOptions, Version};
use crate::support::secured::Secured;
use crate::support::{heavy, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn admin_methods_are_all_in_the_table() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin");
    let mut there = Vec::new();
    for entry in std::fs::read_dir(source).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let mut of_admin = false;
        for line in std::fs::read_to_string(path).expect("a source").lines() {
            match line {
                "impl Admin {" => of_admin = true,
                "}" => of_admin = false,
                _ => {}
            }
            if let Some(method) = line.strip_prefix("    pub fn ").filter(|_| of_admin) {
                there.push(method.split(['(', '<']).next().expect("a name").to_owned());
            }
        }
    }
    there.retain(|name| !["new", "timeout", "include_authorized_operations"].contains(&name.as_str()));
    there.sort();
    let mut tested: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
    tested.sort_unstable();
    assert_eq!(there, tested);
}

/// What a call that should fail says: the error of the whole, or those of its entities.
fn errors(method: &Method, admin: &Admin, names: &[Names]) -> Vec<Error> {
    match (method.call)(admin, names) {
        Err(error) => vec![error],
        Ok(outcomes) => outcomes.into_iter().filter_map(|(_, outcome)| outcome.err()).collect(),
    }
}

#[test]
fn admin_kafka_1_0_2_what_the_broker_lacks_is_named_with_its_version() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V1_0_2);
    let admin = Admin::new(&Client::connect(&cluster.bootstrap()).expect("a client"));
    let names = [Names::new("lacking")];
    let mut wrong = Vec::new();
    for method in METHODS {
        let errors = errors(method, &admin, &names);
        let lacks = |error: &Error| error.kind() == ErrorKind::Unsupported;
        let named = |error: &Error, api: &str| {
            let text = error.to_string();
            lacks(error) && text.contains(api) && text.contains("it is Kafka 1.0 or newer, and older than 1.1")
        };
        let right = match method.missing {
            Some(api) => !errors.is_empty() && errors.iter().all(|error| named(error, api)),
            None => !errors.iter().any(lacks),
        };
        if !right {
            wrong.push((method.name, errors));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether the error is what somebody without the right is told, and says of what.
fn is_refusal(method: &Method, error: &Error, names: &Names) -> bool {
    let expected = match method.right {
        Right::Topic | Right::TopicId => ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        Right::Group | Right::GroupTopic | Right::GroupMember => ErrorCode::GROUP_AUTHORIZATION_FAILED,
        Right::TransactionalId => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        Right::Cluster => ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
        Right::Code(code) => code,
        Right::Nothing => return false,
    };
    let text = error.to_string();
    let named = match method.right {
        Right::Topic => error.topic() == Some(names.topic.as_str()),
        Right::TopicId => text.contains(&names.topic_id.to_string()),
        Right::Group | Right::GroupTopic | Right::GroupMember | Right::TransactionalId => text.contains(&names.base),
        Right::Cluster | Right::Code(_) | Right::Nothing => true,
    };
    let of_kind = error.kind() == ErrorKind::Authorization || matches!(method.right, Right::Code(_));
    error.code() == Some(expected) && named && of_kind
}

#[test]
fn admin_kafka_4_3_0_refusals_name_what_they_are_about_at_once_and_change_nothing() {
    require_kafka!();
    let secured = Secured::shared();
    let (admin, root) = (Admin::new(&carol(secured)), root(secured));
    let names = with_topic(&root, "refused");
    let mut wrong = Vec::new();
    for method in METHODS {
        let start = Instant::now();
        let errors = errors(method, &admin, std::slice::from_ref(&names));
        let right = errors.iter().all(|error| is_refusal(method, error, &names));
        if !right || start.elapsed() > SOON || errors.is_empty() != (method.right == Right::Nothing) {
            wrong.push((method.name, start.elapsed(), errors));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let described = root.describe_topics(&[&names.topic]).expect("an answer").pop().expect("one").1.expect("the topic");
    assert_eq!((described.partitions.len(), described.id), (1, Some(names.topic_id)));
    let quotas = root.describe_client_quotas(&ClientQuotaFilter::all()).expect("quotas");
    assert!(!quotas.contains_key(&ClientQuotaEntity::user("of-the-table")), "{quotas:?}");
}

/// Of a topic that is there.
fn with_topic(root: &Admin, what: &str) -> Names {
    let mut names = Names::new(what);
    let topic = NewTopic::new(&names.topic).partitions(1).replication_factor(1);
    let created = root.create_topics(&[topic]).expect("an answer").pop().expect("one").1.expect("a topic");
    names.topic_id = created.id.expect("an id");
    wait_until("the topic is there", LIMIT, || {
        root.describe_topics(&[&names.topic]).is_ok_and(|described| described[0].1.is_ok())
    });
    names
}

#[test]
fn admin_kafka_4_3_0_one_that_is_refused_does_not_fail_the_others_of_the_call() {
    require_kafka!();
    let secured = Secured::shared();
    let (admin, root) = (Admin::new(&carol(secured)), root(secured));
    let names = [with_topic(&root, "granted"), with_topic(&root, "denied")];
    allow(secured, AclOperation::All, AclResourceType::Topic, &names[0].topic);
    allow(secured, AclOperation::All, AclResourceType::Group, &names[0].group);
    allow(secured, AclOperation::All, AclResourceType::Group, &format!("{}-share", names[0].group));
    allow(secured, AclOperation::All, AclResourceType::TransactionalId, &names[0].transactional_id);
    wait_until("the rights are known", LIMIT, || {
        let found = admin.find_transaction_coordinators(&[&names[0].transactional_id]);
        let described = admin.describe_topics(&[&names[0].topic]);
        found.is_ok_and(|found| found[0].1.is_ok()) && described.is_ok_and(|described| described[0].1.is_ok())
    });
    let (mut succeeded, mut wrong) = (0, Vec::new());
    for method in METHODS {
        let expected = match method.right {
            Right::Topic | Right::TopicId | Right::GroupTopic => ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            Right::Group => ErrorCode::GROUP_AUTHORIZATION_FAILED,
            Right::TransactionalId => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            _ => continue,
        };
        let outcomes = (method.call)(&admin, &names);
        let right = outcomes.as_deref().is_ok_and(|outcomes| {
            let [(_, granted), (entity, Err(denied))] = outcomes else { return false };
            succeeded += usize::from(granted.is_ok());
            let other = granted.as_ref().err().and_then(Error::code) != Some(expected);
            let named = entity.contains(&names[1].base) || entity.contains(&format!("{:?}", names[1].topic_id));
            other && named && denied.code() == Some(expected)
        });
        if !right {
            wrong.push((method.name, outcomes));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The others are told that there is no such group, transactional id or topic any more.
    assert!(succeeded >= 25, "{succeeded}");
    let left = root.describe_topics(&[&names[0].topic, &names[1].topic]).expect("an answer");
    assert!(left[1].1.is_ok(), "what was denied is still there: {left:?}");
}

#[test]
fn admin_kafka_4_3_0_all_methods_return_by_their_deadline_while_the_broker_is_frozen() {
    require_kafka!();
    let _alone = heavy();
    let timeout = Duration::from_secs(4);
    // The calls' own deadline, and some more for a machine that is busy.
    let bound = Duration::from_secs(20);
    let cluster = Cluster::start(&ClusterOptions::new(Version::V4_3_0));
    let client = Client::builder().bootstrap_servers(cluster.bootstrap()).build().expect("a client");
    let admin = Admin::new(&client).timeout(timeout);
    // Topic, coordinators and connections are known, so that all calls get as far as they can.
    let names = [with_topic(&admin.clone().timeout(LIMIT), "frozen")];
    let warm = admin.clone().timeout(LIMIT);
    warm.list_group_offsets(&[&names[0].group]).expect("an answer");
    warm.find_transaction_coordinators(&[&names[0].transactional_id]).expect("an answer");
    cluster.pause(1);
    std::thread::scope(|scope| {
        let calls: Vec<_> = METHODS
            .iter()
            .map(|method| {
                let (admin, names) = (&admin, &names);
                let call = move || {
                    let start = Instant::now();
                    (errors(method, admin, names), start.elapsed())
                };
                (method.name, scope.spawn(call))
            })
            .collect();
        for (name, call) in calls {
            let (errors, took) = call.join().expect("no panic");
            assert!(took < bound, "{name}: {took:?}");
            let late = |error: &Error| matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Network);
            assert!(!errors.is_empty() && errors.iter().all(late), "{name}: {errors:?}");
        }
    });
    cluster.resume(1);
}
