// Program sarama does with Sarama what its users do, and prints what happened: records and offsets, never addresses,
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

	"github.com/IBM/sarama"
)

// limit is how long a busy machine may take for anything.
const limit = 60 * time.Second

func main() {
	servers, name := strings.Split(os.Args[1], ","), os.Args[3]
	cases := map[string]func([]string, string){
		"produce":     produce,
		"group":       group,
		"admin":       admin,
		"transaction": transaction,
	}
	cases[os.Args[2]](servers, name)
}

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

// word is an error by its code, without the parts that name addresses.
func word(err error) string {
	var code sarama.KError
	if errors.As(err, &code) {
		return fmt.Sprintf("code %d", int16(code))
	}
	if err == nil {
		return "no error"
	}
	return err.Error()
}

func config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Return.Successes = true
	config.Producer.Return.Errors = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Consumer.Return.Errors = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	return config
}

func create(servers []string, topic string, partitions int32) {
	admin, err := sarama.NewClusterAdmin(servers, config())
	check(err)
	check(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 3}, false))
	check(admin.Close())
}

// produce writes with every codec, synchronously and not, idempotently and not, and reads it back.
func produce(servers []string, name string) {
	create(servers, name, 1)
	codecs := []sarama.CompressionCodec{
		sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD,
	}
	for _, codec := range codecs {
		config := config()
		config.Producer.Compression = codec
		producer, err := sarama.NewSyncProducer(servers, config)
		check(err)
		for i := range 3 {
			partition, offset, err := producer.SendMessage(message(name, fmt.Sprintf("sync %v %d", codec, i)))
			check(err)
			fmt.Println("sent to", partition, offset)
		}
		check(producer.SendMessages([]*sarama.ProducerMessage{message(name, "a"), message(name, "b")}))
		check(producer.Close())
	}
	for _, acks := range []sarama.RequiredAcks{sarama.WaitForAll, sarama.WaitForLocal} {
		config := config()
		config.Producer.RequiredAcks = acks
		config.Producer.Idempotent = acks == sarama.WaitForAll
		config.Net.MaxOpenRequests = 1
		producer, err := sarama.NewAsyncProducer(servers, config)
		check(err)
		go func() {
			for i := range 50 {
				producer.Input() <- message(name, fmt.Sprintf("async %v %d", acks, i))
			}
			producer.AsyncClose()
		}()
		for sent := range producer.Successes() {
			value, _ := sent.Value.Encode()
			fmt.Println("sent", string(value), sent.Partition, sent.Offset)
		}
		for failed := range producer.Errors() {
			check(failed)
		}
	}
	consumer, err := sarama.NewConsumer(servers, config())
	check(err)
	partition, err := consumer.ConsumePartition(name, 0, sarama.OffsetOldest)
	check(err)
	for {
		read := <-partition.Messages()
		fmt.Println("read", read.Offset, string(read.Key), string(read.Value), header(read.Headers))
		if read.Offset == 124 {
			break
		}
	}
	check(partition.Close())
	_, err = consumer.ConsumePartition(name, 0, 1000)
	fmt.Println("from beyond the end:", word(err))
	check(consumer.Close())
}

func message(topic, value string) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{
		Topic: topic, Key: sarama.StringEncoder("key"), Value: sarama.StringEncoder(value),
		Headers: []sarama.RecordHeader{{Key: []byte("from"), Value: []byte("sarama")}},
	}
}

func header(headers []*sarama.RecordHeader) string {
	words := make([]string, 0, len(headers))
	for _, header := range headers {
		words = append(words, string(header.Key)+"="+string(header.Value))
	}
	return strings.Join(words, ",")
}

// group has two members share four partitions with each strategy, and one go on alone.
func group(servers []string, name string) {
	create(servers, name, 4)
	fill(servers, name, 0)
	strategies := []sarama.BalanceStrategy{
		sarama.NewBalanceStrategyRange(), sarama.NewBalanceStrategyRoundRobin(), sarama.NewBalanceStrategySticky(),
	}
	for _, strategy := range strategies {
		id := name + "-" + strategy.Name()
		one, two := newMember(servers, id, name, strategy), newMember(servers, id, name, strategy)
		settled(id, "two members", 2, one, two)
		one.total(40, two)
		two.stop()
		settled(id, "one member", 4, one)
		one.stop()
		committed(servers, id, name)
	}
}

