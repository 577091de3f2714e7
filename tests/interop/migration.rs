//! Groups with members of both protocols, which become groups of the other kind while they work (KIP-848).

use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sarameya::protocol::Writer;
use sarameya::protocol::messages::consumer_group_heartbeat::RequestTopicPartitions;
use sarameya::protocol::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use sarameya::protocol::messages::join_group::JoinGroupRequestProtocol;
use sarameya::protocol::messages::leave_group::MemberIdentity;
use sarameya::protocol::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use sarameya::protocol::messages::*;

use crate::java::quiet;
use crate::raw::Raw;
use crate::target::{Target, compare};
use crate::transcript::{Transcript, normal};

const GROUP: &str = "raw-migration";
const LIMIT: Duration = Duration::from_secs(60);

/// A classic member that is asked step by step.
#[derive(Clone, Default)]
struct Classic {
    id: String,
    generation: i32,
    protocol: String,
}

struct Group {
    raw: Raw,
    transcript: Transcript,
    topic_id: [u8; 16],
    /// Partitions are counted and not named: who gets which goes by the members' ids, and one of those is random.
    counted: bool,
}

impl Group {
    fn new(target: &Target) -> Self {
        quiet(target, "topics", &["--create", "--topic", GROUP, "--partitions", "4"], "");
        // Else a change may have no effect for a second.
        let no_wait = ["--alter", "--entity-type", "groups", "--entity-name", GROUP, "--add-config"];
        let said = quiet(target, "configs", &[&no_wait[..], &["consumer.assignment.interval.ms=0"]].concat(), "");
        assert_eq!(said.status, 0, "{said:?}");
        let mut raw = Raw::coordinator(target, 0, GROUP);
        let topic = metadata::MetadataRequestTopic { name: Some(GROUP.into()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let deadline = Instant::now() + LIMIT;
        let topic_id = loop {
            let topic = raw.ask(12, &request).topics.remove(0);
            if topic.error_code == 0 {
                break topic.topic_id;
            }
            assert!(Instant::now() < deadline, "{topic:?}");
            thread::sleep(Duration::from_millis(50));
        };
        Self { raw, transcript: Transcript::default(), topic_id, counted: false }
    }

    fn partitions(&self, partitions: &[i32]) -> String {
        if self.counted { format!("{} partitions", partitions.len()) } else { format!("{partitions:?}") }
    }

    fn say(&mut self, line: &str) {
        self.transcript.line(&normal(line));
    }

    /// A member of the consumer protocol joins or goes on, and says that it has these partitions.
    fn consumer(&mut self, member: &str, member_epoch: i32, owned: &[i32]) -> (i32, Vec<i32>) {
        let topic = RequestTopicPartitions { topic_id: self.topic_id, partitions: owned.to_vec() };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: GROUP.into(),
            member_id: member.into(),
            member_epoch,
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec![GROUP.into()]),
            topic_partitions: Some(if owned.is_empty() { Vec::new() } else { vec![topic] }),
            ..Default::default()
        };
        let answer = self.raw.ask_ready(1, &request, |answer| answer.error_code);
        let assigned = answer.assignment.map(|assignment| {
            let topics = assignment.topic_partitions.into_iter();
            topics.flat_map(|topic| topic.partitions).collect::<Vec<i32>>()
        });
        let text = answer.error_message.unwrap_or_default();
        let code = answer.error_code;
        let shown = assigned.as_ref().map(|assigned| self.partitions(assigned));
        self.say(&format!(
            "{member} in epoch {member_epoch} has {owned:?}: {code} {text}, epoch {}, {shown:?}",
            answer.member_epoch
        ));
        (answer.member_epoch, assigned.unwrap_or_default())
    }

