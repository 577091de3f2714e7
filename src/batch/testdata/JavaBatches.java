// Prints batches as Kafka's Java client writes them, one a line: name, a space, hexadecimal.
// java -cp 'KAFKA_2.5.1/libs/*' JavaBatches.java > java.txt
// With a file of such lines as argument it reads them instead, and prints what is in them.

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.*;

class JavaBatches {
    public static void main(String[] args) throws Exception {
        if (args.length > 0) {
            read(Path.of(args[0]));
            return;
        }
        for (byte magic = 0; magic <= 2; magic++) {
            for (CompressionType codec : CompressionType.values()) {
                if (codec == CompressionType.ZSTD && magic < 2) continue;
                for (TimestampType time : new TimestampType[] {TimestampType.CREATE_TIME, TimestampType.LOG_APPEND_TIME}) {
                    if (magic == 0 && time == TimestampType.LOG_APPEND_TIME) continue;
                    for (boolean large : new boolean[] {false, true}) {
                        if (large && (codec == CompressionType.NONE || time == TimestampType.LOG_APPEND_TIME)) continue;
                        print(magic, codec, time, large);
                    }
                }
            }
        }
    }

    static void print(byte magic, CompressionType codec, TimestampType time, boolean large) {
        TimestampType type = magic == 0 ? TimestampType.NO_TIMESTAMP_TYPE : time;
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1024), magic, codec, type, 100L, 9000L);
        long timestamp = magic == 0 ? RecordBatch.NO_TIMESTAMP : 1000L;
        Header[] headers = magic < 2 ? new Header[0]
            : new Header[] {new RecordHeader("trace", bytes("42")), new RecordHeader("none", (byte[]) null)};
        for (int i = 0; i < 3; i++) {
            byte[] key = i == 1 ? null : bytes("key-" + i);
            byte[] value = i == 2 ? null : bytes(("value-" + i + " ").repeat(large ? 12000 : 8));
            builder.append(magic == 0 ? timestamp : timestamp + i, key, value, headers);
        }
        StringBuilder line = new StringBuilder();
        line.append("magic" + magic + "-" + codec.name + (time == TimestampType.LOG_APPEND_TIME ? "-append" : "")
            + (large ? "-large" : "") + " ");
        ByteBuffer buffer = builder.build().buffer();
        while (buffer.hasRemaining()) line.append(String.format("%02x", buffer.get()));
        System.out.println(line);
    }

    static void read(Path path) throws Exception {
        for (String line : Files.readAllLines(path)) {
            String[] parts = line.split(" ");
            ByteBuffer buffer = ByteBuffer.allocate(parts[1].length() / 2);
            for (int i = 0; i < parts[1].length(); i += 2) buffer.put((byte) Integer.parseInt(parts[1].substring(i, i + 2), 16));
            buffer.flip();
            for (RecordBatch batch : MemoryRecords.readableRecords(buffer).batches()) {
                batch.ensureValid();
                System.out.println(parts[0] + ": " + batch.compressionType() + " producer " + batch.producerId() + "/"
                    + batch.producerEpoch() + "/" + batch.baseSequence() + " " + batch.isTransactional());
                for (org.apache.kafka.common.record.Record record : batch) {
                    System.out.println("  " + record.offset() + " " + record.timestamp() + " " + text(record.key()) + " "
                        + text(record.value()).hashCode() + " " + record.headers().length);
                }
            }
        }
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(ByteBuffer buffer) {
        return buffer == null ? "null" : StandardCharsets.UTF_8.decode(buffer).toString();
    }
}
