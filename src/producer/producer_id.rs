//! The producer id that makes a producer idempotent.

use super::sequence::{NO_PRODUCER_ID, ProducerId};
use crate::cluster::Core;
use crate::net::{Deadline, Interrupt};
use crate::protocol::messages::init_producer_id::InitProducerIdRequest;
use crate::{Error, ErrorCode, Result};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One per producer. Senders read it; whichever needs an id first asks a broker for it.
#[derive(Debug, Default)]
pub(super) struct ProducerIds(Mutex<Option<ProducerId>>);

impl ProducerIds {
    fn lock(&self) -> MutexGuard<'_, Option<ProducerId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn of(id: ProducerId) -> Self {
        Self(Mutex::new(Some(id)))
    }

    pub(super) fn current(&self) -> Option<ProducerId> {
        *self.lock()
    }

    /// The id for a partition whose sequence under `old` is broken: the next epoch, unless another partition has
    /// already gone there. Without a next epoch a new id is to be asked for, and the partition waits for it.
    pub(super) fn bump(&self, old: ProducerId) -> ProducerId {
        let mut current = self.lock();
        if *current == Some(old) {
            *current = old.epoch.checked_add(1).map(|epoch| ProducerId { epoch, ..old });
        }
        current.unwrap_or(NO_PRODUCER_ID)
    }

    /// The broker knows nothing of this id, or somebody else has its next epoch: ask for a new one.
    pub(super) fn discard(&self, old: ProducerId) {
        let mut current = self.lock();
        if current.is_some_and(|c| c.id == old.id) {
            *current = None;
        }
    }

    /// Asks a broker for an id if there is none. No lock is held meanwhile; if two senders ask, the first answer counts.
    pub(super) fn ensure(&self, core: &Core, interrupt: &Interrupt, deadline: Deadline) -> Result<()> {
        if self.lock().is_some() {
            return Ok(());
        }
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
        };
        let response =
            core.with_any(interrupt, deadline, |connection, deadline| connection.call(&request, deadline))?;
        match ErrorCode(response.error_code) {
            ErrorCode::NONE => {}
            code => return Err(Error::from_code(code, "no producer id, which enable.idempotence needs")),
        }
        log::debug!("producer id {} epoch {}", response.producer_id, response.producer_epoch);
        self.lock().get_or_insert(ProducerId { id: response.producer_id, epoch: response.producer_epoch });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_the_epoch_is_bumped_once_however_many_partitions_ask() {
        let first = ProducerId { id: 9, epoch: 0 };
        let ids = ProducerIds(Mutex::new(Some(first)));
        let second = ids.bump(first);
        assert_eq!(second, ProducerId { id: 9, epoch: 1 });
        assert_eq!(ids.bump(first), second, "another partition that broke in the old epoch");
        assert_eq!(ids.bump(second).epoch, 2);
    }

    #[test]
    fn p6_the_last_epoch_is_followed_by_a_new_id() {
        let last = ProducerId { id: 9, epoch: i16::MAX };
        let ids = ProducerIds(Mutex::new(Some(last)));
        assert_eq!(ids.bump(last), NO_PRODUCER_ID);
        assert_eq!(ids.current(), None);
    }
}
