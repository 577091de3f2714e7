//! Groups: list, delete, remove members.

use super::routing::{Asking, Call, Entity, Route};
use super::values::named;
use super::{Admin, Results, lookup, outcome};
use crate::cluster::CoordinatorType;
use crate::protocol::messages::delete_groups::DeleteGroupsRequest;
use crate::protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use crate::protocol::messages::list_groups::ListGroupsRequest;
use crate::{Error, ErrorCode, Result};

/// From this version on groups can be listed by their states.
const STATES: i16 = 4;
/// From this version on groups have types.
const TYPES: i16 = 5;
/// From this version on several members can leave at once, by their group instance ids too.
const MANY_LEAVE: i16 = 3;
/// From this version on they can say why.
const REASONS: i16 = 5;

named! {
    /// The state of a group.
    GroupState {
        /// Its members are to join again.
        PreparingRebalance "PreparingRebalance",
        /// Its members have joined and wait for the leader's assignment.
        CompletingRebalance "CompletingRebalance",
        /// All members have their partitions.
        Stable "Stable",
        /// It is gone, or going.
        Dead "Dead",
        /// It has no members; its offsets are kept for a while.
        Empty "Empty",
        /// The coordinator computes a new assignment (KIP-848).
        Assigning "Assigning",
        /// Members give up and take on partitions (KIP-848).
        Reconciling "Reconciling",
        /// A streams group's topics are not there yet (KIP-1071).
        NotReady "NotReady",
    }
}

named! {
    /// The protocol a group's members speak.
    GroupType {
        /// JoinGroup and SyncGroup.
        Classic "Classic",
        /// KIP-848.
        Consumer "Consumer",
        /// Share groups, KIP-932.
        Share "Share",
        /// Kafka Streams, KIP-1071.
        Streams "Streams",
    }
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupListing {
    /// Its id.
    pub group_id: String,
    /// What its members use it for: `consumer`, `connect`, …; empty for one that only has offsets.
    pub protocol_type: String,
    /// Its state; `None` from brokers before 2.6.
    pub state: Option<GroupState>,
    /// Its type; `None` from brokers before 3.8, which know none but classic groups.
    pub group_type: Option<GroupType>,
    /// The node id of its coordinator.
    pub coordinator: i32,
}

/// Which groups to list; all by default.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct GroupFilter {
    states: Vec<String>,
    types: Vec<String>,
}

impl GroupFilter {
    /// All groups.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those in one of these states. Brokers from 2.6 on.
    pub fn states(mut self, states: impl IntoIterator<Item = GroupState>) -> Self {
        self.states = states.into_iter().map(|state| state.to_string()).collect();
        self
    }

    /// Those of one of these types. Brokers from 3.8 on.
    pub fn types(mut self, types: impl IntoIterator<Item = GroupType>) -> Self {
        self.types = types.into_iter().map(|group_type| group_type.to_string()).collect();
        self
    }
}

/// What all brokers together listed, and which of them could not be asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Listed<T> {
    /// What was found.
    pub found: Vec<T>,
    /// The node ids of the brokers that did not answer, and why. What they know is missing.
    pub errors: Vec<(i32, Error)>,
}

impl<T> Listed<T> {
    /// What was found, or an error if any broker could not be asked.
    pub fn all(self) -> Result<Vec<T>> {
        match self.errors.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(self.found),
        }
    }
}

/// A member to be removed from a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberToRemove {
    /// A static member, by its group instance id. Brokers from 2.4 on.
    GroupInstanceId(String),
    /// Any member, by its member id.
    MemberId(String),
}

impl Entity for MemberToRemove {}

