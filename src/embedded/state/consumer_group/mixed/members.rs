//! What single members of the classic protocol are told in a consumer group, and by when they have to come.

use super::super::super::groups::Group;
use super::*;

/// "g" with one consumer that has every partition.
fn world(settings: &[(&str, &str)]) -> World {
    let mut world = World::new(settings);
    world.consumer();
    world.settle();
    world
}

/// How many members a consumer group has.
fn members(world: &World) -> usize {
    match world.harness.state.groups.get("g") {
        Some(Group::Consumer(group)) => group.members.len(),
        other => panic!("{other:?}"),
    }
}

/// Joins in a version in which members get their ids by joining.
fn join(world: &mut World, client: &mut Classic) {
    let version = if client.instance_id.is_some() { 9 } else { 3 };
    let answer = world.harness.call(1, version, client.join_request());
    assert_eq!((answer.error_code, answer.protocol_name.as_deref()), (0, Some("both")));
    (client.id, client.generation) = (answer.member_id, answer.generation_id);
}

fn sync(world: &mut World, client: &Classic) -> SyncGroupResponse {
    let request = SyncGroupRequest {
        group_id: "g".into(),
        member_id: client.id.clone(),
        group_instance_id: client.instance_id.clone(),
        generation_id: client.generation,
        ..Default::default()
    };
    world.harness.call(1, 5, request)
}

fn beat(world: &mut World, client: &Classic) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: "g".into(),
        member_id: client.id.clone(),
        group_instance_id: client.instance_id.clone(),
        generation_id: client.generation,
    };
    ErrorCode(world.harness.call(1, 4, request).error_code)
}

fn seconds(world: &mut World, seconds: u64) {
    world.harness.pass(Duration::from_secs(seconds));
}

#[test]
fn a_full_consumer_group_takes_no_classic_member() {
    let mut world = world(&[("group.consumer.max.size", "1")]);
    let answer = world.harness.call(1, 9, Classic::new(false, None).join_request());
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::GROUP_MAX_SIZE_REACHED);
}

#[test]
fn a_classic_member_that_joins_and_is_silent_is_removed_after_its_session_which_a_sync_prolongs() {
    for syncs in [false, true] {
        let mut world = world(&[]);
        let mut client = Classic::new(false, None);
        join(&mut world, &mut client);
        seconds(&mut world, 9);
        if syncs {
            assert_eq!(sync(&mut world, &client).error_code, 0);
            seconds(&mut world, 9);
        }
        assert_eq!(members(&world), 2, "before version 4 a member is in with its first request");
        seconds(&mut world, 1);
        assert_eq!(members(&world), 1);
    }
}

#[test]
fn a_classic_member_that_never_asks_for_its_assignment_is_removed() {
    let mut world = world(&[]);
    let mut client = Classic::new(false, None);
    join(&mut world, &mut client);
    for _ in 0..3 {
        seconds(&mut world, 9);
        assert_eq!(beat(&mut world, &client), ErrorCode::NONE);
    }
    seconds(&mut world, 2);
    assert_eq!(members(&world), 2);
    seconds(&mut world, 1);
    assert_eq!(
        (members(&world), beat(&mut world, &client)),
        (1, ErrorCode::UNKNOWN_MEMBER_ID),
        "its rebalance timeout"
    );
}

#[test]
fn a_classic_member_has_all_its_times_anew_when_another_broker_coordinates() {
    let mut world = world(&[]);
    let mut client = Classic::new(false, None);
    join(&mut world, &mut client);
    for at in 1..=4 {
        seconds(&mut world, 9);
        assert_eq!(beat(&mut world, &client), ErrorCode::NONE, "36 s after it joined, without a sync");
        if at == 2 {
            world.harness.state.consumer_group_moved("g");
        }
    }
}

#[test]
fn a_classic_member_that_waits_for_partitions_is_told_to_join_once_they_are_free() {
    let mut world = world(&[]);
    let mut client = Classic::new(false, None);
    join(&mut world, &mut client);
    assert!(numbers(sync(&mut world, &client).assignment).is_empty());
    assert_eq!(beat(&mut world, &client), ErrorCode::NONE, "the other has not given anything up");
    (0..3).for_each(|_| world.beat_consumer(0));
    assert_eq!(beat(&mut world, &client), ErrorCode::REBALANCE_IN_PROGRESS);
    join(&mut world, &mut client);
    assert_eq!(numbers(sync(&mut world, &client).assignment).len(), 3);
    assert_eq!(beat(&mut world, &client), ErrorCode::NONE);
}

