//! The whole way of a record, without a Kafka: a cluster in memory, a producer, a group whose members come and go.

mod support;

use sarameya::admin::{Admin, PartitionLag};
use sarameya::embedded::Cluster;
use sarameya::{
    Client, ConsumerGroup, ConsumerGroupClaim, ConsumerGroupHandler, ConsumerGroupSession, HandlerResult,
    ProducerRecord, StartOffset, StopHandle, SyncProducer,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};
use support::{Outcome, print_line};

const TOPIC: &str = "test3";
const PARTITIONS: i32 = 3;
const GROUP: &str = "g1";
/// Nothing here takes so long
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    support::run(|| quickstart().map(|()| ExitCode::SUCCESS))
}

fn quickstart() -> Outcome {
    let start = Instant::now();
    // Kafka waits three seconds for more members before a new group begins; here they come one by one.
    let cluster = Cluster::builder(3).set("group.initial.rebalance.delay.ms", "0").start()?;
    print_line(format!("Three brokers in memory: {}", cluster.bootstrap_servers()))?;
    cluster.create_topic(TOPIC, PARTITIONS)?;
    print_line(format!("Topic {TOPIC} with {PARTITIONS} partitions"))?;

    let client = Client::builder().bootstrap_servers(cluster.bootstrap_servers()).client_id("quickstart").build()?;
    let producer = SyncProducer::builder(&client).build_sync()?;
    let admin = Admin::new(&client);
    print_line("\nA producer sends records and waits for each:")?;
    produce(&producer, 0..6)?;

    let board = Board::default();
    thread::scope(|scope| -> Outcome {
        let mut members = Members::default();
        print_line(format!("\nmember-1 joins the group {GROUP} and reads from the beginning:"))?;
        members.join(scope, &cluster, "member-1", &board)?;
        board.wait("the first records", |seen| seen.records == 6)?;

        print_line("\nmember-2 joins and takes over a share:")?;
        members.join(scope, &cluster, "member-2", &board)?;
        board.wait("a share for each member", |seen| seen.claims() == PARTITIONS as usize && seen.members() == 2)?;
        produce(&producer, 6..12)?;
        board.wait("the next records", |seen| seen.records == 12)?;
        print_lag(&admin)?;

        print_line("\nmember-2 leaves, and member-1 has all partitions again:")?;
        members.leave("member-2")?;
        board
            .wait("all partitions at one member", |seen| seen.claims() == PARTITIONS as usize && seen.members() == 1)?;
        produce(&producer, 12..15)?;
        board.wait("the last records", |seen| seen.records == 15)?;
        print_lag(&admin)?;
        members.leave("member-1")
    })?;
    producer.close(LIMIT)?;
    print_line(format!("\n15 records sent and read in {:.1} s", start.elapsed().as_secs_f64()))?;
    Ok(())
}

fn produce(producer: &SyncProducer, numbers: Range<usize>) -> Outcome {
    for n in numbers {
        let (key, value) = (format!("k{n}"), format!("v{n}"));
        let sent = producer.send(&ProducerRecord::new(TOPIC).key(&key).value(&value))?;
        let offset = sent.offset().unwrap_or(-1);
        print_line(format!("  sent {key}={value} to partition {} offset {offset}", sent.partition()))?;
    }
    Ok(())
}

/// The members that run, with their threads.
#[derive(Default)]
struct Members<'scope>(BTreeMap<&'static str, (StopHandle, ScopedJoinHandle<'scope, Outcome>)>);

impl<'scope> Members<'scope> {
    /// Starts a member on a thread of its own.
    fn join<'env>(
        &mut self,
        scope: &'scope Scope<'scope, 'env>,
        cluster: &Cluster,
        name: &'static str,
        board: &'env Board,
    ) -> Outcome {
        let client = Client::builder().bootstrap_servers(cluster.bootstrap_servers()).client_id(name).build()?;
        // A member learns of another one with its next heartbeat.
        let heartbeat = Duration::from_millis(200);
        let builder = ConsumerGroup::builder(&client, GROUP).start(StartOffset::Earliest);
        let mut group = builder.auto_commit(false).heartbeat_interval(heartbeat).build()?;
        let stop = group.stop_handle();
        let thread = scope.spawn(move || {
            let outcome = group.consume(&[TOPIC], &Member { name, board });
            // Whoever waits for this member need not wait any longer.
            board.change(|seen| seen.failed = outcome.as_ref().err().map(ToString::to_string));
            Ok(outcome?)
        });
        self.0.insert(name, (stop, thread));
        Ok(())
    }

    fn leave(&mut self, name: &str) -> Outcome {
        let Some((stop, thread)) = self.0.remove(name) else { return Ok(()) };
        stop.stop();
        thread.join().map_err(|_| format!("{name} has panicked"))?
    }
}

