//! A list of settings by their Kafka names.

use super::known::is_known;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// Settings by their Kafka names, such as `linger.ms`: what a `client.properties` file of Kafka's own tools holds.
///
/// Builders take from it what is theirs. A name that Kafka's clients know and this crate has no use for is logged as a
/// warning when it is added; any other name is an error.
///
/// ```
/// let properties: sarameya::Properties = "client.id=example\n# a comment\nlinger.ms = 5\n".parse()?;
/// assert_eq!(properties.get("linger.ms"), Some("5"));
/// # Ok::<(), sarameya::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

/// One setting, with parsers whose errors name it.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    name: &'a str,
    value: &'a str,
}

/// Names this crate's builders read. The other names Kafka knows are in `known`.
const USED: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "batch.size",
    "bootstrap.servers",
    "buffer.memory",
    "check.crcs",
    "client.id",
    "client.rack",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.idempotence",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.min.bytes",
    "group.id",
    "group.instance.id",
    "heartbeat.interval.ms",
    "isolation.level",
    "linger.ms",
    "max.block.ms",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "max.request.size",
    "metadata.max.age.ms",
    "partition.assignment.strategy",
    "partitioner.class",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retries",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "security.protocol",
    "session.timeout.ms",
    "socket.connection.setup.timeout.ms",
];

impl Properties {
    /// No settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a file in the format of Java's properties: `name=value` lines, comments behind `#` or `!`, a backslash at
    /// the end of a line joins it with the next. An error names the file and the setting.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::new(crate::ErrorKind::Config, format!("reading {}: {error}", path.display())).with_source(error)
        })?;
        text.parse()
    }

    /// Sets one. A later value replaces an earlier one.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> Result<()> {
        let name = name.into();
        if !USED.contains(&name.as_str()) {
            if !is_known(&name) {
                return Err(Error::config(&name, "no such setting"));
            }
            log::warn!("the setting {name} has no counterpart here and is ignored");
        }
        self.0.insert(name, value.into());
        Ok(())
    }

    /// The value of a setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names that were given but that this crate has no counterpart for.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|name| !USED.contains(name))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Setting<'_>> {
        self.0.iter().map(|(name, value)| Setting { name, value })
    }
}

impl fmt::Debug for Properties {
    /// Shows names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromStr for Properties {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut properties = Self::new();
        for line in logical_lines(text) {
            let (name, value) = split(&line);
            properties.set(name, value)?;
        }
        Ok(properties)
    }
}

/// Joins continued lines and leaves out comments.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        let line = line.trim_start();
        if open.is_none() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let mut joined = open.take().unwrap_or_default();
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            joined.push_str(&line[..line.len() - 1]);
            open = Some(joined);
        } else {
            joined.push_str(line);
            lines.push(joined);
        }
    }
    lines.extend(open);
    lines
}

/// Splits at the first `=`, `:` or white space that has no backslash before it.
fn split(line: &str) -> (String, String) {
    let mut end = line.len();
    let mut escaped = false;
    for (i, c) in line.char_indices() {
        if !escaped && (matches!(c, '=' | ':') || c.is_whitespace()) {
            end = i;
            break;
        }
        escaped = c == '\\' && !escaped;
    }
    let rest = line[end..].trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    (unescape(&line[..end]), unescape(value))
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                plain.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

impl<'a> Setting<'a> {
    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    pub(crate) fn text(&self) -> &'a str {
        self.value.trim()
    }

    pub(crate) fn number<T: FromStr>(&self) -> Result<T> {
        self.text().parse().map_err(|_| self.refuse(&format!("{:?} is not a number in range", self.text())))
    }

    pub(crate) fn milliseconds(&self) -> Result<Duration> {
        self.number().map(Duration::from_millis)
    }

    pub(crate) fn boolean(&self) -> Result<bool> {
        match self.text() {
            text if text.eq_ignore_ascii_case("true") => Ok(true),
            text if text.eq_ignore_ascii_case("false") => Ok(false),
            other => Err(self.refuse(&format!("{other:?} is neither true nor false"))),
        }
    }

    /// An error that names the setting.
    pub(crate) fn refuse(&self, why: &str) -> Error {
        Error::config(self.name, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f9_java_properties_format() {
        let text = "a.b = 1\n";
        assert_eq!(text.parse::<Properties>().unwrap_err().setting(), Some("a.b"));
        let text = "# c\n! d\nclient.id : x\\\n   y\nlinger.ms 7\ngroup.id=a\\=b\\u0041\nacks=\n";
        let properties: Properties = text.parse().unwrap();
        assert_eq!(properties.get("client.id"), Some("xy"));
        assert_eq!(properties.get("linger.ms"), Some("7"));
        assert_eq!(properties.get("group.id"), Some("a=bA"));
        assert_eq!(properties.get("acks"), Some(""));
    }

    #[test]
    fn a_name_kafka_knows_is_kept_as_unused_and_values_do_not_show() {
        let properties: Properties = "key.serializer=x\nsasl.jaas.config=secret".parse().unwrap();
        assert_eq!(properties.unused().collect::<Vec<_>>(), ["key.serializer", "sasl.jaas.config"]);
        assert!(!format!("{properties:?}").contains("secret"));
    }

    #[test]
    fn used_names_are_sorted_and_not_listed_twice() {
        assert!(USED.is_sorted());
        assert!(USED.iter().all(|name| !is_known(name)));
    }
}
