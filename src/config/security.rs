//! The settings of TLS and SASL by their Kafka names, as a whole: what one says depends on others.

use super::Properties;
#[cfg(feature = "tls")]
use super::{Pem, Secret, StorePasswords, Tls, TlsVersion, tls::Identity};
use crate::{Error, Result};

/// How a client and its brokers protect what they say. Kafka: `security.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    /// What the settings ask for, if they do.
    pub(crate) fn from_properties(properties: &Properties) -> Result<Option<Self>> {
        let Some(name) = properties.get("security.protocol") else { return Ok(None) };
        let all = [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl];
        let found = all.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name.trim()));
        let unknown = || {
            let message = format!("{name:?} is none of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL");
            Error::config("security.protocol", message)
        };
        found.map(Some).ok_or_else(unknown)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    pub(crate) fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// TLS as the `ssl.` settings have it.
#[cfg(feature = "tls")]
impl Tls {
    pub(crate) fn from_properties(properties: &Properties) -> Result<Self> {
        let get = |name| properties.get(name).map(str::trim).filter(|value| !value.is_empty());
        let mut tls = Self::new();
        check_store_type(properties, "ssl.truststore.type", "ssl.truststore.location")?;
        check_store_type(properties, "ssl.keystore.type", "ssl.keystore.location")?;
        tls.roots = match (get("ssl.truststore.location"), get("ssl.truststore.certificates")) {
            (Some(_), Some(_)) => {
                let message = "ssl.truststore.location and ssl.truststore.certificates exclude each other";
                return Err(Error::config("ssl.truststore.location", message));
            }
            (Some(path), None) => Some(Pem::file(path, "ssl.truststore.location")),
            (None, Some(pem)) => Some(Pem::memory(pem, "ssl.truststore.certificates")),
            (None, None) => None,
        };
        let secret = |name| get(name).map(Secret::new);
        tls.roots_password = secret("ssl.truststore.password");
        tls.identity_passwords =
            StorePasswords { store: secret("ssl.keystore.password"), key: secret("ssl.key.password") };
        tls.identity =
            identity(get("ssl.keystore.location"), get("ssl.keystore.certificate.chain"), get("ssl.keystore.key"))?;
        match properties.get("ssl.endpoint.identification.algorithm").map(str::trim) {
            None => {}
            Some("") => tls = tls.danger_accept_any_host_name(),
            Some(name) if name.eq_ignore_ascii_case("https") => {}
            Some(name) => {
                let message = format!("{name:?} is neither https nor empty");
                return Err(Error::config("ssl.endpoint.identification.algorithm", message));
            }
        }
        if let Some(names) = get("ssl.enabled.protocols") {
            let versions = names.split(',').filter_map(|name| match name.trim() {
                "TLSv1.2" => Some(TlsVersion::V1_2),
                "TLSv1.3" => Some(TlsVersion::V1_3),
                // Older ones are not spoken.
                _ => None,
            });
            tls = tls.versions(versions);
        }
        if let Some(names) = get("ssl.cipher.suites") {
            tls = tls.cipher_suites(names.split(',').map(str::trim));
        }
        Ok(tls)
    }
}

/// Stores are told apart by what is in them, as Java does it for JKS and PKCS12. What can't be read is refused by name.
#[cfg(feature = "tls")]
fn check_store_type(properties: &Properties, name: &str, location: &str) -> Result<()> {
    let given = properties.get(name).map(str::trim).filter(|_| properties.get(location).is_some());
    let Some(kind) = given else { return Ok(()) };
    match why_not(name, kind, cfg!(feature = "stores")) {
        Some(why) => Err(Error::config(name, why)),
        None => Ok(()),
    }
}

/// Why a store of this type can't be read, if it can't.
#[cfg(feature = "tls")]
fn why_not(name: &str, kind: &str, with_stores: bool) -> Option<String> {
    let is_one_of = |known: &[&str]| known.iter().any(|known| kind.eq_ignore_ascii_case(known));
    if is_one_of(&["JKS", "PKCS12"]) {
        let why = format!("{kind} needs sarameya's feature stores; or convert the store to PEM and say {name}=PEM");
        return Some(why).filter(|_| !with_stores);
    }
    let why = format!("{kind} is none of PEM, PKCS12 and JKS; convert the store to one of them");
    Some(why).filter(|_| !is_one_of(&["PEM"]))
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::why_not;

    #[test]
    fn a_type_of_store_that_needs_the_feature_names_it() {
        let setting = "ssl.keystore.type";
        for kind in ["JKS", "pkcs12"] {
            assert_eq!(why_not(setting, kind, true), None);
            let why = why_not(setting, kind, false).unwrap();
            assert!(why.contains("feature stores") && why.contains("ssl.keystore.type=PEM"), "{why}");
        }
        assert_eq!((why_not(setting, "pem", true), why_not(setting, "PEM", false)), (None, None));
        assert!(why_not(setting, "BCFKS", true).unwrap().contains("none of PEM, PKCS12 and JKS"));
    }
}

#[cfg(feature = "tls")]
fn identity(location: Option<&str>, chain: Option<&str>, key: Option<&str>) -> Result<Option<Identity>> {
    let (location_name, chain_name, key_name) =
        ("ssl.keystore.location", "ssl.keystore.certificate.chain", "ssl.keystore.key");
    match (location, chain, key) {
        (None, None, None) => Ok(None),
        (Some(path), None, None) => {
            Ok(Some(Identity { certificates: Pem::file(path, location_name), key: Pem::file(path, location_name) }))
        }
        (None, Some(chain), Some(key)) => {
            Ok(Some(Identity { certificates: Pem::memory(chain, chain_name), key: Pem::memory(key, key_name) }))
        }
        (Some(_), ..) => {
            Err(Error::config(location_name, format!("{location_name} and {key_name} exclude each other")))
        }
        (None, Some(_), None) => Err(Error::config(key_name, format!("{chain_name} without {key_name}"))),
        (None, None, Some(_)) => Err(Error::config(chain_name, format!("{key_name} without {chain_name}"))),
    }
}