func fill(servers []string, topic string, from int) {
	config := config()
	config.Producer.Partitioner = sarama.NewManualPartitioner
	producer, err := sarama.NewSyncProducer(servers, config)
	check(err)
	for i := range 40 {
		message := message(topic, fmt.Sprint(from+i))
		message.Partition = int32(i % 4)
		_, _, err := producer.SendMessage(message)
		check(err)
	}
	check(producer.Close())
}

// member is one consumer in a group, on a goroutine of its own.
type member struct {
	group sarama.ConsumerGroup
	stop  func()
	lock  sync.Mutex
	held  []int32
	seen  map[string]bool
}

func newMember(servers []string, id, topic string, strategy sarama.BalanceStrategy) *member {
	config := config()
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
	consumers, err := sarama.NewConsumerGroup(servers, id, config)
	check(err)
	member := &member{group: consumers, seen: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		for range consumers.Errors() {
		}
	}()
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := consumers.Consume(ctx, []string{topic}, member); err != nil {
				check(err)
			}
		}
	}()
	member.stop = func() {
		cancel()
		<-done
		check(consumers.Close())
	}
	return member
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.held = nil
	for _, partitions := range session.Claims() {
		m.held = slices.Clone(partitions)
	}
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			m.lock.Lock()
			m.seen[fmt.Sprintf("%d@%d", message.Partition, message.Offset)] = true
			m.lock.Unlock()
			session.MarkMessage(message, "seen")
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *member) state() (held []int32, seen []string) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for each := range m.seen {
		seen = append(seen, each)
	}
	return slices.Clone(m.held), seen
}

// settled waits until each member holds so many partitions, and prints them in some order.
func settled(id, what string, count int, members ...*member) {
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
	var shares []string
	for _, member := range members {
		held, _ := member.state()
		slices.Sort(held)
		if strings.HasSuffix(id, "sticky") {
			// Which ones depends on the members' random ids.
			held = held[:0:0]
		}
		shares = append(shares, fmt.Sprint(held))
	}
	slices.Sort(shares)
	fmt.Println(id, what, shares)
}

// total waits until the two have read so many records between them.
func (m *member) total(count int, other *member) {
	until("all records read", func() bool {
		_, mine := m.state()
		_, others := other.state()
		all := append(mine, others...)
		slices.Sort(all)
		return len(slices.Compact(all)) == count
	})
	fmt.Println("all", count, "records read")
}

func until(what string, condition func() bool) {
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			check(errors.New("waited too long for " + what))
		}
	}
}

func committed(servers []string, id, topic string) {
	admin, err := sarama.NewClusterAdmin(servers, config())
	check(err)
	offsets, err := admin.ListConsumerGroupOffsets(id, map[string][]int32{topic: {0, 1, 2, 3}})
	check(err)
	for partition := range int32(4) {
		block := offsets.Blocks[topic][partition]
		fmt.Println("committed", partition, block.Offset, block.Metadata, int16(block.Err))
	}
	check(admin.Close())
}