    /// Goes on until the member is in this epoch and has nothing to give up: a new target may be computed a moment later.
    fn consumer_until(&mut self, member: &str, mut epoch: i32, owned: &[i32], wanted: i32) {
        let deadline = Instant::now() + LIMIT;
        while epoch != wanted {
            let lines = self.transcript.mark();
            let (next, _) = self.consumer(member, epoch, owned);
            if next != wanted {
                self.transcript.rewind(lines);
            }
            epoch = next;
            assert!(Instant::now() < deadline, "{member} stays in epoch {epoch}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn join(&mut self, member: &mut Classic, owned: &[i32]) -> JoinGroupResponse {
        let request = join(&member.id, &member.protocol, owned, member.generation);
        let answer = self.raw.ask_ready(9, &request, |answer| answer.error_code);
        self.say(&format!(
            "join {} with {owned:?}: {}, generation {}, {:?} {:?}, leader {:?}, {} members, skips {}, id {:?}",
            member.protocol,
            answer.error_code,
            answer.generation_id,
            answer.protocol_type,
            answer.protocol_name,
            answer.leader,
            answer.members.len(),
            answer.skip_assignment,
            answer.member_id,
        ));
        if [0, 79].contains(&answer.error_code) {
            (member.id, member.generation) = (answer.member_id.clone(), answer.generation_id);
        }
        answer
    }

    fn sync(&mut self, member: &Classic, protocol: &str) {
        let request = SyncGroupRequest {
            group_id: GROUP.into(),
            member_id: member.id.clone(),
            generation_id: member.generation,
            protocol_type: Some("consumer".into()),
            protocol_name: Some(protocol.into()),
            ..Default::default()
        };
        let answer = self.raw.ask(5, &request);
        let (code, kind, name) = (answer.error_code, answer.protocol_type, answer.protocol_name);
        self.say(&format!("sync {protocol}: {code}, {kind:?} {name:?}, {:02x?}", &answer.assignment[..]));
    }

    fn beat(&mut self, what: &str, member: &Classic) -> i16 {
        let (group_id, member_id, generation_id) = (GROUP.into(), member.id.clone(), member.generation);
        let request = HeartbeatRequest { group_id, member_id, generation_id, ..Default::default() };
        let code = self.raw.ask(4, &request).error_code;
        self.say(&format!("heartbeat {what}: {code}"));
        code
    }

    fn commit(&mut self, what: &str, version: i16, member_id: &str, generation: i32) {
        let partitions = (0..4).map(|partition_index| OffsetCommitRequestPartition {
            partition_index,
            committed_offset: 0,
            committed_metadata: Some(String::new()),
            ..Default::default()
        });
        let topic =
            OffsetCommitRequestTopic { name: GROUP.into(), partitions: partitions.collect(), ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: GROUP.into(),
            generation_id_or_member_epoch: generation,
            member_id: member_id.into(),
            topics: vec![topic],
            retention_time_ms: -1,
            ..Default::default()
        };
        let answer = self.raw.ask(version, &request);
        let codes: Vec<i16> = answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
        self.say(&format!("commit {what}, version {version}: {codes:?}"));
    }

    /// The group as it is described and listed.
    fn describe(&mut self) {
        let request = ConsumerGroupDescribeRequest { group_ids: vec![GROUP.into()], ..Default::default() };
        let group = self.raw.ask(1, &request).groups.remove(0);
        let mut members: Vec<String> = group
            .members
            .iter()
            .map(|member| {
                let partitions = |assignment: &consumer_group_describe::Assignment| {
                    let topics = assignment.topic_partitions.iter();
                    self.partitions(&topics.flat_map(|topic| topic.partitions.clone()).collect::<Vec<_>>())
                };
                format!(
                    "type {}, epoch {}, {:?} {:?}, {} of {}, {} {}",
                    member.member_type,
                    member.member_epoch,
                    member.subscribed_topic_names,
                    member.subscribed_topic_regex,
                    partitions(&member.assignment),
                    partitions(&member.target_assignment),
                    member.client_id,
                    member.client_host,
                )
            })
            .collect();
        members.sort();
        self.say(&format!(
            "described: {} {:?}, {}, epochs {} and {}, {} {members:#?}",
            group.error_code,
            group.error_message,
            group.group_state,
            group.group_epoch,
            group.assignment_epoch,
            group.assignor_name,
        ));
        let group = self.raw.ask(6, &DescribeGroupsRequest { groups: vec![GROUP.into()], ..Default::default() });
        let group = &group.groups[0];
        self.say(&format!(
            "described as a classic one: {} {:?}, {} {:?} {:?}, {} members",
            group.error_code,
            group.error_message,
            group.group_state,
            group.protocol_type,
            group.protocol_data,
            group.members.len(),
        ));
        let listed = self.raw.ask(5, &ListGroupsRequest::default()).groups;
        let listed = listed.into_iter().find(|group| group.group_id == GROUP);
        self.say(&format!("listed: {listed:?}"));
    }

    fn leave(&mut self, what: &str, member_id: &str) {
        let member = MemberIdentity { member_id: member_id.into(), ..Default::default() };
        let request = LeaveGroupRequest { group_id: GROUP.into(), members: vec![member], ..Default::default() };
        let answer = self.raw.ask(5, &request);
        self.say(&format!("leave of {what}: {} {}", answer.error_code, answer.members[0].error_code));
    }
}

fn join(member_id: &str, protocol: &str, owned: &[i32], generation_id: i32) -> JoinGroupRequest {
    let topic = consumer_protocol_subscription::TopicPartition { topic: GROUP.into(), partitions: owned.to_vec() };
    let subscription = ConsumerProtocolSubscription {
        topics: vec![GROUP.into()],
        owned_partitions: if owned.is_empty() { Vec::new() } else { vec![topic] },
        generation_id,
        ..Default::default()
    };
    let mut writer = Writer::new();
    writer.i16(3);
    subscription.encode(&mut writer, 3).expect("a subscription");
    JoinGroupRequest {
        group_id: GROUP.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: protocol.into(), metadata: writer.into_bytes().into() }],
        ..Default::default()
    }
}

