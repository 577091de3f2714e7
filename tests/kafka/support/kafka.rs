//! Real Kafka clusters on loopback.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::process::Process;
use super::properties::{self, Listener, Ports};
use super::proxy::Proxy;
use super::tools::{self, Tools};
use super::{fetch, lock, ports, say, target_kafka, unique, wait_until, wire};

/// A node is up in 3 to 6 s on an idle machine; two cores shared by everything may be far from idle.
const START_LIMIT: Duration = Duration::from_secs(300);
/// A node that ends cleanly hands its leaders over and flushes its logs first.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// An election takes the session timeout of 3 s, and some more if the controller died too.
const ELECTION_LIMIT: Duration = Duration::from_secs(60);
/// Kafka's error code of a topic that is there already: a repeated request whose first answer was lost.
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// The versions that the tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1_0_2,
    V2_5_1,
    V3_9_1,
    V4_3_0,
}

/// What [`Cluster::start`] starts.
#[derive(Clone, Debug)]
pub(crate) struct ClusterOptions {
    version: Version,
    nodes: usize,
    settings: Vec<(String, String)>,
    listeners: Vec<Listener>,
    proxied: bool,
    dynamic_quorum: bool,
}

/// A running cluster with nodes `1..=node_count`; everything it started ends when it is dropped or the process ends.
pub(crate) struct Cluster {
    version: Version,
    directory: PathBuf,
    ports: Vec<Ports>,
    /// Those of each node beside the usual ones.
    listeners: Vec<Vec<(Listener, u16)>>,
    zookeeper: Option<(u16, Mutex<Process>)>,
    nodes: Vec<Mutex<Node>>,
    proxies: Vec<Proxy>,
}

struct Node {
    process: Option<Process>,
    paused: bool,
}

impl Version {
    pub(crate) const ALL: [Self; 4] = [Self::V1_0_2, Self::V2_5_1, Self::V3_9_1, Self::V4_3_0];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V1_0_2 => "1.0.2",
            Self::V2_5_1 => "2.5.1",
            Self::V3_9_1 => "3.9.1",
            Self::V4_3_0 => "4.3.0",
        }
    }

    /// Whether this version keeps its metadata in ZooKeeper rather than in KRaft.
    pub(crate) fn needs_zookeeper(self) -> bool {
        matches!(self, Self::V1_0_2 | Self::V2_5_1)
    }

    /// The Maven artifact of the broker, named after the Scala version it was built with.
    pub(crate) fn core_artifact(self) -> &'static str {
        if self == Self::V1_0_2 { "kafka_2.12" } else { "kafka_2.13" }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl ClusterOptions {
    /// One node with the tests' usual settings.
    pub(crate) fn new(version: Version) -> Self {
        Self { version, nodes: 1, settings: Vec::new(), listeners: Vec::new(), proxied: false, dynamic_quorum: false }
    }

    /// From three nodes on, topics have three replicas and `min.insync.replicas` is 2.
    pub(crate) fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Adds a server property or overrides one; `{node}` in the value stands for the node's id.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Adds a listener with this name (in capitals) and security protocol, which advertises `host` as its own.
    pub(crate) fn listener(mut self, name: &str, protocol: &str, host: &str) -> Self {
        let [name, protocol, host] = [name, protocol, host].map(str::to_owned);
        self.listeners.push(Listener { name, protocol, host });
        self
    }

    /// Puts a [`Proxy`] before each node, which then advertises the proxy's address to those who come through one.
    /// The brokers still talk to each other directly.
    pub(crate) fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Has the first node alone decide on the metadata of KRaft; the others read along and can be added (KIP-853).
    pub(crate) fn dynamic_quorum(mut self) -> Self {
        self.dynamic_quorum = true;
        self
    }
}

