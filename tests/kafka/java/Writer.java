import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes what Kafka's own tools can't: every codec in one process, and transactions that are aborted or stay open.
 *
 * <p>Arguments: bootstrap servers, topic, then steps {@code KIND:PARTITION:NAME:COUNT}. Each writes records NAME-0 to
 * NAME-(COUNT-1) of that key and value: with the codec NAME if KIND is {@code plain}, or {@code bare} for no headers,
 * else in a transaction that ends as KIND says, {@code commit}, {@code abort} or {@code open}. Nothing may follow an
 * open one: the process halts without a word to the broker.
 */
public class Writer {
    public static void main(String[] arguments) {
        String topic = arguments[1];
        KafkaProducer<byte[], byte[]> transactional = null;
        for (int i = 2; i < arguments.length; i++) {
            String[] step = arguments[i].split(":");
            if (step[0].equals("plain") || step[0].equals("bare")) {
                try (KafkaProducer<byte[], byte[]> producer = producer(arguments[0], "compression.type", step[2])) {
                    write(producer, topic, step);
                }
                continue;
            }
            if (transactional == null) {
                transactional = producer(arguments[0], "transactional.id", topic);
                transactional.initTransactions();
            }
            transactional.beginTransaction();
            write(transactional, topic, step);
            // Before an abort, or the producer throws away what it has not sent yet.
            transactional.flush();
            switch (step[0]) {
                case "commit" -> transactional.commitTransaction();
                case "abort" -> transactional.abortTransaction();
                case "open" -> Runtime.getRuntime().halt(0);
                default -> throw new IllegalArgumentException(arguments[i]);
            }
        }
    }

    private static KafkaProducer<byte[], byte[]> producer(String servers, String key, String value) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", servers);
        properties.put("acks", "all");
        properties.put("linger.ms", "20");
        properties.put("transaction.timeout.ms", "600000");
        properties.put(key, value);
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static void write(KafkaProducer<byte[], byte[]> producer, String topic, String[] step) {
        for (int i = 0; i < Integer.parseInt(step[3]); i++) {
            byte[] text = (step[2] + "-" + i).getBytes(StandardCharsets.UTF_8);
            ProducerRecord<byte[], byte[]> record =
                new ProducerRecord<>(topic, Integer.valueOf(step[1]), 1_600_000_000_000L + i, text, text);
            // Formats before Kafka 0.11 have no headers, and the broker refuses records with some.
            if (!step[0].equals("bare")) {
                record.headers().add("number", Integer.toString(i).getBytes(StandardCharsets.UTF_8));
            }
            producer.send(record);
        }
        producer.flush();
    }
}