#[test]
fn members_of_both_protocols_share_a_group_alike() {
    require_kafka!();
    compare("raw-migration", |target| {
        let mut group = Group::new(target);
        let (epoch, _) = group.consumer("m1", 0, &[]);
        let mut classic = Classic { protocol: "range".into(), ..Classic::default() };
        group.join(&mut classic, &[]);
        let second = group.join(&mut classic, &[]).generation_id;
        group.sync(&classic, "range");
        group.beat("while it waits for partitions", &classic);
        group.describe();
        let (_, kept) = group.consumer("m1", epoch, &[0, 1, 2, 3]);
        let free: Vec<i32> = (0..4).filter(|partition| !kept.contains(partition)).collect();
        group.consumer_until("m1", epoch, &kept, second);
        group.beat("when they are free", &classic);
        group.join(&mut classic, &[]);
        group.sync(&classic, "range");
        group.beat("with all it is to have", &classic);
        group.describe();
        let other = |id: &str, generation| Classic { id: id.into(), generation, protocol: "range".into() };
        group.beat("in a generation to come", &other(&classic.id, second + 1));
        group.beat("in an older generation", &other(&classic.id, second - 1));
        group.beat("as m1", &other("m1", second));
        group.beat("as nobody", &other("nobody", second));
        group.sync(&classic, "roundrobin");
        group.sync(&other("m1", second), "range");
        group.join(&mut Classic { protocol: "roundrobin".into(), ..Classic::default() }, &[]);
        let mut nothing = join(&classic.id, "range", &[], 0);
        nothing.protocols[0].metadata = Bytes::from_static(b"?");
        let answer = group.raw.ask(9, &nothing);
        group.say(&format!("join with nonsense: {} {:?}", answer.error_code, answer.member_id));
        group.commit("of the classic member", 8, &classic.id, second);
        group.commit("of the classic member in an older generation", 8, &classic.id, second - 1);
        group.commit("of the classic member in a generation to come", 9, &classic.id, second + 1);
        group.commit("of m1", 9, "m1", second);
        group.commit("of m1 in an older epoch", 9, "m1", epoch);
        group.commit("of m1", 8, "m1", second);
        group.commit("from outside", 9, "", -1);
        group.leave("nobody", "nobody");
        group.leave("m1", "m1");
        group.describe();
        group.beat("after the downgrade", &classic);
        group.consumer("m1", second, &kept);
        let answer = group.join(&mut classic, &free);
        group.say(&format!("leads: {}", answer.leader == classic.id));
        group.sync(&classic, "range");
        group.beat("in the classic group", &classic);
        group.describe();
        group.counted = true;
        let (third, _) = group.consumer("m2", 0, &[]);
        group.describe();
        group.beat("after the upgrade", &classic);
        group.say(&format!("epochs: {}", third - classic.generation));
        group.leave("the classic member", &classic.id.clone());
        group.describe();
        group.consumer("m2", -1, &[]);
        group.describe();
        group.transcript
    });
}
