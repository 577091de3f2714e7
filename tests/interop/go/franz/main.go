// Program franz does with franz-go what its users do, and prints what happened: records and offsets, never addresses,
// generated ids or times. Arguments: bootstrap servers, the case, the prefix of all names.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// limit is how long a busy machine may take for anything.
const limit = 60 * time.Second

func main() {
	servers, name := strings.Split(os.Args[1], ","), os.Args[3]
	cases := map[string]func(context.Context, []string, string){
		"produce":       produce,
		"group-classic": groupClassic,
		"group-848":     group848,
		"transaction":   transaction,
		"admin":         admin,
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*limit)
	defer cancel()
	cases[os.Args[2]](ctx, servers, name)
}

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

// word is an error by its code, without the parts that name addresses.
func word(err error) string {
	var code *kerr.Error
	if errors.As(err, &code) {
		return code.Message
	}
	if err == nil {
		return "no error"
	}
	return err.Error()
}

func client(servers []string, options ...kgo.Opt) *kgo.Client {
	options = append(options, kgo.SeedBrokers(servers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	client, err := kgo.NewClient(options...)
	check(err)
	return client
}

func create(ctx context.Context, servers []string, topic string, partitions int32) {
	client := client(servers)
	defer client.Close()
	_, err := kadm.NewClient(client).CreateTopic(ctx, partitions, 3, nil, topic)
	check(err)
}

func record(topic string, partition int32, value string) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Partition: partition, Key: []byte("key"), Value: []byte(value),
		Headers: []kgo.RecordHeader{{Key: "from", Value: []byte("franz")}},
	}
}

// produce writes idempotently with every codec, and without idempotence with every acks, and reads it back.
func produce(ctx context.Context, servers []string, name string) {
	create(ctx, servers, name, 1)
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		client := client(servers, kgo.ProducerBatchCompression(codecs[codec]))
		var records []*kgo.Record
		for i := range 20 {
			records = append(records, record(name, 0, fmt.Sprintf("%s %d", codec, i)))
		}
		for _, result := range client.ProduceSync(ctx, records...) {
			check(result.Err)
			fmt.Println("sent", string(result.Record.Value), result.Record.Offset)
		}
		client.Close()
	}
	// The last without acks: nobody knows when the broker has it, and the next would be another connection.
	for _, acks := range []kgo.Acks{kgo.LeaderAck(), kgo.AllISRAcks(), kgo.NoAck()} {
		client := client(servers, kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite())
		for _, result := range client.ProduceSync(ctx, record(name, 0, fmt.Sprintf("acks %v", acks))) {
			check(result.Err)
		}
		client.Close()
	}
	small := client(servers, kgo.ProducerBatchMaxBytes(3_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	results := small.ProduceSync(ctx, record(name, 0, strings.Repeat("x", 2_000_000)))
	fmt.Println("too large:", word(results.FirstErr()))
	small.Close()
	read(ctx, servers, name, 103, kgo.ReadUncommitted())
}

// read prints the records before an offset.
func read(ctx context.Context, servers []string, topic string, end int64, isolation kgo.IsolationLevel) {
	start := map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}
	client := client(servers, kgo.ConsumePartitions(start), kgo.FetchIsolationLevel(isolation))
	defer client.Close()
	for next := int64(0); next < end; {
		fetches := client.PollFetches(ctx)
		check(fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) {
			next = record.Offset + 1
			fmt.Println("read", record.Offset, string(record.Key), string(record.Value), len(record.Headers), record.LeaderEpoch)
		})
	}
}

// member is one consumer in a group, on a goroutine of its own.
type member struct {
	client *kgo.Client
	stop   func()
	lock   sync.Mutex
	held   map[int32]bool
	seen   map[string]bool
}

