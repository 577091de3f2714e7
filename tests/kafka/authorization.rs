//! What a principal may not do, on real Kafka 4.3.0 with its own authorizer: errors that name topic, group, cluster or
//! transactional id, soon, and nothing lost beside.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sarameya::admin::*;
use sarameya::{
    Client, ConsumerGroup, ConsumerGroupClaim, ConsumerGroupSession, ErrorCode, ErrorKind, OffsetReset,
    PartitionConsumer, Producer, ProducerRecord, Sasl, SendError, StartOffset, SyncProducer,
};

use crate::support::secured::{CAROL, Secured};
use crate::support::{lock, unique, wait_until};

/// By when a refusal must be there: far less than the timeouts of producers and requests.
pub(crate) const SOON: Duration = Duration::from_secs(25);
const LIMIT: Duration = Duration::from_secs(60);

/// A client that may do nothing but what a test allows.
pub(crate) fn carol(secured: &Secured) -> Client {
    let builder = Client::builder().bootstrap_servers(secured.address("SASL"));
    builder.sasl(Sasl::plain("carol", CAROL)).build().expect("everybody may ask for metadata of no topic")
}

/// One that may do all.
pub(crate) fn root(secured: &Secured) -> Admin {
    Admin::new(&Client::connect(&secured.cluster.bootstrap()).expect("a client"))
}

pub(crate) fn allow(secured: &Secured, operation: AclOperation, resource: AclResourceType, name: &str) {
    let acl = AclBinding::allow("User:carol", operation, resource, name);
    for (_, made) in root(secured).create_acls(&[acl]).expect("an answer") {
        made.expect("an ACL");
    }
}

/// A refusal of the right kind, code and words, that came soon.
#[track_caller]
fn assert_refused(what: &str, start: Instant, error: &sarameya::Error, code: ErrorCode, name: &str) {
    assert!(start.elapsed() < SOON, "{what}: {:?}", start.elapsed());
    assert_eq!((error.kind(), error.code()), (ErrorKind::Authorization, Some(code)), "{what}: {error}");
    assert!(error.to_string().contains(name), "{what}: {error}");
    if code == ErrorCode::TOPIC_AUTHORIZATION_FAILED {
        assert_eq!(error.topic(), Some(name), "{what}: {error}");
    }
}

#[test]
fn t2_producing_without_a_right_fails_by_topic_and_loses_nothing_of_others_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let (allowed, described, hidden) = (unique("allowed"), unique("described"), unique("hidden"));
    for topic in [&allowed, &described, &hidden] {
        secured.cluster.create_topic(topic, 1);
    }
    allow(secured, AclOperation::Write, AclResourceType::Topic, &allowed);
    allow(secured, AclOperation::Describe, AclResourceType::Topic, &described);
    let client = carol(secured);
    wait_until("the rights are known", LIMIT, || client.partition_count(&described).is_ok());
    wait_until("the rights are known", LIMIT, || client.partition_count(&allowed).is_ok());

    let refused = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    let producer = SyncProducer::builder(&client).build_sync().unwrap();
    for topic in [&described, &hidden] {
        let start = Instant::now();
        let error = producer.send(&ProducerRecord::new(topic).value("v")).unwrap_err();
        assert!(matches!(error, SendError::NotPersisted(_)), "{error}");
        assert_refused("send", start, error.error(), refused, topic);
    }

    let start = Instant::now();
    let producer = Producer::builder(&client).build().unwrap();
    let mut sent = Vec::new();
    for n in 0..100 {
        let value = format!("{n}");
        let good = producer.send(&ProducerRecord::new(&allowed).value(&value)).unwrap();
        sent.push((good, producer.send(&ProducerRecord::new(&described).value(&value))));
    }
    for (n, (good, bad)) in sent.into_iter().enumerate() {
        assert_eq!(good.wait().unwrap().offset(), Some(n as i64));
        let error = bad.and_then(|delivery| delivery.wait()).unwrap_err();
        assert!(matches!(error, SendError::NotPersisted(_)), "{error}");
        assert_refused("delivery", start, error.error(), refused, &described);
    }

    // The same producer goes on once it may.
    allow(secured, AclOperation::Write, AclResourceType::Topic, &described);
    let mut offset = None;
    wait_until("the right is known", LIMIT, || {
        offset = producer.send(&ProducerRecord::new(&described).value("v")).and_then(|sent| sent.wait()).ok();
        offset.is_some()
    });
    assert_eq!(offset.and_then(|sent| sent.offset()), Some(0), "nothing was written before");
}

