//! What members subscribe to: topics by name, and by regular expression.

use super::super::expression::compile;
use super::super::topics::Topics;
use super::TopicId;
use super::member::Member;
use regex::bytes::Regex;
use std::collections::{BTreeMap, BTreeSet};

/// The topics of a group that exist, by name: id and number of partitions. A change of it is what makes a group compute a
/// new assignment.
pub(super) type Metadata = BTreeMap<String, (TopicId, i32)>;

/// The expressions of a group's members, compiled, and what they match.
#[derive(Debug, Default)]
pub(super) struct Expressions(BTreeMap<String, Expression>);

#[derive(Debug)]
struct Expression {
    regex: Regex,
    /// Whether it matches the topics there are: a match may take long, and each heartbeat wants to know it.
    known: BTreeMap<String, bool>,
}

impl Expressions {
    /// Keeps what the members have, and no more.
    pub(super) fn update<'a>(&mut self, members: impl Iterator<Item = &'a Member>) {
        let used: BTreeSet<&String> = members.filter_map(|member| member.regex.as_ref()).collect();
        self.0.retain(|expression, _| used.contains(expression));
        for expression in used {
            if !self.0.contains_key(expression)
                && let Ok(regex) = compile(expression)
            {
                self.0.insert(expression.clone(), Expression { regex, known: BTreeMap::new() });
            }
        }
    }

    /// Matches the topics that are new, and forgets those that are gone.
    pub(super) fn resolve(&mut self, topics: &Topics) {
        for Expression { regex, known } in self.0.values_mut() {
            known.retain(|name, _| topics.get(name).is_some());
            for topic in topics.iter() {
                if !known.contains_key(&topic.name) {
                    known.insert(topic.name.clone(), regex.is_match(topic.name.as_bytes()));
                }
            }
        }
    }

    /// Whether a member's expression takes in a topic.
    pub(super) fn matches(&self, member: &Member, topic: &str) -> bool {
        let expression = member.regex.as_ref().and_then(|expression| self.0.get(expression));
        expression.is_some_and(|Expression { regex, known }| {
            known.get(topic).copied().unwrap_or_else(|| regex.is_match(topic.as_bytes()))
        })
    }

    /// The topics a member subscribes to that exist.
    pub(super) fn topics_of(&self, member: &Member, topics: &Topics) -> Metadata {
        let described = |name: &str| {
            let topic = topics.get(name)?;
            Some((topic.name.clone(), (topic.id, i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX))))
        };
        let matched = topics.iter().map(|topic| topic.name.as_str()).filter(|name| self.matches(member, name));
        let wanted: BTreeSet<&str> = member.topics.iter().map(String::as_str).chain(matched).collect();
        wanted.into_iter().filter_map(described).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_matched_once_and_forgotten_with_their_deletion() {
        use super::super::super::test_support::Harness;
        let mut harness = Harness::new(1);
        let member = Member { regex: Some("t.*".into()), ..Default::default() };
        let mut expressions = Expressions::default();
        expressions.update([&member].into_iter());
        for name in ["t1", "u1"] {
            harness.state.create_topic_on(name, vec![vec![1]], BTreeMap::new()).unwrap();
        }
        expressions.resolve(&harness.state.topics);
        let known = |expressions: &Expressions| expressions.0["t.*"].known.clone();
        assert_eq!(known(&expressions), BTreeMap::from([("t1".into(), true), ("u1".into(), false)]));
        assert!(expressions.matches(&member, "t2"), "one that came since is matched when it is asked for");
        expressions.resolve(&Topics::default());
        assert!(known(&expressions).is_empty());
    }
}