impl Cluster {
    /// The cluster of this version that the tests of this process share, started by the first that asks: three nodes
    /// for 4.3.0, one for the others. Tests must not stop its nodes, and use topics and groups of their own.
    pub(crate) fn shared(version: Version) -> &'static Self {
        static SHARED: [OnceLock<Result<Cluster, String>>; Version::ALL.len()] =
            [const { OnceLock::new() }; Version::ALL.len()];
        let nodes = if version == Version::V4_3_0 { 3 } else { 1 };
        let cluster = SHARED[version as usize].get_or_init(|| {
            let mut options = ClusterOptions::new(version).nodes(nodes);
            if !version.needs_zookeeper() {
                // None of its nodes ever dies, and one that is kept from running for seconds must not be taken for dead.
                options = options
                    .set("broker.session.timeout.ms", "120000")
                    .set("controller.quorum.fetch.timeout.ms", "60000")
                    .set("controller.quorum.request.timeout.ms", "30000");
            }
            Self::try_start(&options)
        });
        cluster.as_ref().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a cluster of its own for a test that stops nodes or needs other settings. Take [`super::heavy`] before.
    pub(crate) fn start(options: &ClusterOptions) -> Self {
        Self::try_start(options).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// `HOST:PORT` of all nodes with commas between: through the proxies, if the cluster has them.
    pub(crate) fn bootstrap(&self) -> String {
        self.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// The nodes' addresses, as in [`Cluster::bootstrap`].
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        if self.proxies.is_empty() {
            self.ports.iter().map(|ports| loopback(ports.direct)).collect()
        } else {
            self.proxies.iter().map(Proxy::address).collect()
        }
    }

    /// The port of the first node's listener of this name.
    pub(crate) fn port(&self, listener: &str) -> u16 {
        let found = self.listeners[0].iter().find(|(own, _)| own.name == listener);
        found.unwrap_or_else(|| panic!("no listener {listener}")).1
    }

    /// The port on which a node's controller listens.
    pub(crate) fn controller_port(&self, node: usize) -> u16 {
        self.ports[node - 1].controller
    }

    /// As [`Cluster::bootstrap`], past the proxies.
    pub(crate) fn direct_bootstrap(&self) -> String {
        self.ports.iter().map(|ports| loopback(ports.direct).to_string()).collect::<Vec<_>>().join(",")
    }

    /// The proxy before a node of a cluster started as [`ClusterOptions::proxied`].
    pub(crate) fn proxy(&self, node: usize) -> &Proxy {
        &self.proxies[node - 1]
    }

    pub(crate) fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// Kafka's own tools, connected to this cluster (past the proxies).
    pub(crate) fn tools(&self) -> Tools {
        let zookeeper = self.zookeeper.as_ref().map(|(port, _)| loopback(*port).to_string());
        Tools::new(self.version, self.direct_bootstrap(), zookeeper, &self.directory)
    }

    /// The folder with a node's logs of all partitions.
    pub(crate) fn data_dir(&self, node: usize) -> PathBuf {
        self.node_directory(node).join("data")
    }

    /// The segment files of a partition on a node, oldest first, for [`Tools::dump_log`].
    pub(crate) fn segments(&self, node: usize, topic: &str, partition: i32) -> Vec<PathBuf> {
        let directory = self.data_dir(node).join(format!("{topic}-{partition}"));
        let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut segments: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder's entry").path()).collect();
        segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        segments.sort();
        segments
    }

    /// The file with all that a node has logged.
    pub(crate) fn server_log(&self, node: usize) -> PathBuf {
        self.node_directory(node).join("server.log")
    }

    /// The id of a node's process, if it runs.
    pub(crate) fn process_id(&self, node: usize) -> Option<u32> {
        lock(&self.nodes[node - 1]).process.as_ref().map(Process::id)
    }

    /// Creates a topic with as many replicas as the cluster allows, up to three, and waits until every running node
    /// knows the leaders of all its partitions.
    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) {
        self.create_topic_with(topic, partitions, self.node_count().min(3), &[]);
    }