/// Asks every broker, side by side, and puts together what they list.
pub(super) fn list_all<T: Send>(
    call: &Call<'_>,
    ask: impl Fn(&mut Asking<'_>) -> Result<Vec<T>> + Sync,
) -> Result<Listed<T>> {
    let brokers = lookup::brokers(call)?;
    let answers = call.run(brokers, &Route::Broker(&|broker| Some(*broker)), |asking, brokers| {
        let listed = ask(asking)?;
        Ok(brokers.iter().take(1).copied().zip([Ok(listed)]).collect())
    })?;
    let mut listed = Listed { found: Vec::new(), errors: Vec::new() };
    for (broker, answer) in answers {
        match answer {
            Ok(found) => listed.found.extend(found),
            Err(error) => listed.errors.push((broker, error)),
        }
    }
    Ok(listed)
}

impl Admin {
    /// Lists the groups of all coordinators, by id. RPC ListGroups to all brokers, side by side, brokers from 1.0 on;
    /// filters need newer ones.
    ///
    /// ```no_run
    /// use sarameya::admin::{GroupFilter, GroupState};
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for group in admin.list_groups(&GroupFilter::new().states([GroupState::Stable]))?.all()? {
    ///     println!("{}", group.group_id);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn list_groups(&self, filter: &GroupFilter) -> Result<Listed<GroupListing>> {
        let mut listed = list_all(&self.call(), |asking| {
            if !filter.types.is_empty() {
                asking.needs::<ListGroupsRequest>(TYPES, "groups can't be listed by type")?;
            }
            if !filter.states.is_empty() {
                asking.needs::<ListGroupsRequest>(STATES, "groups can't be listed by state")?;
            }
            let version = asking.version::<ListGroupsRequest>()?;
            let (states_filter, types_filter) = (filter.states.clone(), filter.types.clone());
            let response = asking.call(&ListGroupsRequest { states_filter, types_filter })?;
            outcome(response.error_code, None, "groups were not listed")?;
            let coordinator = asking.node_id();
            let groups = response.groups.into_iter().map(|group| GroupListing {
                group_id: group.group_id,
                protocol_type: group.protocol_type,
                state: (version >= STATES).then(|| GroupState::from_wire(&group.group_state)),
                group_type: (version >= TYPES).then(|| GroupType::from_wire(&group.group_type)),
                coordinator,
            });
            Ok(groups.collect())
        })?;
        listed.found.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(listed)
    }

    /// Deletes groups and their offsets, of any type. RPC DeleteGroups to the coordinators, side by side, brokers from
    /// 1.1 on. A group with members is refused with NON_EMPTY_GROUP.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (group, outcome) in admin.delete_groups(&["g1"])? {
    ///     println!("{group}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn delete_groups(&self, groups: &[&str]) -> Result<Results> {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        self.call().run(groups, &coordinator(), |asking, groups| {
            let response = asking.call(&DeleteGroupsRequest { groups_names: groups.to_vec() })?;
            let answers = response.results.into_iter().map(|result| {
                let doing = format!("group {:?} was not deleted", result.group_id);
                (result.group_id, outcome(result.error_code, None, &doing))
            });
            Ok(answers.collect())
        })
    }

    /// Removes members from a classic group, which then rebalances. RPC LeaveGroup to the coordinator, brokers from
    /// 1.0 on; static members from 2.4 on. `reason` goes to the broker's log, from 3.2 on.
    ///
    /// A member that lives joins again. UNKNOWN_MEMBER_ID may mean that an earlier try of this very call removed it.
    ///
    /// ```no_run
    /// use sarameya::admin::MemberToRemove;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let gone = [MemberToRemove::GroupInstanceId("pod-7".into())];
    /// for (member, outcome) in admin.remove_members("g1", &gone, "scaled down")? {
    ///     println!("{member:?}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn remove_members(
        &self,
        group: &str,
        members: &[MemberToRemove],
        reason: &str,
    ) -> Result<Results<(), MemberToRemove>> {
        remove_members_in(&self.call(), group, members, reason)
    }

    /// Removes all present members from a classic group: [`describe_groups`](Self::describe_groups), then
    /// [`remove_members`](Self::remove_members). RPCs DescribeGroups and LeaveGroup to the coordinator, brokers from 1.0 on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (member, outcome) in admin.remove_all_members("g1", "the offsets are to be reset")? {
    ///     println!("{member:?}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn remove_all_members(&self, group: &str, reason: &str) -> Result<Results<(), MemberToRemove>> {
        let missing = || Error::from_code(ErrorCode::GROUP_ID_NOT_FOUND, format!("there is no group {group:?}"));
        let call = self.call();
        let described = self.describe_groups_in(&call, vec![group.to_owned()])?;
        let (_, description) = described.into_iter().next().ok_or_else(missing)?;
        let member = |member: super::MemberDescription| match member.group_instance_id {
            Some(id) => MemberToRemove::GroupInstanceId(id),
            None => MemberToRemove::MemberId(member.member_id),
        };
        let members: Vec<MemberToRemove> = description?.members.into_iter().map(member).collect();
        remove_members_in(&call, group, &members, reason)
    }
}

