//! What goes wrong on purpose, and what was seen. Bookkeeping only: connections ask what is planned for a request, and
//! do it.

mod answers;
mod garble;
mod observed;
mod script;
#[cfg(test)]
mod tests;
mod verbs;

pub use garble::Garble;
pub use observed::ReceivedRequest;
pub use script::Intercept;

pub(super) use answers::error_answer;
pub(super) use observed::Observed;
pub(super) use script::{Edit, Script, Verdict};

use crate::ErrorCode;
use crate::protocol::Message;
use crate::protocol::messages::ApiKey;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The rules of all APIs, and the requests that have come.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) observed: Observed,
    rules: Mutex<BTreeMap<ApiKey, Rules>>,
    /// Whether there is any rule, to be asked without the lock.
    any: AtomicBool,
}

/// What is to happen to the requests of one API.
#[derive(Debug, Default)]
struct Rules {
    /// Codes with how many requests each still has, in order.
    fail_next: VecDeque<(ErrorCode, usize)>,
    fail_always: Option<ErrorCode>,
    drop_requests: usize,
    drop_responses: usize,
    garble: VecDeque<Garble>,
    delay: Duration,
    throttle: Duration,
    drip: Option<Drip>,
    scripts: Vec<Script>,
    edits: Vec<Edit>,
}

/// Answers go out in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drip {
    pub(super) bytes: usize,
    pub(super) interval: Duration,
}

/// What is to happen to one request.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The connection ends before the request takes effect.
    pub(super) drop_request: bool,
    /// Asked one after the other, until one does not pass.
    pub(super) scripts: Vec<Script>,
    /// Answered with this code, without effect.
    pub(super) fail: Option<ErrorCode>,
    /// Change the answer.
    pub(super) edits: Vec<Edit>,
    pub(super) throttle: Duration,
    /// How long the answer is held back.
    pub(super) delay: Duration,
    /// The connection ends instead of the answer.
    pub(super) drop_response: bool,
    pub(super) garble: Option<Garble>,
    pub(super) drip: Option<Drip>,
}

impl Faults {
    /// What is planned for the next request of an API; what is planned once is used up by it.
    pub(super) fn plan(&self, api: ApiKey) -> Plan {
        if !self.any.load(Ordering::SeqCst) {
            return Plan::default();
        }
        self.rules().get_mut(&api).map(Rules::plan).unwrap_or_default()
    }

    fn change(&self, api: ApiKey, change: impl FnOnce(&mut Rules)) {
        let mut rules = self.rules();
        change(rules.entry(api).or_default());
        self.any.store(true, Ordering::SeqCst);
    }

    /// Takes back all rules of an API, or of all.
    fn clear(&self, api: Option<ApiKey>) {
        let mut rules = self.rules();
        rules.retain(|key, _| api.is_some_and(|api| *key != api));
        self.any.store(!rules.is_empty(), Ordering::SeqCst);
    }

    fn rules(&self) -> MutexGuard<'_, BTreeMap<ApiKey, Rules>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    /// What the first script says that does not pass.
    pub(super) fn ask_scripts(&self, body: &mut dyn Message, received: &ReceivedRequest) -> Verdict {
        let verdicts = self.scripts.iter().map(|script| script.ask(body, received));
        verdicts.into_iter().find(|verdict| !matches!(verdict, Verdict::Pass)).unwrap_or(Verdict::Pass)
    }

    /// Changes an answer as it was planned.
    pub(super) fn change(&self, answer: &mut dyn Message) {
        self.edits.iter().for_each(|edit| edit.apply(answer));
        if !self.throttle.is_zero() {
            answer.set_throttle_time_ms(i32::try_from(self.throttle.as_millis()).unwrap_or(i32::MAX));
        }
    }
}

impl Rules {
    fn plan(&mut self) -> Plan {
        if take_one(&mut self.drop_requests) {
            return Plan { drop_request: true, ..Plan::default() };
        }
        Plan {
            drop_request: false,
            scripts: self.scripts.clone(),
            fail: self.next_failure(),
            edits: self.edits.clone(),
            throttle: self.throttle,
            delay: self.delay,
            drop_response: take_one(&mut self.drop_responses),
            garble: self.garble.pop_front(),
            drip: self.drip,
        }
    }

    fn next_failure(&mut self) -> Option<ErrorCode> {
        let Some((code, times)) = self.fail_next.front_mut() else { return self.fail_always };
        let code = *code;
        *times -= 1;
        if *times == 0 {
            self.fail_next.pop_front();
        }
        Some(code)
    }
}

fn take_one(count: &mut usize) -> bool {
    let had = *count > 0;
    *count -= usize::from(had);
    had
}
