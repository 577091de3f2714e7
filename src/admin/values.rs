//! Small values that several operations share.

use std::fmt;
use std::str::FromStr;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number, from 0 on.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl<T: Into<String>> From<(T, i32)> for TopicPartition {
    fn from((topic, partition): (T, i32)) -> Self {
        Self::new(topic, partition)
    }
}

/// As Kafka's tools print it: `topic-0`.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Partitions in any order, grouped by topic for a request.
pub(super) fn by_topic<'a>(
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> std::collections::BTreeMap<&'a str, Vec<i32>> {
    let mut topics = std::collections::BTreeMap::<_, Vec<i32>>::new();
    for TopicPartition { topic, partition } in partitions {
        topics.entry(topic.as_str()).or_default().push(*partition);
    }
    topics
}

/// Kafka's 128-bit id of a topic or a log directory, printed in URL-safe base64 without padding as Kafka does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// What stands for no id.
    pub const ZERO: Self = Self([0; 16]);

    pub(super) fn some(bytes: [u8; 16]) -> Option<Self> {
        (bytes != Self::ZERO.0).then_some(Self(bytes))
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// 128 bits in digits of 6 bits.
const DIGITS: usize = 22;

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let digit = |nth: usize| {
            // The last digit has 2 bits of the number and 4 zeros.
            let six = if nth + 1 == DIGITS { bits << 4 } else { bits >> (128 - 6 * (nth + 1)) };
            char::from(ALPHABET[(six & 63) as usize])
        };
        f.pad(&(0..DIGITS).map(digit).collect::<String>())
    }
}

impl FromStr for Uuid {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || crate::Error::new(crate::ErrorKind::InvalidArgument, format!("{text:?} is no id"));
        let text = text.trim_end_matches('=');
        let digits: Option<Vec<u128>> =
            text.bytes().map(|c| ALPHABET.iter().position(|a| *a == c).map(|at| at as u128)).collect();
        let digits = digits.filter(|digits| digits.len() == DIGITS).ok_or_else(wrong)?;
        let (last, first) = digits.split_last().ok_or_else(wrong)?;
        if last & 15 != 0 {
            return Err(wrong());
        }
        let bits = first.iter().fold(0, |bits: u128, digit| (bits << 6) | digit);
        Ok(Self(((bits << 2) | (last >> 4)).to_be_bytes()))
    }
}

/// Enumerations that are a number on the wire. A number that came into use later is kept.
macro_rules! coded {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $variant_doc:literal])* $variant:ident = $code:literal $text:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[doc = $variant_doc])* $variant,)*
            /// Something this crate has no name for, by its number.
            Other(i8),
        }

        impl $name {
            /// All that have a name.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Kafka's number for it.
            pub fn code(self) -> i8 {
                match self {
                    $(Self::$variant => $code,)*
                    Self::Other(code) => code,
                }
            }

            pub(crate) fn from_code(code: i8) -> Self {
                match code {
                    $($code => Self::$variant,)*
                    code => Self::Other(code),
                }
            }
        }

        /// Kafka's name for it.
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$variant => f.pad($text),)*
                    Self::Other(code) => write!(f, "UNKNOWN({code})"),
                }
            }
        }

        /// By Kafka's name; case and the difference between `_`, `-` and nothing do not matter.
        impl std::str::FromStr for $name {
            type Err = crate::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
                let wrong = || {
                    let known: Vec<&str> = vec![$($text),*];
                    let message = format!("{text:?} is not one of {}", known.join(", "));
                    crate::Error::new(crate::ErrorKind::InvalidArgument, message)
                };
                let text_plain = plain(text);
                $(if text_plain == plain($text) {
                    return Ok(Self::$variant);
                })*
                Err(wrong())
            }
        }
    };
}
pub(super) use coded;

/// Enumerations that are a text on the wire.
macro_rules! named {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $variant_doc:literal])* $variant:ident $text:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[doc = $variant_doc])* $variant,)*
            /// Something this crate has no name for, or that an old broker does not tell.
            Unknown,
        }

        impl $name {
            /// Kafka's name for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Unknown => "Unknown",
                }
            }

            pub(super) fn from_wire(text: &str) -> Self {
                text.parse().unwrap_or(Self::Unknown)
            }
        }

        /// Kafka's name for it.
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        /// By Kafka's name; case and the difference between `_`, `-` and nothing do not matter.
        impl std::str::FromStr for $name {
            type Err = crate::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
                let text_plain = plain(text);
                $(if text_plain == plain($text) {
                    return Ok(Self::$variant);
                })*
                let known: Vec<&str> = vec![$($text),*];
                let message = format!("{text:?} is not one of {}", known.join(", "));
                Err(crate::Error::new(crate::ErrorKind::InvalidArgument, message))
            }
        }
    };
}
pub(super) use named;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_printed_as_kafka_prints_them() {
        // Kafka's id of the topic __cluster_metadata is the number 1, whose text is in its documentation.
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(Uuid(one).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(Uuid([0xff; 16]).to_string(), "_____________________w");
        for wrong in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAR", "AAAAAAAAAAAAAAAAAAAA+A", "AAAAAAAAAAAAAAAAAAAAAQA"] {
            assert!(wrong.parse::<Uuid>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn ids_read_what_they_print(bytes: [u8; 16]) {
            let text = Uuid(bytes).to_string();
            prop_assert_eq!(text.len(), 22);
            prop_assert_eq!(text.parse::<Uuid>().unwrap(), Uuid(bytes));
        }
    }
}
