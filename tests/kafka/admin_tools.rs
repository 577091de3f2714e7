//! Our programs that administer a cluster beside Kafka's own: the same question has the same answer, column by column.
//!
//! The two ask at different moments and maybe different brokers, each of which learns of a change in its own time: before
//! they are compared, all must know of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sarameya::admin::{CommittedOffset, TopicPartition};
use sarameya::{Admin, Client};

use crate::support::kafka::{Cluster, ClusterOptions, Version};
use crate::support::process::{Output, Process, input_file};
use crate::support::{examples, heavy, unique, wait_until};

const LIMIT: Duration = Duration::from_secs(120);

/// Our program of Kafka's name for it, to its end.
pub(crate) fn ours(cluster: &Cluster, tool: &str, arguments: &[&str]) -> Output {
    let bootstrap = cluster.bootstrap();
    examples::spawn(&tool.replace('-', "_"), &[&["--bootstrap-server", &bootstrap], arguments].concat()).finish(LIMIT)
}

/// The cells of all lines, in any order of the lines; what the tools log is none of them.
pub(crate) fn rows(output: &str) -> BTreeSet<Vec<&str>> {
    let lines = output.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['[', '(']));
    lines.filter(|line| !line.starts_with("WARN")).map(|line| line.split_whitespace().collect()).collect()
}

/// Asks both for the same, which must succeed and give the same rows. Returns ours.
#[track_caller]
fn same(cluster: &Cluster, tool: &str, arguments: &[&str]) -> String {
    let theirs = theirs(cluster, tool, arguments);
    let ours = ours(cluster, tool, arguments).success().stdout;
    // What is missing, older tools leave empty where newer ones print a dash.
    let filled = |output| {
        let mut rows = rows(output);
        if cluster.version() != Version::V4_3_0 {
            rows = rows.into_iter().map(|row| row.into_iter().filter(|cell| *cell != "-").collect()).collect();
        }
        rows
    };
    assert_eq!(filled(&ours), filled(&theirs), "{arguments:?}\nours:\n{ours}\ntheirs:\n{theirs}");
    ours
}

/// What Kafka's tool prints, which must succeed.
#[track_caller]
fn theirs(cluster: &Cluster, tool: &str, arguments: &[&str]) -> String {
    let bootstrap = cluster.bootstrap();
    // This one wants to know the cluster before anything else.
    let first: &[&str] = if tool == "transactions" { &["--bootstrap-server", &bootstrap] } else { &[] };
    cluster.tools().run(tool, &[first, arguments].concat()).success().stdout
}

/// The lines of a description of topics by topic and partition: the values by their names, lists as sets.
type Described = BTreeMap<(String, String), BTreeMap<String, BTreeSet<String>>>;

fn described(output: &str) -> Described {
    let line = |line: &str| {
        let field = |field: &str| {
            let (name, value) = field.split_once(':').expect("a name and a value");
            (name.trim().to_owned(), value.trim().split(',').map(str::to_owned).collect::<BTreeSet<_>>())
        };
        let fields: BTreeMap<_, _> = line.trim().split('\t').filter(|f| !f.trim().is_empty()).map(field).collect();
        let text = |name: &str| fields.get(name).into_iter().flatten().cloned().collect::<String>();
        ((text("Topic"), text("Partition")), fields)
    };
    output.lines().filter(|line| line.trim_start().starts_with("Topic:")).map(line).collect()
}