/// Groups go to their coordinators.
pub(super) fn coordinator() -> Route<'static, String> {
    Route::Coordinator(CoordinatorType::Group, &|group: &String| group.as_str())
}

fn remove_members_in(
    call: &Call<'_>,
    group: &str,
    members: &[MemberToRemove],
    reason: &str,
) -> Result<Results<(), MemberToRemove>> {
    call.run(members.to_vec(), &Route::GroupCoordinator(group), |asking, members| {
        let version = asking.version::<LeaveGroupRequest>()?;
        if version < MANY_LEAVE {
            return members.iter().map(|member| Ok((member.clone(), leave_alone(asking, group, member)?))).collect();
        }
        let reason = Some(reason).filter(|reason| !reason.is_empty() && version >= REASONS).map(str::to_owned);
        let identity = |member: &MemberToRemove| match member {
            MemberToRemove::GroupInstanceId(id) => {
                MemberIdentity { member_id: String::new(), group_instance_id: Some(id.clone()), reason: reason.clone() }
            }
            MemberToRemove::MemberId(id) => {
                MemberIdentity { member_id: id.clone(), group_instance_id: None, reason: reason.clone() }
            }
        };
        let identities = members.iter().map(identity).collect();
        let group_id = group.to_owned();
        let response = asking.call(&LeaveGroupRequest { group_id, members: identities, ..Default::default() })?;
        outcome(response.error_code, None, &format!("no members of group {group:?} were removed"))?;
        let answers = response.members.into_iter().map(|member| {
            let by_member_id = MemberToRemove::MemberId(member.member_id);
            let entity = match member.group_instance_id {
                Some(id) if !members.contains(&by_member_id) => MemberToRemove::GroupInstanceId(id),
                _ => by_member_id,
            };
            let outcome = outcome(member.error_code, None, &not_removed(group, &entity));
            (entity, outcome)
        });
        Ok(answers.collect())
    })
}

/// The only way old brokers know. The outer error ends the exchange.
fn leave_alone(asking: &mut Asking<'_>, group: &str, member: &MemberToRemove) -> Result<Result<()>> {
    let MemberToRemove::MemberId(member_id) = member else {
        let without = "static members can't be removed by their group instance ids";
        return Ok(Err(asking.too_old::<LeaveGroupRequest>(MANY_LEAVE, without)?));
    };
    let (group_id, member_id) = (group.to_owned(), member_id.clone());
    let response = asking.call(&LeaveGroupRequest { group_id, member_id, members: Vec::new() })?;
    Ok(outcome(response.error_code, None, &not_removed(group, member)))
}

fn not_removed(group: &str, member: &MemberToRemove) -> String {
    let (kind, id) = match member {
        MemberToRemove::GroupInstanceId(id) => ("static member", id),
        MemberToRemove::MemberId(id) => ("member", id),
    };
    format!("{kind} {id:?} of group {group:?} was not removed")
}