#[test]
fn a_classic_member_of_an_older_epoch_is_sent_back_to_join_instead_of_getting_its_assignment() {
    let mut world = world(&[]);
    let mut client = Classic::new(false, None);
    join(&mut world, &mut client);
    world.consumer();
    world.beat_consumer(1);
    assert_eq!(ErrorCode(sync(&mut world, &client).error_code), ErrorCode::REBALANCE_IN_PROGRESS);
}

/// A classic member that has half of the partitions and is to give one up: it has joined and knows.
fn to_give_up(settings: &[(&str, &str)]) -> (World, Classic) {
    let mut world = world(settings);
    world.classic.push(Classic::new(true, None));
    world.settle();
    world.consumer();
    world.beat_consumer(1);
    let mut client = world.classic.remove(0);
    let answer = world.harness.call(1, 9, client.join_request());
    assert_eq!((answer.error_code, answer.generation_id), (0, client.generation), "it stays in its epoch");
    client.owned = numbers(sync(&mut world, &client).assignment);
    assert_eq!(client.owned.len(), 2);
    (world, client)
}

#[test]
fn a_classic_member_that_gives_partitions_up_has_its_time_for_that_from_when_it_is_told() {
    let (mut world, mut client) = to_give_up(&[]);
    seconds(&mut world, 9);
    for _ in 0..3 {
        assert_eq!(beat(&mut world, &client), ErrorCode::REBALANCE_IN_PROGRESS);
        seconds(&mut world, 9);
    }
    assert_eq!(
        (members(&world), beat(&mut world, &client)),
        (3, ErrorCode::REBALANCE_IN_PROGRESS),
        "36 s after it joined"
    );
    let answer = world.harness.call(1, 9, client.join_request());
    assert_eq!((answer.error_code, answer.generation_id), (0, client.generation + 1));
    client.generation = answer.generation_id;
    assert_eq!((sync(&mut world, &client).error_code, beat(&mut world, &client)), (0, ErrorCode::NONE));
}

#[test]
fn a_classic_member_that_unsubscribes_is_told_to_join_again_before_there_is_a_new_assignment() {
    let mut world = world(&[("group.consumer.assignment.interval.ms", "15000")]);
    seconds(&mut world, 15);
    world.beat_consumer(0);
    world.classic.push(Classic::new(true, None));
    world.settle();
    let mut client = world.classic.remove(0);
    let mut request = client.join_request();
    let topic = TopicPartition { topic: "t".into(), partitions: client.owned.clone() };
    let nothing = ConsumerProtocolSubscription { owned_partitions: vec![topic], ..Default::default() };
    let mut writer = Writer::new();
    writer.i16(3);
    nothing.encode(&mut writer, 3).unwrap();
    request.protocols[0].metadata = writer.into_bytes().into();
    let answer = world.harness.call(1, 9, request);
    assert_eq!((answer.error_code, answer.generation_id), (0, client.generation), "the target is the same");
    client.owned = numbers(sync(&mut world, &client).assignment);
    assert_eq!((client.owned.len(), beat(&mut world, &client)), (0, ErrorCode::REBALANCE_IN_PROGRESS));
}