// admin asks for what an administrator does.
func admin(servers []string, name string) {
	admin, err := sarama.NewClusterAdmin(servers, config())
	check(err)
	retention, codec := "5000", "zstd"
	check(admin.CreateTopic(name, &sarama.TopicDetail{
		NumPartitions: 2, ReplicationFactor: 2, ConfigEntries: map[string]*string{"retention.ms": &retention},
	}, false))
	err = admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 2}, false)
	fmt.Println("created again:", word(err))
	var topics map[string]sarama.TopicDetail
	until("the new topic", func() bool {
		topics, err = admin.ListTopics()
		check(err)
		return topics[name].NumPartitions > 0
	})
	fmt.Println("listed", topics[name].NumPartitions, topics[name].ReplicationFactor)
	check(admin.CreatePartitions(name, 3, nil, false))
	fmt.Println("fewer partitions:", word(admin.CreatePartitions(name, 1, nil, false)))
	var described []*sarama.TopicMetadata
	until("the new partition", func() bool {
		described, err = admin.DescribeTopics([]string{name, name + "-missing"})
		check(err)
		return len(described[0].Partitions) == 3 || len(described[1].Partitions) == 3
	})
	for _, topic := range described {
		fmt.Println("described", topic.Name, int16(topic.Err), topic.IsInternal, len(topic.Partitions))
	}
	check(admin.IncrementalAlterConfig(sarama.TopicResource, name, map[string]sarama.IncrementalAlterConfigsEntry{
		"compression.type": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &codec},
	}, false))
	var entries []sarama.ConfigEntry
	// A broker learns of it a moment after the controller has answered.
	until("the new setting", func() bool {
		entries, err = admin.DescribeConfig(sarama.ConfigResource{
			Type: sarama.TopicResource, Name: name, ConfigNames: []string{"compression.type", "retention.ms", "max.message.bytes"},
		})
		check(err)
		return slices.ContainsFunc(entries, func(entry sarama.ConfigEntry) bool { return entry.Value == codec })
	})
	slices.SortFunc(entries, func(one, two sarama.ConfigEntry) int { return strings.Compare(one.Name, two.Name) })
	for _, entry := range entries {
		fmt.Println("config", entry.Name, entry.Value, entry.Source, entry.Default, entry.ReadOnly, entry.Sensitive)
	}
	producer, err := sarama.NewSyncProducer(servers, config())
	check(err)
	check(producer.SendMessages([]*sarama.ProducerMessage{message(name, "1"), message(name, "2"), message(name, "3")}))
	check(producer.Close())
	client, err := sarama.NewClient(servers, config())
	check(err)
	for partition := range int32(3) {
		oldest, err := client.GetOffset(name, partition, sarama.OffsetOldest)
		check(err)
		newest, err := client.GetOffset(name, partition, sarama.OffsetNewest)
		check(err)
		fmt.Println("offsets", partition, oldest, newest)
		if newest > 0 {
			check(admin.DeleteRecords(name, map[int32]int64{partition: 2}))
			oldest, err = client.GetOffset(name, partition, sarama.OffsetOldest)
			check(err)
			fmt.Println("oldest after a deletion", oldest)
		}
	}
	groups, err := admin.DescribeConsumerGroups([]string{name + "-nobody"})
	check(err)
	fmt.Println("group", groups[0].State, int16(groups[0].Err))
	fmt.Println("delete a group:", word(admin.DeleteConsumerGroup(name+"-nobody")))
	brokers, _, err := admin.DescribeCluster()
	check(err)
	fmt.Println("brokers", len(brokers))
	check(admin.DeleteTopic(name))
	fmt.Println("deleted again:", word(admin.DeleteTopic(name)))
	check(client.Close())
	check(admin.Close())
}

// transaction commits one transaction and aborts another, both with offsets of a group.
func transaction(servers []string, name string) {
	create(servers, name, 1)
	config := config()
	config.Producer.Idempotent = true
	config.Producer.Transaction.ID = name
	config.Net.MaxOpenRequests = 1
	producer, err := sarama.NewSyncProducer(servers, config)
	check(err)
	for _, commit := range []bool{true, false, true} {
		check(producer.BeginTxn())
		for i := range 3 {
			_, offset, err := producer.SendMessage(message(name, fmt.Sprintf("%d of a transaction that commits %v", i, commit)))
			check(err)
			fmt.Println("sent", offset)
		}
		check(producer.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{
			name: {{Partition: 0, Offset: 7}},
		}, name+"-group"))
		if commit {
			check(producer.CommitTxn())
		} else {
			check(producer.AbortTxn())
		}
		fmt.Println("ended, in error:", producer.TxnStatus()&sarama.ProducerTxnFlagInError != 0)
	}
	check(producer.Close())
	for _, isolation := range []sarama.IsolationLevel{sarama.ReadUncommitted, sarama.ReadCommitted} {
		config.Consumer.IsolationLevel = isolation
		consumer, err := sarama.NewConsumer(servers, config)
		check(err)
		partition, err := consumer.ConsumePartition(name, 0, sarama.OffsetOldest)
		check(err)
		for {
			read := <-partition.Messages()
			fmt.Println("read", isolation, read.Offset, string(read.Value))
			if read.Offset == 10 {
				break
			}
		}
		check(partition.Close())
		check(consumer.Close())
	}
}
