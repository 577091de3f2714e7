//! Settings: properties, what is in `sasl.jaas.config`, PEM, and lists of addresses.
//!
//! Input: a text that each of the parsers reads.

use crate::config::{Jaas, address_list};
use crate::{Client, ClientBuilder, Properties, Result};

pub(super) fn decode(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = (properties(&text), Jaas::parse(&text), address_list("bootstrap.servers", &text));
    #[cfg(feature = "tls")]
    let _ = (crate::net::pem::certificates(data), crate::net::pem::private_key(data, None));
}

/// As far as the settings go without a file being read.
fn properties(text: &str) -> Result<(Properties, Result<ClientBuilder>)> {
    let properties: Properties = text.parse()?;
    let builder = Client::builder().properties(&properties);
    Ok((properties, builder))
}

pub(super) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok((properties, _)) = properties(&text) {
        let again: Properties = written(&properties).parse().expect("what was read can be written");
        assert_eq!(properties, again);
    }
    if let Ok(jaas) = Jaas::parse(&text) {
        assert!(!jaas.module.contains('.'));
    }
    if let Ok(addresses) = address_list("bootstrap.servers", &text) {
        let written = |(host, port): &(String, u16)| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let list: Vec<_> = addresses.iter().map(written).collect();
        assert_eq!(address_list("bootstrap.servers", &list.join(",")).expect("it was just written"), addresses);
    }
    #[cfg(feature = "tls")]
    {
        let _ = (crate::net::pem::certificates(data), crate::net::pem::private_key(data, None));
    }
}

/// In Java's format, with all that could be taken for something else escaped.
fn written(properties: &Properties) -> String {
    let mut text = String::new();
    for setting in properties.iter() {
        text.push_str(setting.name());
        text.push('=');
        for unit in properties.get(setting.name()).unwrap_or_default().encode_utf16() {
            text.push_str(&format!("\\u{unit:04x}"));
        }
        text.push('\n');
    }
    text
}