    /// As [`Cluster::create_topic`], with the topic's own settings.
    pub(crate) fn create_topic_with(&self, topic: &str, partitions: i32, replicas: usize, settings: &[(&str, &str)]) {
        let replicas = i16::try_from(replicas).expect("few replicas");
        let mut last = String::new();
        wait_until(&format!("topic {topic} created ({last})"), START_LIMIT, || {
            // Before KRaft only the controller creates topics: ask all.
            self.running().into_iter().any(|node| {
                let answer = wire::create_topic(self.direct(node), topic, partitions, replicas, settings);
                last = format!("{answer:?}");
                matches!(answer, Ok(0 | TOPIC_ALREADY_EXISTS))
            })
        });
        self.wait_known(topic, usize::try_from(partitions).expect("a number of partitions"));
    }

    /// Waits until every running node knows a leader of each of the topic's `count` partitions: any node may be asked, and
    /// each learns of a topic in its own time.
    pub(crate) fn wait_known(&self, topic: &str, count: usize) {
        wait_until(&format!("topic {topic} known to all nodes"), ELECTION_LIMIT, || {
            self.running().into_iter().all(|node| {
                let led = |partition: &wire::Partition| partition.error == 0 && partition.leader >= 0;
                self.partitions_seen_by(node, topic).is_some_and(|all| all.len() == count && all.iter().all(led))
            })
        });
    }

    /// Waits until every running node knows what was changed so far and does by it: each learns of it a moment after the
    /// controller has answered, in the order of the changes. A topic of our own is the last of them, and then another,
    /// since a node tells of what it has just learnt before its coordinators and authorizers do by it.
    pub(crate) fn settle(&self) {
        for _ in 0..2 {
            self.create_topic_with(&unique("settled"), 1, 1, &[]);
        }
    }

