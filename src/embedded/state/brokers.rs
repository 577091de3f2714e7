//! The brokers, and who leads what when one of them goes.

use std::collections::BTreeMap;

/// A broker.
#[derive(Debug, Clone)]
pub(in crate::embedded) struct Broker {
    pub(in crate::embedded) id: i32,
    pub(in crate::embedded) host: String,
    /// The port of each listener; every broker has the same listeners, in the same order.
    pub(in crate::embedded) ports: Vec<u16>,
    pub(in crate::embedded) rack: Option<String>,
    pub(in crate::embedded) running: bool,
    /// Whether the cluster knows of it: a broker that was unregistered may still run.
    pub(in crate::embedded) registered: bool,
}

impl Broker {
    /// Whether it runs as a part of the cluster: it may lead, and clients are told of it.
    pub(in crate::embedded) fn is_active(&self) -> bool {
        self.running && self.registered
    }

    /// The port of a listener: a client is always told those of the listener it asked.
    pub(in crate::embedded) fn port(&self, listener: usize) -> u16 {
        self.ports.get(listener).copied().unwrap_or_default()
    }
}

/// All brokers, by node id.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Brokers(BTreeMap<i32, Broker>);

impl Brokers {
    pub(in crate::embedded) fn new(brokers: impl IntoIterator<Item = Broker>) -> Self {
        Self(brokers.into_iter().map(|broker| (broker.id, broker)).collect())
    }

    pub(in crate::embedded) fn get(&self, id: i32) -> Option<&Broker> {
        self.0.get(&id)
    }

    pub(in crate::embedded) fn get_mut(&mut self, id: i32) -> Option<&mut Broker> {
        self.0.get_mut(&id)
    }

    /// Whether it runs as a part of the cluster.
    pub(in crate::embedded) fn is_running(&self, id: i32) -> bool {
        self.get(id).is_some_and(Broker::is_active)
    }

    pub(in crate::embedded) fn iter(&self) -> impl Iterator<Item = &Broker> {
        self.0.values()
    }

    /// Those that the cluster knows of, in the order of their ids, as the others are.
    pub(in crate::embedded) fn registered(&self) -> impl Iterator<Item = &Broker> {
        self.0.values().filter(|broker| broker.registered)
    }

    /// Those that run as a part of the cluster.
    pub(in crate::embedded) fn running(&self) -> impl Iterator<Item = &Broker> {
        self.0.values().filter(|broker| broker.is_active())
    }

    /// The controller as clients see it: the running broker with the lowest id.
    pub(in crate::embedded) fn controller(&self) -> Option<i32> {
        self.running().map(|broker| broker.id).next()
    }
}
