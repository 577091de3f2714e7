import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.function.Supplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigsOptions;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreatePartitionsOptions;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Kafka's own Admin, asked for what the tools do not show. Arguments: the prefix of all names. */
public class Administration {
    /** A busy machine may take this long for anything. */
    private static final Duration LIMIT = Duration.ofSeconds(60);

    private final Admin admin;
    private final String topic;

    private Administration(String servers, String topic) {
        this.admin = Admin.create(Map.of("bootstrap.servers", servers));
        this.topic = topic;
    }

    public static void main(String[] arguments) throws Exception {
        Administration run = new Administration(arguments[arguments.length - 1], arguments[0]);
        run.cluster();
        run.topics();
        run.settings();
        run.offsets();
        run.groups();
        run.admin.close();
    }

    private void cluster() throws Exception {
        DescribeClusterResult cluster = admin.describeCluster();
        System.out.println("brokers " + cluster.nodes().get().stream().map(node -> node.id()).sorted().toList()
            + ", a controller " + (cluster.controller().get() != null)
            + ", racks " + cluster.nodes().get().stream().map(node -> node.hasRack()).toList()
            + ", operations " + cluster.authorizedOperations().get());
        report("a broker that there is not is unregistered", admin.unregisterBroker(77).all());
        System.out.println("the id is 22 characters: " + (cluster.clusterId().get().length() == 22));
        Map<String, Object> features = new TreeMap<>(admin.describeFeatures().featureMetadata().get().finalizedFeatures());
        System.out.println("group.version " + features.get("group.version")
            + ", transaction.version " + features.get("transaction.version"));
    }

