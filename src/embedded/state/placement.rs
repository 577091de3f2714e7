//! Where replicas go: spread over racks and brokers, or as someone says.

use super::{Brokers, Refusal, State};
use crate::ErrorCode;
use std::collections::BTreeMap;

/// The most partitions that one request may make, so that a number from the wire takes no memory to speak of.
pub(super) const MAX_PARTITIONS: i32 = 10_000;
/// The end of Kafka's words for too few brokers. Here no directory is ever closed to new partitions.
const CORDONED: &str = "all their log directories cordoned.";

impl State {
    /// Replicas for so many new partitions, each with another first one, and racks taken in turn. Stopped brokers come
    /// last: one of them is used if there are not enough others.
    pub(super) fn place(&mut self, partitions: i32, factor: i16) -> Result<Vec<Vec<i32>>, Refusal> {
        let refused = |why: String| {
            let message = format!("Unable to replicate the partition {factor} time(s): {why}");
            Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, message)
        };
        if partitions > MAX_PARTITIONS {
            return Err(too_many());
        }
        let wanted = usize::try_from(factor).unwrap_or(0);
        let running = in_turns(&self.brokers, true);
        let stopped = in_turns(&self.brokers, false);
        if running.is_empty() {
            return Err(refused(format!("All brokers are currently fenced, or have {CORDONED}")));
        }
        let all = running.len() + stopped.len();
        if wanted > all {
            let why = format!("only {all} broker(s) are registered or some brokers have {CORDONED}");
            return Err(refused(format!("The target replication factor of {factor} cannot be reached because {why}")));
        }
        let count = usize::try_from(partitions).unwrap_or(0);
        let first = self.random.usize(..running.len());
        let replicas = |partition: usize| {
            let turned = running.iter().cycle().skip((first + partition) % running.len()).take(running.len());
            turned.chain(&stopped).copied().take(wanted).collect()
        };
        Ok((0..count).map(replicas).collect())
    }

    /// Whether replicas that someone named can be had. `factor` is what the topic's other partitions have.
    pub(super) fn check_assignment(&self, replicas: &[i32], factor: Option<usize>) -> Result<(), Refusal> {
        let refused = |why: String| {
            let message = format!("The manual partition assignment includes {why}");
            Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message))
        };
        if replicas.is_empty() {
            return refused("an empty replica list.".into());
        }
        let mut sorted = replicas.to_vec();
        sorted.sort_unstable();
        for (at, id) in sorted.iter().enumerate() {
            if !self.brokers.get(*id).is_some_and(|broker| broker.registered) {
                return refused(format!("broker {id}, but no such broker is registered."));
            }
            if at > 0 && sorted.get(at - 1) == Some(id) {
                return refused(format!("the broker {id} more than once."));
            }
        }
        match factor {
            Some(factor) if factor != sorted.len() => refused(format!(
                "a partition with {} replica(s), but this is not consistent with previous partitions, which have \
                 {factor} replica(s).",
                sorted.len()
            )),
            _ => Ok(()),
        }
    }

    /// The same for a partition that is to be made, which needs a leader.
    pub(super) fn check_new_assignment(
        &self,
        partition: i32,
        replicas: &[i32],
        factor: Option<usize>,
    ) -> Result<(), Refusal> {
        self.check_assignment(replicas, factor)?;
        if replicas.iter().any(|id| self.brokers.is_running(*id)) {
            return Ok(());
        }
        let message = format!(
            "All brokers specified in the manual partition assignment for partition {partition} are fenced or in \
             controlled shutdown."
        );
        Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message))
    }
}

/// More than [`MAX_PARTITIONS`].
pub(super) fn too_many() -> Refusal {
    Refusal::new(ErrorCode::POLICY_VIOLATION, "Excessively large number of partitions per request.")
}

/// The brokers that run, or that do not, so that neighbours are of different racks as far as there are racks.
fn in_turns(brokers: &Brokers, running: bool) -> Vec<i32> {
    let mut places: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    let mut turns: Vec<(usize, Option<&str>, i32)> = Vec::new();
    for broker in brokers.registered().filter(|broker| broker.running == running) {
        let rack = broker.rack.as_deref();
        let place = places.entry(rack).or_default();
        turns.push((if rack.is_some() { *place } else { 0 }, rack, broker.id));
        *place += 1;
    }
    turns.sort_unstable();
    turns.into_iter().map(|(_, _, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;

    #[test]
    fn each_partition_starts_at_another_broker_and_uses_different_racks() {
        let mut harness = Harness::new(4);
        for id in 1..=4 {
            harness.state.brokers.get_mut(id).unwrap().rack = Some(if id <= 2 { "a" } else { "b" }.into());
        }
        let placed = harness.state.place(4, 2).unwrap();
        let mut first: Vec<i32> = placed.iter().map(|replicas| replicas[0]).collect();
        first.sort_unstable();
        assert_eq!(first, [1, 2, 3, 4]);
        assert!(placed.iter().all(|replicas| (replicas[0] <= 2) != (replicas[1] <= 2)), "{placed:?}");
    }

    #[test]
    fn stopped_brokers_hold_replicas_only_where_others_do_not_suffice() {
        let mut harness = Harness::new(3);
        harness.state.broker_stopped(2);
        assert!(harness.state.place(9, 2).unwrap().iter().all(|replicas| !replicas.contains(&2)));
        assert!(harness.state.place(9, 3).unwrap().iter().all(|replicas| replicas[2] == 2));
        let refusal = harness.state.place(1, 4).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::INVALID_REPLICATION_FACTOR);
        assert!(refusal.message.unwrap().ends_with("all their log directories cordoned."));
        [1, 3].into_iter().for_each(|id| harness.state.broker_stopped(id));
        assert!(harness.state.place(1, 1).unwrap_err().message.unwrap().ends_with(CORDONED));
    }

    #[test]
    fn an_assignment_names_brokers_that_there_are_once_each() {
        let mut harness = Harness::new(3);
        harness.state.broker_stopped(3);
        let words = |replicas: &[i32], factor| {
            let refused = harness.state.check_new_assignment(5, replicas, factor);
            refused.map_err(|refusal| (refusal.code.0, refusal.message.unwrap()))
        };
        assert_eq!(words(&[2, 1], Some(2)), Ok(()));
        for (replicas, factor, end) in [
            (&[][..], None, "includes an empty replica list."),
            (&[1, 9], None, "includes broker 9, but no such broker is registered."),
            (&[1, 2, 1], None, "includes the broker 1 more than once."),
            (&[1], Some(2), "which have 2 replica(s)."),
            (&[3], None, "for partition 5 are fenced or in controlled shutdown."),
        ] {
            let (code, message) = words(replicas, factor).unwrap_err();
            assert_eq!(code, 39);
            assert!(message.ends_with(end), "{message}");
        }
    }
}