#[test]
fn t2_reading_without_a_right_fails_by_topic_and_goes_on_where_it_was_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let (topic, hidden) = (unique("unread"), unique("hidden"));
    secured.cluster.create_topic(&topic, 1);
    secured.cluster.create_topic(&hidden, 1);
    let writer = SyncProducer::builder(&Client::connect(&secured.cluster.bootstrap()).unwrap()).build_sync().unwrap();
    for value in ["a", "b"] {
        writer.send(&ProducerRecord::new(&topic).value(value)).unwrap();
    }
    allow(secured, AclOperation::Describe, AclResourceType::Topic, &topic);
    let client = carol(secured);
    wait_until("the right is known", LIMIT, || client.partition_count(&topic).is_ok());
    let reader = |topic: &str| {
        let builder = PartitionConsumer::builder(&client, topic, 0).start(StartOffset::Earliest);
        builder.offset_reset(OffsetReset::Fail).build()
    };
    let refused = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    let start = Instant::now();
    let outcome = reader(&hidden).and_then(|mut reader| reader.next(SOON));
    assert_refused("a reader", start, &outcome.unwrap_err(), refused, &hidden);

    let mut reader = reader(&topic).unwrap();
    let start = Instant::now();
    assert_refused("a fetch", start, &reader.next(SOON).unwrap_err(), refused, &topic);
    allow(secured, AclOperation::Read, AclResourceType::Topic, &topic);
    let mut values = Vec::new();
    wait_until("both records", LIMIT, || {
        if let Ok(Some(record)) = reader.next(Duration::from_millis(500)) {
            values.push((record.offset(), record.value().map(<[u8]>::to_vec)));
        }
        values.len() == 2
    });
    assert_eq!(values, [(0, Some(b"a".to_vec())), (1, Some(b"b".to_vec()))]);
}

#[test]
fn g30_a_group_that_may_not_be_joined_is_named_and_one_without_a_topic_names_that_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let (topic, group_id) = (unique("grouped"), unique("forbidden-group"));
    secured.cluster.create_topic(&topic, 1);
    allow(secured, AclOperation::Describe, AclResourceType::Topic, &topic);
    let client = carol(secured);
    wait_until("the right is known", LIMIT, || client.partition_count(&topic).is_ok());
    let consume = || {
        let handled = AtomicUsize::new(0);
        let mut group = ConsumerGroup::builder(&client, &group_id).start(StartOffset::Earliest).build().unwrap();
        let outcome = group.consume(&[&topic], &|_: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| {
            for record in claim {
                record?;
                handled.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        });
        assert_eq!(handled.load(Ordering::SeqCst), 0);
        outcome.expect_err("a refusal")
    };
    let start = Instant::now();
    assert_refused("a group", start, &consume(), ErrorCode::GROUP_AUTHORIZATION_FAILED, &group_id);

    allow(secured, AclOperation::Read, AclResourceType::Group, &group_id);
    let mut last = None;
    wait_until("the right is known", LIMIT, || {
        let error = consume();
        let of_group = error.code() == Some(ErrorCode::GROUP_AUTHORIZATION_FAILED);
        last = Some(error);
        !of_group
    });
    let error = last.expect("an error");
    // It may be the handler that got it, which is the claim's way to tell.
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<sarameya::Error>());
    let error = if error.kind() == ErrorKind::Handler { source.expect("the handler's error") } else { &error };
    assert_eq!(error.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED), "{error}");
    assert_eq!(error.topic(), Some(topic.as_str()), "{error}");
}

#[test]
fn a_delegation_token_is_made_used_renewed_and_ended_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let address = secured.address("SASL");
    // On a loaded machine the hashing alone takes its time.
    let builder = || Client::builder().bootstrap_servers(&address).connection_setup_timeout(LIMIT);
    let by = |sasl: Sasl| builder().sasl(sasl).build();
    let alice = by(Sasl::scram_sha_512("alice", crate::support::secured::ALICE)).unwrap();
    let admin = Admin::new(&alice);
    let day = Duration::from_secs(24 * 3600);
    let bob = KafkaPrincipal::user("bob");
    let token = admin.create_delegation_token(&NewDelegationToken::new().renewer(bob.clone()).max_lifetime(day));
    let token = token.expect("a token");
    assert_eq!((&token.owner, &token.requester), (&KafkaPrincipal::user("alice"), &KafkaPrincipal::user("alice")));
    assert_eq!(token.max_timestamp - token.issue_timestamp, day.as_millis() as i64);

    let find = |admin: &Admin| {
        let all = admin.describe_delegation_tokens(Some(&[KafkaPrincipal::user("alice")])).expect("tokens");
        all.into_iter().find(|known| known.token_id == token.token_id)
    };
    wait_until("the token is listed", LIMIT, || find(&admin).is_some());
    let listed = find(&admin).expect("listed");
    assert_eq!((listed.hmac(), &listed.renewers), (token.hmac(), &vec![bob]));
    assert!(admin.describe_delegation_tokens(None).expect("tokens").contains(&listed));

    let login = Sasl::scram_sha_256_with(token.credentials()).delegation_token();
    wait_until("the token is accepted", LIMIT, || by(login.clone()).is_ok());
    let own = by(login.clone()).unwrap();
    crate::security_tls::send(&own).unwrap();
    // A token can't make another.
    let refused = Admin::new(&own).create_delegation_token(&NewDelegationToken::new()).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED), "{refused}");

    // The renewer who was named may, others may not.
    let hour = Duration::from_secs(3600);
    let renewer = Admin::new(&by(Sasl::plain("bob", crate::support::secured::BOB)).unwrap());
    let end = renewer.renew_delegation_token(token.hmac(), Some(hour)).expect("renewed");
    assert!(end > token.issue_timestamp && end <= token.max_timestamp);
    let stranger = Admin::new(&carol(secured)).renew_delegation_token(token.hmac(), None).unwrap_err();
    assert_eq!(stranger.code(), Some(ErrorCode::DELEGATION_TOKEN_OWNER_MISMATCH), "{stranger}");

    admin.expire_delegation_token(token.hmac(), None).expect("ended");
    wait_until("the token is gone", LIMIT, || find(&admin).is_none());
    wait_until("the token is refused", LIMIT, || {
        by(login.clone()).is_err_and(|error| error.kind() == ErrorKind::Authentication)
    });
    let again = admin.expire_delegation_token(token.hmac(), None).unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::DELEGATION_TOKEN_NOT_FOUND), "{again}");
}

