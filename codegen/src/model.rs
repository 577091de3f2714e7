//! A message as the structures, fields and types it becomes in Rust.

use crate::Result;
use crate::rust::describe;
use crate::schema::{Field, Schema, Versions};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Names that the files import.
const IMPORTED: [&str; 6] = ["Bytes", "Reader", "Request", "Response", "Result", "Writer"];

/// One Rust structure to write.
pub struct Struct<'a> {
    pub name: String,
    pub doc: String,
    /// Where it stands in the message, for errors.
    pub path: String,
    /// The versions of the message in which it can occur.
    pub versions: Versions,
    pub flexible: Versions,
    pub fields: Vec<Member<'a>>,
}

/// A field of a structure.
pub struct Member<'a> {
    pub field: &'a Field,
    pub kind: Type,
    pub name: String,
    pub path: String,
    pub versions: Versions,
    pub nullable: Versions,
    /// The Rust expression for whether lengths are compact.
    pub compact: &'static str,
}

/// The type of a field, without its nullability.
#[derive(Clone, PartialEq)]
pub enum Type {
    Number(&'static str),
    Uuid,
    Text,
    Bytes,
    Struct(String),
    Array(Box<Type>),
}

/// The names of the structures inside a message.
pub fn names(schema: &Schema) -> BTreeSet<&str> {
    fn collect<'a>(fields: &'a [Field], names: &mut BTreeSet<&'a str>) {
        for field in fields.iter().filter(|field| !field.fields.is_empty()) {
            names.insert(field.kind.trim_start_matches("[]"));
            collect(&field.fields, names);
        }
    }
    let mut names = BTreeSet::new();
    collect(&schema.fields, &mut names);
    for shared in &schema.common_structs {
        names.insert(&shared.name);
        collect(&shared.fields, &mut names);
    }
    names
}

/// All structures of a message, the message itself first.
pub fn structs<'a>(schema: &'a Schema, rename: &dyn Fn(&str) -> String) -> Result<Vec<Struct<'a>>> {
    let mut found = Vec::new();
    let what = match schema.kind.as_str() {
        "request" => "Request",
        "response" => "Response",
        _ => "Message",
    };
    let top = Struct {
        name: schema.name.clone(),
        doc: format!("{what}, {}.", describe(schema)),
        path: schema.name.clone(),
        versions: schema.valid_versions,
        flexible: schema.flexible_versions,
        fields: Vec::new(),
    };
    collect(top, &schema.fields, rename, &mut found)?;
    for shared in &schema.common_structs {
        let top = Struct {
            name: rename(&shared.name),
            doc: format!("A structure of [`{}`].", schema.name),
            path: format!("{}.{}", schema.name, shared.name),
            versions: schema.valid_versions.and(shared.versions),
            flexible: schema.flexible_versions,
            fields: Vec::new(),
        };
        collect(top, &shared.fields, rename, &mut found)?;
    }
    let names: BTreeSet<&str> = found.iter().map(|s| s.name.as_str()).collect();
    if names.len() < found.len() || IMPORTED.iter().any(|name| names.contains(name)) {
        return Err(format!("{}: two structures of one name", schema.name).into());
    }
    Ok(found)
}

