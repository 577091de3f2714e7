//! What members subscribe to: topics by name, and by regular expression.

use super::super::topics::Topics;
use super::TopicId;
use super::member::Member;
use regex::{Regex, RegexBuilder};
use std::collections::{BTreeMap, BTreeSet};

/// How much memory a compiled expression may take, in bytes: the expression is a stranger's.
const MAX_COMPILED: usize = 1 << 20;

/// An expression as Kafka takes it: it must match a topic's whole name, and is RE2's syntax, which takes no longer than the
/// name is long. What RE2 calls `\Q...\E` (the text between is taken as it stands) is translated.
pub(super) fn compile(expression: &str) -> Result<Regex, String> {
    // On its own first, so that `a)(b` is not made whole by what is put around it.
    let expression = without_quotes(expression);
    let build = |text: &str| RegexBuilder::new(text).size_limit(MAX_COMPILED).build();
    let built = build(&expression).and_then(|_| build(&format!("^(?:{expression})$")));
    built.map_err(|error| error.to_string().lines().last().unwrap_or_default().trim().to_owned())
}

fn without_quotes(expression: &str) -> String {
    let mut rest = expression;
    let mut text = String::with_capacity(expression.len());
    while let Some((before, quoted)) = split_at_quote(rest) {
        let (literal, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
        text.push_str(before);
        text.push_str(&regex::escape(literal));
        rest = after;
    }
    text.push_str(rest);
    text
}

/// At the first `\Q` whose backslash is not itself escaped.
fn split_at_quote(text: &str) -> Option<(&str, &str)> {
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        if character == '\\' && characters.next()?.1 == 'Q' {
            return text.get(..at).zip(text.get(at + 2..));
        }
    }
    None
}

/// The topics of a group that exist, by name: id and number of partitions. A change of it is what makes a group compute a
/// new assignment.
pub(super) type Metadata = BTreeMap<String, (TopicId, i32)>;

/// The expressions of a group's members, compiled.
#[derive(Debug, Default)]
pub(super) struct Expressions(BTreeMap<String, Regex>);

impl Expressions {
    /// Keeps what the members have, and no more.
    pub(super) fn update<'a>(&mut self, members: impl Iterator<Item = &'a Member>) {
        let used: BTreeSet<&String> = members.filter_map(|member| member.regex.as_ref()).collect();
        self.0.retain(|expression, _| used.contains(expression));
        for expression in used {
            if !self.0.contains_key(expression)
                && let Ok(regex) = compile(expression)
            {
                self.0.insert(expression.clone(), regex);
            }
        }
    }

    /// Whether a member's expression takes in a topic.
    pub(super) fn matches(&self, member: &Member, topic: &str) -> bool {
        let regex = member.regex.as_ref().and_then(|expression| self.0.get(expression));
        regex.is_some_and(|regex| regex.is_match(topic))
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
    fn an_expression_must_match_the_whole_name() {
        let regex = compile("orders|pay.*").unwrap();
        let matches = |name: &str| regex.is_match(name);
        assert!(matches("orders") && matches("payments"));
        assert!(!matches("orders2") && !matches("repay"));
    }

    #[test]
    fn quoted_text_is_taken_as_it_stands() {
        let regex = compile(r"\Qa.b\E\d+").unwrap();
        assert!(regex.is_match("a.b7") && !regex.is_match("aXb7"));
        assert!(compile(r"\\Q").unwrap().is_match(r"\Q"));
        assert!(compile(r"x\Q+").unwrap().is_match("x+"));
    }

    #[test]
    fn what_is_no_expression_or_too_big_is_refused() {
        assert!(compile("(").is_err());
        assert!(compile("a)(b").is_err());
        assert!(compile(r"(\w{1000}){1000}").is_err());
    }
}
