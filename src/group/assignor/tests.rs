use super::*;
use proptest::prelude::*;

/// `t0:3 t1:2` to a map of partition counts.
fn counts(text: &str) -> BTreeMap<String, i32> {
    let pairs = text.split_whitespace().filter_map(|item| item.split_once(':'));
    pairs.map(|(topic, n)| (topic.to_owned(), n.parse().unwrap())).collect()
}

/// `m1@i1=t0,t1 m2=t0` to members.
fn members(text: &str) -> Vec<GroupMember> {
    let member = |item: &str| {
        let (id, topics) = item.split_once('=').unwrap();
        let topics = topics.split(',').filter(|topic| !topic.is_empty());
        match id.split_once('@') {
            Some((id, instance)) => GroupMember::new(id, topics).with_group_instance_id(instance),
            None => GroupMember::new(id, topics),
        }
    };
    text.split_whitespace().map(member).collect()
}

/// The inverse for an assignment: `m1=t0:0,1+t1:2 m2=`.
fn show(assignment: &GroupAssignment) -> String {
    let numbers = |ps: &Vec<i32>| ps.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let topics =
        |own: &Assignment| own.iter().map(|(t, ps)| format!("{t}:{}", numbers(ps))).collect::<Vec<_>>().join("+");
    assignment.iter().map(|(id, own)| format!("{id}={}", topics(own))).collect::<Vec<_>>().join(" ")
}

fn assigned(assignor: &dyn Assignor, topics: &str, ids: &str) -> String {
    show(&assignor.assign(&members(ids), &counts(topics)).unwrap())
}

#[test]
fn g22_assigns_exactly_what_the_java_client_assigns() {
    let mut cases = 0;
    for line in include_str!("java_4_3.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut parts = line.split('|').map(str::trim);
        let (topics, ids) = (parts.next().unwrap(), parts.next().unwrap());
        assert_eq!(assigned(&RangeAssignor, topics, ids), parts.next().unwrap(), "range: {line}");
        assert_eq!(assigned(&RoundRobinAssignor, topics, ids), parts.next().unwrap(), "roundrobin: {line}");
        cases += 1;
    }
    assert_eq!(cases, 80);
}

#[test]
fn range_gives_the_first_members_one_more_and_round_robin_deals_in_turn() {
    let (topics, ids) = ("a:3 b:3", "m1=a,b m2=a,b");
    assert_eq!(assigned(&RangeAssignor, topics, ids), "m1=a:0,1+b:0,1 m2=a:2+b:2");
    assert_eq!(assigned(&RoundRobinAssignor, topics, ids), "m1=a:0,2+b:1 m2=a:1+b:0,2");
}

#[test]
fn static_members_come_first_whatever_their_member_id() {
    let (topics, ids) = ("a:3", "m1=a m9@b=a m8@c=a");
    assert_eq!(assigned(&RangeAssignor, topics, ids), "m1=a:2 m8=a:1 m9=a:0");
    assert_eq!(assigned(&RoundRobinAssignor, topics, ids), "m1=a:2 m8=a:1 m9=a:0");
}

#[test]
fn order_is_by_utf16_as_in_java() {
    // U+10000 comes before U+FFFF in UTF-16 and after it in UTF-8.
    assert_eq!(compare_like_java("\u{10000}", "\u{ffff}"), Ordering::Less);
}

#[test]
fn g18_hostile_input_does_no_harm() {
    for assignor in [&RangeAssignor as &dyn Assignor, &RoundRobinAssignor] {
        assert_eq!(assigned(assignor, "a:-3 b:1", "m1=a,a,b,b,nowhere m1=a,b"), "m1=b:0", "{assignor:?}");
        assert_eq!(assigned(assignor, "a:2", ""), "");
        assert_eq!(assigned(assignor, "a:2", "m1= m2=x"), "m1= m2=");
        // Who is there twice has no second share.
        assert_eq!(assigned(assignor, "a:4", "m1=a m1=a m2=a").matches(',').count(), 2, "{assignor:?}");
        let same_instance = assigned(assignor, "a:2", "m1@i=a m2@i=a");
        assert_eq!(same_instance, "m1=a:0 m2=a:1");
    }
}

/// Assigns what it was told to.
#[derive(Debug)]
struct Mine(GroupAssignment);

impl Assignor for Mine {
    fn name(&self) -> &str {
        "mine"
    }

    fn assign(&self, _: &[GroupMember], _: &BTreeMap<String, i32>) -> Result<GroupAssignment> {
        Ok(self.0.clone())
    }
}

#[test]
fn g18_assign_refuses_a_second_owner_and_partitions_and_members_that_do_not_exist() {
    let (ids, topics) = (members("m1=a m2=a"), counts("a:2"));
    let verdict = |owners: &[(&str, &str, i32)]| {
        let mut assignment = GroupAssignment::new();
        for &(id, topic, partition) in owners {
            assignment.entry(id.to_owned()).or_default().entry(topic.to_owned()).or_default().push(partition);
        }
        assign(&Mine(assignment), &ids, &topics).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(verdict(&[("m1", "a", 0), ("m2", "a", 1)]), Ok(()));
    let refused = |owners, why: &str| {
        let error = verdict(owners).unwrap_err();
        assert!(error.contains(why) && error.contains("\"mine\"") && error.contains("topic"), "{error}");
    };
    refused(&[("m1", "a", 0), ("m2", "a", 0)], "two members");
    refused(&[("m1", "a", 0), ("m1", "a", 0)], "two members");
    refused(&[("m1", "a", 2)], "does not exist");
    refused(&[("m1", "a", -1)], "does not exist");
    refused(&[("m1", "b", 0)], "does not exist");
    refused(&[("m3", "a", 0)], "not in the group");
}

proptest! {
    #[test]
    fn every_partition_with_a_subscriber_has_one_owner_who_subscribes(
        topics in prop::collection::btree_map("[a-c]", -1..9i32, 0..4),
        subscriptions in prop::collection::vec(prop::collection::vec("[a-d]", 0..5), 0..7),
    ) {
        let group: Vec<_> =
            subscriptions.into_iter().enumerate().map(|(i, own)| GroupMember::new(format!("m{i}"), own)).collect();
        for assignor in [&RangeAssignor as &dyn Assignor, &RoundRobinAssignor] {
            let result = assignor.assign(&group, &topics).unwrap();
            check(assignor.name(), &group, &topics, &result).unwrap();
            prop_assert_eq!(result.len(), group.len());
            for (topic, &count) in &topics {
                let subscribers = group.iter().filter(|member| member.topics.contains(topic)).count();
                let owned: usize = result.values().filter_map(|own| own.get(topic)).map(Vec::len).sum();
                prop_assert_eq!(owned, if subscribers == 0 { 0 } else { count.max(0) as usize });
                for member in &group {
                    let owns = result[&member.member_id].contains_key(topic);
                    prop_assert!(!owns || member.topics.contains(topic));
                }
            }
        }
    }

    #[test]
    fn equal_subscriptions_differ_by_at_most_one_partition(count in 0..40i32, sharers in 1..9usize) {
        let group: Vec<_> = (0..sharers).map(|i| GroupMember::new(format!("m{i}"), ["a"])).collect();
        let topics = BTreeMap::from([("a".to_owned(), count)]);
        for assignor in [&RangeAssignor as &dyn Assignor, &RoundRobinAssignor] {
            let result = assignor.assign(&group, &topics).unwrap();
            let sizes: Vec<_> = result.values().map(|own| own.get("a").map_or(0, Vec::len)).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{:?}", sizes);
        }
    }
}