fn collect<'a>(
    mut top: Struct<'a>,
    fields: &'a [Field],
    rename: &dyn Fn(&str) -> String,
    found: &mut Vec<Struct<'a>>,
) -> Result<()> {
    let mut inner = Vec::new();
    for field in fields {
        let versions = field.versions.and(top.versions);
        // Fields of versions that are gone (or not there yet).
        if versions.is_empty() {
            continue;
        }
        if !field.tagged_versions.is_empty() && !field.tagged_versions.covers(versions) {
            return Err(format!("{}.{}: tagged in some versions only", top.path, field.name).into());
        }
        let name = snake(&field.name);
        let path = format!("{}.{name}", top.path);
        if !field.fields.is_empty() {
            let s = Struct {
                name: rename(field.kind.trim_start_matches("[]")),
                doc: format!("Field `{name}` of [`{}`].", top.name),
                path: path.clone(),
                versions,
                flexible: top.flexible,
                fields: Vec::new(),
            };
            inner.push((s, field.fields.as_slice()));
        }
        top.fields.push(Member {
            kind: Type::parse(&field.kind, rename)?,
            name: if ["type", "match"].contains(&name.as_str()) { format!("r#{name}") } else { name },
            path,
            versions,
            nullable: field.nullable_versions.and(versions),
            compact: match field.flexible_versions.unwrap_or(top.flexible) {
                flexible if flexible.covers(versions) => "true",
                flexible if flexible.and(versions).is_empty() => "false",
                _ => "flexible",
            },
            field,
        });
    }
    found.push(top);
    inner.into_iter().try_for_each(|(s, fields)| collect(s, fields, rename, found))
}

impl Type {
    pub fn parse(text: &str, rename: &dyn Fn(&str) -> String) -> Result<Self> {
        if let Some(element) = text.strip_prefix("[]") {
            return Ok(Self::Array(Box::new(Self::parse(element, rename)?)));
        }
        Ok(match text {
            "bool" => Self::Number("bool"),
            "int8" => Self::Number("i8"),
            "int16" => Self::Number("i16"),
            "uint16" => Self::Number("u16"),
            "int32" => Self::Number("i32"),
            "uint32" => Self::Number("u32"),
            "int64" => Self::Number("i64"),
            "float64" => Self::Number("f64"),
            "uuid" => Self::Uuid,
            "string" => Self::Text,
            "bytes" | "records" => Self::Bytes,
            name if name.starts_with(|c: char| c.is_ascii_uppercase()) => Self::Struct(rename(name)),
            other => return Err(format!("unknown type {other}").into()),
        })
    }

    pub fn rust(&self) -> String {
        match self {
            Self::Number(name) => (*name).to_owned(),
            Self::Uuid => "[u8; 16]".to_owned(),
            Self::Text => "String".to_owned(),
            Self::Bytes => "Bytes".to_owned(),
            Self::Struct(name) => name.clone(),
            Self::Array(element) => format!("Vec<{}>", element.rust()),
        }
    }

    /// The value of a type whose schema names no default.
    pub fn empty(&self) -> String {
        match self {
            Self::Number("bool") => "false".to_owned(),
            Self::Number("f64") => "0.0".to_owned(),
            Self::Number(_) => "0".to_owned(),
            Self::Uuid => "[0; 16]".to_owned(),
            Self::Text => "String::new()".to_owned(),
            Self::Bytes => "Bytes::new()".to_owned(),
            Self::Struct(name) => format!("{name}::default()"),
            Self::Array(_) => "Vec::new()".to_owned(),
        }
    }

    /// Reads a value that is not null.
    pub fn read(&self, compact: &str) -> String {
        match self {
            Self::Number(name) => format!("r.{name}()"),
            Self::Uuid => "r.uuid()".to_owned(),
            Self::Text => format!("r.string({compact})"),
            Self::Bytes => format!("r.bytes({compact})"),
            Self::Struct(name) => format!("{name}::decode(r, version)"),
            Self::Array(element) => format!("r.array({compact}, {})", element.read_element(compact)),
        }
    }

    pub fn read_nullable(&self, compact: &str) -> String {
        match self {
            Self::Text => format!("r.nullable_string({compact})"),
            Self::Bytes => format!("r.nullable_bytes({compact})"),
            Self::Array(element) => format!("r.nullable_array({compact}, {})", element.read_element(compact)),
            _ => format!("r.nullable_struct({})", self.read_element(compact)),
        }
    }

    pub fn read_element(&self, compact: &str) -> String {
        match self {
            Self::Number(name) => format!("Reader::{name}"),
            Self::Uuid => "Reader::uuid".to_owned(),
            _ => format!("|r| {}", self.read(compact)),
        }
    }

