//! How a record is printed, byte for byte as Kafka's console consumer does it.

use sarameya::TimestampType;
use std::io::{self, Write};

/// What there is to print of a record. Headers are given beside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
}

/// The columns and separators, `--formatter-property` by `--formatter-property`.
#[derive(Debug)]
pub(crate) struct Formatter {
    timestamp: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null_literal: Vec<u8>,
    key_format: Format,
    value_format: Format,
    headers_format: Format,
}

/// How bytes become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// As they are.
    Raw,
    /// What is no UTF-8 becomes U+FFFD.
    Text,
    /// A number of so many bytes, most significant first.
    Integer(usize),
}

impl Formatter {
    /// Names that are not known are left alone, as a formatter of another class might know them.
    pub(crate) fn new(properties: &[(String, String)]) -> Result<Self, String> {
        let mut formatter = Self {
            timestamp: false,
            partition: false,
            offset: false,
            delivery: false,
            epoch: false,
            headers: false,
            key: false,
            value: true,
            key_separator: b"\t".to_vec(),
            line_separator: b"\n".to_vec(),
            headers_separator: b",".to_vec(),
            null_literal: b"null".to_vec(),
            key_format: Format::Raw,
            value_format: Format::Raw,
            headers_format: Format::Raw,
        };
        for (name, value) in properties {
            let is_true = value.trim().eq_ignore_ascii_case("true");
            match name.as_str() {
                "print.timestamp" => formatter.timestamp = is_true,
                "print.partition" => formatter.partition = is_true,
                "print.offset" => formatter.offset = is_true,
                "print.delivery" => formatter.delivery = is_true,
                "print.epoch" => formatter.epoch = is_true,
                "print.headers" => formatter.headers = is_true,
                "print.key" => formatter.key = is_true,
                "print.value" => formatter.value = is_true,
                "key.separator" => formatter.key_separator = value.clone().into_bytes(),
                "line.separator" => formatter.line_separator = value.clone().into_bytes(),
                "headers.separator" => formatter.headers_separator = value.clone().into_bytes(),
                "null.literal" => formatter.null_literal = value.clone().into_bytes(),
                "key.deserializer" => formatter.key_format = Format::of(value)?,
                "value.deserializer" => formatter.value_format = Format::of(value)?,
                "headers.deserializer" => formatter.headers_format = Format::of(value)?,
                _ => {}
            }
        }
        Ok(formatter)
    }

    /// Writes a record. Every column but the last is followed by the key separator, the last one by the line separator.
    pub(crate) fn write<'a>(
        &self,
        out: &mut impl Write,
        record: &Fields<'_>,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> io::Result<()> {
        let mut columns = [
            self.timestamp,
            self.partition,
            self.offset,
            self.delivery,
            self.epoch,
            self.headers,
            self.key,
            self.value,
        ]
        .into_iter()
        .filter(|column| *column)
        .count();
        let mut end_column = |out: &mut _| {
            columns -= 1;
            Write::write_all(out, if columns > 0 { &self.key_separator } else { &self.line_separator })
        };
        if self.timestamp {
            match record.timestamp_type {
                TimestampType::CreateTime => write!(out, "CreateTime:{}", record.timestamp)?,
                TimestampType::LogAppendTime => write!(out, "LogAppendTime:{}", record.timestamp)?,
                TimestampType::NoTimestampType => out.write_all(b"NO_TIMESTAMP")?,
            }
            end_column(out)?;
        }
        if self.partition {
            write!(out, "Partition:{}", record.partition)?;
            end_column(out)?;
        }
        if self.offset {
            write!(out, "Offset:{}", record.offset)?;
            end_column(out)?;
        }
        // Kafka 4.3's console consumer hands neither of these two to its formatter.
        if self.delivery {
            out.write_all(b"Delivery:NOT_PRESENT")?;
            end_column(out)?;
        }
        if self.epoch {
            out.write_all(b"Epoch:NOT_PRESENT")?;
            end_column(out)?;
        }
        if self.headers {
            self.write_headers(out, headers)?;
            end_column(out)?;
        }
        if self.key {
            self.write_part(out, self.key_format, record.key)?;
            end_column(out)?;
        }
        if self.value {
            self.write_part(out, self.value_format, record.value)?;
            end_column(out)?;
        }
        Ok(())
    }

    fn write_headers<'a>(
        &self,
        out: &mut impl Write,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> io::Result<()> {
        let mut any = false;
        for (name, value) in headers {
            if std::mem::replace(&mut any, true) {
                out.write_all(&self.headers_separator)?;
            }
            write!(out, "{}:", String::from_utf8_lossy(name))?;
            self.write_part(out, self.headers_format, value)?;
        }
        if any { Ok(()) } else { out.write_all(b"NO_HEADERS") }
    }

    fn write_part(&self, out: &mut impl Write, format: Format, part: Option<&[u8]>) -> io::Result<()> {
        let Some(part) = part else { return out.write_all(&self.null_literal) };
        match format {
            Format::Raw => out.write_all(part),
            Format::Text => out.write_all(String::from_utf8_lossy(part).as_bytes()),
            Format::Integer(size) => {
                if part.len() != size {
                    let message = format!("{} bytes are not a number of {size} bytes", part.len());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
                let negative = part.first().is_some_and(|byte| *byte >= 0x80);
                let number = part.iter().fold(-i64::from(negative), |number, byte| (number << 8) | i64::from(*byte));
                write!(out, "{number}")
            }
        }
    }
}