/// As `same` for descriptions of topics, of which older tools have fewer columns.
#[track_caller]
fn same_description(cluster: &Cluster, arguments: &[&str]) -> Described {
    let theirs = cluster.tools().topics(arguments).stdout;
    let own = ours(cluster, "topics", arguments).success().stdout;
    let (mut own, theirs) = (described(&own), described(&theirs));
    assert_eq!(own.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{arguments:?}");
    for (line, fields) in &mut own {
        if cluster.version() != Version::V4_3_0 {
            fields.retain(|name, _| theirs[line].contains_key(name));
        }
        assert_eq!(*fields, theirs[line], "{arguments:?} {line:?}");
    }
    own
}

pub(crate) fn admin(cluster: &Cluster) -> Admin {
    Admin::new(&Client::connect(&cluster.bootstrap()).expect("a client"))
}

pub(crate) fn produce(cluster: &Cluster, topic: &str, records: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let input: String = (0..records).map(|n| format!("k{n}\tv{n}\n")).collect();
    let spec = examples::spec("console_producer").args(["--bootstrap-server", &cluster.bootstrap(), "--topic", topic]);
    let spec = spec.args(["--reader-property", "parse.key=true"]).stdin(input_file(folder.path(), &input));
    spec.spawn().finish(LIMIT).success();
}

#[test]
fn admin_tools_kafka_4_3_0_topics() {
    require_kafka!();
    topics(Cluster::shared(Version::V4_3_0));
}

#[test]
fn admin_tools_kafka_2_5_1_topics() {
    require_kafka!();
    topics(Cluster::shared(Version::V2_5_1));
}

fn topics(cluster: &Cluster) {
    let name = unique("tooltopics");
    let (topic, other, pattern) = (format!("{name}-a"), format!("{name}-b"), format!("{name}.*"));
    let create = ["--create", "--topic", &topic, "--partitions", "3", "--replication-factor", "1"];
    let create = [&create[..], &["--config", "cleanup.policy=compact", "--config", "retention.ms=1000"]].concat();
    let made = ours(cluster, "topics", &create).success();
    assert_eq!(made.stdout, format!("Created topic {topic}.\n"));
    assert!(!ours(cluster, "topics", &create).status.success(), "it is there already");
    ours(cluster, "topics", &[&create[..], &["--if-not-exists"]].concat()).success();
    ours(cluster, "topics", &["--create", "--topic", &other, "--replica-assignment", "1,1"]).success();
    cluster.wait_known(&topic, 3);
    cluster.wait_known(&other, 2);

    assert_eq!(rows(&same(cluster, "topics", &["--list", "--topic", &pattern])).len(), 2);
    let all = same_description(cluster, &["--describe", "--topic", &pattern]);
    assert_eq!(all.len(), 2 + 3 + 2);
    // Brokers of 4.3.0 tell of the cluster's own settings as if they were the topic's.
    let with_configs = |fields: &BTreeMap<String, BTreeSet<String>>| {
        fields.get("Configs").is_some_and(|configs| configs.iter().any(|config| !config.is_empty()))
    };
    let overridden: Vec<_> = all.iter().filter(|(_, fields)| with_configs(fields)).collect();
    assert!(all[&(topic.clone(), String::new())]["Configs"].contains("cleanup.policy=compact"));
    assert!(same_description(cluster, &["--describe", "--topic", &topic, "--under-replicated-partitions"]).is_empty());
    let of_partitions = |flag: &str| same_description(cluster, &["--describe", "--topic", &pattern, flag]).len();
    assert_eq!(of_partitions("--at-min-isr-partitions") % 5, 0);
    assert_eq!(of_partitions("--under-min-isr-partitions") % 5, 0);
    assert_eq!(of_partitions("--unavailable-partitions"), 0);
    assert_eq!(of_partitions("--topics-with-overrides"), overridden.len());

    ours(cluster, "topics", &["--alter", "--topic", &topic, "--partitions", "4"]).success();
    cluster.wait_known(&topic, 4);
    assert_eq!(same_description(cluster, &["--describe", "--topic", &topic]).len(), 1 + 4);
    let fewer = ours(cluster, "topics", &["--alter", "--topic", &topic, "--partitions", "2"]);
    assert!(!fewer.status.success() && fewer.stderr.contains("INVALID_PARTITIONS"), "{}", fewer.stderr);

    ours(cluster, "topics", &["--delete", "--topic", &pattern]).success();
    cluster.settle();
    // With ZooKeeper the controller says so before it has done so.
    wait_until("the topics are gone", LIMIT, || {
        ours(cluster, "topics", &["--list", "--topic", &pattern]).success().stdout.trim().is_empty()
    });
    assert!(!ours(cluster, "topics", &["--delete", "--topic", &pattern]).status.success());
    ours(cluster, "topics", &["--delete", "--topic", &pattern, "--if-exists"]).success();
}

/// A member of a group that lives until it is dropped.
fn member(cluster: &Cluster, topic: &str, group: &str, protocol: &str) -> Process {
    let property = if cluster.version() == Version::V4_3_0 { "--command-property" } else { "--consumer-property" };
    let mut arguments = vec!["--topic", topic, "--group", group];
    let protocol = format!("group.protocol={protocol}");
    if cluster.version() == Version::V4_3_0 {
        arguments.extend([property, protocol.as_str()]);
    }
    cluster.tools().spawn("console-consumer", &arguments)
}

/// Asks both about all groups, of which others come and go: both must tell the same of this one.
#[track_caller]
fn same_of_group(cluster: &Cluster, arguments: &[&str], group: &str) {
    let of_group = |output: &str| -> Vec<Vec<String>> {
        let own = rows(output).into_iter().filter(|row| row.contains(&group));
        own.map(|row| row.into_iter().filter(|cell| *cell != "-").map(str::to_owned).collect()).collect()
    };
    let deadline = Instant::now() + LIMIT;
    loop {
        // Either may fail over a group that went after it was listed.
        let theirs = cluster.tools().run("consumer-groups", arguments);
        let own = ours(cluster, "consumer-groups", arguments);
        let (own, theirs) = (of_group(&own.stdout), of_group(&theirs.stdout));
        if own == theirs && !own.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{arguments:?}\nours: {own:?}\ntheirs: {theirs:?}");
    }
}

/// Asks both for a table, of which theirs may have fewer columns. Its cells have no spaces.
#[track_caller]
fn same_columns(cluster: &Cluster, arguments: &[&str]) {
    let theirs = theirs(cluster, "consumer-groups", arguments);
    let own = ours(cluster, "consumer-groups", arguments).success().stdout;
    let table = |output: &str| -> Vec<BTreeMap<String, String>> {
        let mut lines = output.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let header = lines.by_ref().find(|words| words.iter().any(|word| word == "GROUP")).expect("a header");
        let rows = lines.filter(|row| !row.is_empty());
        rows.map(|row| header.iter().cloned().zip(row).collect::<BTreeMap<_, _>>()).collect()
    };
    let (mut own, mut theirs) = (table(&own), table(&theirs));
    for row in &mut theirs {
        // What is called so today, and how it is written.
        if let Some(assignment) = row.remove("ASSIGNMENT") {
            row.insert("CURRENT-ASSIGNMENT".to_owned(), assignment.replace('(', ":").replace(')', ""));
        }
    }
    for (row, theirs) in own.iter_mut().zip(&theirs) {
        row.retain(|name, _| theirs.contains_key(name));
    }
    assert_eq!(own, theirs, "{arguments:?}");
    assert!(own.iter().all(|row| row.contains_key("CURRENT-ASSIGNMENT")), "{own:?}");
}

fn wait_stable(admin: &Admin, group: &str, partitions: usize) {
    wait_until("the group is stable and has committed", LIMIT, || {
        let lag = admin.group_lag(&[group]).expect("an answer").pop().and_then(|(_, lag)| lag.ok());
        lag.is_some_and(|lag| {
            let whole = lag.partitions.iter().filter(|p| p.lag() == Some(0) && p.member_id.is_some()).count();
            lag.group.state == sarameya::admin::GroupState::Stable && whole == partitions
        })
    });
}

#[test]
fn admin_tools_kafka_4_3_0_groups_with_members() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    for protocol in ["consumer", "classic"] {
        let columns = groups_with_members(cluster, protocol);
        let verbose = ["--describe", "--group", &columns, "--verbose"];
        same(cluster, "consumer-groups", &verbose);
        same(cluster, "consumer-groups", &[&verbose[..], &["--members"]].concat());
        same(cluster, "consumer-groups", &[&verbose[..], &["--state"]].concat());
    }
}

