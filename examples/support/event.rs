//! Lines of JSON as Kafka's verifiable tools print them: a time, a name, then fields in a fixed order.

use std::fmt::{Display, Write};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// One event.
#[derive(Debug)]
pub(crate) struct Event(String);

impl Event {
    pub(crate) fn new(name: &str) -> Self {
        Self(format!("{{\"timestamp\":{},\"name\":\"{name}\"", now_ms()))
    }

    /// A text, or null.
    pub(crate) fn text(self, field: &str, value: Option<&str>) -> Self {
        let value = serde_json::Value::from(value);
        self.json(field, value)
    }

    /// Something that is JSON as it is printed: a number, true, false, or what was put together elsewhere.
    pub(crate) fn json(mut self, field: &str, value: impl Display) -> Self {
        let _ = write!(self.0, ",\"{field}\":{value}");
        self
    }

    pub(crate) fn line(mut self) -> String {
        self.0.push('}');
        self.0
    }

    pub(crate) fn print(self) -> io::Result<()> {
        super::print_line(self.line())
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
