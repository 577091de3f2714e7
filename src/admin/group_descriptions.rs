//! Groups described: state, members, who has which partitions.

use super::acls::{AclOperation, authorized_operations};
use super::groups::{GroupState, GroupType, coordinator};
use super::routing::{Answers, Asking};
use super::{Admin, Results, TopicPartition, outcome};
use crate::group::{decode_assignment, decode_subscription};
use crate::protocol::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, DescribedGroup as ConsumerGroup, Member as ConsumerMember,
};
use crate::protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribedGroup as ClassicGroup, DescribedGroupMember as ClassicMember,
};
use crate::protocol::messages::share_group_describe::{
    DescribedGroup as ShareGroup, Member as ShareMember, ShareGroupDescribeRequest,
};
use crate::{Error, ErrorCode, Result};

/// From this version on a group that is not there is an error and no longer a dead one (KIP-1043).
const NOT_FOUND: i16 = 6;
/// From this version on brokers say what the caller may do.
const AUTHORIZED: i16 = 3;

/// A group in full.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupDescription {
    /// Its id.
    pub group_id: String,
    /// Which protocol its members speak.
    pub group_type: GroupType,
    /// Its state.
    pub state: GroupState,
    /// What its members use it for: `consumer`, `connect`, …; empty for one that only has offsets.
    pub protocol_type: String,
    /// The name of its assignor; empty if it has none at the moment.
    pub assignor: String,
    /// The node id of its coordinator.
    pub coordinator: i32,
    /// How often its metadata has changed; `None` for classic groups.
    pub epoch: Option<i32>,
    /// The epoch its target assignment was computed for; `None` for classic groups.
    pub assignment_epoch: Option<i32>,
    /// Its members.
    pub members: Vec<MemberDescription>,
    /// What this principal may do with it, if that was [asked for](Admin::include_authorized_operations).
    pub authorized_operations: Option<Vec<AclOperation>>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberDescription {
    /// The id that its coordinator or it itself chose.
    pub member_id: String,
    /// Its group instance id, if it is a static member.
    pub group_instance_id: Option<String>,
    /// Its client id.
    pub client_id: String,
    /// Where it runs, as the broker has it: `/127.0.0.1`.
    pub host: String,
    /// Its rack, if it told one; `None` for classic members.
    pub rack: Option<String>,
    /// The partitions it has.
    pub assignment: Vec<TopicPartition>,
    /// The partitions it is to have once it has given up others; `None` for classic groups.
    pub target_assignment: Option<Vec<TopicPartition>>,
    /// The epoch it has reached; `None` for classic groups.
    pub epoch: Option<i32>,
    /// The topics it wants.
    pub topics: Vec<String>,
    /// The pattern of topics it wants (KIP-848).
    pub topic_regex: Option<String>,
    /// Whether a member of a consumer group speaks the new protocol; `None` for classic and share groups and from brokers
    /// before 4.0.
    pub upgraded: Option<bool>,
}