#[test]
fn admin_tools_kafka_2_5_1_groups_with_members() {
    require_kafka!();
    groups_with_members(Cluster::shared(Version::V2_5_1), "classic");
}

/// Compares descriptions of a group with a member, and returns its id.
fn groups_with_members(cluster: &Cluster, protocol: &str) -> String {
    let (topic, group) = (unique("toolmembers"), unique("toolgroup"));
    cluster.create_topic(&topic, 3);
    produce(cluster, &topic, 20);
    let admin = admin(cluster);
    let _member = member(cluster, &topic, &group, protocol);
    wait_stable(&admin, &group, 3);
    let about = ["--describe", "--group", &group];
    let offsets = same(cluster, "consumer-groups", &about);
    assert_eq!(rows(&offsets).len(), 1 + 3, "{offsets}");
    same(cluster, "consumer-groups", &[&about[..], &["--members"]].concat());
    let state = same(cluster, "consumer-groups", &[&about[..], &["--state"]].concat());
    assert!(state.contains("Stable"), "{state}");
    let mut of_all: Vec<&[&str]> = vec![
        &["--list"],
        &["--describe", "--all-groups"],
        &["--describe", "--all-groups", "--members"],
        &["--describe", "--all-groups", "--state"],
    ];
    if cluster.version() == Version::V4_3_0 {
        of_all.extend([&["--list", "--state"][..], &["--list", "--state", "Stable"], &["--list", "--type"]]);
    }
    for arguments in of_all {
        same_of_group(cluster, arguments, &group);
    }
    if cluster.version() != Version::V4_3_0 {
        // Older tools show less.
        same_columns(cluster, &[&about[..], &["--members", "--verbose"]].concat());
    }

    let refused = ours(cluster, "consumer-groups", &["--delete", "--group", &group]).success().stdout;
    assert!(refused.contains("NON_EMPTY_GROUP"), "{refused}");
    let reset = ["--reset-offsets", "--group", &group, "--topic", &topic, "--to-earliest", "--execute"];
    let refused = same(cluster, "consumer-groups", &reset);
    assert!(refused.contains("can only be reset if the group"), "{refused}");
    group
}

