//! A list of settings by their Kafka names.

use super::known::is_known;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::{Chars, FromStr};
use std::time::Duration;
use zeroize::Zeroizing;

/// Settings by their Kafka names, such as `linger.ms`: what a `client.properties` file of Kafka's own tools holds.
///
/// Builders take from it what is theirs. A name that Kafka's clients know and this crate has no use for is logged as a
/// warning when it is added; any other name is an error. A few names are not Kafka's: `receive.message.max.bytes`,
/// `socket.keepalive.enable` and `socket.nagle.disable` are librdkafka's, and `proxy.url`, `proxy.username` and `proxy.password`
/// this crate's own, since Kafka's clients know no proxies.
///
/// ```
/// let properties: sarameya::Properties = "client.id=example\n# a comment\nlinger.ms = 5\n".parse()?;
/// assert_eq!(properties.get("linger.ms"), Some("5"));
/// # Ok::<(), sarameya::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, Zeroizing<String>>);

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
    "connections.max.idle.ms",
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
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "partition.assignment.strategy",
    "partitioner.class",
    "proxy.password",
    "proxy.url",
    "proxy.username",
    "receive.buffer.bytes",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retries",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.jaas.config",
    "sasl.mechanism",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "security.protocol",
    "send.buffer.bytes",
    "session.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "ssl.cipher.suites",
    "ssl.enabled.protocols",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
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
        Zeroizing::new(text).parse()
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
        self.0.insert(name, Zeroizing::new(value.into()));
        Ok(())
    }

    /// The value of a setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
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

/// What separates words in Java's format: other white space is part of a name or value.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Joins continued lines and leaves out comments.
fn logical_lines(text: &str) -> Vec<Zeroizing<String>> {
    let mut lines = Vec::new();
    let mut open: Option<Zeroizing<String>> = None;
    // A line ends with \n, \r\n or \r.
    let all = text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'));
    for line in all {
        let line = line.trim_start_matches(is_blank);
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
        if !escaped && (matches!(c, '=' | ':') || is_blank(c)) {
            end = i;
            break;
        }
        escaped = c == '\\' && !escaped;
    }
    let rest = line[end..].trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(is_blank);
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
            Some('u') => plain.push(unicode(&mut chars)),
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

/// The character behind `\u`: four digits of UTF-16, eight in two escapes for those beyond 16 bits.
fn unicode(chars: &mut Chars<'_>) -> char {
    let unit = |chars: &mut Chars<'_>| {
        let digits = chars.as_str().get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *chars = chars.as_str()[4..].chars();
        u16::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(chars) else { return char::REPLACEMENT_CHARACTER };
    if let Some(c) = char::from_u32(first.into()) {
        return c;
    }
    let mut ahead = chars.clone();
    if (ahead.next(), ahead.next()) != (Some('\\'), Some('u')) {
        return char::REPLACEMENT_CHARACTER;
    }
    let second = unit(&mut ahead);
    match second.and_then(|second| char::decode_utf16([first, second]).next()?.ok()) {
        Some(c) => {
            *chars = ahead;
            c
        }
        None => char::REPLACEMENT_CHARACTER,
    }
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
    use proptest::prelude::*;

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
    fn f9_values_as_java_writes_and_reads_them() {
        let value = |text: &str| {
            format!("client.id={text}").parse::<Properties>().unwrap().get("client.id").unwrap().to_owned()
        };
        for (text, expected) in [
            ("a\\tb\\n", "a\tb\n"),
            ("  a = b : c ", "a = b : c "),
            ("\\\\", "\\"),
            ("\\ud83d\\ude00!", "\u{1f600}!"),
            ("\\ud83d!", "\u{fffd}!"),
            ("\\ud83d\\u0041", "\u{fffd}A"),
            ("\\u+041", "\u{fffd}+041"),
            ("\\u00e", "\u{fffd}00e"),
            ("\u{a0}x", "\u{a0}x"),
            ("\\", ""),
            ("a\\\r\n  b", "ab"),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn f9_an_error_names_the_setting() {
        for text in ["=x", "client.ids=a", "CLIENT.ID=a", "client.id\\=a"] {
            let error = text.parse::<Properties>().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Config, "{text}");
        }
        let setting = |value| Setting { name: "linger.ms", value };
        for bad in ["", "x", "-1", "1.5", "18446744073709551616", "5 ms"] {
            assert_eq!(setting(bad).milliseconds().unwrap_err().setting(), Some("linger.ms"), "{bad}");
        }
        assert_eq!(setting(" 5 ").milliseconds().unwrap(), Duration::from_millis(5));
        assert!(setting("TRUE").boolean().unwrap() && !setting(" false").boolean().unwrap());
        assert!(setting("yes").boolean().is_err());
        let missing = Properties::from_file("/nonexistent/client.properties").unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/client.properties"), "{missing}");
    }

    fn escaped(value: &str) -> String {
        value
            .chars()
            .map(|c| match c {
                '\t' => "\\t".into(),
                '\n' => "\\n".into(),
                '\r' => "\\r".into(),
                '\u{c}' => "\\f".into(),
                ' ' | '=' | ':' | '#' | '!' | '\\' => format!("\\{c}"),
                c if c.is_ascii() => c.into(),
                c => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>(),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn f9_any_text_is_read_or_refused(text in r"(?s).{0,60}|([a-z.#!=: \\\n\r]|client\.id|\\u[0-9a-fx]{0,4}){0,20}") {
            let _ = text.parse::<Properties>();
            let _ = format!("client.id={text}").parse::<Properties>();
        }

        #[test]
        fn f9_values_round_trip(value in r"(?s).{0,40}") {
            let properties: Properties = format!("client.id={}\nlinger.ms=7", escaped(&value)).parse().unwrap();
            prop_assert_eq!(properties.get("client.id"), Some(value.as_str()));
            prop_assert_eq!(properties.get("linger.ms"), Some("7"));
        }
    }

    #[test]
    fn a_name_kafka_knows_is_kept_as_unused_and_values_do_not_show() {
        let properties: Properties = "key.serializer=x\nsasl.jaas.config=secret".parse().unwrap();
        assert_eq!(properties.unused().collect::<Vec<_>>(), ["key.serializer"]);
        assert!(!format!("{properties:?}").contains("secret"));
    }

    #[test]
    fn used_names_are_sorted_and_not_listed_twice() {
        assert!(USED.is_sorted());
        assert!(USED.iter().all(|name| !is_known(name)));
    }
}