impl Admin {
    /// Describes classic groups and consumer groups (KIP-848). RPCs ConsumerGroupDescribe, from 3.7 on, and
    /// DescribeGroups, from 1.0 on, to the coordinators, side by side. A group that is not there is an error,
    /// GROUP_ID_NOT_FOUND, whatever the broker's version.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (group, description) in admin.describe_groups(&["g1"])? {
    ///     for member in description?.members {
    ///         println!("{group}: {} has {:?}", member.member_id, member.assignment);
    ///     }
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_groups(&self, groups: &[&str]) -> Result<Results<GroupDescription>> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        self.describe_groups_in(&self.call(), groups)
    }

    pub(super) fn describe_groups_in(
        &self,
        call: &super::routing::Call<'_>,
        groups: Vec<String>,
    ) -> Result<Results<GroupDescription>> {
        let authorized = self.include_authorized_operations;
        call.run(groups, &coordinator(), |asking, groups| {
            let mut answers = consumer_groups(asking, groups, authorized)?;
            let known = |group: &&String| answers.iter().any(|(answered, _)| answered == *group);
            let left: Vec<String> = groups.iter().filter(|group| !known(group)).cloned().collect();
            if !left.is_empty() {
                answers.extend(classic_groups(asking, left, authorized)?);
            }
            Ok(answers)
        })
    }

    /// Describes share groups (KIP-932). RPC ShareGroupDescribe to the coordinators, side by side, brokers from 4.1 on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (group, outcome) in admin.describe_share_groups(&["s1"])? {
    ///     println!("{group}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_share_groups(&self, groups: &[&str]) -> Result<Results<GroupDescription>> {
        let include_authorized_operations = self.include_authorized_operations;
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        self.call().run(groups, &coordinator(), |asking, groups| {
            let request = ShareGroupDescribeRequest { group_ids: groups.to_vec(), include_authorized_operations };
            let response = asking.call(&request)?;
            let coordinator = asking.node_id();
            let answers = response.groups.into_iter().map(|group| {
                let described = described(group.error_code, group.error_message.as_deref(), &group.group_id);
                (group.group_id.clone(), described.map(|()| of_share(group, coordinator)))
            });
            Ok(answers.collect())
        })
    }
}

/// The groups that are consumer groups; those that are not are left out.
fn consumer_groups(
    asking: &mut Asking<'_>,
    groups: &[String],
    include_authorized_operations: bool,
) -> Result<Answers<GroupDescription, String>> {
    if asking.version::<ConsumerGroupDescribeRequest>().is_err() {
        return Ok(Vec::new());
    }
    let group_ids = groups.to_vec();
    let response = asking.call(&ConsumerGroupDescribeRequest { group_ids, include_authorized_operations })?;
    let coordinator = asking.node_id();
    let mine = response.groups.into_iter().filter(|group| {
        // Not there, or not of this type; or the new protocol is turned off.
        let other = [ErrorCode::GROUP_ID_NOT_FOUND, ErrorCode::UNSUPPORTED_VERSION];
        !other.contains(&ErrorCode(group.error_code))
    });
    let answers = mine.map(|group| {
        let described = described(group.error_code, group.error_message.as_deref(), &group.group_id);
        (group.group_id.clone(), described.map(|()| of_consumer(group, coordinator)))
    });
    Ok(answers.collect())
}

fn classic_groups(
    asking: &mut Asking<'_>,
    groups: Vec<String>,
    authorized: bool,
) -> Result<Answers<GroupDescription, String>> {
    let version = asking.version::<DescribeGroupsRequest>()?;
    let include_authorized_operations = authorized && version >= AUTHORIZED;
    let response = asking.call(&DescribeGroupsRequest { groups, include_authorized_operations })?;
    let coordinator = asking.node_id();
    let answers = response.groups.into_iter().map(|group| {
        let id = group.group_id.clone();
        let mut code = group.error_code;
        if code == 0 && version < NOT_FOUND && GroupState::from_wire(&group.group_state) == GroupState::Dead {
            code = ErrorCode::GROUP_ID_NOT_FOUND.0;
        }
        let described = described(code, group.error_message.as_deref(), &id);
        (id, described.map(|()| of_classic(group, coordinator)))
    });
    Ok(answers.collect())
}

fn described(code: i16, words: Option<&str>, group: &str) -> Result<()> {
    // The broker's words for it speak of the last type of group that was tried.
    let words = words.filter(|_| ErrorCode(code) != ErrorCode::GROUP_ID_NOT_FOUND);
    outcome(code, words, &format!("group {group:?} was not described"))
}

fn of_classic(group: ClassicGroup, coordinator: i32) -> GroupDescription {
    let consumers = group.protocol_type == "consumer" || group.protocol_type.is_empty();
    GroupDescription {
        group_type: GroupType::Classic,
        state: GroupState::from_wire(&group.group_state),
        assignor: group.protocol_data,
        coordinator,
        epoch: None,
        assignment_epoch: None,
        members: group
            .members
            .into_iter()
            .map(|member| of_classic_member(member, &group.group_id, consumers))
            .collect(),
        authorized_operations: authorized_operations(group.authorized_operations),
        group_id: group.group_id,
        protocol_type: group.protocol_type,
    }
}