#[test]
fn admin_tools_kafka_4_3_0_groups_reset_and_deleted() {
    require_kafka!();
    groups_reset_and_deleted(Cluster::shared(Version::V4_3_0));
}

#[test]
fn admin_tools_kafka_2_5_1_groups_reset_and_deleted() {
    require_kafka!();
    groups_reset_and_deleted(Cluster::shared(Version::V2_5_1));
}

fn groups_reset_and_deleted(cluster: &Cluster) {
    let (topic, group) = (unique("toolreset"), unique("toolgroup"));
    cluster.create_topic(&topic, 2);
    produce(cluster, &topic, 20);
    let admin = admin(cluster);
    let partition = |number| TopicPartition::new(&topic, number);
    let committed = [(partition(0), CommittedOffset::new(2)), (partition(1), CommittedOffset::new(3))];
    for (_, outcome) in admin.alter_group_offsets(&group, &committed).expect("an answer") {
        outcome.expect("committed");
    }
    let about = ["--describe", "--group", &group];
    same(cluster, "consumer-groups", &about);
    same(cluster, "consumer-groups", &[&about[..], &["--state"]].concat());

    let reset = ["--reset-offsets", "--group", &group, "--topic", &topic];
    let dry = |specification: &[&str]| same(cluster, "consumer-groups", &[&reset[..], specification].concat());
    dry(&["--to-earliest"]);
    dry(&["--to-offset", "1000000", "--dry-run"]);
    dry(&["--by-duration", "PT1H"]);
    dry(&["--to-datetime", "2020-01-01T00:00:00.000"]);
    dry(&["--shift-by", "-1"]);
    let exported = dry(&["--to-latest", "--export"]);
    assert_eq!(rows(&exported).len(), 2, "{exported}");
    let unchanged = ours(cluster, "consumer-groups", &about).success().stdout;
    assert!(rows(&unchanged).iter().any(|row| row.get(2..4) == Some(&["1", "3"])), "nothing was done: {unchanged}");

    // The plan that one exported is carried out by the other.
    let folder = tempfile::tempdir().expect("a folder");
    let file = input_file(folder.path(), &exported).display().to_string();
    let execute = ["--reset-offsets", "--group", &group, "--from-file", &file, "--execute"];
    ours(cluster, "consumer-groups", &execute).success();
    let after = same(cluster, "consumer-groups", &about);
    assert!(rows(&after).iter().filter(|row| row.first() == Some(&group.as_str())).all(|row| row[5] == "0"), "{after}");

    let delete = ["--delete-offsets", "--group", &group, "--topic", &format!("{topic}:0")];
    let deleted = ours(cluster, "consumer-groups", &delete).success().stdout;
    assert!(deleted.contains("Successful"), "{deleted}");
    assert_eq!(rows(&same(cluster, "consumer-groups", &about)).len(), 2);
    let deleted = ours(cluster, "consumer-groups", &["--delete", "--group", &group]).success().stdout;
    assert_eq!(deleted, format!("Deletion of requested consumer groups ('{group}') was successful.\n"));
    let gone = ours(cluster, "consumer-groups", &about).success().stdout;
    assert!(gone.contains(&format!("Consumer group '{group}' does not exist.")), "{gone}");
}

#[test]
fn admin_tools_kafka_4_3_0_offsets_and_deleted_records() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = offsets_and_deleted_records(cluster);
    same(cluster, "get-offsets", &["--topic-partitions", &format!("{topic}:1-,absent"), "--time", "max-timestamp"]);
}