    /// Writes the value that the expression, a place, holds.
    pub fn write(&self, place: &str, compact: &str) -> String {
        match self {
            Self::Number(name) => format!("w.{name}({place});"),
            Self::Uuid => format!("w.uuid(&{place});"),
            Self::Text => format!("w.string(&{place}, {compact});"),
            Self::Bytes => format!("w.bytes(&{place}, {compact});"),
            Self::Struct(_) => format!("{place}.encode(w, version)?;"),
            Self::Array(element) => format!("w.array(&{place}, {compact}, {})?;", element.write_element(compact)),
        }
    }

    pub fn write_nullable(&self, place: &str, compact: &str) -> String {
        match self {
            Self::Text => format!("w.nullable_string({place}.as_deref(), {compact});"),
            Self::Bytes => format!("w.nullable_bytes({place}.as_ref(), {compact});"),
            Self::Array(element) => {
                format!("w.nullable_array({place}.as_deref(), {compact}, {})?;", element.write_element(compact))
            }
            _ => format!("w.nullable_struct({place}.as_ref(), {})?;", self.write_element(compact)),
        }
    }

    pub fn write_element(&self, compact: &str) -> String {
        match self {
            Self::Struct(_) => "|w, e| e.encode(w, version)".to_owned(),
            Self::Number(_) => format!("|w, e| {{ {} Ok(()) }}", self.write("*e", compact)),
            _ => format!("|w, e| {{ {} Ok(()) }}", self.write("e", compact).replace("&e", "e")),
        }
    }
}

impl Member<'_> {
    pub fn is_option(&self) -> bool {
        !self.nullable.is_empty()
    }

    pub fn is_secret(&self) -> bool {
        self.field.is_secret()
    }

    pub fn rust(&self) -> String {
        let inner = self.kind.rust();
        if self.is_option() { format!("Option<{inner}>") } else { inner }
    }

    /// The default as a Rust expression; nullable fields without one start empty, not null.
    pub fn default(&self) -> Result<String> {
        let text = match &self.field.default {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(value) => Some(value.to_string()),
        };
        // Record sets are the one type that is null unless the schema says otherwise.
        if text.as_deref() == Some("null") || text.is_none() && self.is_option() && self.field.kind == "records" {
            return Ok("None".to_owned());
        }
        let value = match (&self.kind, text.as_deref()) {
            (kind, None | Some("")) => kind.empty(),
            (Type::Number("bool"), Some(text)) => text.to_owned(),
            (Type::Number("f64"), Some(text)) => format!("{:?}", text.parse::<f64>()?),
            (Type::Number(_), Some(text)) => match text.strip_prefix("0x") {
                Some(hex) => i64::from_str_radix(hex, 16)?.to_string(),
                None => text.parse::<i64>()?.to_string(),
            },
            (Type::Text, Some(text)) => format!("{text:?}.to_owned()"),
            (_, Some(text)) => return Err(format!("{}: default {text} for this type", self.path).into()),
        };
        Ok(if self.is_option() { format!("Some({value})") } else { value })
    }

    /// A Rust condition: the field does not have its default value.
    pub fn differs(&self) -> Result<String> {
        let place = format!("self.{}", self.name);
        let default = self.default()?;
        Ok(match (&self.kind, default.as_str()) {
            (_, "None") => format!("{place}.is_some()"),
            (Type::Number("bool"), "false") => place,
            (Type::Number("bool"), "true") => format!("!{place}"),
            (Type::Text, "String::new()") | (Type::Bytes, "Bytes::new()") | (Type::Array(_), "Vec::new()") => {
                format!("!{place}.is_empty()")
            }
            (
                Type::Text | Type::Bytes | Type::Array(_),
                "Some(String::new())" | "Some(Bytes::new())" | "Some(Vec::new())",
            ) => {
                format!("{place}.as_ref().is_none_or(|v| !v.is_empty())")
            }
            _ => format!("{place} != {default}"),
        })
    }

    pub fn doc(&self) -> String {
        let range = |v: Versions| match (v.low, v.high) {
            (low, i16::MAX) => format!("{low}+"),
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low}-{high}"),
        };
        let mut doc = format!("Versions {}", range(self.field.versions));
        if self.is_option() {
            write!(doc, "; nullable {}", range(self.field.nullable_versions)).unwrap();
        }
        if let Some(tag) = self.field.tag {
            write!(doc, "; tag {tag}").unwrap();
        }
        match &self.field.default {
            Some(Value::String(text)) if !text.is_empty() => write!(doc, "; default {text}").unwrap(),
            Some(Value::Number(n)) => write!(doc, "; default {n}").unwrap(),
            _ => {}
        }
        if self.field.ignorable {
            doc.push_str("; ignorable");
        }
        doc
    }

    pub fn is_tagged(&self) -> bool {
        self.field.tag.is_some()
    }

    /// Statements that write the field, in versions that have it.
    pub fn write(&self) -> String {
        let place = format!("self.{}", self.name);
        if self.nullable.is_empty() {
            return self.kind.write(&place, self.compact);
        }
        let nullable = self.kind.write_nullable(&place, self.compact);
        match condition(self.nullable, self.versions) {
            None => nullable,
            Some(condition) => {
                let required = format!("required(&{place}, \"{}\", version)?", self.path);
                let write = self.kind.write(&required, self.compact).replace("&required", "required");
                format!("if {condition} {{ {nullable} }} else {{ {write} }}")
            }
        }
    }

    /// An expression that reads the field, in versions that have it.
    pub fn read(&self) -> String {
        if self.nullable.is_empty() {
            return format!("{}?", self.kind.read(self.compact));
        }
        let nullable = format!("{}?", self.kind.read_nullable(self.compact));
        match condition(self.nullable, self.versions) {
            None => nullable,
            Some(condition) => {
                format!("if {condition} {{ {nullable} }} else {{ Some({}?) }}", self.kind.read(self.compact))
            }
        }
    }
}

