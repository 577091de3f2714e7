//! A member of a classic group.

use super::super::super::{ConnectionId, Time};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Duration;

/// A request that waits for what the other members do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct Parked {
    pub(in crate::embedded) connection: ConnectionId,
    pub(in crate::embedded) version: i16,
}

/// A member of a classic group.
#[derive(Debug, Clone)]
pub(in crate::embedded) struct Member {
    pub(in crate::embedded) id: String,
    pub(in crate::embedded) instance_id: Option<String>,
    pub(in crate::embedded) client_id: String,
    /// As Kafka shows it: a slash and the address.
    pub(in crate::embedded) client_host: String,
    pub(in crate::embedded) rebalance_timeout: Duration,
    pub(in crate::embedded) session_timeout: Duration,
    /// The names and metadata of the assignors it supports, the preferred one first.
    pub(in crate::embedded) protocols: Vec<(String, Bytes)>,
    /// What the leader gave it in the present generation.
    pub(in crate::embedded) assignment: Bytes,
    /// Its JoinGroup that is not answered yet.
    pub(in crate::embedded) joining: Option<Parked>,
    /// Its SyncGroup that is not answered yet.
    pub(in crate::embedded) syncing: Option<Parked>,
    /// It has joined and has not been told so: it can't send heartbeats, and the session is a long one.
    pub(in crate::embedded) is_new: bool,
    /// When it is removed if nothing is heard from it.
    pub(in crate::embedded) session_ends: Time,
    /// The timer that is set for that, so that there is one and not one for each heartbeat.
    pub(in crate::embedded) timer_at: Option<Time>,
}

impl Member {
    /// What it says for an assignor.
    pub(in crate::embedded) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// Its preferred one among these assignors.
    pub(super) fn vote<'a>(&'a self, candidates: &BTreeSet<&str>) -> Option<&'a str> {
        self.protocols.iter().map(|(name, _)| name.as_str()).find(|name| candidates.contains(name))
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// What the offsets topic holds of it: the metadata for the chosen assignor alone, and no request.
    pub(super) fn stored(&self, protocol: Option<&str>) -> Self {
        let protocols = self.protocols.iter().filter(|(name, _)| Some(name.as_str()) == protocol).cloned().collect();
        Self { protocols, joining: None, syncing: None, is_new: false, timer_at: None, ..self.clone() }
    }
}
