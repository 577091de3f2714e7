//! DeleteTopics, versions 1 to 6: by name, from version 6 on also by id. As with KRaft, any broker takes it.

use super::refusal::{Refusal, code_and_message};
use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use std::collections::BTreeMap;

type Id = [u8; 16];
const NO_ID: Id = [0; 16];

impl State {
    pub(super) fn delete_topics(&mut self, context: &Context, request: DeleteTopicsRequest) -> Reply {
        let by_name = request.topic_names.into_iter().map(|name| (Some(name), NO_ID));
        let asked: Vec<(Option<String>, Id)> =
            by_name.chain(request.topics.into_iter().map(|topic| (topic.name, topic.topic_id))).collect();
        if self.is_refused_by_follower(context) {
            let refused = Err(ErrorCode::NOT_CONTROLLER.into());
            return answer(asked.into_iter().map(|(name, id)| result(name, id, &refused)).collect());
        }
        if !self.settings.flag("delete.topic.enable") {
            let code =
                if context.version < 3 { ErrorCode::INVALID_REQUEST } else { ErrorCode::TOPIC_DELETION_DISABLED };
            let refusal = Refusal::new(code, "Topic deletion is disabled.");
            return answer(asked.into_iter().map(|(name, id)| result(name, id, &Err(refusal.clone()))).collect());
        }
        let mut times: BTreeMap<(Option<String>, Id), usize> = BTreeMap::new();
        let mut results = Vec::new();
        for (name, id) in asked {
            let contradiction = match (&name, id == NO_ID) {
                (None, true) => "Neither topic name nor id were specified.",
                (Some(_), false) => "You may not specify both topic name and topic id.",
                _ => {
                    *times.entry((name, id)).or_default() += 1;
                    continue;
                }
            };
            results.push(result(name, id, &Err(Refusal::new(ErrorCode::INVALID_REQUEST, contradiction))));
        }
        let mut found: BTreeMap<String, Vec<(Option<String>, Id)>> = BTreeMap::new();
        for ((name, id), times) in times {
            if times > 1 {
                let what = if name.is_some() { "Duplicate topic name." } else { "Duplicate topic id." };
                results.push(result(name, id, &Err(Refusal::new(ErrorCode::INVALID_REQUEST, what))));
                continue;
            }
            let (topic, absent) = match &name {
                Some(name) => (self.topics.get(name), unknown_topic()),
                None => (self.topics.name_of(&id).and_then(|name| self.topics.get(name)), unknown_id()),
            };
            match topic {
                Some(topic) => found.entry(topic.name.clone()).or_default().push((name, id)),
                None => results.push(result(name, id, &Err(absent))),
            }
        }
        for (topic, asked) in found {
            results.extend(self.delete_found(topic, asked));
        }
        answer(results)
    }

    fn delete_found(&mut self, topic: String, asked: Vec<(Option<String>, Id)>) -> Vec<DeletableTopicResult> {
        if asked.len() > 1 {
            let message = "The provided topic name maps to an ID that was already supplied.";
            let refused = Err(Refusal::new(ErrorCode::INVALID_REQUEST, message));
            return asked.into_iter().map(|(name, id)| result(name, id, &refused)).collect();
        }
        let id = self.topics.get(&topic).map_or(NO_ID, |topic| topic.id);
        let deleted = if self.remove_topic(&topic) { Ok(()) } else { Err(unknown_topic()) };
        vec![result(Some(topic), id, &deleted)]
    }
}

fn unknown_topic() -> Refusal {
    Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition.")
}

fn unknown_id() -> Refusal {
    Refusal::new(ErrorCode::UNKNOWN_TOPIC_ID, "This server does not host this topic ID.")
}

fn result(name: Option<String>, topic_id: Id, outcome: &Result<(), Refusal>) -> DeletableTopicResult {
    let (error_code, error_message) = code_and_message(outcome);
    DeletableTopicResult { name, topic_id, error_code, error_message }
}

fn answer(responses: Vec<DeletableTopicResult>) -> Reply {
    Reply::of(DeleteTopicsResponse { responses, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;
    use crate::protocol::messages::delete_topics::DeleteTopicState;

    fn by_name(name: &str) -> DeleteTopicState {
        DeleteTopicState { name: Some(name.into()), topic_id: NO_ID }
    }

    fn ask(harness: &mut Harness, topics: Vec<DeleteTopicState>) -> Vec<(Option<String>, i16, Option<String>)> {
        let request = DeleteTopicsRequest { topics, ..Default::default() };
        let results = harness.call(2, 6, request).responses.into_iter();
        results.map(|result| (result.name, result.error_code, result.error_message)).collect()
    }

    #[test]
    fn a_topic_goes_by_its_name_or_its_id() {
        let mut harness = Harness::new(2);
        let mut id = |name: &str| harness.state.create_topic(name, 1, 1, BTreeMap::new()).unwrap().id;
        let (_, b) = (id("a"), id("b"));
        let topics = vec![by_name("a"), DeleteTopicState { name: None, topic_id: b }];
        let names: Vec<_> =
            ask(&mut harness, topics).into_iter().map(|(name, code, _)| (name.unwrap(), code)).collect();
        assert_eq!(names, [("a".to_owned(), 0), ("b".to_owned(), 0)]);
        assert_eq!(harness.state.topics.iter().count(), 0);
        assert_eq!(harness.state.topics.name_of(&b), None);
        let old = DeleteTopicsRequest { topic_names: vec!["a".into()], ..Default::default() };
        assert_eq!(harness.call(1, 5, old).responses[0].error_code, 3);
    }

    #[test]
    fn what_is_not_there_or_named_twice_is_refused_in_the_words_of_kafka() {
        let mut harness = Harness::new(2);
        let id = harness.state.create_topic("a", 1, 1, BTreeMap::new()).unwrap().id;
        let by_id = |topic_id| DeleteTopicState { name: None, topic_id };
        for (topics, code, words) in [
            (vec![by_name("absent")], 3, "This server does not host this topic-partition."),
            (vec![by_id([9; 16])], 100, "This server does not host this topic ID."),
            (vec![by_id(NO_ID)], 42, "Neither topic name nor id were specified."),
            (
                vec![DeleteTopicState { topic_id: id, ..by_name("a") }],
                42,
                "You may not specify both topic name and topic id.",
            ),
            (vec![by_name("a"), by_name("a")], 42, "Duplicate topic name."),
            (vec![by_id(id), by_id(id)], 42, "Duplicate topic id."),
            (vec![by_id(id), by_name("a")], 42, "The provided topic name maps to an ID that was already supplied."),
        ] {
            for (_, got, message) in ask(&mut harness, topics) {
                assert_eq!((got, message.as_deref()), (code, Some(words)));
            }
        }
        assert!(harness.state.topics.get("a").is_some());
    }

    #[test]
    fn nothing_is_deleted_where_that_is_switched_off() {
        let mut harness = Harness::with(2, &[("delete.topic.enable", "false")]);
        harness.state.create_topic("a", 1, 1, BTreeMap::new()).unwrap();
        assert_eq!(ask(&mut harness, vec![by_name("a")])[0].1, 73);
        let old = DeleteTopicsRequest { topic_names: vec!["a".into()], ..Default::default() };
        assert_eq!(harness.call(1, 2, old).responses[0].error_code, 42);
        assert!(harness.state.topics.get("a").is_some());
    }
}
