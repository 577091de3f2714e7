//! Child processes that never outlive the test process, not even if that is killed.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::lock;

/// The shell becomes the program (so the child's id is the program's), but first leaves a guard in the background that
/// reads a pipe from the test process. At its end without a farewell, which is how a killed process ends, the guard
/// kills the program. `$0` is the program's standard input. The guard gives up the output pipes, or they would never end.
const GUARDED: &str = r#"exec 3<&0
(read -r farewell <&3; [ "$farewell" = done ] || kill -9 $$) >/dev/null 2>&1 &
exec "$@" <"$0" 3<&-"#;

/// How a program is to be started.
pub(crate) struct Spec {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    directory: Option<PathBuf>,
    stdin: PathBuf,
    log: Option<PathBuf>,
}

/// What a program that ended has written.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running program; killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    guard: Option<ChildStdin>,
    status: Option<ExitStatus>,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
}

impl Spec {
    pub(crate) fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
            stdin: PathBuf::from("/dev/null"),
            log: None,
        }
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The file the program reads as its standard input; empty unless said.
    pub(crate) fn stdin(mut self, file: impl Into<PathBuf>) -> Self {
        self.stdin = file.into();
        self
    }

    /// Appends both outputs to this file instead of keeping them as lines.
    pub(crate) fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// Starts the program. Panics if that fails.
    pub(crate) fn spawn(self) -> Process {
        let name = self.program.file_name().unwrap_or_else(|| OsStr::new("?")).to_string_lossy().into_owned();
        let mut command = Command::new("sh");
        command.arg("-c").arg(GUARDED).arg(&self.stdin).arg(&self.program).args(&self.arguments);
        command.envs(self.environment).stdin(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        match &self.log {
            Some(path) => {
                let log = File::options().create(true).append(true).open(path);
                let log = log.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
                command.stderr(log.try_clone().expect("a second handle of the log")).stdout(log);
            }
            None => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let (stdout, stderr) = (Arc::new(Lines::default()), Arc::new(Lines::default()));
        let mut readers = Vec::new();
        readers.extend(child.stdout.take().map(|pipe| read_lines(pipe, &stdout)));
        readers.extend(child.stderr.take().map(|pipe| read_lines(pipe, &stderr)));
        if readers.is_empty() {
            stdout.end();
            stderr.end();
        }
        let guard = child.stdin.take();
        Process { name, child, guard, status: None, stdout, stderr, readers }
    }
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.poll_status().is_none()
    }

    /// Sends a signal by its name, for example `TERM`; nothing happens if the program has ended.
    pub(crate) fn signal(&mut self, signal: &str) {
        // Not yet waited for, so the id cannot have become another process's.
        if self.is_running() {
            let id = self.id().to_string();
            let sent =
                Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &id]).stdin(Stdio::null()).status();
            assert!(sent.is_ok_and(|status| status.success()) || !self.is_running(), "cannot send {signal} to {id}");
        }
    }

    /// Ends the program at once (`SIGKILL`) and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
        self.farewell();
    }

    /// Asks the program to end (`SIGTERM`) and waits for it; panics if it goes on after `limit`.
    #[track_caller]
    pub(crate) fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal("TERM");
        self.wait(limit)
    }

    /// Waits until the program ends; panics, and kills it, when `limit` is over.
    #[track_caller]
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.poll_status() {
                return status;
            }
            if Instant::now() >= deadline {
                self.kill();
                panic!("{} did not end within {limit:?}\n{}", self.name, self.transcript());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the program ends, and for all that it wrote.
    #[track_caller]
    pub(crate) fn finish(mut self, limit: Duration) -> Output {
        let status = self.wait(limit);
        for reader in self.readers.drain(..) {
            // A grandchild may hold the pipe open: what has come by the limit is then all there is.
            let deadline = Instant::now() + limit;
            while !reader.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Output { status, stdout: self.stdout(), stderr: self.stderr() }
    }

    /// The next line of standard output not yet taken; `None` at its end. Panics when `limit` is over.
    #[track_caller]
    pub(crate) fn next_line(&mut self, limit: Duration) -> Option<String> {
        match self.stdout.next(Instant::now() + limit) {
            Ok(line) => line,
            Err(Late) => panic!("{} wrote no line within {limit:?}\n{}", self.name, self.transcript()),
        }
    }

    /// Takes lines of standard output up to the first that `wanted` accepts, and returns that one. Panics when `limit`
    /// is over or the output ends before.
    #[track_caller]
    pub(crate) fn wait_line(&mut self, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_in(&Arc::clone(&self.stdout), limit, wanted)
    }

    /// As [`Process::wait_line`], on standard error.
    #[track_caller]
    pub(crate) fn wait_error_line(&mut self, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_in(&Arc::clone(&self.stderr), limit, wanted)
    }

    /// All of standard output so far, whether taken or not.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.all()
    }

    /// All of standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.all()
    }

    #[track_caller]
    fn wait_in(&mut self, lines: &Lines, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + limit;
        loop {
            match lines.next(deadline) {
                Ok(Some(line)) if wanted(&line) => return line,
                Ok(Some(_)) => {}
                Ok(None) => panic!("{} ended its output without the line waited for\n{}", self.name, self.transcript()),
                Err(Late) => panic!("{} did not write the line within {limit:?}\n{}", self.name, self.transcript()),
            }
        }
    }

    fn poll_status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("the state of a child");
            if self.status.is_some() {
                self.farewell();
            }
        }
        self.status
    }

    /// The program is gone: its guard must not kill who gets its id next.
    fn farewell(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            let _ = guard.write_all(b"done\n");
        }
    }

    /// Ends the pipe to the guard as the end of this process would.
    pub(crate) fn forget_farewell(&mut self) {
        self.guard = None;
    }

    fn transcript(&self) -> String {
        format!("its standard output:\n{}its standard error:\n{}", self.stdout(), self.stderr())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Output {
    /// The output, after checking that the program succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert!(self.status.success(), "{}\n{}\n{}", self.status, self.stdout, self.stderr);
        self
    }

    /// The lines of standard output.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.stdout.lines()
    }
}

/// Writes `text` to a file to be given as [`Spec::stdin`].
pub(crate) fn input_file(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join(super::unique("input"));
    std::fs::write(&path, text).expect("write a program's input");
    path
}

/// One output of a program: filled by a reader thread, taken line by line by the test.
#[derive(Default)]
struct Lines {
    state: Mutex<LinesState>,
    changed: Condvar,
}

#[derive(Default)]
struct LinesState {
    all: Vec<String>,
    untaken: VecDeque<String>,
    ended: bool,
}

struct Late;

impl Lines {
    fn push(&self, line: String) {
        let mut state = lock(&self.state);
        state.all.push(line.clone());
        state.untaken.push_back(line);
        self.changed.notify_all();
    }

    fn end(&self) {
        lock(&self.state).ended = true;
        self.changed.notify_all();
    }

    fn all(&self) -> String {
        lock(&self.state).all.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    fn next(&self, deadline: Instant) -> Result<Option<String>, Late> {
        let mut state = lock(&self.state);
        loop {
            if let Some(line) = state.untaken.pop_front() {
                return Ok(Some(line));
            }
            if state.ended {
                return Ok(None);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Late);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}

/// One thread per output pipe of a program; it owns the pipe and ends with it.
fn read_lines(pipe: impl Read + Send + 'static, lines: &Arc<Lines>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            lines.push(String::from_utf8_lossy(&bytes).into_owned());
            bytes.clear();
        }
        lines.end();
    })
}
