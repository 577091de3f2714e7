//! Settings by their Kafka names, as in the properties files of Kafka's own tools.

mod jaas;
mod known;
mod properties;
mod secret;
mod security;
#[cfg(feature = "tls")]
mod tls;

pub(crate) use jaas::Jaas;
pub use properties::Properties;
pub(crate) use properties::Setting;
pub(crate) use secret::{Secret, hold, reserve_wiping, wipe_front};
pub(crate) use security::SecurityProtocol;
#[cfg(feature = "tls")]
pub(crate) use tls::{Pem, StorePasswords, Verification};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsVersion};

use crate::{Error, Result};
use std::net::Ipv6Addr;

/// Parses `host:port,host:port`; an IPv6 address stands in brackets. A listener's name may stand before each, as in
/// `SSL://host:port`, and says nothing: how connections are protected, `security.protocol` says.
pub(crate) fn address_list(setting: &str, list: &str) -> Result<Vec<(String, u16)>> {
    let mut addresses = Vec::new();
    for address in list.split(',').map(str::trim).filter(|a| !a.is_empty()) {
        match host_and_port(address) {
            Some((host, port)) => addresses.push((host.to_owned(), port)),
            None => return Err(Error::config(setting, format!("{address:?} is not host:port"))),
        }
    }
    if addresses.is_empty() {
        return Err(Error::config(setting, "names no broker"));
    }
    Ok(addresses)
}

fn host_and_port(address: &str) -> Option<(&str, u16)> {
    // A listener's name in front, as in advertised.listeners, is tolerated by Kafka's tools. The scheme of a web page is no
    // such name but a mistake.
    let bare = match address.split_once("://") {
        Some((listener, _)) if ["http", "https"].iter().any(|web| listener.eq_ignore_ascii_case(web)) => return None,
        Some((listener, bare)) => {
            let named = listener.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
            (named && !listener.is_empty()).then_some(bare)?
        }
        None => address,
    };
    let (host, port) = bare.rsplit_once(':')?;
    // Not all that Rust reads as a number is a port: a sign is not.
    let port = port.parse().ok().filter(|n| *n > 0 && port.bytes().all(|b| b.is_ascii_digit()))?;
    if let Some(ip) = host.strip_prefix('[') {
        let ip = ip.strip_suffix(']')?;
        // A zone, as in fe80::1%eth0, is for the system to judge.
        let (plain, zone) = ip.split_once('%').unwrap_or((ip, "0"));
        return (plain.parse::<Ipv6Addr>().is_ok() && is_name(zone)).then_some((ip, port));
    }
    is_name(host).then_some((host, port))
}

fn is_name(host: &str) -> bool {
    !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn f9_address_lists() {
        let parsed = address_list("bootstrap.servers", " a:1, [::1]:9092 ,PLAINTEXT://b:2,[fe80::1%eth0]:3").unwrap();
        assert_eq!(parsed, [("a".into(), 1), ("::1".into(), 9092), ("b".into(), 2), ("fe80::1%eth0".into(), 3)]);
        assert_eq!(address_list("s", "plaintext://my_host-1.x:65535").unwrap(), [("my_host-1.x".into(), 65535)]);
        let prefixed =
            address_list("s", "SSL://a:1,sasl_ssl://[::1]:2,SASL_PLAINTEXT://b:3,CLIENTS-1.x://c:4").unwrap();
        assert_eq!(prefixed, [("a".into(), 1), ("::1".into(), 2), ("b".into(), 3), ("c".into(), 4)]);
        for bad in [
            "",
            ",",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a b:1",
            "http://a:1",
            "::1:9092",
            "a:1;b:2",
            "a;b:2",
            "a:+1",
            "[]:1",
            "[a]:1",
            "[::1:1",
            "::1]:1",
            "[[::1]]:1",
            "[::1%]:1",
            "HTTPS://a:1",
            "SSL:a:1",
            "SSL://SSL://a:1",
            "S L://a:1",
            "PLAINTEXT://",
            "://a:1",
            "a\0:1",
            "u@a:1",
            "a/b:1",
        ] {
            let error = address_list("bootstrap.servers", bad).unwrap_err();
            assert_eq!(error.setting(), Some("bootstrap.servers"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn f9_any_text_is_read_or_refused(text in "\\PC{0,40}|[a:\\[\\]%,/0-9 ]{0,20}") {
            if let Ok(addresses) = address_list("bootstrap.servers", &text) {
                prop_assert!(!addresses.is_empty());
                prop_assert!(addresses.iter().all(|(host, port)| !host.is_empty() && *port > 0));
            }
        }

        #[test]
        fn f9_address_lists_round_trip(hosts in proptest::collection::vec(("[a-z0-9._-]{1,20}", 1u16..), 1..4)) {
            let list: Vec<String> = hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
            prop_assert_eq!(address_list("bootstrap.servers", &list.join(",")).unwrap(), hosts);
        }
    }
}
