//! InitProducerId, versions 0 to 5 (KIP-98, KIP-360): ids for idempotent producers. They are unique and rise.

use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

impl State {
    pub(super) fn init_producer_id(&mut self, context: &Context, request: InitProducerIdRequest) -> Reply {
        let failed = |code: ErrorCode| {
            Reply::of(InitProducerIdResponse { error_code: code.0, producer_epoch: -1, ..Default::default() })
        };
        if (request.producer_id == -1) != (request.producer_epoch == -1) {
            return failed(ErrorCode::INVALID_REQUEST);
        }
        match request.transactional_id.as_deref() {
            None => {
                let producer_id = self.new_producer_id();
                Reply::of(InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() })
            }
            Some(_) => self.init_transactional_id(context, &request),
        }
    }

    /// An id that no producer has had.
    pub(super) fn new_producer_id(&mut self) -> i64 {
        let id = self.next_producer_id;
        self.next_producer_id += 1;
        id
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;

    #[test]
    fn ids_are_unique_and_rise_over_all_brokers() {
        let mut harness = Harness::new(2);
        let asking = || InitProducerIdRequest {
            transactional_id: None,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        let mut last = -1;
        for broker in [1, 2, 1, 2] {
            let response = harness.call(broker, 5, asking());
            assert_eq!((response.error_code, response.producer_epoch), (0, 0));
            assert!(response.producer_id > last);
            last = response.producer_id;
        }
        let half = InitProducerIdRequest { producer_epoch: 3, ..asking() };
        assert_eq!(harness.call(1, 5, half).error_code, ErrorCode::INVALID_REQUEST.0);
        let empty = InitProducerIdRequest { transactional_id: Some(String::new()), ..asking() };
        assert_eq!(harness.call(1, 5, empty).error_code, ErrorCode::INVALID_REQUEST.0);
    }
}
