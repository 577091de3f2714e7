//! Which messages are written, into which files, and the file that binds them together.

use crate::Result;
use crate::model::snake;
use crate::rust::HEADER;
use crate::schema::Schema;
use std::collections::BTreeMap;
use std::fmt::Write;

/// APIs that brokers serve but clients never call: share coordinators among themselves (83-87) and the runtime of
/// Kafka Streams (88).
const NOT_FOR_CLIENTS: [i16; 6] = [83, 84, 85, 86, 87, 88];

/// Messages that are not requests or answers: the headers, and what consumers put into group protocol fields.
const DATA: [&str; 4] =
    ["RequestHeader", "ResponseHeader", "ConsumerProtocolSubscription", "ConsumerProtocolAssignment"];

/// One file: a request and its response, or one other message.
pub struct Module<'a> {
    pub name: String,
    pub kind: Kind<'a>,
}

/// What is in a file.
pub enum Kind<'a> {
    Api { name: &'a str, key: i16, request: &'a Schema, response: &'a Schema },
    Data(&'a Schema),
}

/// The files to write, in the order of API keys, other messages last.
pub fn modules(schemas: &BTreeMap<String, Schema>) -> Result<Vec<Module<'_>>> {
    let mut modules = Vec::new();
    for (key, name, request) in requests(schemas) {
        let for_clients = request.listeners.iter().any(|listener| listener == "broker");
        if request.valid_versions.is_empty() || !for_clients || NOT_FOR_CLIENTS.contains(&key) {
            continue;
        }
        let response = schemas.get(&format!("{name}Response")).ok_or_else(|| format!("{name} has no response"))?;
        modules.push(Module { name: snake(name), kind: Kind::Api { name, key, request, response } });
    }
    for name in DATA {
        let schema = schemas.get(name).ok_or_else(|| format!("no schema {name}"))?;
        modules.push(Module { name: snake(name), kind: Kind::Data(schema) });
    }
    Ok(modules)
}

/// Key, name and request of every API, in the order of the keys.
fn requests(schemas: &BTreeMap<String, Schema>) -> Vec<(i16, &str, &Schema)> {
    let mut requests: Vec<_> = schemas
        .values()
        .filter(|schema| schema.kind == "request")
        .filter_map(|schema| Some((schema.api_key?, schema.name.strip_suffix("Request")?, schema)))
        .collect();
    requests.sort_by_key(|request| request.0);
    requests
}

/// `mod.rs`: the modules, [`ApiKey`], and the table of APIs.
pub fn mod_rs(schemas: &BTreeMap<String, Schema>, modules: &[Module<'_>]) -> String {
    let mut out = format!(
        "//! Kafka's messages, one module for each API.\n//!\n{HEADER}\n\
         // Reading starts from the defaults, since most fields exist in some versions only.\n\
         #![allow(clippy::field_reassign_with_default)]\n\n"
    );
    for module in modules {
        writeln!(out, "pub mod {};", module.name).unwrap();
    }
    out.push('\n');
    for module in modules {
        match &module.kind {
            Kind::Api { name, .. } => {
                writeln!(out, "pub use {}::{{{name}Request, {name}Response}};", module.name).unwrap();
            }
            Kind::Data(schema) => writeln!(out, "pub use {}::{};", module.name, schema.name).unwrap(),
        }
    }
    out.push_str(
        "\nuse super::Api;\n\n/// The number of an API. Unknown ones keep their number.\n\
         #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]\npub struct ApiKey(pub i16);\n\n\
         impl ApiKey {\n",
    );
    let requests = requests(schemas);
    for (key, name, _) in &requests {
        writeln!(out, "/// {name}.\npub const {}: Self = Self({key});", snake(name).to_uppercase()).unwrap();
    }
    out.push_str(
        "\n/// Kafka's name for it; `None` for an API that came into use after the schemas were read.\n\
         pub fn name(self) -> Option<&'static str> {\nSome(match self.0 {\n",
    );
    for (key, name, _) in &requests {
        writeln!(out, "{key} => \"{name}\",").unwrap();
    }
    out.push_str("_ => return None,\n})\n}\n}\n\n");
    let apis: Vec<_> = modules
        .iter()
        .filter_map(|module| if let Kind::Api { name, .. } = module.kind { Some(name) } else { None })
        .collect();
    writeln!(out, "/// Every API that has messages here, in the order of the keys.").unwrap();
    writeln!(out, "pub(super) static APIS: [Api; {}] = [", apis.len()).unwrap();
    for name in apis {
        writeln!(out, "Api::of::<{name}Request>(),").unwrap();
    }
    out.push_str("];\n");
    out
}