    /// The node that leads a partition; waits until all running nodes name the same one. That may be the leader of
    /// before where nobody has died: who has had another elected waits for that one.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> usize {
        self.agreed(&format!("a leader of {topic}-{partition}"), |node| {
            let all = self.partitions_seen_by(node, topic)?;
            Some(all.iter().find(|each| each.index == partition)?.leader)
        })
    }

    /// The node that coordinates a group; waits until all running nodes name the same one.
    pub(crate) fn coordinator(&self, group: &str) -> usize {
        self.agreed(&format!("a coordinator of group {group}"), |node| {
            wire::group_coordinator(self.direct(node), group).ok()?.ok()
        })
    }

    /// What all running nodes answer, which must be the id of one of them: metadata may still name one that was killed.
    fn agreed(&self, what: &str, answer: impl Fn(usize) -> Option<i32>) -> usize {
        let mut agreed = None;
        wait_until(what, ELECTION_LIMIT, || {
            let running = self.running();
            let answers: BTreeSet<_> = running.iter().map(|&node| answer(node)).collect();
            agreed = answers.first().copied().flatten().and_then(|id| usize::try_from(id).ok());
            answers.len() == 1 && agreed.is_some_and(|id| running.contains(&id))
        });
        agreed.expect("waited for")
    }

    /// The node that is the controller, as clients see it: of KRaft's nodes any may be named.
    pub(crate) fn controller(&self) -> Option<usize> {
        let seen = self.running().into_iter().find_map(|node| wire::metadata(self.direct(node), &[]).ok())?;
        usize::try_from(seen.controller).ok()
    }

    /// Waits until all replicas of all partitions of `topic` are in sync, as all running nodes see it: one that was frozen
    /// knows no better at first than how it was before.
    pub(crate) fn wait_in_sync(&self, topic: &str) {
        wait_until(&format!("all replicas of {topic} in sync"), START_LIMIT, || {
            let whole = |partition: &wire::Partition| partition.isr.len() == partition.replicas.len();
            self.running().into_iter().all(|node| {
                let partitions = self.partitions_seen_by(node, topic);
                partitions.is_some_and(|all| !all.is_empty() && all.iter().all(whole))
            })
        });
    }

    /// Waits until every running node answers and lists exactly the running nodes.
    pub(crate) fn wait_ready(&self) {
        self.try_wait_ready().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Ends a node at once (`SIGKILL`).
    pub(crate) fn kill(&self, node: usize) {
        let mut state = lock(&self.nodes[node - 1]);
        state.paused = false;
        if let Some(mut process) = state.process.take() {
            process.kill();
        }
    }

    /// Ends a node cleanly (`SIGTERM`): it hands its leaders over. Returns when it is gone.
    pub(crate) fn terminate(&self, node: usize) {
        self.resume(node);
        let process = lock(&self.nodes[node - 1]).process.take();
        if let Some(mut process) = process {
            process.terminate(STOP_LIMIT);
        }
    }

    /// Starts a node again on its old files, after ending it cleanly if it runs. Returns when it answers and lists
    /// itself. After a kill that takes until its old session has ended, 3 to 5 s.
    pub(crate) fn restart(&self, node: usize) {
        self.terminate(node);
        self.launch_again(node);
        self.wait_listed(node);
    }

    /// Starts nodes that are down together: one node of three is no quorum and would not come up alone.
    pub(crate) fn restart_all(&self) {
        let down: Vec<usize> = (1..=self.node_count()).filter(|node| !self.running().contains(node)).collect();
        for &node in &down {
            self.launch_again(node);
        }
        for &node in &down {
            self.wait_listed(node);
        }
    }

    /// Freezes a node (`SIGSTOP`): its connections stay, nothing is answered.
    pub(crate) fn pause(&self, node: usize) {
        self.signal(node, "STOP", true);
    }

    /// Lets a frozen node go on (`SIGCONT`).
    pub(crate) fn resume(&self, node: usize) {
        self.signal(node, "CONT", false);
    }

    /// The nodes that run and are not paused.
    pub(crate) fn running(&self) -> Vec<usize> {
        let up = |node: &Mutex<Node>| {
            let mut node = lock(node);
            !node.paused && node.process.as_mut().is_some_and(Process::is_running)
        };
        (1..).zip(&self.nodes).filter(|(_, node)| up(node)).map(|(id, _)| id).collect()
    }

    fn try_start(options: &ClusterOptions) -> Result<Self, String> {
        assert!(options.nodes > 0, "a cluster has nodes");
        fetch::home(options.version);
        for _ in 0..2 {
            match Self::start_once(options) {
                // Another process was faster with one of the ports.
                Err(error) if error.contains("already in use") || error.contains("BindException") => say(&error),
                outcome => return outcome,
            }
        }
        Self::start_once(options)
    }

    fn start_once(options: &ClusterOptions) -> Result<Self, String> {
        let version = options.version;
        let start = Instant::now();
        say(&format!("starting Kafka {version} with {} node(s) ...", options.nodes));
        let directory = run_directory().join(unique(version.as_str()));
        let all_ports: Vec<Ports> = ports::free(4 * options.nodes)
            .chunks_exact(4)
            .map(|four| Ports {
                direct: four[0],
                controller: four[1],
                behind_proxy: options.proxied.then_some((four[2], four[3])),
            })
            .collect();
        let per_node = options.listeners.len();
        let extra = ports::free(per_node * options.nodes);
        let named = |index: usize| options.listeners.iter().cloned().zip(extra[index * per_node..].iter().copied());
        let listeners = (0..options.nodes).map(|index| named(index).collect()).collect();
        let through = all_ports.iter().filter_map(|ports| ports.behind_proxy);
        let proxies = through.map(|(target, address)| Proxy::at(loopback(address), loopback(target))).collect();
        let mut cluster =
            Self { version, directory, ports: all_ports, listeners, zookeeper: None, nodes: Vec::new(), proxies };
        if version.needs_zookeeper() {
            cluster.start_zookeeper()?;
        }
        cluster.prepare_nodes(options)?;
        for node in 1..=options.nodes {
            let process = Some(cluster.launch(node));
            cluster.nodes.push(Mutex::new(Node { process, paused: false }));
        }
        cluster.try_wait_ready()?;
        say(&format!("Kafka {version} is up after {:.1} s", start.elapsed().as_secs_f32()));
        Ok(cluster)
    }

    fn start_zookeeper(&mut self) -> Result<(), String> {
        let directory = self.directory.join("zookeeper");
        fs::create_dir_all(&directory).expect("create ZooKeeper's folder");
        let port = ports::free(1)[0];
        let configuration = directory.join("zookeeper.properties");
        fs::write(&configuration, properties::zookeeper(port, &directory.join("data"))).expect("configure ZooKeeper");
        let log = directory.join("server.log");
        let process = tools::java(self.version, "INFO", "256m")
            .args(["org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned(), configuration.display().to_string()])
            .log(&log)
            .spawn();
        let process = Mutex::new(process);
        let answered = wait_for(|| TcpStream::connect(loopback(port)).is_ok(), || lock(&process).is_running());
        self.zookeeper = Some((port, process));
        answered.map_err(|why| format!("ZooKeeper of Kafka {} {why}:\n{}", self.version, tail(&log)))
    }

    /// Writes the nodes' configurations and formats KRaft's storage, of all nodes at the same time.
    fn prepare_nodes(&self, options: &ClusterOptions) -> Result<(), String> {
        let mut settings = options.settings.clone();
        if options.dynamic_quorum {
            let first = loopback(self.controller_port(1)).to_string();
            settings.push(("controller.quorum.voters".to_owned(), String::new()));
            settings.push(("controller.quorum.bootstrap.servers".to_owned(), first));
        }
        let zookeeper = self.zookeeper.as_ref().map(|(port, _)| *port);
        let mut formats = Vec::new();
        for index in 0..self.ports.len() {
            let node = index + 1;
            fs::create_dir_all(self.data_dir(node)).expect("create a node's folder");
            let text = properties::server(
                self.version,
                index,
                &self.ports,
                zookeeper,
                &self.data_dir(node),
                &self.listeners[index],
                &settings,
            );
            fs::write(self.configuration(node), text).expect("configure a node");
            if zookeeper.is_none() {
                let configuration = self.configuration(node).display().to_string();
                let quorum = match (options.dynamic_quorum, node) {
                    (false, _) => None,
                    (true, 1) => Some("--standalone"),
                    (true, _) => Some("--no-initial-controllers"),
                };
                let format = tools::java(self.version, "WARN", "256m")
                    .args(["kafka.tools.StorageTool", "format", "-t", properties::CLUSTER_ID, "-c", &configuration])
                    .args(quorum)
                    .spawn();
                formats.push(format);
            }
        }
        for format in formats {
            let output = format.finish(START_LIMIT);
            if !output.status.success() {
                return Err(format!("cannot format the storage of Kafka {}:\n{output:?}", self.version));
            }
        }
        Ok(())
    }

    fn launch(&self, node: usize) -> Process {
        tools::java(self.version, "INFO", "512m")
            .args(["kafka.Kafka".to_owned(), self.configuration(node).display().to_string()])
            .directory(self.node_directory(node))
            .log(self.server_log(node))
            .spawn()
    }

    fn launch_again(&self, node: usize) {
        if let Some((port, _)) = &self.zookeeper {
            // ZooKeeper holds a killed broker until its session ends, and refuses it a second time before.
            let registered = format!("/brokers/ids/{node}");
            wait_until("the end of the old session in ZooKeeper", START_LIMIT, || {
                zookeeper_dump(*port).is_some_and(|dump| !dump.lines().any(|line| line.trim() == registered))
            });
        }
        let process = self.launch(node);
        *lock(&self.nodes[node - 1]) = Node { process: Some(process), paused: false };
    }

    fn wait_listed(&self, node: usize) {
        let id = i32::try_from(node).expect("a small id");
        let outcome = wait_for(
            || wire::metadata(self.direct(node), &[]).is_ok_and(|seen| seen.brokers.contains(&id)),
            || self.running().contains(&node),
        );
        outcome.unwrap_or_else(|why| panic!("node {node} {why}:\n{}", tail(&self.server_log(node))));
    }

    fn try_wait_ready(&self) -> Result<(), String> {
        let running = self.running();
        let ids: BTreeSet<i32> = running.iter().map(|&node| i32::try_from(node).expect("a small id")).collect();
        for node in running {
            let outcome = wait_for(
                || wire::metadata(self.direct(node), &[]).is_ok_and(|seen| seen.brokers == ids),
                || self.running().contains(&node),
            );
            let log = self.server_log(node);
            outcome.map_err(|why| format!("node {node} of Kafka {} {why}:\n{}", self.version, tail(&log)))?;
        }
        Ok(())
    }

    fn signal(&self, node: usize, signal: &str, paused: bool) {
        let mut state = lock(&self.nodes[node - 1]);
        if let Some(process) = &mut state.process {
            process.signal(signal);
            state.paused = paused;
        }
    }

    fn partitions_seen_by(&self, node: usize, topic: &str) -> Option<Vec<wire::Partition>> {
        let seen = wire::metadata(self.direct(node), &[topic]).ok()?;
        seen.topics.into_iter().find(|each| each.name == topic && each.error == 0).map(|found| found.partitions)
    }

    fn direct(&self, node: usize) -> SocketAddr {
        loopback(self.ports[node - 1].direct)
    }

    fn node_directory(&self, node: usize) -> PathBuf {
        self.directory.join(node.to_string())
    }

    fn configuration(&self, node: usize) -> PathBuf {
        self.node_directory(node).join("server.properties")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.clear();
        self.zookeeper = None;
        if std::thread::panicking() {
            say(&format!("the logs of the nodes are kept until the next run: {}", self.directory.display()));
        } else {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Polls `ready` while `alive`, at most for [`START_LIMIT`].
fn wait_for(mut ready: impl FnMut() -> bool, alive: impl Fn() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + START_LIMIT;
    while !ready() {
        if !alive() {
            return Err("ended".to_owned());
        }
        if Instant::now() >= deadline {
            return Err(format!("was not ready within {START_LIMIT:?}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// The sessions of ZooKeeper and what lives with them.
fn zookeeper_dump(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(loopback(port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    stream.write_all(b"dump").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len().saturating_sub(30);
    format!("{}\n(all of it: {})", lines[last..].join("\n"), log.display())
}

/// The folder for the clusters of this process. The first call removes what processes that ended have left: shared
/// clusters are never dropped, and their logs are of use after a failure.
fn run_directory() -> PathBuf {
    static DIRECTORY: OnceLock<(PathBuf, File)> = OnceLock::new();
    let made = DIRECTORY.get_or_init(|| {
        let root = target_kafka().join("run");
        fs::create_dir_all(&root).expect("create target/kafka/run");
        // Nobody may sweep between the creation of our lock and its being locked.
        let sweeping = File::create(target_kafka().join("run.lock")).expect("create a lock file");
        sweeping.lock().expect("lock the folder of running clusters");
        for entry in fs::read_dir(&root).expect("list target/kafka/run").flatten() {
            let owned = File::open(entry.path().join("lock"));
            // A running owner holds its lock; the system releases it however the owner ended.
            if owned.is_ok_and(|owned| owned.try_lock().is_ok()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let own = root.join(unique(&std::process::id().to_string()));
        fs::create_dir_all(&own).expect("create a folder in target/kafka/run");
        let held = File::create(own.join("lock")).expect("create a lock file");
        held.lock().expect("lock our own folder");
        (own, held)
    });
    made.0.clone()
}
