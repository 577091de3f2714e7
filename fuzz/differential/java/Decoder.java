import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Iterator;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.utils.ByteUtils;
import org.apache.kafka.common.utils.Utils;

/** What Kafka's own classes make of a case: asked on standard input, answered on standard output. */
public final class Decoder {
    private static final int RESPONSE = 0;
    private static final int BATCHES = 2;
    private static final short API_VERSIONS = 18;

    private static final int REFUSED = 0;
    private static final int MEANING = 1;
    private static final int SKIPPED = 2;

    public static void main(String[] args) throws IOException {
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in));
        DataOutputStream out = new DataOutputStream(new BufferedOutputStream(System.out));
        // What the classes log would stand between the answers.
        System.setOut(System.err);
        while (true) {
            int kind;
            try {
                kind = in.readUnsignedByte();
            } catch (EOFException end) {
                return;
            }
            byte[] bytes = in.readNBytes(in.readInt());
            int tag = REFUSED;
            byte[] meaning = new byte[0];
            try {
                byte[] read = kind == BATCHES ? records(bytes) : message(kind == RESPONSE, bytes);
                tag = read == null ? SKIPPED : MEANING;
                meaning = read == null ? meaning : read;
            } catch (RuntimeException refused) {
                // Its readers throw whatever comes.
            }
            out.writeByte(tag);
            out.writeInt(meaning.length);
            out.write(meaning);
            out.flush();
        }
    }

    /** The message written anew; null if the API or the version is not known. */
    private static byte[] message(boolean isResponse, byte[] bytes) {
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        short key = buffer.getShort();
        short version = buffer.getShort();
        buffer.getInt();
        ApiMessageType api = type(key);
        if (api == null || version < api.lowestSupportedVersion() || version > api.highestSupportedVersion(true)) {
            return null;
        }
        short header = isResponse ? api.responseHeaderVersion(version) : api.requestHeaderVersion(version);
        if (!isResponse && header >= 1) {
            short length = buffer.getShort();
            buffer.position(buffer.position() + Math.max(length, 0));
        }
        if (header >= (isResponse ? 1 : 2)) {
            for (int tags = ByteUtils.readUnsignedVarint(buffer); tags > 0; tags--) {
                ByteUtils.readUnsignedVarint(buffer);
                int size = ByteUtils.readUnsignedVarint(buffer);
                buffer.position(buffer.position() + size);
            }
        }
        ApiMessage message = isResponse ? api.newResponse() : api.newRequest();
        ByteBufferAccessor rest = new ByteBufferAccessor(buffer);
        message.read(rest, version);
        if (isResponse && rest.remaining() > 0) {
            throw new IllegalArgumentException("something follows the message");
        }
        return Utils.toArray(MessageUtil.toByteBufferAccessor(message, version).buffer());
    }

    private static ApiMessageType type(short key) {
        try {
            return ApiMessageType.fromApiKey(key);
        } catch (RuntimeException unknown) {
            return null;
        }
    }

    /** One line for each record. */
    private static byte[] records(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        int read = 0;
        for (RecordBatch batch : MemoryRecords.readableRecords(ByteBuffer.wrap(bytes)).batches()) {
            batch.ensureValid();
            read += batch.sizeInBytes();
            boolean byTheBroker = batch.timestampType() == TimestampType.LOG_APPEND_TIME;
            for (Iterator<Record> records = batch.iterator(); records.hasNext(); ) {
                line(text, records.next(), byTheBroker);
            }
        }
        if (read != bytes.length) {
            throw new IllegalArgumentException("the last batch is cut");
        }
        return text.toString().getBytes(StandardCharsets.UTF_8);
    }

    private static void line(StringBuilder text, Record record, boolean byTheBroker) {
        text.append(record.offset()).append(' ');
        text.append(byTheBroker ? "-" : Long.toString(record.timestamp())).append(' ');
        text.append(hex(record.hasKey() ? record.key() : null)).append(' ');
        text.append(hex(record.hasValue() ? record.value() : null));
        for (Header header : record.headers()) {
            byte[] value = header.value();
            text.append(' ').append(hex(ByteBuffer.wrap(header.key().getBytes(StandardCharsets.UTF_8))));
            text.append('=').append(hex(value == null ? null : ByteBuffer.wrap(value)));
        }
        text.append('\n');
    }

    private static String hex(ByteBuffer bytes) {
        return bytes == null ? "-" : "x" + HexFormat.of().formatHex(Utils.toArray(bytes));
    }
}