func newMember(ctx context.Context, servers []string, group, topic string, options ...kgo.Opt) *member {
	member := &member{held: map[int32]bool{}, seen: map[string]bool{}}
	change := func(held bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			member.lock.Lock()
			defer member.lock.Unlock()
			for _, partition := range partitions[topic] {
				if held {
					member.held[partition] = true
				} else {
					delete(member.held, partition)
				}
			}
		}
	}
	options = append(options, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)))
	member.client = client(servers, options...)
	polling, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for polling.Err() == nil {
			fetches := member.client.PollFetches(polling)
			member.lock.Lock()
			fetches.EachRecord(func(record *kgo.Record) {
				member.seen[fmt.Sprintf("%d@%d", record.Partition, record.Offset)] = true
			})
			member.lock.Unlock()
			// A commit may meet a rebalance; the next one or the next owner makes up for it.
			_ = member.client.CommitUncommittedOffsets(polling)
		}
	}()
	member.stop = func() {
		cancel()
		<-done
		check(member.client.CommitUncommittedOffsets(ctx))
		member.client.Close()
	}
	return member
}

func (m *member) state() (held []int32, seen []string) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for each := range m.held {
		held = append(held, each)
	}
	for each := range m.seen {
		seen = append(seen, each)
	}
	slices.Sort(held)
	return held, seen
}

func groupClassic(ctx context.Context, servers []string, name string) {
	create(ctx, servers, name, 4)
	fill(ctx, servers, name)
	balancers := []kgo.GroupBalancer{
		kgo.RangeBalancer(), kgo.RoundRobinBalancer(), kgo.StickyBalancer(), kgo.CooperativeStickyBalancer(),
	}
	for _, balancer := range balancers {
		group(ctx, servers, name, name+"-"+balancer.ProtocolName(), kgo.Balancers(balancer))
	}
}

func group848(ctx context.Context, servers []string, name string) {
	create(ctx, servers, name, 4)
	fill(ctx, servers, name)
	for _, balancer := range []kgo.GroupBalancer{kgo.RangeBalancer(), kgo.CooperativeStickyBalancer()} {
		opted := context.WithValue(ctx, "opt_in_kafka_next_gen_balancer_beta", true)
		group(ctx, servers, name, name+"-"+balancer.ProtocolName(), kgo.Balancers(balancer), kgo.WithContext(opted))
	}
}

// group has two members share four partitions, and one go on alone.
func group(ctx context.Context, servers []string, name, id string, options ...kgo.Opt) {
	one, two := newMember(ctx, servers, id, name, options...), newMember(ctx, servers, id, name, options...)
	settled("two members", 2, one, two)
	until("all records read", func() bool {
		_, mine := one.state()
		_, others := two.state()
		all := append(mine, others...)
		slices.Sort(all)
		return len(slices.Compact(all)) == 40
	})
	admin := kadm.NewClient(one.client)
	described, err := admin.DescribeGroups(ctx, id)
	check(err)
	next, err := admin.DescribeConsumerGroups(ctx, id)
	check(err)
	fmt.Println(id, described[id].State, described[id].ProtocolType, len(described[id].Members), word(described[id].Err),
		"next", next[id].State, next[id].AssignorName, len(next[id].Members), word(next[id].Err))
	two.stop()
	settled("one member", 4, one)
	one.stop()
	asking := client(servers)
	defer asking.Close()
	offsets, err := kadm.NewClient(asking).FetchOffsets(ctx, id)
	check(err)
	for partition := range int32(4) {
		offset, _ := offsets.Lookup(name, partition)
		fmt.Println("committed", partition, offset.At, offset.LeaderEpoch, word(offset.Err))
	}
}

func fill(ctx context.Context, servers []string, topic string) {
	client := client(servers)
	defer client.Close()
	for i := range 40 {
		check(client.ProduceSync(ctx, record(topic, int32(i%4), fmt.Sprint(i))).FirstErr())
	}
}

