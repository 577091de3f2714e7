//! From lines of text to records, by the rules of Kafka's console producer.

use std::io::{self, BufRead};

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<(String, Option<String>)>,
}

/// The rules, `--reader-property` by `--reader-property`.
#[derive(Debug)]
pub(crate) struct LineReader {
    parse_key: bool,
    key_separator: String,
    parse_headers: bool,
    headers_delimiter: String,
    headers_separator: String,
    headers_key_separator: String,
    ignore_error: bool,
    null_marker: Option<String>,
    line_number: u64,
}

impl LineReader {
    /// Names that are not known are left alone, as a reader of another class might know them.
    pub(crate) fn new(properties: &[(String, String)]) -> Result<Self, String> {
        let mut reader = Self {
            parse_key: false,
            key_separator: "\t".into(),
            parse_headers: false,
            headers_delimiter: "\t".into(),
            headers_separator: ",".into(),
            headers_key_separator: ":".into(),
            ignore_error: false,
            null_marker: None,
            line_number: 0,
        };
        for (name, value) in properties {
            let is_true = value.trim().eq_ignore_ascii_case("true");
            match name.as_str() {
                "parse.key" => reader.parse_key = is_true,
                "key.separator" => reader.key_separator = value.clone(),
                "parse.headers" => reader.parse_headers = is_true,
                "headers.delimiter" => reader.headers_delimiter = value.clone(),
                "headers.separator" => reader.headers_separator = value.clone(),
                "headers.key.separator" => reader.headers_key_separator = value.clone(),
                "ignore.error" => reader.ignore_error = is_true,
                "null.marker" => reader.null_marker = Some(value.clone()),
                _ => {}
            }
        }
        reader.check()?;
        Ok(reader)
    }

    /// Two marks that are the same can't be told apart.
    fn check(&self) -> Result<(), String> {
        let marks = [
            ("headers.delimiter", Some(&self.headers_delimiter)),
            ("headers.separator", Some(&self.headers_separator)),
            ("headers.key.separator", Some(&self.headers_key_separator)),
            ("null.marker", self.null_marker.as_ref()),
            ("key.separator", Some(&self.key_separator)),
        ];
        for (i, (name, mark)) in marks.iter().enumerate() {
            for (other_name, other) in &marks[..i] {
                // Key and headers are separated one after the other, so these may agree.
                let apart = *name == "key.separator" && *other_name != "null.marker";
                if !apart && mark.is_some() && mark == other {
                    return Err(format!("{other_name} and {name} may not be equal"));
                }
            }
        }
        Ok(())
    }

    /// Takes one line apart.
    pub(crate) fn read(&mut self, line: &str) -> Result<Line, String> {
        self.line_number += 1;
        let (headers, rest) = self.cut(line, line, self.parse_headers, &self.headers_delimiter, "headers delimiter")?;
        let (key, value) = self.cut(line, rest, self.parse_key, &self.key_separator, "key separator")?;
        let headers = match headers {
            Some(headers) if !self.is_null(headers) => self.headers(headers)?,
            _ => Vec::new(),
        };
        Ok(Line { key: key.and_then(|key| self.unless_null(key)), value: self.unless_null(value), headers })
    }

    /// What lies before the separator, if it is wanted and there, and what is left.
    fn cut<'a>(
        &self,
        line: &str,
        rest: &'a str,
        wanted: bool,
        separator: &str,
        what: &str,
    ) -> Result<(Option<&'a str>, &'a str), String> {
        if !wanted {
            return Ok((None, rest));
        }
        match rest.split_once(separator) {
            Some((part, rest)) => Ok((Some(part), rest)),
            None if self.ignore_error => Ok((None, rest)),
            None => Err(format!("No {what} found on line number {}: '{line}'", self.line_number)),
        }
    }

    fn headers(&self, headers: &str) -> Result<Vec<(String, Option<String>)>, String> {
        let mut pairs: Vec<&str> = headers.split(self.headers_separator.as_str()).collect();
        // Java's split leaves out empty parts at the end, unless there was nothing to split.
        while pairs.len() > 1 && pairs.last().is_some_and(|pair| pair.is_empty()) {
            pairs.pop();
        }
        if pairs == [""] && !headers.is_empty() {
            pairs.clear();
        }
        pairs.into_iter().map(|pair| self.header(pair)).collect()
    }

    fn header(&self, pair: &str) -> Result<(String, Option<String>), String> {
        match pair.split_once(self.headers_key_separator.as_str()) {
            Some((key, _)) if self.is_null(key) => {
                Err(format!("Header keys should not be equal to the null marker '{key}' as they can't be null"))
            }
            Some((key, value)) => Ok((key.to_owned(), self.unless_null(value))),
            None if self.ignore_error => Ok((pair.to_owned(), None)),
            None => Err(format!("No header key separator found in pair '{pair}' on line number {}", self.line_number)),
        }
    }

    fn is_null(&self, text: &str) -> bool {
        self.null_marker.as_deref() == Some(text)
    }

    fn unless_null(&self, text: &str) -> Option<String> {
        (!self.is_null(text)).then(|| text.to_owned())
    }
}

