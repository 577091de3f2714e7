//! Connections to the group's coordinator.

use crate::cluster::{CoordinatorType, Core};
use crate::net::{Connection, Deadline, Interrupt};
use crate::{ErrorCode, Result};
use std::sync::{Arc, Mutex, PoisonError};

/// Finds the coordinator of one group. The membership, the commit thread and the fetch of committed offsets share what it
/// knows, each with a connection of its own.
#[derive(Debug)]
pub(super) struct CoordinatorFinder {
    core: Arc<Core>,
    group_id: String,
    interrupt: Interrupt,
    known: Mutex<Option<i32>>,
}

impl CoordinatorFinder {
    pub(super) fn new(core: Arc<Core>, group_id: String, interrupt: Interrupt) -> Self {
        Self { core, group_id, interrupt, known: Mutex::new(None) }
    }

    pub(super) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The coordinator's node, asked for if it is not known.
    pub(super) fn node(&self, deadline: Deadline) -> Result<i32> {
        if let Some(node) = *self.lock() {
            return Ok(node);
        }
        let node = self.core.find_coordinator(&self.group_id, CoordinatorType::Group, &self.interrupt, deadline)?;
        log::debug!("group {:?}: the coordinator is broker {node}", self.group_id);
        *self.lock() = Some(node);
        Ok(node)
    }

    /// A new connection to the coordinator, for an owner that keeps it.
    pub(super) fn connect(&self, deadline: Deadline) -> Result<Connection> {
        let node = self.node(deadline)?;
        let dialled = self.core.dial(node, &self.interrupt, deadline);
        if dialled.is_err() {
            self.forget();
        }
        dialled
    }

    /// The coordinator is another one now, or can't be reached.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    /// Whether this code says that the coordinator has moved.
    pub(super) fn has_moved(code: ErrorCode) -> bool {
        matches!(code, ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<i32>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