#[test]
fn admin_features_go_down_and_up_again_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let admin = root(secured);
    let feature = "transaction.version";
    let level = || admin.describe_features().expect("features").finalized.get(feature).map(|(_, high)| *high);
    let before = level().expect("a new cluster has it");
    assert!(before > 1);
    let down = FeatureUpdate {
        feature: feature.to_owned(),
        max_version_level: before - 1,
        upgrade_type: UpgradeType::SafeDowngrade,
    };
    for (update, wanted) in [(down, before - 1), (FeatureUpdate::upgrade(feature, before), before)] {
        let updated = admin.update_features(std::slice::from_ref(&update)).expect("an answer");
        assert!(updated.iter().all(|(name, outcome)| name == feature && outcome.is_ok()), "{updated:?}");
        wait_until("the level is known", LIMIT, || level() == Some(wanted));
    }
}

#[test]
fn admin_members_that_live_are_removed_and_join_again_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let (topic, group_id) = (unique("removed"), unique("removed"));
    secured.cluster.create_topic(&topic, 4);
    let admin = root(secured);
    let client = Client::connect(&secured.cluster.bootstrap()).unwrap();
    let member = |instance: Option<&str>| {
        let builder = ConsumerGroup::builder(&client, &group_id).start(StartOffset::Earliest);
        let builder = builder.session_timeout(Duration::from_secs(10)).heartbeat_interval(Duration::from_millis(200));
        match instance {
            Some(id) => builder.group_instance_id(id),
            None => builder,
        }
        .build()
        .unwrap()
    };
    let (mut fixed, mut dynamic) = (member(Some("fixed")), member(None));
    let (stop_fixed, stop_dynamic) = (fixed.stop_handle(), dynamic.stop_handle());
    let ids = || {
        let mut described = admin.describe_groups(&[&group_id]).ok()?;
        let described = described.pop()?.1.ok()?;
        let stable = described.state == GroupState::Stable && described.members.len() == 2;
        let id = |fixed: bool| {
            let of_kind = described.members.iter().find(|member| member.group_instance_id.is_some() == fixed);
            of_kind.map(|member| member.member_id.clone())
        };
        stable.then(|| (id(true), id(false)))
    };
    let seen = std::sync::Mutex::new(None);
    let handler = |session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| {
        for record in claim {
            session.mark(&record?);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| fixed.consume(&[&topic], &handler));
        let second = scope.spawn(|| dynamic.consume(&[&topic], &handler));
        let checks = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let settled = |what: &str, old: &Option<(Option<String>, Option<String>)>| {
                wait_until(what, LIMIT, || {
                    *lock(&seen) = ids();
                    lock(&seen).is_some() && *lock(&seen) != *old
                });
                lock(&seen).clone()
            };
            let before = settled("two members", &None);
            let (_, dynamic_id) = before.expect("waited for");
            for gone in [
                MemberToRemove::GroupInstanceId("fixed".to_owned()),
                MemberToRemove::MemberId(dynamic_id.expect("a dynamic member")),
            ] {
                let was = lock(&seen).clone();
                let removed =
                    admin.remove_members(&group_id, std::slice::from_ref(&gone), "a test").expect("an answer");
                assert!(removed.len() == 1 && removed[0].1.is_ok(), "{removed:?}");
                settled("the member has joined again by another id", &was);
            }
            let removed = admin.remove_all_members(&group_id, "a test").expect("an answer");
            assert!(removed.len() == 2 && removed.iter().all(|(_, outcome)| outcome.is_ok()), "{removed:?}");
        }));
        stop_fixed.stop();
        stop_dynamic.stop();
        let ended = (first.join().unwrap(), second.join().unwrap());
        if let Err(panic) = checks {
            std::panic::resume_unwind(panic);
        }
        ended.0.unwrap();
        ended.1.unwrap();
    });
}
