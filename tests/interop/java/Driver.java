import java.io.BufferedOutputStream;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.common.utils.Exit;
import org.apache.kafka.server.util.ThroughputThrottler;
import org.slf4j.LoggerFactory;

/**
 * Runs many Kafka tools and programs in one JVM, many at a time, each as if it had a process of its own.
 *
 * <p>Prints its port; then each connection is one run. It sends a count and that many strings (each a length and UTF-8
 * bytes): standard input, the class, the arguments. Back come lines: {@code o} or {@code e} and a line of the run's
 * standard output or error, at last {@code x} and its exit status. Closing the connection's sending side is SIGTERM.
 */
public class Driver {
    /** The run that a thread belongs to: threads that a run starts inherit it. */
    private static final InheritableThreadLocal<Run> CURRENT = new InheritableThreadLocal<>();
    private static final RoutedOutput OUTPUT = new RoutedOutput('o', System.out);
    private static final RoutedOutput ERROR = new RoutedOutput('e', System.err);

    public static void main(String[] arguments) throws IOException {
        // The log must find the real standard error, or it would write into the output of whatever run comes first.
        LoggerFactory.getLogger(Driver.class).debug("ready");
        try (ServerSocket server = new ServerSocket(0, 100, InetAddress.getLoopbackAddress())) {
            System.out.println(server.getLocalPort());
            System.setIn(new RoutedInput(System.in));
            System.setOut(new PrintStream(OUTPUT, true, StandardCharsets.UTF_8));
            System.setErr(new PrintStream(ERROR, true, StandardCharsets.UTF_8));
            Exit.setExitProcedure((status, message) -> leave(status, message));
            Exit.setHaltProcedure((status, message) -> leave(status, message));
            Exit.setShutdownHookAdder((name, hook) -> CURRENT.get().hooks.add(hook));
            while (true) {
                Socket socket = server.accept();
                new Thread(() -> serve(socket), "run").start();
            }
        }
    }

    private static void leave(int status, String message) {
        if (message != null) {
            System.err.println(message);
        }
        Run run = CURRENT.get();
        // A tool that catches everything would come here twice, after words about an exit it takes for a failure.
        if (run.status == null) {
            run.status = status;
        }
        throw new Left();
    }

    private static void serve(Socket socket) {
        try (socket) {
            DataInputStream in = new DataInputStream(socket.getInputStream());
            String[] words = new String[in.readInt()];
            for (int i = 0; i < words.length; i++) {
                byte[] bytes = new byte[in.readInt()];
                in.readFully(bytes);
                words[i] = new String(bytes, StandardCharsets.UTF_8);
            }
            Run run = new Run(words[0], socket.getOutputStream());
            CURRENT.set(run);
            Thread listener = new Thread(() -> run.awaitTermination(in), "terminate");
            listener.setDaemon(true);
            listener.start();
            run.execute(words[1], List.of(words).subList(2, words.length).toArray(new String[0]));
            OUTPUT.endPartialLine(run);
            ERROR.endPartialLine(run);
            run.line('x', Integer.toString(run.status));
        } catch (IOException gone) {
            // The test has ended.
        }
    }

    /** One run of a tool or program. */
    private static final class Run {
        final InputStream input;
        final List<Runnable> hooks = new CopyOnWriteArrayList<>();
        /** Set where a process would end; what is said after that is not heard. */
        volatile Integer status;
        private final AtomicBoolean ended = new AtomicBoolean();
        private final OutputStream socket;