#[test]
fn admin_tools_kafka_2_5_1_offsets_and_deleted_records() {
    require_kafka!();
    offsets_and_deleted_records(Cluster::shared(Version::V2_5_1));
}

fn offsets_and_deleted_records(cluster: &Cluster) -> String {
    let topic = unique("tooloffsets");
    cluster.create_topic(&topic, 3);
    produce(cluster, &topic, 30);
    let latest = same(cluster, "get-offsets", &["--topic", &topic]);
    let total: i64 = latest.lines().filter_map(|line| line.rsplit(':').next()?.parse::<i64>().ok()).sum();
    assert_eq!(total, 30, "{latest}");

    let delete = |tool: &dyn Fn(&[&str]) -> Output, offset: i64| {
        let folder = tempfile::tempdir().expect("a folder");
        let entry = |partition| serde_json::json!({"topic": topic, "partition": partition, "offset": offset});
        let json = serde_json::json!({"version": 1, "partitions": [entry(0), entry(1)]});
        let file = input_file(folder.path(), &json.to_string()).display().to_string();
        tool(&["--offset-json-file", &file]).success().stdout
    };
    let theirs = delete(&|arguments| cluster.tools().run("delete-records", arguments), 1);
    let own = delete(&|arguments| ours(cluster, "delete-records", arguments), 2);
    assert_eq!(rows(&own), rows(&theirs.replace("low_watermark: 1", "low_watermark: 2")));
    let some = same(cluster, "get-offsets", &["--topic", &topic, "--partitions", "0,2", "--time", "1600000000000"]);
    assert_eq!(rows(&some).len(), 2, "{some}");
    let earliest = same(cluster, "get-offsets", &["--topic", &topic, "--time", "-2"]);
    assert!(earliest.contains(&format!("{topic}:0:2")), "{earliest}");
    topic
}

#[test]
fn admin_tools_kafka_4_3_0_configs() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = configs(cluster);
    same(cluster, "configs", &["--describe", "--topic", &topic, "--all"]);
    let user = unique("user");
    let about = ["--entity-type", "users", "--entity-name", &user];
    let alter = |config: &str| {
        let altered = ours(cluster, "configs", &[&["--alter"], &about[..], &["--add-config", config]].concat());
        assert_eq!(altered.success().stdout, format!("Completed updating config for user {user}.\n"));
    };
    alter("producer_byte_rate=1024,consumer_byte_rate=20480000");
    alter("SCRAM-SHA-256=[iterations=8192,password=a,b]");
    alter("SCRAM-SHA-512=[password=c]");
    cluster.settle();
    // The tool prints the values of one line in the order of a hash map.
    let describe = [&["--describe"], &about[..]].concat();
    let words = |line: &str| line.split([' ', ',']).map(str::to_owned).collect::<BTreeSet<_>>();
    let lines = |output: &str| output.lines().map(words).filter(|words| words.len() > 1).collect::<BTreeSet<_>>();
    let described = ours(cluster, "configs", &describe).success().stdout;
    assert_eq!(lines(&described), lines(&theirs(cluster, "configs", &describe)));
    assert!(described.contains("SCRAM-SHA-256=iterations=8192") && described.contains("2.048E7"), "{described}");
    let delete = [&["--alter"], &about[..], &["--delete-config", "producer_byte_rate"]].concat();
    ours(cluster, "configs", &delete).success();
    ours(cluster, "configs", &[&["--alter"], &about[..], &["--delete-config", "SCRAM-SHA-256"]].concat()).success();
    cluster.settle();
    let described = same(cluster, "configs", &[&["--describe"], &about[..]].concat());
    assert!(!described.contains("SHA-256") && !described.contains("producer"), "{described}");
}

#[test]
fn admin_tools_kafka_2_5_1_configs() {
    require_kafka!();
    configs(Cluster::shared(Version::V2_5_1));
}

