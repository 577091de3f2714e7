//! Settings by their Kafka names, as in the properties files of Kafka's own tools.

mod known;
mod properties;

pub use properties::Properties;
pub(crate) use properties::Setting;

use crate::{Error, Result};

/// Parses `host:port,host:port`; an IPv6 address stands in brackets.
pub(crate) fn address_list(setting: &str, list: &str) -> Result<Vec<(String, u16)>> {
    let mut addresses = Vec::new();
    for address in list.split(',').map(str::trim).filter(|a| !a.is_empty()) {
        // A listener name in front, as in advertised.listeners, is tolerated by Kafka's tools.
        let bare = address.strip_prefix("PLAINTEXT://").unwrap_or(address);
        let parsed = bare.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        match parsed {
            Some((host, port)) if is_host(host) && port > 0 => {
                addresses.push((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port));
            }
            _ => return Err(Error::config(setting, format!("{address:?} is not host:port"))),
        }
    }
    if addresses.is_empty() {
        return Err(Error::config(setting, "names no broker"));
    }
    Ok(addresses)
}

fn is_host(host: &str) -> bool {
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '?' | '#');
    !host.is_empty() && !host.contains(bad) && (bracketed || !host.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f9_address_lists() {
        let parsed = address_list("bootstrap.servers", " a:1, [::1]:9092 ,PLAINTEXT://b:2,").unwrap();
        assert_eq!(parsed, [("a".into(), 1), ("::1".into(), 9092), ("b".into(), 2)]);
        for bad in ["", ",", "a", "a:", ":1", "a:0", "a:65536", "a b:1", "http://a:1", "::1:9092", "a:1;b:2"] {
            let error = address_list("bootstrap.servers", bad).unwrap_err();
            assert_eq!(error.setting(), Some("bootstrap.servers"), "{bad}");
        }
    }
}
