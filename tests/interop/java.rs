//! Kafka's tools and our Java programs, all in one JVM that the tests share: starting one takes seconds of CPU.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::support::kafka::{Version, loopback};
use crate::support::process::{Process, Spec};
use crate::support::{fetch, lock, tools};
use crate::target::Target;
use crate::transcript::{Said, Transcript};

/// The longest that a tool may be silent: real Kafka under load, and a rebalance on top.
const SILENCE_LIMIT: Duration = Duration::from_secs(90);
/// Compilation, and the start of the JVM.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A tool or program that runs in the shared JVM as if in a process of its own; terminated when dropped.
pub(crate) struct Running {
    name: String,
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    partial: Vec<u8>,
    said: Said,
}

/// Runs one of Kafka's tools, by the name of its script without `kafka-`, or one of our programs, by its class, and
/// writes down the arguments and what it said. The bootstrap servers are added.
pub(crate) fn tool(transcript: &mut Transcript, target: &Target, name: &str, arguments: &[&str]) -> Said {
    tool_with_input(transcript, target, name, arguments, "")
}

/// As [`tool`], with a standard input.
pub(crate) fn tool_with_input(
    transcript: &mut Transcript,
    target: &Target,
    name: &str,
    arguments: &[&str],
    input: &str,
) -> Said {
    let said = quiet(target, name, arguments, input);
    transcript.said(&format!("{name} {}", arguments.join(" ")), &said);
    said
}

/// As [`tool`], for one that prints in any order.
pub(crate) fn sorted_tool(transcript: &mut Transcript, target: &Target, name: &str, arguments: &[&str]) -> Said {
    let said = quiet(target, name, arguments, "");
    transcript.sorted(&format!("{name} {}", arguments.join(" ")), &said);
    said
}

/// As [`tool`], not written down. What it changed in the cluster is known to all brokers when this returns.
pub(crate) fn quiet(target: &Target, name: &str, arguments: &[&str], input: &str) -> Said {
    let said = start_with_input(target, name, arguments, input).finish();
    if arguments.iter().any(|argument| ["--create", "--alter", "--delete"].contains(argument)) {
        target.settle();
    }
    said
}

/// Starts a tool that goes on until it is terminated.
pub(crate) fn start(target: &Target, name: &str, arguments: &[&str]) -> Running {
    start_with_input(target, name, arguments, "")
}

fn start_with_input(target: &Target, name: &str, arguments: &[&str], input: &str) -> Running {
    let own = name.starts_with(char::is_uppercase);
    let class = if own { name.to_owned() } else { tools::class(Version::V4_3_0, name) };
    let mut words = vec![input, class.as_str()];
    words.extend(arguments);
    if !arguments.contains(&"--bootstrap-server") {
        words.extend(["--bootstrap-server", target.bootstrap()]);
    }
    let mut stream = TcpStream::connect(loopback(jvm())).expect("connect to the JVM of the tools");
    let mut request = u32::to_be_bytes(words.len() as u32).to_vec();
    for word in words {
        request.extend(u32::to_be_bytes(word.len() as u32));
        request.extend(word.as_bytes());
    }
    stream.write_all(&request).expect("write to the JVM of the tools");
    let reader = BufReader::new(stream.try_clone().expect("a second handle of a connection"));
    let said = Said { status: -1, output: Vec::new(), errors: Vec::new() };
    Running { name: name.to_owned(), stream, reader, partial: Vec::new(), said }
}

impl Running {
    /// Reads on to the first line of standard output that `wanted` accepts, and returns it. Panics if the tool ends or
    /// is silent.
    #[track_caller]
    pub(crate) fn wait_line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            match self.poll_line(SILENCE_LIMIT) {
                Some(line) if wanted(&line) => return line,
                Some(_) => {}
                None => panic!("{} did not say what was waited for: {:?}", self.name, self.said),
            }
        }
    }

    /// The next line of standard output, if it comes within `wait`. Panics if the tool ends.
    #[track_caller]
    pub(crate) fn poll_line(&mut self, wait: Duration) -> Option<String> {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match self.read_line(left)? {
                'o' => return self.said.output.last().cloned(),
                'x' => panic!("{} ended: {:?}", self.name, self.said),
                _ => {}
            }
        }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> &Said {
        &self.said
    }

    /// Asks it to end, as SIGTERM does, and reads all it still says.
    #[track_caller]
    pub(crate) fn terminate(self) -> Said {
        self.stream.shutdown(Shutdown::Write).expect("tell the JVM of the tools");
        self.finish()
    }

    /// Reads to its end.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Said {
        loop {
            match self.read_line(SILENCE_LIMIT) {
                Some('x') => return self.said,
                Some(_) => {}
                None => panic!("{} neither went on nor ended: {:?}", self.name, self.said),
            }
        }
    }

    /// Takes the next line in, if it comes within `wait`, and tells what it is: output, error or exit.
    #[track_caller]
    fn read_line(&mut self, wait: Duration) -> Option<char> {
        self.stream.set_read_timeout(Some(wait)).expect("limit the wait for a tool");
        // What has come of a line when the wait is over stays for the next call.
        match self.reader.read_until(b'\n', &mut self.partial) {
            Ok(read) if read > 0 => {}
            Err(late) if matches!(late.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
            outcome => panic!("lost {}: {outcome:?}, after {:?}", self.name, self.said),
        }
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into_owned();
        let (kind, text) = line.trim_end_matches('\n').split_once(' ').expect("a kind and a text");
        match kind {
            "o" => self.said.output.push(text.to_owned()),
            "e" => self.said.errors.push(text.to_owned()),
            _ => self.said.status = text.parse().expect("an exit status"),
        }
        kind.chars().next()
    }
}

/// The port of the JVM, which lives as long as the test process.
fn jvm() -> u16 {
    static JVM: OnceLock<(u16, Mutex<Process>)> = OnceLock::new();
    let (port, process) = JVM.get_or_init(|| {
        let classes = compile();
        let path = format!("{}:{}/libs/*", classes.display(), fetch::home(Version::V4_3_0).display());
        let mut process = tools::java(Version::V4_3_0, "ERROR", "512m").args(["-cp", &path, "Driver"]).spawn();
        let port = process.next_line(START_LIMIT).and_then(|line| line.parse().ok());
        (port.unwrap_or_else(|| panic!("the JVM of the tools: {}", process.stderr())), Mutex::new(process))
    });
    assert!(lock(process).is_running(), "the JVM of the tools ended: {}", lock(process).stderr());
    *port
}

fn compile() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/java");
    let classes = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("interop-java");
    fs::create_dir_all(&classes).expect("create a folder for classes");
    let files = fs::read_dir(sources).expect("list the Java programs");
    let files = files.map(|file| file.expect("a Java program").path().display().to_string());
    let libraries = format!("{}/libs/*", fetch::home(Version::V4_3_0).display());
    let compiler = tools::java_program().with_file_name("javac");
    let compiler =
        Spec::new(compiler).args(["-cp", &libraries, "-d"]).args([classes.display().to_string()]).args(files);
    compiler.spawn().finish(START_LIMIT).success();
    classes
}
