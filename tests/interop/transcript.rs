//! What a case saw, with everything taken out that may differ between two clusters that do the same.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Lines of text in the order of the case; see [`Transcript::normal`] for what is taken out.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    lines: Vec<String>,
}

/// What a tool or a program wrote, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) output: Vec<String>,
    pub(crate) errors: Vec<String>,
}

impl Transcript {
    /// What follows is about `step`.
    pub(crate) fn step(&mut self, step: &str) {
        self.lines.push(format!("# {}", normal(step)));
    }

    /// A line as it is.
    pub(crate) fn line(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }

    /// All that was said, in order.
    pub(crate) fn said(&mut self, step: &str, said: &Said) {
        self.write(step, said, said.output.iter().map(|line| normal(line)).collect());
    }

    /// All that was said, its output sorted: tools print some tables in the order of a hash map.
    pub(crate) fn sorted(&mut self, step: &str, said: &Said) {
        let mut output: Vec<String> = said.output.iter().map(|line| normal(line)).collect();
        output.sort();
        self.write(step, said, output);
    }

    fn write(&mut self, step: &str, said: &Said, output: Vec<String>) {
        self.step(step);
        let errors = said.errors.iter().filter(|line| !is_stack_trace(line)).map(|line| format!("! {}", normal(line)));
        self.lines.extend(output.into_iter().chain(errors).filter(|line| !line.is_empty()));
        if said.status != 0 {
            self.lines.push(format!("exit status {}", said.status));
        }
    }

    /// How much there is, for [`rewind`](Self::rewind).
    pub(crate) fn mark(&self) -> usize {
        self.lines.len()
    }

    /// Forgets what came since: an attempt that was too early.
    pub(crate) fn rewind(&mut self, mark: usize) {
        self.lines.truncate(mark);
    }

    pub(crate) fn into_text(self) -> String {
        self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

fn is_stack_trace(line: &str) -> bool {
    line.trim_start().starts_with("at ") || line.trim_start().starts_with("... ")
}

/// A line without addresses, generated ids, times, and the widths of columns, which follow from these.
pub(crate) fn normal(line: &str) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"(127\.0\.0\.1|localhost)(:\d+|/\d+:\d+)", "ADDRESS"),
            (r"ADDRESS\s+\(\d+\)", "ADDRESS (BROKER)"),
            (r"/127\.0\.0\.1\b", "/HOST"),
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
            (r"TopicId: \S{22}", "TopicId: ID"),
            (r"(CreateTime|LogAppendTime):\d{12,}", "$1:TIME"),
            // Client ids are numbered by the process.
            (r"\b(consumer|producer|adminclient)-(\S+-)?\d+\b", "$1-${2}N"),
            // Any broker may lead, and any order of replicas may come.
            (r"Leader: \d+", "Leader: BROKER"),
            (r"(coordinator|Coordinator|node|Node|broker|Broker) \d+\b", "$1 BROKER"),
            // kcat's list of topics.
            (r"leader \d+, replicas: [\d,]+, isrs: [\d,]+", "leader BROKER, replicas, isrs"),
            (r"\(from broker [^)]*\)", "(from BROKER)"),
            (r" \(controller\)", ""),
            (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]\d{3}", "TIME"),
            (r"[ \t]+", " "),
        ]
        .map(|(pattern, replacement)| (Regex::new(pattern).expect("a valid pattern"), replacement))
        .into()
    });
    static REPLICAS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(Replicas|Isr|Elr|LastKnownElr): ?([\d,]*)").expect("a valid pattern"));
    let counted = REPLICAS.replace_all(line, |found: &Captures<'_>| {
        let brokers = found[2].split(',').filter(|broker| !broker.is_empty()).count();
        format!("{}: {brokers} brokers", &found[1])
    });
    // Kafka prints a topic's settings in the order of a hash map.
    let counted = match counted.split_once("Configs: ") {
        Some((before, settings)) => {
            let mut settings: Vec<&str> = settings.split(',').collect();
            settings.sort_unstable();
            Cow::Owned(format!("{before}Configs: {}", settings.join(",")))
        }
        None => counted,
    };
    let normal = RULES.iter().fold(counted, |line, (pattern, by)| pattern.replace_all(&line, *by).into_owned().into());
    member_ids(&normal).trim().to_owned()
}

/// A line without member ids as Java's new consumer makes them: 22 characters of base 64, which no name in a case has with a
/// capital letter.
fn member_ids(line: &str) -> Cow<'_, str> {
    static ID: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[A-Za-z0-9_-]{22,}").expect("a valid pattern"));
    ID.replace_all(line, |found: &Captures<'_>| match &found[0] {
        id if id.len() == 22 && id.contains(|c: char| c.is_ascii_uppercase()) => "ID".to_owned(),
        other => other.to_owned(),
    })
}
