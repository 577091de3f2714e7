//! Kafka's message schemas as they stand in the jar.

use crate::Result;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// One schema file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schema {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub api_key: Option<i16>,
    #[serde(default)]
    pub listeners: Vec<String>,
    #[serde(deserialize_with = "versions")]
    pub valid_versions: Versions,
    #[serde(default, deserialize_with = "versions")]
    pub flexible_versions: Versions,
    #[serde(default)]
    pub latest_version_unstable: bool,
    #[serde(default)]
    pub fields: Vec<Field>,
    #[serde(default)]
    pub common_structs: Vec<Struct>,
}

/// A structure that several fields of a message share.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Struct {
    pub name: String,
    #[serde(deserialize_with = "versions")]
    pub versions: Versions,
    pub fields: Vec<Field>,
}

/// Fields that `Debug` must not show, and of which no copy may stay: credentials, and what stands in for them.
const SECRETS: [&str; 4] = ["AuthBytes", "Hmac", "Salt", "SaltedPassword"];

/// A field, with the fields of its structure if that is declared in place.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(deserialize_with = "versions")]
    pub versions: Versions,
    #[serde(default, deserialize_with = "versions")]
    pub nullable_versions: Versions,
    #[serde(default, deserialize_with = "versions")]
    pub tagged_versions: Versions,
    #[serde(default, deserialize_with = "some_versions")]
    pub flexible_versions: Option<Versions>,
    pub tag: Option<u32>,
    pub default: Option<Value>,
    #[serde(default)]
    pub ignorable: bool,
    #[serde(default)]
    pub fields: Vec<Field>,
    // Known, and of no use here.
    #[serde(rename = "about")]
    _about: Option<Value>,
    #[serde(rename = "entityType")]
    _entity_type: Option<Value>,
    #[serde(rename = "mapKey")]
    _map_key: Option<Value>,
    #[serde(rename = "zeroCopy")]
    _zero_copy: Option<Value>,
}

impl Field {
    pub fn is_secret(&self) -> bool {
        self.kind == "bytes" && SECRETS.contains(&self.name.as_str())
    }
}

/// A range of versions, both ends included; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub low: i16,
    pub high: i16,
}

impl Default for Versions {
    fn default() -> Self {
        Self { low: 1, high: 0 }
    }
}

impl Versions {
    /// Reads `none`, `4`, `3-5` or `3+`.
    fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::default());
        }
        if let Some(low) = text.strip_suffix('+') {
            return Some(Self { low: low.parse().ok()?, high: i16::MAX });
        }
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        Some(Self { low: low.parse().ok()?, high: high.parse().ok()? })
    }

    pub fn is_empty(self) -> bool {
        self.low > self.high
    }

    pub fn and(self, other: Self) -> Self {
        Self { low: self.low.max(other.low), high: self.high.min(other.high) }
    }

    pub fn covers(self, other: Self) -> bool {
        self.low <= other.low && self.high >= other.high
    }
}

fn versions<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Versions, D::Error> {
    let text = String::deserialize(deserializer)?;
    Versions::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("bad versions {text}")))
}

fn some_versions<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Versions>, D::Error> {
    versions(deserializer).map(Some)
}

/// All schemas of the jar, by name.
pub fn read(jar: &Path) -> Result<BTreeMap<String, Schema>> {
    let file = File::open(jar).map_err(|error| format!("{}: {error}", jar.display()))?;
    let mut archive = zip::ZipArchive::new(file)?;
    let mut schemas = BTreeMap::new();
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at)?;
        let name = entry.name()?.into_owned();
        if name.starts_with("common/message/") && name.ends_with(".json") {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            let mut schema: Schema =
                serde_json::from_str(&without_comments(&text)).map_err(|error| format!("{name}: {error}"))?;
            // Brokers refuse an unstable version unless told otherwise, and its layout may still change.
            schema.valid_versions.high -= i16::from(schema.latest_version_unstable);
            schemas.insert(schema.name.clone(), schema);
        }
    }
    Ok(schemas)
}

/// The schemas are JSON with comments that start with `//` and end with the line.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut quoted = false;
        let mut escaped = false;
        let mut end = line.len();
        for (at, c) in line.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '/' if !quoted && line[at..].starts_with("//") => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        out.push_str(&line[..end]);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_end_with_the_line_and_do_not_start_inside_strings() {
        let text = "// head\n{\"a\": \"x//y \\\" // z\"} // tail\n";
        let value: Value = serde_json::from_str(&without_comments(text)).unwrap();
        assert_eq!(value["a"], "x//y \" // z");
    }

    #[test]
    fn versions_are_read_in_every_form() {
        let range = |low, high| Some(Versions { low, high });
        assert_eq!(Versions::parse("3-5"), range(3, 5));
        assert_eq!(Versions::parse("4"), range(4, 4));
        assert_eq!(Versions::parse("2+"), range(2, i16::MAX));
        assert!(Versions::parse("none").unwrap().is_empty());
        assert_eq!(Versions::parse("3-"), None);
        assert!(Versions { low: 0, high: 5 }.and(Versions { low: 6, high: 9 }).is_empty());
    }
}
