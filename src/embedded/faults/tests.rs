//! The order of what is planned, and what is used up by it.

use super::*;
use crate::protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use crate::protocol::{Api, Reader};

const HEARTBEAT: ApiKey = ApiKey::HEARTBEAT;

#[test]
fn codes_are_used_up_in_their_order_and_then_the_lasting_one_holds() {
    let faults = Faults::default();
    faults.change(HEARTBEAT, |rules| {
        rules.fail_always = Some(ErrorCode(9));
        rules.fail_next.extend([(ErrorCode(1), 2), (ErrorCode(2), 1)]);
    });
    let codes: Vec<_> = (0..5).map(|_| faults.plan(HEARTBEAT).fail.map(|code| code.0)).collect();
    assert_eq!(codes, [Some(1), Some(1), Some(2), Some(9), Some(9)]);
    assert_eq!(faults.plan(ApiKey::METADATA).fail, None, "other APIs are not concerned");
    faults.clear(Some(ApiKey::METADATA));
    assert!(faults.plan(HEARTBEAT).fail.is_some());
    faults.clear(Some(HEARTBEAT));
    assert_eq!(faults.plan(HEARTBEAT).fail, None);
}

#[test]
fn a_dropped_request_uses_up_nothing_else_and_lasting_rules_stay() {
    let faults = Faults::default();
    faults.change(HEARTBEAT, |rules| {
        rules.drop_requests = 1;
        rules.drop_responses = 1;
        rules.fail_next.push_back((ErrorCode(1), 1));
        rules.garble.push_back(Garble::HugeLength);
        rules.delay = Duration::from_secs(1);
    });
    let plan = faults.plan(HEARTBEAT);
    assert!(plan.drop_request && !plan.drop_response && plan.fail.is_none() && plan.garble.is_none());
    let plan = faults.plan(HEARTBEAT);
    assert!(!plan.drop_request && plan.drop_response && plan.fail.is_some() && plan.garble.is_some());
    let plan = faults.plan(HEARTBEAT);
    assert!(!plan.drop_response && plan.fail.is_none() && plan.garble.is_none());
    assert_eq!(plan.delay, Duration::from_secs(1));
    faults.clear(None);
    assert!(faults.plan(HEARTBEAT).delay.is_zero());
}

#[test]
fn the_first_script_that_does_not_pass_decides_and_edits_change_the_answer() {
    let faults = Faults::default();
    let code = |error_code| HeartbeatResponse { error_code, ..Default::default() };
    faults.change(HEARTBEAT, |rules| {
        rules.scripts.push(Script::new(|_: &HeartbeatRequest, _: &ReceivedRequest| Intercept::Pass));
        rules.scripts.push(Script::new(move |_: &HeartbeatRequest, _: &ReceivedRequest| Intercept::Answer(code(4))));
        rules.scripts.push(Script::new(|_: &HeartbeatRequest, _: &ReceivedRequest| Intercept::Close));
        rules.edits.push(Edit::new::<HeartbeatRequest>(|response| response.error_code += 1));
        rules.throttle = Duration::from_millis(1500);
    });
    let mut body = Api::find(HEARTBEAT).unwrap().invent_request(4, &mut Reader::inventing(1));
    let received = ReceivedRequest {
        api: HEARTBEAT,
        version: 4,
        broker: 1,
        connection: 1,
        client_id: "c".into(),
        received_at: Duration::ZERO,
        bytes: Default::default(),
    };
    let plan = faults.plan(HEARTBEAT);
    let verdict = plan.ask_scripts(&mut *body, &received);
    let Verdict::Instead(crate::embedded::state::Reply::Answer(mut answer), _) = verdict else {
        panic!("{verdict:?}");
    };
    plan.change(&mut *answer);
    let expected = HeartbeatResponse { error_code: 5, throttle_time_ms: 1500 };
    assert_eq!(*answer.into_any().downcast::<HeartbeatResponse>().unwrap(), expected);
}