// settled waits until each member holds so many partitions and all are held.
func settled(what string, count int, members ...*member) {
	until(what, func() bool {
		union := map[int32]bool{}
		for _, member := range members {
			held, _ := member.state()
			if len(held) != count {
				return false
			}
			for _, partition := range held {
				union[partition] = true
			}
		}
		return len(union) == 4
	})
	fmt.Println(what, "with", count, "partitions each")
}

func until(what string, condition func() bool) {
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			check(errors.New("waited too long for " + what))
		}
	}
}

// transaction commits, aborts, and moves records from one topic to another exactly once.
func transaction(ctx context.Context, servers []string, name string) {
	create(ctx, servers, name, 1)
	producer := client(servers, kgo.TransactionalID(name))
	for _, commit := range []bool{true, false, true} {
		check(producer.BeginTransaction())
		for i := range 3 {
			results := producer.ProduceSync(ctx, record(name, 0, fmt.Sprintf("%d of a transaction that commits %v", i, commit)))
			check(results.FirstErr())
			fmt.Println("sent", results[0].Record.Offset)
		}
		check(producer.EndTransaction(ctx, kgo.TransactionEndTry(commit)))
	}
	rival := client(servers, kgo.TransactionalID(name))
	check(rival.BeginTransaction())
	check(rival.ProduceSync(ctx, record(name, 0, "of a rival")).FirstErr())
	check(producer.BeginTransaction())
	fmt.Println("fenced:", word(producer.ProduceSync(ctx, record(name, 0, "too late")).FirstErr()))
	check(rival.EndTransaction(ctx, kgo.TryCommit))
	producer.Close()
	rival.Close()
	fmt.Println("uncommitted")
	read(ctx, servers, name, 13, kgo.ReadUncommitted())
	fmt.Println("committed")
	read(ctx, servers, name, 13, kgo.ReadCommitted())
	move(ctx, servers, name)
}

// move reads with a group and writes in transactions that carry the offsets.
func move(ctx context.Context, servers []string, name string) {
	target := name + "-moved"
	create(ctx, servers, target, 1)
	session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(servers...), kgo.TransactionalID(name+"-move"),
		kgo.ConsumerGroup(name+"-move"), kgo.ConsumeTopics(name), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RequireStableFetchOffsets())
	check(err)
	for moved := 0; moved < 7; {
		fetches := session.PollFetches(ctx)
		check(fetches.Err())
		check(session.Begin())
		fetches.EachRecord(func(read *kgo.Record) {
			moved++
			session.Produce(ctx, record(target, 0, string(read.Value)), nil)
		})
		committed, err := session.End(ctx, kgo.TryCommit)
		check(err)
		if !committed {
			check(errors.New("the transaction was not committed"))
		}
	}
	// The marker of the offsets comes after the answer to the producer.
	until("the committed offset", func() bool {
		offsets, err := kadm.NewClient(session.Client()).FetchOffsets(ctx, name+"-move")
		check(err)
		offset, _ := offsets.Lookup(name, 0)
		return offset.At == 13
	})
	fmt.Println("moved up to 13")
	session.Close()
	read(ctx, servers, target, 7, kgo.ReadCommitted())
}

