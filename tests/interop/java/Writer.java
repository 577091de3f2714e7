import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes records whose times are known: number i of a partition is of 2020-09-13T12:26:40Z and i milliseconds.
 *
 * <p>Arguments: topic, then {@code PARTITION:COUNT} each.
 */
public class Writer {
    private static final long FIRST_TIME = 1_600_000_000_000L;

    public static void main(String[] arguments) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[arguments.length - 1]);
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int step = 1; step < arguments.length - 2; step++) {
                String[] words = arguments[step].split(":");
                for (int i = 0; i < Integer.parseInt(words[1]); i++) {
                    byte[] text = (words[0] + "-" + i).getBytes(StandardCharsets.UTF_8);
                    int partition = Integer.parseInt(words[0]);
                    producer.send(new ProducerRecord<>(arguments[0], partition, FIRST_TIME + i, text, text));
                }
            }
        }
    }
}