fn of_classic_member(member: ClassicMember, group: &str, consumers: bool) -> MemberDescription {
    // What another protocol type puts there is its own, and what can't be read must not hide the other members.
    let unread = |error: Error| log::debug!("group {group:?}, member {:?}: {error}", member.member_id);
    let assignment = Some(&member.member_assignment).filter(|bytes| consumers && !bytes.is_empty());
    let assignment = assignment.and_then(|bytes| decode_assignment(bytes).map_err(unread).ok()).unwrap_or_default();
    let subscription = Some(&member.member_metadata).filter(|bytes| consumers && !bytes.is_empty());
    let subscription = subscription.and_then(|bytes| decode_subscription(bytes).map_err(unread).ok());
    let each = |(topic, partitions): (String, Vec<i32>)| {
        partitions.into_iter().map(move |partition| TopicPartition::new(topic.clone(), partition))
    };
    MemberDescription {
        assignment: assignment.into_iter().flat_map(each).collect(),
        target_assignment: None,
        epoch: None,
        topics: subscription.map(|subscription| subscription.topics).unwrap_or_default(),
        topic_regex: None,
        upgraded: None,
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host,
        rack: None,
    }
}

fn of_consumer(group: ConsumerGroup, coordinator: i32) -> GroupDescription {
    GroupDescription {
        group_id: group.group_id,
        group_type: GroupType::Consumer,
        state: GroupState::from_wire(&group.group_state),
        protocol_type: "consumer".to_owned(),
        assignor: group.assignor_name,
        coordinator,
        epoch: Some(group.group_epoch),
        assignment_epoch: Some(group.assignment_epoch),
        members: group.members.into_iter().map(of_consumer_member).collect(),
        authorized_operations: authorized_operations(group.authorized_operations),
    }
}

fn of_consumer_member(member: ConsumerMember) -> MemberDescription {
    MemberDescription {
        member_id: member.member_id,
        group_instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.client_host,
        rack: member.rack_id,
        assignment: partitions(member.assignment),
        target_assignment: Some(partitions(member.target_assignment)),
        epoch: Some(member.member_epoch),
        topics: member.subscribed_topic_names,
        topic_regex: member.subscribed_topic_regex.filter(|regex| !regex.is_empty()),
        upgraded: (member.member_type >= 0).then_some(member.member_type == 1),
    }
}

fn partitions(assignment: Assignment) -> Vec<TopicPartition> {
    let topics = assignment.topic_partitions.into_iter();
    let each = topics.flat_map(|t| t.partitions.into_iter().map(move |p| TopicPartition::new(t.topic_name.clone(), p)));
    each.collect()
}

fn of_share(group: ShareGroup, coordinator: i32) -> GroupDescription {
    GroupDescription {
        group_id: group.group_id,
        group_type: GroupType::Share,
        state: GroupState::from_wire(&group.group_state),
        protocol_type: "share".to_owned(),
        assignor: group.assignor_name,
        coordinator,
        epoch: Some(group.group_epoch),
        assignment_epoch: Some(group.assignment_epoch),
        members: group.members.into_iter().map(of_share_member).collect(),
        authorized_operations: authorized_operations(group.authorized_operations),
    }
}

fn of_share_member(member: ShareMember) -> MemberDescription {
    let topics = member.assignment.topic_partitions.into_iter();
    let each = topics.flat_map(|t| t.partitions.into_iter().map(move |p| TopicPartition::new(t.topic_name.clone(), p)));
    MemberDescription {
        member_id: member.member_id,
        group_instance_id: None,
        client_id: member.client_id,
        host: member.client_host,
        rack: member.rack_id,
        assignment: each.collect(),
        target_assignment: None,
        epoch: Some(member.member_epoch),
        topics: member.subscribed_topic_names,
        topic_regex: None,
        upgraded: None,
    }
}
