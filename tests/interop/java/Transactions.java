import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsOptions;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Transactions of Kafka's own producer. Arguments: what to do, and the prefix of all names. */
public class Transactions {
    /** A busy machine may take this long for anything. */
    private static final Duration LIMIT = Duration.ofSeconds(60);

    private final String servers;
    private final String topic;
    private final Admin admin;

    private Transactions(String servers, String topic) {
        this.servers = servers;
        this.topic = topic;
        this.admin = Admin.create(Map.of("bootstrap.servers", servers));
    }

    public static void main(String[] arguments) throws Exception {
        Transactions run = new Transactions(arguments[arguments.length - 1], arguments[1]);
        run.admin.createTopics(List.of(new NewTopic(run.topic, 2, (short) 3))).all().get();
        switch (arguments[0]) {
            case "isolation" -> run.isolation();
            case "fencing" -> run.fencing();
            case "offsets" -> run.offsets();
            case "administration" -> run.administration();
            case "timeout" -> run.timeout();
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        run.admin.close();
    }

    /** What consumers of either isolation see before, during and after transactions that commit and abort. */
    private void isolation() throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = transactional(topic, 600_000);
                KafkaProducer<byte[], byte[]> plain = producer(Map.of())) {
            producer.initTransactions();
            producer.beginTransaction();
            write(producer, "committed", 0, 3);
            write(producer, "committed", 1, 2);
            producer.commitTransaction();
            see("after a commit");
            producer.beginTransaction();
            write(producer, "aborted", 0, 3);
            producer.flush();
            see("before an abort");
            producer.abortTransaction();
            see("after an abort");
            producer.beginTransaction();
            write(producer, "second", 0, 2);
            producer.flush();
            write(plain, "plain", 0, 2);
            plain.flush();
            see("plain records behind an open transaction");
            producer.commitTransaction();
            see("at the end");
            producer.beginTransaction();
            producer.commitTransaction();
            producer.beginTransaction();
            producer.abortTransaction();
            see("after empty transactions");
        }
    }

    /** A second producer of the same id ends what the first has open, and the first can't go on. */
    private void fencing() throws Exception {
        try (KafkaProducer<byte[], byte[]> first = transactional(topic, 600_000)) {
            first.initTransactions();
            first.beginTransaction();
            write(first, "first", 0, 2);
            first.flush();
            try (KafkaProducer<byte[], byte[]> second = transactional(topic, 600_000)) {
                second.initTransactions();
                see("the second has come");
                second.beginTransaction();
                write(second, "second", 0, 1);
                second.commitTransaction();
                see("the second has committed");
            }
            Future<RecordMetadata> late =
                first.send(new ProducerRecord<>(topic, 0, null, "late".getBytes(StandardCharsets.UTF_8)));
            report("a late record", late::get);
            report("a late commit", () -> {
                first.commitTransaction();
                return "committed";
            });
        }
        see("at the end");
        KafkaProducer<byte[], byte[]> hasty = transactional(topic + "-hasty", 86_400_000);
        report("a timeout above the broker's maximum", () -> {
            hasty.initTransactions();
            return "initialized";
        });
        hasty.close(Duration.ZERO);
    }

    /** Offsets that are committed with a transaction, or not. */
    @SuppressWarnings("removal") // Other clients are not consumers of Kafka's own either.
    private void offsets() throws Exception {
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaProducer<byte[], byte[]> producer = transactional(topic, 600_000)) {
            producer.initTransactions();
            ConsumerGroupMetadata nobody = new ConsumerGroupMetadata(topic + "-group");
            for (int offset = 1; offset <= 4; offset++) {
                producer.beginTransaction();
                write(producer, "record", 0, 1);
                producer.sendOffsetsToTransaction(Map.of(partition, new OffsetAndMetadata(offset, "at " + offset)), nobody);
                if (offset % 2 == 0) {
                    producer.abortTransaction();
                } else {
                    producer.commitTransaction();
                }
                System.out.println("committed: " + committed(nobody.groupId()));
            }
            ConsumerGroupMetadata stranger = new ConsumerGroupMetadata(topic + "-group", 5, "nobody", Optional.empty());
            producer.beginTransaction();
            report("offsets of a member that is none", () -> {
                producer.sendOffsetsToTransaction(Map.of(partition, new OffsetAndMetadata(9)), stranger);
                producer.commitTransaction();
                return "committed";
            });
            producer.abortTransaction();
            System.out.println("committed: " + committed(nobody.groupId()));
        }
    }

    /** What an administrator sees and can do. */
    private void administration() throws Exception {
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaProducer<byte[], byte[]> producer = transactional(topic, 600_000)) {
            producer.initTransactions();
            describe("initialized");
            producer.beginTransaction();
            write(producer, "open", 0, 2);
            write(producer, "open", 1, 1);
            producer.flush();
            describe("open");
            ProducerState open = producers(partition).get(0);
            System.out.println("open since " + open.currentTransactionStartOffset()
                + ", last sequence " + open.lastSequence());
            producer.commitTransaction();
            describe("committed");
            System.out.println("open since " + producers(partition).get(0).currentTransactionStartOffset());
            producer.beginTransaction();
            write(producer, "hanging", 0, 1);
            producer.flush();
            ProducerState hanging = producers(partition).get(0);
            admin.abortTransaction(new AbortTransactionSpec(partition, hanging.producerId(),
                (short) hanging.producerEpoch(), hanging.coordinatorEpoch().orElse(0))).all().get();
            see("aborted by an administrator");
            admin.fenceProducers(List.of(topic)).all().get();
            report("a commit of a fenced producer", () -> {
                producer.commitTransaction();
                return "committed";
            });
        }
        describe("fenced");
        report("a transaction of nobody", () -> admin.describeTransactions(List.of(topic + "-missing")).all().get());
    }

    /** The coordinator aborts what stays open too long. */
    private void timeout() throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = transactional(topic, 1_000)) {
            producer.initTransactions();
            producer.beginTransaction();
            write(producer, "forgotten", 0, 2);
            producer.flush();
            long deadline = System.nanoTime() + LIMIT.toNanos();
            while (end("read_committed", 0) < 3) {
                if (System.nanoTime() > deadline) {
                    throw new AssertionError("the transaction is still open");
                }
                Thread.sleep(100);
            }
            see("timed out");
            report("a late commit", () -> {
                producer.commitTransaction();
                return "committed";
            });
            // Kafka's coordinator takes the producer back with a new epoch; older ones fenced it.
            report("an abort", () -> {
                producer.abortTransaction();
                return "aborted";
            });
        }
        describe("timed out");
    }

    /** The transaction once its markers are written, which goes on after the producer has its answer. */
    private TransactionDescription settled() throws Exception {
        long deadline = System.nanoTime() + LIMIT.toNanos();
        while (true) {
            TransactionDescription described = admin.describeTransactions(List.of(topic)).all().get().get(topic);
            if (!described.state().toString().startsWith("Prepare")) {
                return described;
            }
            if (System.nanoTime() > deadline) {
                throw new AssertionError("the markers are not written: " + described);
            }
            Thread.sleep(20);
        }
    }

    private void describe(String when) throws Exception {
        long transactions = admin.listTransactions(new ListTransactionsOptions().filterOnDuration(0)).all().get().stream()
            .filter(each -> each.transactionalId().equals(topic)).count();
        TransactionDescription described = settled();
        System.out.println(when + ": " + transactions + " listed, " + described.state() + ", timeout "
            + described.transactionTimeoutMs() + ", started " + described.transactionStartTimeMs().isPresent()
            + ", partitions " + new java.util.TreeSet<>(described.topicPartitions().stream().map(Object::toString).toList()));
    }

    private List<ProducerState> producers(TopicPartition partition) throws Exception {
        return admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers();
    }

    private String committed(String group) throws Exception {
        // Admin leaves out what is in doubt, and the markers come after the answer to the producer.
        settled();
        Map<TopicPartition, OffsetAndMetadata> all = admin.listConsumerGroupOffsets(group,
            new ListConsumerGroupOffsetsOptions().requireStable(true)).partitionsToOffsetAndMetadata().get();
        Map<String, String> sorted = new TreeMap<>();
        all.forEach((partition, offset) -> sorted.put(partition.toString(), offset.offset() + " " + offset.metadata()));
        return sorted.toString();
    }

    /** Prints all that consumers of both isolations can read, and where the log ends for them. */
    private void see(String when) throws Exception {
        settled();
        System.out.println(when);
        for (String isolation : List.of("read_uncommitted", "read_committed")) {
            for (int index = 0; index < 2; index++) {
                long end = end(isolation, index);
                System.out.println(isolation + " " + index + ": " + read(isolation, index, end) + " end " + end);
            }
        }
    }

    private List<String> read(String isolation, int index, long end) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(isolation)) {
            TopicPartition partition = new TopicPartition(topic, index);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            List<String> seen = new ArrayList<>();
            long deadline = System.nanoTime() + LIMIT.toNanos();
            // The position passes what is not handed out: markers and aborted records.
            while (consumer.position(partition) < end) {
                if (System.nanoTime() > deadline) {
                    throw new AssertionError("only " + seen);
                }
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    seen.add(record.offset() + ":" + new String(record.value(), StandardCharsets.UTF_8));
                }
            }
            return seen;
        }
    }

    private long end(String isolation, int index) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(isolation)) {
            TopicPartition partition = new TopicPartition(topic, index);
            return consumer.endOffsets(List.of(partition)).get(partition);
        }
    }

    private void write(KafkaProducer<byte[], byte[]> producer, String name, int partition, int count) {
        for (int i = 0; i < count; i++) {
            producer.send(new ProducerRecord<>(topic, partition, null, (name + "-" + i).getBytes(StandardCharsets.UTF_8)));
        }
    }

    private interface Step {
        Object run() throws Exception;
    }

    /** Prints what came of a step: its value, or the class of its exception. */
    private static void report(String what, Step step) {
        String outcome;
        try {
            Object value = step.run();
            outcome = value instanceof RecordMetadata sent ? "offset " + sent.offset() : String.valueOf(value);
        } catch (ExecutionException failed) {
            outcome = failed.getCause().getClass().getSimpleName();
        } catch (Exception failed) {
            outcome = failed.getClass().getSimpleName()
                + (failed.getCause() == null ? "" : " of " + failed.getCause().getClass().getSimpleName());
        }
        System.out.println(what + ": " + outcome);
    }

    private KafkaProducer<byte[], byte[]> transactional(String id, int timeout) {
        return producer(Map.of("transactional.id", id, "transaction.timeout.ms", Integer.toString(timeout)));
    }

    private KafkaProducer<byte[], byte[]> producer(Map<String, String> settings) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", servers);
        properties.putAll(settings);
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private KafkaConsumer<byte[], byte[]> consumer(String isolation) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", servers);
        properties.put("isolation.level", isolation);
        properties.put("enable.auto.commit", "false");
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }
}