#[test]
fn an_instance_id_goes_before_the_member_id_and_an_administrator_needs_no_other() {
    let mut world = world(&[]);
    let mut client = Classic::new(false, Some("i"));
    join(&mut world, &mut client);
    let stranger = Classic { id: "x".into(), ..client.clone() };
    let unknown = Classic { instance_id: Some("j".into()), ..client.clone() };
    assert_eq!(beat(&mut world, &stranger), ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(beat(&mut world, &unknown), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(beat(&mut world, &client), ErrorCode::NONE);
    assert_eq!(ErrorCode(world.leave(&stranger)), ErrorCode::FENCED_INSTANCE_ID);
    let by_instance = Classic { id: String::new(), ..client };
    assert_eq!((world.leave(&by_instance), members(&world)), (0, 1));
}

#[test]
fn a_static_consumer_that_comes_back_as_a_classic_member_leaves_the_group_as_it_is_while_there_are_other_consumers() {
    let mut world = world(&[]);
    world.consumer();
    world.consumers[1].instance_id = Some("i".into());
    world.settle();
    world.consumers.remove(1);
    let mut client = Classic::new(false, Some("i"));
    join(&mut world, &mut client);
    assert_eq!((world.kind(), members(&world)), ("consumer", 2));
}

#[test]
fn a_group_with_more_members_than_a_classic_one_may_have_stays_what_it_is() {
    let mut world = world(&[("group.max.size", "1")]);
    world.classic = vec![Classic::new(false, None), Classic::new(false, None)];
    world.settle();
    world.consumer_leaves(0);
    assert_eq!((world.kind(), members(&world)), ("consumer", 2));
}

/// Two classic members, one of which was a consumer until it came back, in a classic group that need not rebalance.
fn downgraded() -> World {
    let mut world = world(&[]);
    world.consumers[0].instance_id = Some("i".into());
    world.consumers[0].id = "static".into();
    world.settle();
    world.classic.push(Classic::new(false, None));
    world.settle();
    world.consumers.clear();
    world.classic.push(Classic::new(false, Some("i")));
    world.drive(1);
    assert_eq!((world.kind(), world.group_state()), ("classic", "Stable"));
    world
}

#[test]
fn a_group_that_has_become_a_classic_one_has_an_assignor_and_its_members_their_sessions() {
    let mut world = downgraded();
    assert_eq!(world.harness.state.groups.classic("g").unwrap().protocol.as_deref(), Some("both"));
    seconds(&mut world, 9);
    assert_eq!(world.group_state(), "Stable");
    seconds(&mut world, 1);
    assert_eq!(world.group_state(), "Empty", "both were silent");
}

#[test]
fn a_group_that_has_become_a_classic_one_is_known_at_the_next_coordinator() {
    let mut world = downgraded();
    let now = world.harness.now;
    world.harness.state.with_classic("g", now, |group, turn| group.moved(turn)).unwrap();
    assert_eq!(world.harness.state.groups.classic("g").unwrap().members.len(), 2);
    world.settle();
}

#[test]
fn only_a_group_of_consumers_whose_assignor_keeps_nothing_for_itself_is_upgraded() {
    let mut world = World::new(&[]);
    world.classic.push(Classic::new(false, None));
    world.settle();
    let refused = |world: &mut World| {
        let answer = world.harness.call(1, 1, Client::new("m", "t").request());
        (ErrorCode(answer.error_code), answer.error_message.unwrap_or_default())
    };
    let because = |why: &str| {
        let text = format!("Cannot upgrade classic group g to consumer group because {why}");
        (ErrorCode::GROUP_ID_NOT_FOUND, text)
    };
    let group = |world: &mut World, change: &dyn Fn(&mut super::super::super::groups::ClassicGroup)| {
        change(world.harness.state.groups.classic_mut("g").unwrap());
    };
    group(&mut world, &|group| group.protocol_type = Some("connect".into()));
    assert_eq!(refused(&mut world), because("the group does not use the consumer embedded protocol."));
    group(&mut world, &|group| group.protocol_type = Some("consumer".into()));
    let with_data = |data: &'static [u8]| {
        let mut writer = Writer::new();
        writer.i16(3);
        let user_data = Some(Bytes::from_static(data));
        ConsumerProtocolAssignment { user_data, ..Default::default() }.encode(&mut writer, 3).unwrap();
        Bytes::from(writer.into_bytes())
    };
    group(&mut world, &|group| group.members.values_mut().for_each(|member| member.assignment = with_data(b"own")));
    let (code, text) = refused(&mut world);
    assert_eq!(code, ErrorCode::GROUP_ID_NOT_FOUND);
    assert!(text.contains("an unsupported custom assignor is in use"), "{text}");
    assert_eq!(world.kind(), "classic");
    group(&mut world, &|group| group.members.values_mut().for_each(|member| member.assignment = with_data(b"")));
    assert_eq!((refused(&mut world).0, world.kind()), (ErrorCode::NONE, "consumer"));
}