    private void topics() throws Exception {
        Map<String, String> settings = Map.of("retention.ms", "5000", "compression.type", "zstd");
        NewTopic plain = new NewTopic(topic, 2, (short) 2).configs(settings);
        CreateTopicsResult rehearsal = admin.createTopics(List.of(plain), new CreateTopicsOptions().validateOnly(true));
        System.out.println("rehearsed: " + rehearsal.numPartitions(topic).get() + " " + rehearsal.replicationFactor(topic).get());
        report("described before it is made", admin.describeTopics(List.of(topic)).allTopicNames());
        CreateTopicsResult created = admin.createTopics(List.of(plain,
            new NewTopic(topic + "-defaults", Optional.empty(), Optional.empty()),
            new NewTopic(topic + "-assigned", Map.of(0, List.of(3, 1), 1, List.of(2, 3)))));
        for (String name : List.of(topic, topic + "-defaults", topic + "-assigned")) {
            System.out.println(name + ": " + created.numPartitions(name).get() + " " + created.replicationFactor(name).get());
        }
        created.config(topic).get().entries().stream().filter(entry -> settings.containsKey(entry.name()))
            .sorted((one, two) -> one.name().compareTo(two.name()))
            .forEach(entry -> System.out.println(entry.name() + " " + entry.value() + " " + entry.source()));
        Map<String, TopicDescription> all = known(() ->
            admin.describeTopics(List.of(topic, topic + "-defaults", topic + "-assigned")).allTopicNames());
        TopicDescription described = all.get(topic);
        System.out.println("the ids agree: " + described.topicId().equals(created.topicId(topic).get()));
        System.out.println("found by id: "
            + known(() -> admin.describeTopics(TopicCollection.ofTopicIds(List.of(described.topicId()))).allTopicIds())
                .values().stream().map(TopicDescription::name).toList());
        report("a topic id of nobody",
            admin.describeTopics(TopicCollection.ofTopicIds(List.of(Uuid.ONE_UUID))).allTopicIds());
        all.get(topic + "-assigned").partitions().forEach(partition -> System.out.println(partition.partition() + ": "
            + partition.replicas().stream().map(node -> node.id()).toList() + " led by " + partition.leader().id()
            + ", in sync " + partition.isr().size()));
        CreatePartitionsOptions rehearse = new CreatePartitionsOptions().validateOnly(true);
        report("rehearsed partitions", admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4)), rehearse).all());
        report("partitions", admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3)), new CreatePartitionsOptions()).all());
        report("as many partitions", admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all());
        report("fewer partitions", admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(1))).all());
        report("partitions of a missing topic",
            admin.createPartitions(Map.of(topic + "-missing", NewPartitions.increaseTo(3))).all());
        await("the new partition", () ->
            known(() -> admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size() == 3);
        admin.electLeaders(ElectionType.PREFERRED, Set.of(new TopicPartition(topic, 0), new TopicPartition(topic, 99)))
            .partitions().get().entrySet().stream()
            .sorted((one, two) -> one.getKey().partition() - two.getKey().partition())
            .forEach(entry -> System.out.println("election of " + entry.getKey() + ": "
                + entry.getValue().map(error -> error.getClass().getSimpleName() + " " + error.getMessage())));
        report("deleted", admin.deleteTopics(List.of(topic + "-defaults")).all());
        report("deleted by id", admin.deleteTopics(TopicCollection.ofTopicIds(List.of(
            created.topicId(topic + "-assigned").get()))).all());
        report("deleted again", admin.deleteTopics(List.of(topic + "-defaults")).all());
        report("deleted by an id of nobody", admin.deleteTopics(TopicCollection.ofTopicIds(List.of(Uuid.ONE_UUID))).all());
    }

    private void settings() throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        alter("set", resource, op("retention.ms", "9000", AlterConfigOp.OpType.SET));
        alter("append", resource, op("cleanup.policy", "compact", AlterConfigOp.OpType.APPEND));
        alter("append again", resource, op("cleanup.policy", "compact", AlterConfigOp.OpType.APPEND));
        show(resource, "cleanup.policy=delete,compact", "retention.ms", "cleanup.policy", "compression.type", "flush.ms");
        alter("subtract", resource, op("cleanup.policy", "delete", AlterConfigOp.OpType.SUBTRACT));
        alter("append to what is no list", resource, op("retention.ms", "1", AlterConfigOp.OpType.APPEND));
        alter("delete", resource, op("retention.ms", "", AlterConfigOp.OpType.DELETE));
        alter("two at once", resource, op("flush.ms", "1", AlterConfigOp.OpType.SET), op("flush.ms", "2", AlterConfigOp.OpType.SET));
        alter("one good, one bad", resource, op("flush.ms", "5", AlterConfigOp.OpType.SET), op("retention.ms", "x", AlterConfigOp.OpType.SET));
        report("rehearsed", admin.incrementalAlterConfigs(
            Map.of(resource, List.of(op("flush.ms", "7", AlterConfigOp.OpType.SET))),
            new AlterConfigsOptions().validateOnly(true)).all());
        show(resource, "retention.ms=-1", "retention.ms", "cleanup.policy", "compression.type", "flush.ms");
        alter("a missing topic", new ConfigResource(ConfigResource.Type.TOPIC, topic + "-missing"),
            op("flush.ms", "1", AlterConfigOp.OpType.SET));
        report("settings of a missing topic",
            admin.describeConfigs(List.of(new ConfigResource(ConfigResource.Type.TOPIC, topic + "-missing"))).all());
        show(new ConfigResource(ConfigResource.Type.BROKER, "1"), "num.partitions=3", "num.partitions", "message.max.bytes",
            "log.retention.hours", "auto.create.topics.enable", "default.replication.factor", "min.insync.replicas");
    }

    private void offsets() throws Exception {
        TopicPartition partition = new TopicPartition(topic, 0);
        for (OffsetSpec spec : List.of(OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.maxTimestamp(),
                OffsetSpec.forTimestamp(1_600_000_000_000L), OffsetSpec.earliestLocal(), OffsetSpec.latestTiered())) {
            for (IsolationLevel isolation : IsolationLevel.values()) {
                ListOffsetsResult.ListOffsetsResultInfo found =
                    admin.listOffsets(Map.of(partition, spec), new ListOffsetsOptions(isolation)).all().get().get(partition);
                System.out.println(spec.getClass().getSimpleName() + " " + isolation + ": " + found.offset() + " "
                    + found.timestamp() + " " + found.leaderEpoch());
            }
        }
        report("nothing to delete", admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(0))).all());
        report("too much to delete", admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(1))).all());
    }

    private void groups() throws Exception {
        TopicPartition partition = new TopicPartition(topic, 0);
        String group = topic + "-group";
        report("described before it is made", admin.describeConsumerGroups(List.of(group)).all());
        report("offsets before it is made", admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        offsets.put(partition, new OffsetAndMetadata(3, Optional.of(0), "by hand"));
        offsets.put(new TopicPartition(topic, 1), new OffsetAndMetadata(4));
        // The coordinator may be a broker that has not been asked for the topic yet.
        known(() -> admin.alterConsumerGroupOffsets(group, offsets).all());
        report("offsets of a missing topic", admin.alterConsumerGroupOffsets(group,
            Map.of(new TopicPartition(topic + "-missing", 0), new OffsetAndMetadata(1))).all());
        Map<String, String> committed = new TreeMap<>();
        admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((key, value) ->
            committed.put(key.toString(), value.offset() + " " + value.leaderEpoch() + " " + value.metadata()));
        System.out.println("committed: " + committed);
        admin.describeConsumerGroups(List.of(group)).all().get().values().forEach(described ->
            System.out.println("described: " + described.groupState() + " " + described.type() + " '"
                + described.partitionAssignor() + "' members " + described.members().size() + ", simple "
                + described.isSimpleConsumerGroup() + ", a coordinator " + (described.coordinator() != null)));
        System.out.println("listed: " + admin.listGroups().all().get().stream()
            .filter(each -> each.groupId().equals(group))
            .map(each -> each.groupState() + " " + each.type() + " '" + each.protocol() + "'").toList());
        report("offsets deleted", admin.deleteConsumerGroupOffsets(group, Set.of(partition)).all());
        report("the group deleted", admin.deleteConsumerGroups(List.of(group)).all());
        report("the group deleted again", admin.deleteConsumerGroups(List.of(group)).all());
        report("a metadata that is too long", admin.alterConsumerGroupOffsets(group,
            Map.of(partition, new OffsetAndMetadata(1, "m".repeat(5000)))).all());
    }

    private void alter(String what, ConfigResource resource, AlterConfigOp... operations) {
        Map<ConfigResource, Collection<AlterConfigOp>> all = Map.of(resource, Arrays.asList(operations));
        report(what, admin.incrementalAlterConfigs(all).all());
    }

    private static AlterConfigOp op(String name, String value, AlterConfigOp.OpType type) {
        return new AlterConfigOp(new ConfigEntry(name, value), type);
    }

    /** Prints settings as a broker has them that knows already of {@code last}, the last change. */
    private void show(ConfigResource resource, String last, String... names) throws Exception {
        DescribeConfigsOptions all = new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
        String[] change = last.split("=");
        await(last, () -> {
            Config config = known(() -> admin.describeConfigs(List.of(resource), all).all()).get(resource);
            if (!config.get(change[0]).value().equals(change[1])) {
                return false;
            }
            for (String name : names) {
                ConfigEntry entry = config.get(name);
                System.out.println(name + "=" + entry.value() + " " + entry.source() + " " + entry.type()
                    + (entry.isReadOnly() ? " read-only" : "") + (entry.isSensitive() ? " sensitive" : "")
                    + " " + entry.synonyms().stream().map(each -> each.name() + "=" + each.value() + " " + each.source()).toList());
            }
            return true;
        });
    }

    /** The answer of a broker that knows of the topic: others are asked again. */
    private static <T> T known(Supplier<KafkaFuture<T>> request) throws Exception {
        List<T> answer = new ArrayList<>();
        await("the topic", () -> {
            try {
                return answer.add(request.get().get());
            } catch (ExecutionException failed) {
                if (failed.getCause() instanceof UnknownTopicOrPartitionException
                        || failed.getCause() instanceof UnknownTopicIdException) {
                    return false;
                }
                throw failed;
            }
        });
        return answer.get(0);
    }

    /** Brokers learn of a change a moment after the controller has answered. */
    private static void await(String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + LIMIT.toNanos();
        while (!condition.call()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("waited too long for " + what);
            }
            Thread.sleep(20);
        }
    }

    /** Prints what came of a request: its value, or its exception with the message from the broker. */
    private static void report(String what, KafkaFuture<?> future) {
        String outcome;
        try {
            Object value = future.get();
            outcome = value == null ? "done" : value.toString();
        } catch (ExecutionException failed) {
            outcome = failed.getCause().getClass().getSimpleName() + " " + failed.getCause().getMessage();
        } catch (InterruptedException ended) {
            outcome = "interrupted";
        }
        System.out.println(what + ": " + outcome);
    }
}