/// The condition on `version` for being in `wanted`, given that it is in `known`; `None` if it always is.
pub fn condition(wanted: Versions, known: Versions) -> Option<String> {
    match (wanted.low > known.low, wanted.high < known.high) {
        (false, false) => None,
        (true, false) => Some(format!("version >= {}", wanted.low)),
        (false, true) => Some(format!("version <= {}", wanted.high)),
        (true, true) if wanted.low == wanted.high => Some(format!("version == {}", wanted.low)),
        (true, true) => Some(format!("({}..={}).contains(&version)", wanted.low, wanted.high)),
    }
}
/// `TransactionalId` to `transactional_id`.
pub fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| chars[at]);
        let after = chars.get(at + 1);
        let starts_word = before.is_some_and(|b| !b.is_uppercase() || after.is_some_and(|a| a.is_lowercase()));
        if c.is_uppercase() && starts_word {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_into_words() {
        for (kafka, rust) in [
            ("TransactionalId", "transactional_id"),
            ("timeoutMs", "timeout_ms"),
            ("Enable2Pc", "enable2_pc"),
            ("ISRNodes", "isr_nodes"),
        ] {
            assert_eq!(snake(kafka), rust);
        }
    }

    #[test]
    fn conditions_say_only_what_is_not_known() {
        let v = |low, high| Versions { low, high };
        assert_eq!(condition(v(0, i16::MAX), v(3, 13)), None);
        assert_eq!(condition(v(9, i16::MAX), v(3, 13)).as_deref(), Some("version >= 9"));
        assert_eq!(condition(v(0, 12), v(3, 13)).as_deref(), Some("version <= 12"));
        assert_eq!(condition(v(5, 5), v(3, 13)).as_deref(), Some("version == 5"));
        assert_eq!(condition(v(5, 7), v(3, 13)).as_deref(), Some("(5..=7).contains(&version)"));
    }
}