// admin asks for what an administrator does.
func admin(ctx context.Context, servers []string, name string) {
	client := client(servers)
	defer client.Close()
	admin := kadm.NewClient(client)
	created, err := admin.CreateTopics(ctx, 3, 2, map[string]*string{"retention.ms": kadm.StringPtr("5000")}, name, "bad name")
	check(err)
	for _, topic := range created.Sorted() {
		fmt.Println("created", topic.Topic, topic.NumPartitions, topic.ReplicationFactor, word(topic.Err), topic.ErrMessage)
	}
	check(client.ProduceSync(ctx, record(name, 0, "a"), record(name, 0, "b"), record(name, 1, "c")).FirstErr())
	var details kadm.TopicDetails
	// A broker learns of it a moment after the controller has answered.
	until("the new topic", func() bool {
		details, err = admin.ListTopics(ctx, name, name+"-missing")
		check(err)
		return len(details[name].Partitions) == 3
	})
	for _, detail := range details.Sorted() {
		fmt.Println("listed", detail.Topic, word(detail.Err), detail.IsInternal, len(detail.Partitions))
		for _, partition := range detail.Partitions.Sorted() {
			fmt.Println(" ", partition.Partition, len(partition.Replicas), len(partition.ISR), len(partition.OfflineReplicas), partition.LeaderEpoch)
		}
	}
	lists := []func(context.Context, ...string) (kadm.ListedOffsets, error){
		admin.ListStartOffsets, admin.ListEndOffsets, admin.ListCommittedOffsets, admin.ListMaxTimestampOffsets,
	}
	for i, list := range lists {
		var offsets kadm.ListedOffsets
		// Each asks any broker for the leaders.
		until("the offsets of all partitions", func() bool {
			offsets, err = list(ctx, name)
			check(err)
			return offsets.Error() == nil && len(offsets[name]) == 3
		})
		var words []string
		offsets.Each(func(offset kadm.ListedOffset) {
			words = append(words, fmt.Sprint(offset.Partition, "=", offset.Offset, " of epoch ", offset.LeaderEpoch))
		})
		slices.Sort(words)
		fmt.Println("offsets", i, words)
	}
	deleted, err := admin.DeleteRecords(ctx, kadm.Offsets{name: {0: {Topic: name, Partition: 0, At: 1}}})
	check(err)
	for _, response := range deleted.Sorted() {
		fmt.Println("records deleted", response.Partition, response.LowWatermark, word(response.Err))
	}
	grown, err := admin.CreatePartitions(ctx, 2, name)
	check(err)
	for _, topic := range grown.Sorted() {
		fmt.Println("grown", topic.Topic, word(topic.Err))
	}
	altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact")},
		{Op: kadm.DeleteConfig, Name: "retention.ms"},
	}, name)
	check(err)
	for _, response := range altered {
		fmt.Println("altered", response.Name, word(response.Err), response.ErrMessage)
	}
	var configs kadm.ResourceConfigs
	until("the new setting", func() bool {
		configs, err = admin.DescribeTopicConfigs(ctx, name)
		check(err)
		return slices.ContainsFunc(configs[0].Configs, func(config kadm.Config) bool { return config.MaybeValue() == "compact" })
	})
	slices.SortFunc(configs[0].Configs, func(one, two kadm.Config) int { return strings.Compare(one.Key, two.Key) })
	for _, config := range configs[0].Configs {
		if config.Key == "cleanup.policy" || config.Key == "retention.ms" || config.Key == "segment.bytes" {
			fmt.Println("config", config.Key, config.MaybeValue(), config.Source, config.Sensitive)
		}
	}
	commit := kadm.Offsets{}
	commit.AddOffset(name, 0, 2, -1)
	var committed kadm.OffsetResponses
	until("a coordinator that knows the topic", func() bool {
		committed, err = admin.CommitOffsets(ctx, name+"-group", commit)
		check(err)
		return committed.Error() == nil
	})
	fmt.Println("committed:", word(committed.Error()))
	var lag kadm.DescribedGroupLags
	until("a lag", func() bool {
		lag, err = admin.Lag(ctx, name+"-group")
		check(err)
		return lag.Error() == nil
	})
	for _, group := range lag {
		fmt.Println("lag", group.Group, group.State, group.Lag.Total(), word(group.Error()))
	}
	gone, err := admin.DeleteGroups(ctx, name+"-group", name+"-missing")
	check(err)
	for _, group := range gone.Sorted() {
		fmt.Println("group deleted", group.Group, word(group.Err))
	}
	removed, err := admin.DeleteTopics(ctx, name, name+"-missing")
	check(err)
	for _, topic := range []string{name, name + "-missing"} {
		fmt.Println("deleted", topic, word(removed[topic].Err))
	}
	brokers, err := admin.ListBrokers(ctx)
	check(err)
	fmt.Println("brokers", brokers.NodeIDs())
}
