//! The settings of the brokers that the tests start.

use std::path::Path;

use super::kafka::Version;

/// All of KRaft's nodes must be formatted with one cluster id: 16 bytes in base64.
pub(crate) const CLUSTER_ID: &str = "c2FyYW1leWEtLS10ZXN0cw";

/// Where one node listens. All on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// Clients without a proxy, and the brokers among themselves.
    pub(crate) direct: u16,
    /// KRaft's controllers.
    pub(crate) controller: u16,
    /// What a proxy forwards to, and what the node says its address is to those who come that way.
    pub(crate) behind_proxy: Option<(u16, u16)>,
}

/// A listener beside the usual ones, on every node.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    /// Kafka's name of it, in capitals; settings of it alone begin with `listener.name.` and the name in small letters.
    pub(crate) name: String,
    /// One of Kafka's security protocols.
    pub(crate) protocol: String,
    /// The host that it advertises.
    pub(crate) host: String,
}

/// The `server.properties` of node `ports[index]`, with id `index + 1`. `zookeeper` is its port, if there is one.
pub(crate) fn server(
    version: Version,
    index: usize,
    ports: &[Ports],
    zookeeper: Option<u16>,
    data: &Path,
    extra: &[(Listener, u16)],
    settings: &[(String, String)],
) -> String {
    let (id, own) = (index + 1, ports[index]);
    let mut listeners = vec![format!("PLAINTEXT://127.0.0.1:{}", own.direct)];
    let mut advertised = listeners.clone();
    let mut protocols = vec!["PLAINTEXT:PLAINTEXT".to_owned()];
    for (Listener { name, protocol, host }, port) in extra {
        listeners.push(format!("{name}://127.0.0.1:{port}"));
        advertised.push(format!("{name}://{host}:{port}"));
        protocols.push(format!("{name}:{protocol}"));
    }
    if let Some((listens, says)) = own.behind_proxy {
        listeners.push(format!("EXT://127.0.0.1:{listens}"));
        advertised.push(format!("EXT://127.0.0.1:{says}"));
        protocols.push("EXT:PLAINTEXT".to_owned());
    }
    let mut lines = Vec::new();
    match zookeeper {
        Some(port) => lines.extend([
            format!("broker.id={id}"),
            format!("zookeeper.connect=127.0.0.1:{port}"),
            "zookeeper.session.timeout.ms=3000".to_owned(),
        ]),
        None => {
            listeners.push(format!("CONTROLLER://127.0.0.1:{}", own.controller));
            protocols.push("CONTROLLER:PLAINTEXT".to_owned());
            lines.extend(kraft(id, ports));
        }
    }
    let replicas = ports.len().min(3);
    let in_sync = if replicas < 3 { 1 } else { 2 };
    if version == Version::V4_3_0 {
        lines.push(format!("share.coordinator.state.topic.replication.factor={replicas}"));
        lines.push(format!("share.coordinator.state.topic.min.isr={in_sync}"));
    }
    lines.extend([
        format!("listeners={}", listeners.join(",")),
        format!("advertised.listeners={}", advertised.join(",")),
        format!("listener.security.protocol.map={}", protocols.join(",")),
        "inter.broker.listener.name=PLAINTEXT".to_owned(),
        format!("log.dirs={}", data.display()),
        "num.partitions=3".to_owned(),
        format!("default.replication.factor={replicas}"),
        format!("min.insync.replicas={in_sync}"),
        "unclean.leader.election.enable=false".to_owned(),
        format!("offsets.topic.replication.factor={replicas}"),
        "offsets.topic.num.partitions=6".to_owned(),
        format!("transaction.state.log.replication.factor={replicas}"),
        format!("transaction.state.log.min.isr={in_sync}"),
        "transaction.state.log.num.partitions=6".to_owned(),
        "group.initial.rebalance.delay.ms=0".to_owned(),
        "group.min.session.timeout.ms=1000".to_owned(),
        "num.network.threads=2".to_owned(),
        "num.io.threads=2".to_owned(),
        "log.segment.bytes=104857600".to_owned(),
        "log.cleaner.dedupe.buffer.size=16777216".to_owned(),
        "log.cleaner.backoff.ms=200".to_owned(),
        // Tests write records of long ago.
        "log.retention.ms=-1".to_owned(),
    ]);
    // The last line of a key counts.
    let id = id.to_string();
    lines.extend(settings.iter().map(|(key, value)| format!("{key}={}", value.replace("{node}", &id))));
    lines.join("\n") + "\n"
}

/// Every node is broker and controller; a dead broker is noticed after 3 s.
fn kraft(id: usize, ports: &[Ports]) -> [String; 6] {
    let voter = |(index, node): (usize, &Ports)| format!("{}@127.0.0.1:{}", index + 1, node.controller);
    let voters: Vec<String> = ports.iter().enumerate().map(voter).collect();
    [
        "process.roles=broker,controller".to_owned(),
        format!("node.id={id}"),
        format!("controller.quorum.voters={}", voters.join(",")),
        "controller.listener.names=CONTROLLER".to_owned(),
        "broker.session.timeout.ms=3000".to_owned(),
        "broker.heartbeat.interval.ms=500".to_owned(),
    ]
}

/// The configuration of ZooKeeper. `dump`, which tells whose sessions live, must be allowed by name from 3.5 on.
pub(crate) fn zookeeper(port: u16, data: &Path) -> String {
    format!(
        "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\ntickTime=500\n\
         maxClientCnxns=0\n4lw.commands.whitelist=*\n",
        data.display()
    )
}