        Run(String input, OutputStream socket) {
            this.input = new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8));
            this.socket = new BufferedOutputStream(socket);
        }

        void execute(String name, String[] arguments) {
            int ended = 0;
            try {
                // Tools keep counts and latches in statics: each run has its own copy of their classes.
                Class<?> tool = new ToolLoader().loadClass(name);
                if (name.endsWith(".VerifiableProducer") || name.endsWith(".VerifiableConsumer")) {
                    verifiable(tool, arguments);
                } else {
                    tool.getMethod("main", String[].class).invoke(null, (Object) arguments);
                }
            } catch (InvocationTargetException failed) {
                if (!(failed.getCause() instanceof Left)) {
                    failed.getCause().printStackTrace();
                    ended = 1;
                }
            } catch (ReflectiveOperationException | RuntimeException failed) {
                failed.printStackTrace();
                ended = 1;
            }
            // What a tool leaves to the end of its process, such as closing its producer.
            runHooks();
            if (status == null) {
                status = ended;
            }
        }

        /** What their main methods do, which bypass {@link Exit}. */
        private void verifiable(Class<?> tool, String[] arguments) throws ReflectiveOperationException {
            Method parser = tool.getDeclaredMethod("argParser");
            parser.setAccessible(true);
            Object made = null;
            for (Method method : tool.getMethods()) {
                if (method.getName().equals("createFromArgs")) {
                    made = method.invoke(null, parser.invoke(null), arguments);
                }
            }
            Method close = tool.getMethod("close");
            Object running = made;
            Runnable end = () -> {
                try {
                    close.invoke(running);
                } catch (ReflectiveOperationException failed) {
                    failed.printStackTrace();
                }
            };
            if (tool.getSimpleName().equals("VerifiableProducer")) {
                ThroughputThrottler throttler = new ThroughputThrottler(-1, System.currentTimeMillis());
                tool.getMethod("run", ThroughputThrottler.class).invoke(running, throttler);
                end.run();
            } else {
                hooks.add(end);
                tool.getMethod("run").invoke(running);
            }
        }

        void awaitTermination(InputStream in) {
            try {
                while (in.read() >= 0) {
                    // Nothing more is to come.
                }
            } catch (IOException gone) {
                // As good as asked to end.
            }
            runHooks();
        }

        /** Once, as a process ends once: at its end, or when it is told to end. */
        private void runHooks() {
            if (ended.compareAndSet(false, true)) {
                hooks.forEach(Runnable::run);
            }
        }

        synchronized void line(char kind, String text) throws IOException {
            socket.write((kind + " " + text + "\n").getBytes(StandardCharsets.UTF_8));
            socket.flush();
        }
    }

    /** Thrown where a process would end. */
    private static final class Left extends Error {
        private static final long serialVersionUID = 1;

        Left() {
            super("the run has left", null, false, false);
        }
    }

    /** Loads Kafka's tools anew, everything else once. */
    private static final class ToolLoader extends URLClassLoader {
        ToolLoader() {
            super(new URL[] {source("org.apache.kafka.tools.TopicCommand"), source("kafka.admin.ConfigCommand")},
                Driver.class.getClassLoader());
        }

        private static URL source(String name) {
            try {
                return Class.forName(name).getProtectionDomain().getCodeSource().getLocation();
            } catch (ClassNotFoundException missing) {
                throw new IllegalStateException(missing);
            }
        }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            synchronized (getClassLoadingLock(name)) {
                boolean tool = name.startsWith("org.apache.kafka.tools.") || name.startsWith("kafka.");
                Class<?> found = findLoadedClass(name);
                if (found == null && tool) {
                    try {
                        found = findClass(name);
                    } catch (ClassNotFoundException elsewhere) {
                        // An interface of the tools, which formatters from other jars implement.
                    }
                }
                return found != null ? found : super.loadClass(name, resolve);
            }
        }
    }

    private static final class RoutedInput extends InputStream {
        private final InputStream own;

        RoutedInput(InputStream own) {
            this.own = own;
        }

        private InputStream routed() {
            Run run = CURRENT.get();
            return run == null ? own : run.input;
        }

        @Override
        public int read() throws IOException {
            return routed().read();
        }

        @Override
        public int read(byte[] buffer, int from, int count) throws IOException {
            return routed().read(buffer, from, count);
        }

        @Override
        public void close() {
            // Belongs to all.
        }
    }

    /** Collects the bytes of each thread into lines, and sends these to the thread's run. */
    private static final class RoutedOutput extends OutputStream {
        private final ThreadLocal<ByteArrayOutputStream> partial = ThreadLocal.withInitial(ByteArrayOutputStream::new);
        private final char kind;
        private final PrintStream own;

        RoutedOutput(char kind, PrintStream own) {
            this.kind = kind;
            this.own = own;
        }

        @Override
        public void write(int octet) throws IOException {
            Run run = CURRENT.get();
            if (run == null) {
                own.write(octet);
            } else if (run.status != null) {
                partial.get().reset();
            } else if (octet == '\n') {
                endLine(run);
            } else {
                partial.get().write(octet);
            }
        }

        /** A run that ends within a line has said something all the same. */
        void endPartialLine(Run run) throws IOException {
            if (partial.get().size() > 0) {
                endLine(run);
            }
        }

        private void endLine(Run run) throws IOException {
            ByteArrayOutputStream bytes = partial.get();
            String text = bytes.toString(StandardCharsets.UTF_8);
            bytes.reset();
            run.line(kind, text);
        }
    }
}