/// Reads lines as Java does: they end with `\n`, `\r` or `\r\n`, and what is no UTF-8 becomes U+FFFD.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    /// The last line ended with `\r`: a `\n` that follows belongs to it.
    after_return: bool,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, after_return: false }
    }

    /// The next line, without its end.
    pub(crate) fn next(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                let text = String::from_utf8_lossy(&line).into_owned();
                return Ok((!line.is_empty()).then_some(text));
            }
            if std::mem::take(&mut self.after_return) && available.starts_with(b"\n") {
                self.input.consume(1);
                continue;
            }
            match available.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                Some(end) => {
                    line.extend_from_slice(&available[..end]);
                    self.after_return = available[end] == b'\r';
                    self.input.consume(end + 1);
                    return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
                }
                None => {
                    line.extend_from_slice(available);
                    let length = available.len();
                    self.input.consume(length);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(properties: &[(&str, &str)]) -> Result<LineReader, String> {
        let pairs: Vec<_> = properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        LineReader::new(&pairs)
    }

    fn line(key: Option<&str>, value: Option<&str>, headers: &[(&str, Option<&str>)]) -> Line {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let headers = headers.iter().map(|(name, value)| (name.to_string(), owned(*value))).collect();
        Line { key: owned(key), value: owned(value), headers }
    }

    #[test]
    fn a_line_is_a_value_unless_said_otherwise() {
        assert_eq!(reader(&[]).unwrap().read("a\tb:c,d").unwrap(), line(None, Some("a\tb:c,d"), &[]));
        assert_eq!(reader(&[]).unwrap().read("").unwrap(), line(None, Some(""), &[]));
    }

    #[test]
    fn keys_and_headers_stand_before_the_value() {
        let mut keys = reader(&[("parse.key", " TRUE "), ("key.separator", ":")]).unwrap();
        assert_eq!(keys.read("k:v:w").unwrap(), line(Some("k"), Some("v:w"), &[]));
        assert_eq!(keys.read(":").unwrap(), line(Some(""), Some(""), &[]));
        let mut both = reader(&[("parse.key", "true"), ("parse.headers", "true")]).unwrap();
        let headers = [("h1", Some("v1")), ("h2", Some("a:b"))];
        assert_eq!(both.read("h1:v1,h2:a:b\tk\tv\tw").unwrap(), line(Some("k"), Some("v\tw"), &headers));
        assert_eq!(both.read("h:,\tk\tv").unwrap(), line(Some("k"), Some("v"), &[("h", Some(""))]));
        assert_eq!(both.read(",,\tk\tv").unwrap(), line(Some("k"), Some("v"), &[]));
        assert!(both.read("\tk\tv").unwrap_err().contains("in pair '' on line number 4"));
    }

    #[test]
    fn what_is_missing_is_an_error_or_ignored() {
        let mut strict = reader(&[("parse.key", "true")]).unwrap();
        strict.read("k\tv").unwrap();
        assert_eq!(strict.read("kv").unwrap_err(), "No key separator found on line number 2: 'kv'");
        let properties = [("parse.key", "true"), ("parse.headers", "true"), ("ignore.error", "true")];
        let mut lax = reader(&properties).unwrap();
        assert_eq!(lax.read("v").unwrap(), line(None, Some("v"), &[]));
        assert_eq!(lax.read("h\tv").unwrap(), line(None, Some("v"), &[("h", None)]));
    }

    #[test]
    fn the_null_marker_stands_for_null() {
        let properties = [("parse.key", "true"), ("parse.headers", "true"), ("null.marker", "NIL")];
        let mut reader = reader(&properties).unwrap();
        assert_eq!(reader.read("NIL\tNIL\tNIL").unwrap(), line(None, None, &[]));
        assert_eq!(reader.read("a:NIL\tk\tv").unwrap(), line(Some("k"), Some("v"), &[("a", None)]));
        assert!(reader.read("NIL:a\tk\tv").is_err());
    }

    #[test]
    fn marks_that_can_t_be_told_apart_are_refused() {
        for properties in [
            [("headers.delimiter", ","), ("parse.key", "true")],
            [("headers.separator", ":"), ("parse.key", "true")],
            [("null.marker", "\t"), ("parse.key", "true")],
            [("null.marker", ";"), ("key.separator", ";")],
        ] {
            assert!(reader(&properties).unwrap_err().ends_with("may not be equal"), "{properties:?}");
        }
        assert!(reader(&[("key.separator", ",")]).is_ok());
    }

    #[test]
    fn lines_end_as_in_java() {
        let mut lines = Lines::new(&b"a\r\nb\rc\n\n\xff\r\r\nend"[..]);
        let mut read = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            read.push(line);
        }
        assert_eq!(read, ["a", "b", "c", "", "\u{fffd}", "", "end"]);
    }
}