fn configs(cluster: &Cluster) -> String {
    let topic = unique("toolconfigs");
    cluster.create_topic(&topic, 1);
    let about = ["--entity-type", "topics", "--entity-name", &topic];
    let add = ["--add-config", "retention.ms=5000,cleanup.policy=[compact,delete]"];
    let altered = ours(cluster, "configs", &[&["--alter"], &about[..], &add].concat()).success();
    assert_eq!(altered.stdout, format!("Completed updating config for topic {topic}.\n"));
    let configs = |output: &str| {
        let lines = output.lines().filter(|line| line.contains("sensitive=")).map(|line| line.trim().to_owned());
        lines.collect::<BTreeSet<_>>()
    };
    let describe = [&["--describe"], &about[..]].concat();
    let compare = || {
        cluster.settle();
        let theirs = cluster.tools().run("configs", &describe).success().stdout;
        let own = ours(cluster, "configs", &describe).success().stdout;
        assert_eq!(configs(&own), configs(&theirs), "ours:\n{own}\ntheirs:\n{theirs}");
        configs(&own)
    };
    assert_eq!(compare().len(), 2);
    ours(cluster, "configs", &[&["--alter"], &about[..], &["--delete-config", "retention.ms"]].concat()).success();
    assert_eq!(compare().len(), 1);

    let about = ["--entity-type", "brokers", "--entity-name", "1"];
    let setting = "background.threads=9";
    ours(cluster, "configs", &[&["--alter"], &about[..], &["--add-config", setting]].concat()).success();
    let describe = [&["--describe"], &about[..]].concat();
    let mut described = BTreeSet::new();
    wait_until("the broker knows its new setting", LIMIT, || {
        described = configs(&ours(cluster, "configs", &describe).success().stdout);
        described.iter().any(|line| line.starts_with(setting))
    });
    assert_eq!(described, configs(&theirs(cluster, "configs", &describe)));
    let name = setting.split('=').next().expect("a name");
    ours(cluster, "configs", &[&["--alter"], &about[..], &["--delete-config", name]].concat()).success();
    wait_until("the broker has the old setting again", LIMIT, || {
        !ours(cluster, "configs", &describe).success().stdout.contains(setting)
    });
    topic
}