impl Drop for Members<'_> {
    fn drop(&mut self) {
        // After an error, so that the others end as well.
        self.0.values().for_each(|(stop, _)| stop.stop());
    }
}

/// What a member does with its records.
struct Member<'a> {
    name: &'static str,
    board: &'a Board,
}

impl ConsumerGroupHandler for Member<'_> {
    fn setup(&self, session: &ConsumerGroupSession) -> HandlerResult {
        let claims = session.claims().get(TOPIC).cloned().unwrap_or_default();
        print_line(format!("  {} has the partitions {claims:?} in generation {}", self.name, session.generation_id()))?;
        self.board.change(|seen| seen.claimed.insert(self.name, claims.len()));
        Ok(())
    }

    fn consume_claim(&self, session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim) -> HandlerResult {
        for record in claim {
            let record = record?;
            let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
            let (key, value) = (text(record.key()), text(record.value()));
            let (partition, offset) = (record.partition(), record.offset());
            print_line(format!("  {} reads {key}={value} from partition {partition} offset {offset}", self.name))?;
            session.mark(&record);
            session.commit()?;
            self.board.change(|seen| seen.records += 1);
        }
        Ok(())
    }

    fn cleanup(&self, _session: &ConsumerGroupSession) -> HandlerResult {
        self.board.change(|seen| seen.claimed.remove(self.name));
        Ok(())
    }
}

/// How far the members are.
#[derive(Debug, Default)]
struct Board {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    /// The number of partitions of each member.
    claimed: BTreeMap<&'static str, usize>,
    /// Records that were read and committed.
    records: usize,
    /// Why a member has ended before it was asked to
    failed: Option<String>,
}

impl Seen {
    fn members(&self) -> usize {
        self.claimed.values().filter(|claims| **claims > 0).count()
    }

    fn claims(&self) -> usize {
        self.claimed.values().sum()
    }
}

impl Board {
    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait(&self, what: &str, come: impl Fn(&Seen) -> bool) -> Outcome {
        let waiting = |seen: &mut Seen| !come(seen) && seen.failed.is_none();
        let (seen, waited) =
            self.changed.wait_timeout_while(self.lock(), LIMIT, waiting).unwrap_or_else(PoisonError::into_inner);
        match &seen.failed {
            Some(why) => Err(why.as_str().into()),
            None if waited.timed_out() => Err(format!("{what} did not come in {LIMIT:?}").into()),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the group is behind, in the columns of Kafka's consumer-groups tool.
fn print_lag(admin: &Admin) -> Outcome {
    const COLUMNS: [&str; 9] =
        ["GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID"];
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    for (group, lag) in admin.group_lag(&[GROUP])? {
        let lag = lag?;
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let row = |partition: &PartitionLag| {
            let member =
                lag.group.members.iter().find(|member| Some(&member.member_id) == partition.member_id.as_ref());
            [
                group.clone(),
                partition.partition.topic.clone(),
                partition.partition.partition.to_string(),
                text(partition.committed.as_ref().map(|committed| committed.offset.to_string())),
                text(partition.end_offset.map(|offset| offset.to_string())),
                text(partition.lag().map(|lag| lag.to_string())),
                text(partition.member_id.clone()),
                text(member.map(|member| member.host.clone())),
                text(member.map(|member| member.client_id.clone())),
            ]
        };
        rows.extend(lag.partitions.iter().map(row));
    }
    print_line("")?;
    for row in &rows {
        let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(String::len).max().unwrap_or(0);
        let cells: Vec<String> =
            row.iter().enumerate().map(|(at, cell)| format!("{cell:<width$}", width = width(at))).collect();
        print_line(cells.join("  ").trim_end())?;
    }
    Ok(())
}
