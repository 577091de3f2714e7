//! What a request, or a part of one, is refused with.

use crate::ErrorCode;

/// Kafka's code, and Kafka's words where it has some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::embedded) struct Refusal {
    pub(in crate::embedded) code: ErrorCode,
    pub(in crate::embedded) message: Option<String>,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()) }
    }
}

/// Without words.
impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None }
    }
}

/// The two fields that most answers have for a part of the request.
pub(super) fn code_and_message<T>(outcome: &Result<T, Refusal>) -> (i16, Option<String>) {
    match outcome {
        Ok(_) => (ErrorCode::NONE.0, None),
        Err(refusal) => (refusal.code.0, refusal.message.clone()),
    }
}

/// Parts of a request that occur once, in order, and the names of those that occur more often.
pub(super) fn without_duplicates<T>(parts: Vec<T>, name: impl Fn(&T) -> &str) -> (Vec<T>, Vec<String>) {
    let mut counts = std::collections::BTreeMap::new();
    parts.iter().for_each(|part| *counts.entry(name(part).to_owned()).or_insert(0) += 1);
    let single = parts.into_iter().filter(|part| counts.get(name(part)) == Some(&1)).collect();
    (single, counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect())
}