#[test]
fn admin_tools_kafka_4_3_0_acls() {
    require_kafka!();
    let _alone = heavy();
    let options = ClusterOptions::new(Version::V4_3_0)
        .nodes(3)
        .set("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .set("super.users", "User:ANONYMOUS");
    acls(&Cluster::start(&options));
}

#[test]
fn admin_tools_kafka_2_5_1_acls() {
    require_kafka!();
    let _alone = heavy();
    let options = ClusterOptions::new(Version::V2_5_1)
        .set("authorizer.class.name", "kafka.security.authorizer.AclAuthorizer")
        .set("super.users", "User:ANONYMOUS");
    acls(&Cluster::start(&options));
}

fn acls(cluster: &Cluster) {
    // Theirs repeats what there is after adding, before 4.0.
    let adding = |output: String| output.split("Current ACLs").next().unwrap_or_default().to_owned();
    let reads = |who| {
        [
            "--add",
            "--allow-principal",
            who,
            "--operation",
            "Read",
            "--operation",
            "Write",
            "--topic",
            "t1",
            "--topic",
            "t2",
        ]
    };
    let own = ours(cluster, "acls", &reads("User:alice")).success().stdout;
    let theirs = adding(theirs(cluster, "acls", &reads("User:carol"))).replace("User:carol", "User:alice");
    assert_eq!(rows(&own), rows(&theirs), "ours:\n{own}\ntheirs:\n{theirs}");
    let list = ["--list"];
    cluster.settle();
    let listed = same(cluster, "acls", &list);
    assert!(listed.contains("principal=User:alice, host=*, operation=READ"), "{listed}");
    let produces = ["--add", "--allow-principal", "User:bob", "--producer", "--topic", "pre"];
    ours(cluster, "acls", &[&produces[..], &["--resource-pattern-type", "prefixed"]].concat()).success();
    let denies = ["--add", "--deny-principal", "User:eve", "--deny-host", "10.0.0.1", "--group", "g1"];
    ours(cluster, "acls", &denies).success();
    cluster.settle();
    same(cluster, "acls", &list);
    let matching = ["--list", "--topic", "prefix", "--resource-pattern-type", "match"];
    let matching = same(cluster, "acls", &matching);
    assert!(matching.contains("name=pre, patternType=PREFIXED"), "{matching}");
    same(cluster, "acls", &["--list", "--principal", "User:alice"]);

    ours(cluster, "acls", &["--remove", "--topic", "t1", "--force"]).success();
    let remove = ["--remove", "--allow-principal", "User:alice", "--operation", "Read", "--topic", "t2", "--force"];
    ours(cluster, "acls", &remove).success();
    cluster.settle();
    let left = same(cluster, "acls", &["--list", "--principal", "User:alice"]);
    assert!(left.contains("operation=WRITE") && !left.contains("READ") && !left.contains("t1"), "{left}");
}

#[test]
fn admin_tools_kafka_4_3_0_transactions() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let (topic, id) = (unique("tooltxn"), unique("transaction"));
    cluster.create_topic(&topic, 1);
    let settings = format!("bootstrap.servers={}", cluster.direct_bootstrap());
    // It would commit after ten minutes, but does not live so long.
    let arguments = [
        ["--topic", &topic, "--num-records", "1000000", "--throughput", "50", "--record-size", "10"].as_slice(),
        &["--transactional-id", &id, "--transaction-duration-ms", "600000"],
        // Or the coordinator aborts it while the tools are still asked.
        &["--producer-props", &settings, "transaction.timeout.ms=600000"],
    ]
    .concat();
    let mut writer = cluster.tools().spawn("producer-perf-test", &arguments);
    let admin = admin(cluster);
    let partition = TopicPartition::new(&topic, 0);
    let open = || {
        let producers = admin.describe_producers(std::slice::from_ref(&partition)).expect("an answer");
        let (_, producers) = producers.into_iter().next().expect("one partition");
        producers.expect("producers").into_iter().find_map(|producer| producer.current_transaction_start_offset)
    };
    wait_until("the transaction is open", LIMIT, || open().is_some());
    writer.kill();

    let about = ["describe-producers", "--topic", &topic, "--partition", "0"];
    // The broker may still write what the producer had sent before it died.
    wait_until("both say the same of the producers", LIMIT, || {
        let theirs = theirs(cluster, "transactions", &about);
        rows(&ours(cluster, "transactions", &about).success().stdout) == rows(&theirs)
    });
    let describe = ["describe", "--transactional-id", &id];
    let of_theirs = theirs(cluster, "transactions", &describe);
    let own = ours(cluster, "transactions", &describe).success().stdout;
    // How long it has been open depends on when one asks.
    let but_duration = |output: &str| {
        let cells = |line: &str| line.split('\t').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let mut lines: Vec<Vec<String>> = output.lines().filter(|line| line.contains('\t')).map(cells).collect();
        lines.iter_mut().for_each(|line| {
            line.remove(7);
        });
        lines
    };
    assert_eq!(but_duration(&own), but_duration(&of_theirs));
    let listed = ours(cluster, "transactions", &["list"]).success().stdout;
    let of_theirs = theirs(cluster, "transactions", &["list"]);
    let of_this = |output: &str| rows(output).iter().find(|row| row[0] == id).map(|row| row.join(" "));
    assert_eq!(of_this(&listed), of_this(&of_theirs), "{listed}\n{of_theirs}");
    assert!(of_this(&listed).is_some_and(|row| row.ends_with("Ongoing")), "{listed}");
    assert_eq!(rows(&same(cluster, "transactions", &["find-hanging", "--topic", &topic])).len(), 1, "it is known");

    let start = open().expect("still open").to_string();
    let abort = ["abort", "--topic", &topic, "--partition", "0", "--start-offset", &start];
    ours(cluster, "transactions", &abort).success();
    assert_eq!(open(), None);
    assert!(!ours(cluster, "transactions", &abort).status.success(), "there is none any more");
    let fenced = admin.fence_producers(&[&id]).expect("an answer");
    assert!(fenced[0].1.as_ref().expect("fenced").producer_epoch > 0, "{fenced:?}");
}

/// Kafka's tool has transactions from 3.0 on, and so have brokers.
#[test]
fn admin_tools_kafka_2_5_1_transactions_are_refused_by_the_name_of_what_is_missing() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V2_5_1);
    let topic = unique("tooltxn");
    cluster.create_topic(&topic, 1);
    let of_topic = ["describe-producers", "--topic", &topic, "--partition", "0"];
    for (arguments, api) in [
        (&["list"][..], "ListTransactions"),
        (&["describe", "--transactional-id", "t"], "DescribeTransactions"),
        (&of_topic, "DescribeProducers"),
    ] {
        let refused = ours(cluster, "transactions", arguments);
        assert!(!refused.status.success(), "{refused:?}");
        let words = [api, "it is Kafka 2.4 or newer, and older than 2.6"];
        assert!(words.iter().all(|words| refused.stderr.contains(words)), "{refused:?}");
    }
}
