//! Admin calls against scripted controllers.

use crate::admin::{Admin, NewTopic};
use crate::net::scripted::{Asked, Reply, Scripted};
use crate::protocol::Request;
use crate::protocol::messages::create_topics::{CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse};
use crate::protocol::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use crate::protocol::messages::metadata::{MetadataRequest, MetadataResponse, MetadataResponseBroker};
use crate::{Client, ErrorCode, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(5);

/// Two brokers of which one controls the cluster; `topic "there"` exists and no other.
struct Cluster {
    brokers: Vec<Scripted>,
    client: Client,
}

#[derive(Default)]
struct Facts {
    addresses: Vec<SocketAddr>,
    /// Whom the metadata calls the controller, and who is it.
    named: i32,
    controller: i32,
    created: Vec<CreateTopicsRequest>,
    deleted: Vec<DeleteTopicsRequest>,
}

type Shared = Arc<Mutex<Facts>>;

fn metadata(facts: &Facts) -> MetadataResponse {
    let broker = |(i, address): (usize, &SocketAddr)| MetadataResponseBroker {
        node_id: i as i32,
        host: address.ip().to_string(),
        port: address.port().into(),
        ..Default::default()
    };
    let brokers = facts.addresses.iter().enumerate().map(broker).collect();
    MetadataResponse { controller_id: facts.named, brokers, ..Default::default() }
}

fn reply(node: i32, facts: &Shared, asked: &Asked) -> Reply {
    let mut facts = facts.lock().unwrap();
    let refused = (node != facts.controller).then_some(ErrorCode::NOT_CONTROLLER);
    match asked.key {
        MetadataRequest::KEY => {
            let response = metadata(&facts);
            // The next one to ask learns the truth.
            facts.named = facts.controller;
            asked.reply::<MetadataRequest>(&response)
        }
        CreateTopicsRequest::KEY => {
            let request: CreateTopicsRequest = asked.decode();
            let result = |name: &String| {
                let code = refused.unwrap_or(match name.as_str() {
                    "there" => ErrorCode::TOPIC_ALREADY_EXISTS,
                    "slow" => ErrorCode::REQUEST_TIMED_OUT,
                    _ => ErrorCode::NONE,
                });
                let error_message = (code != ErrorCode::NONE).then(|| format!("words about {name}"));
                CreatableTopicResult { name: name.clone(), error_code: code.0, error_message, ..Default::default() }
            };
            let topics = request.topics.iter().map(|topic| result(&topic.name)).collect();
            facts.created.push(request);
            asked.reply::<CreateTopicsRequest>(&CreateTopicsResponse { topics, ..Default::default() })
        }
        _ => {
            let request: DeleteTopicsRequest = asked.decode();
            let names = request.topic_names.iter().chain(request.topics.iter().filter_map(|t| t.name.as_ref()));
            let result = |name: &String| {
                let absent = (name != "there").then_some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                let error_code = refused.or(absent).unwrap_or(ErrorCode::NONE).0;
                DeletableTopicResult { name: Some(name.clone()), error_code, ..Default::default() }
            };
            let responses = names.map(result).collect();
            facts.deleted.push(request);
            asked.reply::<DeleteTopicsRequest>(&DeleteTopicsResponse { responses, ..Default::default() })
        }
    }
}

/// A cluster whose metadata names controller `named` although it is node 1.
fn cluster(named: i32, create: i16, delete: i16) -> (Cluster, Shared) {
    let facts: Shared = Arc::default();
    let apis =
        [(MetadataRequest::KEY, 0, 12), (CreateTopicsRequest::KEY, 0, create), (DeleteTopicsRequest::KEY, 0, delete)];
    let broker = |node| {
        let facts = facts.clone();
        Scripted::broker(&apis, move |asked| reply(node, &facts, asked))
    };
    let brokers: Vec<Scripted> = (0..2).map(broker).collect();
    {
        let mut facts = facts.lock().unwrap();
        facts.addresses = brokers.iter().map(Scripted::address).collect();
        (facts.named, facts.controller) = (named, 1);
    }
    let ms = Duration::from_millis;
    let client = Client::builder()
        .bootstrap_servers(brokers[0].address().to_string())
        .request_timeout(LONG)
        .retry_backoff(ms(10), ms(50))
        .build();
    (Cluster { brokers, client: client.unwrap() }, facts)
}

#[test]
fn each_topic_has_its_own_result_with_the_brokers_words() {
    for (create, delete) in [(2, 1), (4, 3), (7, 6)] {
        let (cluster, facts) = cluster(1, create, delete);
        let admin = Admin::new(&cluster.client);
        let topics = ["new", "there"].map(|name| NewTopic::new(name).partitions(3).replication_factor(1));
        let [(_, new), (name, there)] = admin.create_topics(&topics).unwrap().try_into().unwrap();
        new.unwrap();
        let error = there.unwrap_err();
        assert_eq!((name.as_str(), error.code()), ("there", Some(ErrorCode::TOPIC_ALREADY_EXISTS)));
        assert_eq!(error.topic(), Some("there"));
        assert!(error.to_string().starts_with("the topic was not created: words about there"), "{error}");
        let sent = facts.lock().unwrap().created[0].clone();
        assert!((1..=5000).contains(&sent.timeout_ms) && sent.topics[0].num_partitions == 3, "{sent:?}");

        let start = Instant::now();
        let [(_, there), (_, absent)] = admin.delete_topics(&["there", "absent"]).unwrap().try_into().unwrap();
        there.unwrap();
        assert_eq!(absent.unwrap_err().code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        assert!(start.elapsed() < Duration::from_secs(2), "an unknown topic is not waited for");
        assert_eq!(facts.lock().unwrap().deleted.len(), 1);
    }
}

#[test]
fn a_controller_that_moved_is_found() {
    let (cluster, facts) = cluster(0, 7, 6);
    let admin = Admin::new(&cluster.client);
    let results = admin.create_topics(&[NewTopic::new("new")]).unwrap();
    results[0].1.as_ref().unwrap();
    assert_eq!(cluster.brokers[0].count(CreateTopicsRequest::KEY), 1, "the old controller");
    assert_eq!(cluster.brokers[1].count(CreateTopicsRequest::KEY), 1);
    assert_eq!(facts.lock().unwrap().created.len(), 2);
}

#[test]
fn nobody_is_controller_until_the_deadline() {
    let (cluster, facts) = cluster(1, 7, 6);
    facts.lock().unwrap().controller = 0;
    // The metadata goes on naming the wrong one.
    let admin = Admin::new(&cluster.client).timeout(Duration::from_millis(300));
    let wrong = facts;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let liar = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::SeqCst) {
            wrong.lock().unwrap().named = 1;
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let start = Instant::now();
    let results = admin.create_topics(&[NewTopic::new("new")]).unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(results[0].1.as_ref().unwrap_err().code(), Some(ErrorCode::NOT_CONTROLLER));
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    liar.join().unwrap();
}

#[test]
fn a_topic_the_controller_is_still_at_work_on_is_not_asked_for_twice() {
    let (cluster, facts) = cluster(1, 7, 6);
    let results = Admin::new(&cluster.client).create_topics(&[NewTopic::new("slow")]).unwrap();
    assert_eq!(results[0].1.as_ref().unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(facts.lock().unwrap().created.len(), 1);
}

#[test]
fn what_an_old_broker_cannot_do_is_told_by_name_before_anything_is_sent() {
    let (cluster, facts) = cluster(1, 3, 3);
    let admin = Admin::new(&cluster.client);
    for (topic, setting) in [
        (NewTopic::new("t"), "num.partitions"),
        (NewTopic::new("t").replication_factor(1), "num.partitions"),
        (NewTopic::new("t").partitions(1), "default.replication.factor"),
    ] {
        let error = admin.create_topics(&[topic]).unwrap_err();
        assert_eq!((error.kind(), error.setting()), (ErrorKind::Unsupported, Some(setting)));
        assert_eq!(error.topic(), Some("t"));
    }
    assert!(facts.lock().unwrap().created.is_empty());
    let assigned = NewTopic::new("t").assignment(0, [1]).config("cleanup.policy", "compact");
    admin.create_topics(&[assigned]).unwrap()[0].1.as_ref().unwrap();
    let sent = &facts.lock().unwrap().created[0].topics[0];
    assert_eq!(sent.assignments[0].broker_ids, [1]);
    assert_eq!(sent.configs[0].value.as_deref(), Some("compact"));
}