impl Format {
    /// By the name of Kafka's deserializer.
    fn of(class: &str) -> Result<Self, String> {
        match class.rsplit('.').next() {
            Some("StringDeserializer") => Ok(Self::Text),
            Some("ShortDeserializer") => Ok(Self::Integer(2)),
            Some("IntegerDeserializer") => Ok(Self::Integer(4)),
            Some("LongDeserializer") => Ok(Self::Integer(8)),
            _ => Err(format!(
                "{class} is none of StringDeserializer, ShortDeserializer, IntegerDeserializer, LongDeserializer"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Fields<'_> = Fields {
        partition: 0,
        offset: 3,
        timestamp: 1795440574445,
        timestamp_type: TimestampType::CreateTime,
        key: Some(b"k\xff"),
        value: None,
    };

    fn print(properties: &[(&str, &str)], record: &Fields<'_>, headers: &[(&[u8], Option<&[u8]>)]) -> String {
        let pairs: Vec<_> = properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut out = Vec::new();
        Formatter::new(&pairs).unwrap().write(&mut out, record, headers.iter().copied()).unwrap();
        out.iter().map(|byte| char::from(*byte)).collect()
    }

    /// What Kafka 4.3.0 prints for the same records.
    #[test]
    fn columns_in_kafkas_order() {
        let all = [
            "print.key",
            "print.timestamp",
            "print.offset",
            "print.partition",
            "print.headers",
            "print.epoch",
            "print.delivery",
        ]
        .map(|name| (name, "true"));
        assert_eq!(
            print(&all, &RECORD, &[(b"h1", Some(b"v1")), (b"h2", None)]),
            "CreateTime:1795440574445\tPartition:0\tOffset:3\tDelivery:NOT_PRESENT\tEpoch:NOT_PRESENT\th1:v1,h2:null\t\
             k\u{ff}\tnull\n"
        );
        let separators = [
            ("print.key", "true"),
            ("print.headers", "True"),
            ("key.separator", "|"),
            ("line.separator", ";"),
            ("null.literal", "NIX"),
        ];
        assert_eq!(print(&separators, &RECORD, &[]), "NO_HEADERS|k\u{ff}|NIX;");
        let no_value = [("print.value", "false"), ("print.key", "true")];
        assert_eq!(print(&no_value, &RECORD, &[]), "k\u{ff}\n");
        assert_eq!(print(&[("print.value", "false")], &RECORD, &[]), "");
        let none = Fields { timestamp_type: TimestampType::NoTimestampType, ..RECORD };
        assert_eq!(print(&[("print.timestamp", "true")], &none, &[]), "NO_TIMESTAMP\tnull\n");
    }

    #[test]
    fn numbers_and_texts() {
        let long = Fields { value: Some(&[0xff; 8]), ..RECORD };
        let class = "org.apache.kafka.common.serialization.LongDeserializer";
        assert_eq!(print(&[("value.deserializer", class)], &long, &[]), "-1\n");
        let integer = Fields { value: Some(&[0, 0, 1, 2]), ..RECORD };
        assert_eq!(print(&[("value.deserializer", "IntegerDeserializer")], &integer, &[]), "258\n");
        let negative = Fields { value: Some(&[0xff, 0xff, 0xff, 0xfe]), ..RECORD };
        assert_eq!(print(&[("value.deserializer", "IntegerDeserializer")], &negative, &[]), "-2\n");
        let text = Formatter::new(&[("value.deserializer".into(), "StringDeserializer".into())]).unwrap();
        let mut out = Vec::new();
        text.write(&mut out, &Fields { value: Some(b"a\xff"), ..RECORD }, std::iter::empty()).unwrap();
        assert_eq!(out, "a\u{fffd}\n".as_bytes());
        let short = Formatter::new(&[("value.deserializer".into(), "ShortDeserializer".into())]).unwrap();
        assert!(short.write(&mut out, &Fields { value: Some(b"abc"), ..RECORD }, std::iter::empty()).is_err());
        assert!(Formatter::new(&[("key.deserializer".into(), "UuidDeserializer".into())]).is_err());
    }
}
