//! From the settings of TLS to a session with one broker.

use super::session::Session;
use super::verifier::{AnyCertificate, AnyName};
use super::{provider::provider, store};
use crate::config::{Pem, Secret, Tls, TlsVersion, Verification};
use crate::{Error, Result};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// What all sessions of a client have in common. Its files are looked at again for every session.
#[derive(Debug)]
pub(crate) struct TlsConnector {
    settings: Tls,
    loaded: Mutex<Loaded>,
}

/// The last good configuration, and what it was made of.
struct Loaded {
    inputs: Inputs,
    config: Arc<ClientConfig>,
}

/// The text of what may change: roots, certificates, key.
type Inputs = [Option<Arc<Zeroizing<Vec<u8>>>>; 3];

impl TlsConnector {
    /// Reads everything once; an error names the setting at fault.
    pub(crate) fn new(settings: &Tls) -> Result<Self> {
        match settings.verification {
            Verification::Full => {}
            Verification::NotTheName => {
                log::warn!(
                    "brokers' certificates are not checked for the brokers' names: anybody with any of them can pose as one"
                );
            }
            Verification::Nothing => {
                log::warn!("brokers' certificates are not checked: anybody on the way can read and change everything");
            }
        }
        let inputs = read(settings)?;
        let config = Arc::new(build(settings, &inputs)?);
        Ok(Self { settings: settings.clone(), loaded: Mutex::new(Loaded { inputs, config }) })
    }

    /// A session with the broker at `host`, whose certificate must be valid for that name.
    pub(in crate::net) fn session(&self, host: &str) -> Result<Session> {
        let name = server_name(host)?;
        Session::new(self.config(), name)
    }

    /// The configuration, made anew if a file has changed.
    fn config(&self) -> Arc<ClientConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let renewed = read(&self.settings).and_then(|inputs| {
            if inputs == loaded.inputs {
                return Ok(None);
            }
            Ok(Some(Loaded { config: Arc::new(build(&self.settings, &inputs)?), inputs }))
        });
        match renewed {
            Ok(None) => {}
            Ok(Some(renewed)) => {
                log::info!("certificates have changed and were read again");
                *loaded = renewed;
            }
            // Perhaps a rotation is under way, with one file of two written. The next connection looks again.
            Err(error) => log::warn!("certificates can't be read again, the last ones stand: {error}"),
        }
        loaded.config.clone()
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loaded")
    }
}

fn read(settings: &Tls) -> Result<Inputs> {
    let read = |pem: Option<&Pem>| pem.map(Pem::read).transpose();
    let identity = settings.identity.as_ref();
    Ok([
        read(settings.roots.as_ref())?,
        read(identity.map(|identity| &identity.certificates))?,
        read(identity.map(|identity| &identity.key))?,
    ])
}

fn build(settings: &Tls, inputs: &Inputs) -> Result<ClientConfig> {
    let [roots, certificates, key] = inputs;
    let provider = Arc::new(with_suites(provider()?, settings.cipher_suites.as_deref())?);
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(settings.versions.as_deref())?)
        .map_err(|error| Error::config("ssl.enabled.protocols", error.to_string()))?;
    let verifier = match settings.verification {
        Verification::Nothing => None,
        _ => {
            let text = roots.as_ref().map(|text| &text[..]);
            Some(verifier(settings.roots.as_ref(), text, settings.roots_password.as_ref(), &provider)?)
        }
    };
    let builder = match (settings.verification, verifier) {
        (Verification::Full, Some(verifier)) => builder.with_webpki_verifier(verifier),
        (_, Some(verifier)) => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier))),
        (_, None) => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
    };
    let mut config = match (&settings.identity, certificates, key) {
        (Some(identity), Some(certificates), Some(key)) => {
            let passwords = &settings.identity_passwords;
            let chain = store::chain(certificates, passwords).map_err(|why| identity.certificates.refuse(&why))?;
            let key = store::private_key(key, passwords).map_err(|why| identity.key.refuse(&why))?;
            let refused = |error| identity.key.refuse(&format!("the key and its certificate can't be used: {error}"));
            builder.with_client_auth_cert(chain, key).map_err(refused)?
        }
        _ => builder.with_no_client_auth(),
    };
    // Every connection checks the broker's certificate as it is now; a resumed session would not.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The usual verifier, for roots that were given or else for the system's.
fn verifier(
    given: Option<&Pem>,
    text: Option<&[u8]>,
    password: Option<&Secret>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>> {
    let refuse = |why: &str| given.map_or_else(|| Error::config("ssl.truststore.location", why), |pem| pem.refuse(why));
    let mut store = RootCertStore::empty();
    match text {
        Some(text) => {
            for certificate in store::certificates(text, password).map_err(|why| refuse(&why))? {
                store.add(certificate).map_err(|error| refuse(&format!("a certificate can't be used: {error}")))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            // Systems hold some that no strict reader takes.
            let (taken, ignored) = store.add_parsable_certificates(found.certs);
            log::debug!("the system trusts {taken} certificate authorities; {ignored} can't be read");
            if taken == 0 {
                let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
                return Err(refuse(&format!("the system trusts no certificate authority {}", errors.join("; "))));
            }
        }
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
        .build()
        .map_err(|error| refuse(&error.to_string()))
}

fn versions(wanted: Option<&[TlsVersion]>) -> Result<Vec<&'static SupportedProtocolVersion>> {
    let all = [(TlsVersion::V1_3, &rustls::version::TLS13), (TlsVersion::V1_2, &rustls::version::TLS12)];
    let chosen = all.into_iter().filter(|(version, _)| wanted.is_none_or(|wanted| wanted.contains(version)));
    let chosen: Vec<_> = chosen.map(|(_, supported)| supported).collect();
    if chosen.is_empty() {
        return Err(Error::config("ssl.enabled.protocols", "names no version of TLS; 1.2 and 1.3 are supported"));
    }
    Ok(chosen)
}

fn with_suites(provider: Arc<CryptoProvider>, names: Option<&[String]>) -> Result<CryptoProvider> {
    let mut provider = Arc::unwrap_or_clone(provider);
    if let Some(names) = names {
        provider.cipher_suites.retain(|suite| {
            // rustls calls TLS_AES_128_GCM_SHA256 TLS13_AES_128_GCM_SHA256.
            let own = format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1);
            names.contains(&own)
        });
        if provider.cipher_suites.is_empty() {
            return Err(Error::config("ssl.cipher.suites", "names none of the cipher suites there are here"));
        }
    }
    Ok(provider)
}

/// The name that a certificate must be valid for.
fn server_name(host: &str) -> Result<ServerName<'static>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // A zone is this machine's name for a network; a dot at the end says that the name is complete.
    let bare = bare.split('%').next().unwrap_or(bare);
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    ServerName::try_from(bare.to_owned())
        .map_err(|_| Error::tls(format!("{host:?} is no name that a certificate can be valid for")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    #[test]
    fn l2_names_are_taken_as_certificates_have_them() {
        let ip = |ip: IpAddr| ServerName::IpAddress(ip.into());
        assert_eq!(server_name("127.0.0.1").unwrap(), ip(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(server_name("[::1]").unwrap(), ip(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(server_name("fe80::1%eth0").unwrap(), ip("fe80::1".parse().unwrap()));
        assert_eq!(server_name("Broker-1.example.com.").unwrap().to_str().to_ascii_lowercase(), "broker-1.example.com");
        assert_eq!(server_name("my_host").unwrap().to_str(), "my_host");
        for bad in ["", ".", "a b", "a..b", "ä.example"] {
            assert_eq!(server_name(bad).unwrap_err().kind(), crate::ErrorKind::Tls, "{bad}");
        }
    }

    #[test]
    fn settings_that_leave_nothing_are_refused() {
        let refused = |tls: Tls| TlsConnector::new(&tls).unwrap_err().setting().map(str::to_owned);
        let some = || Tls::new().danger_accept_any_certificate();
        assert_eq!(refused(some().versions([])).as_deref(), Some("ssl.enabled.protocols"));
        assert_eq!(refused(some().cipher_suites(["TLS_RSA_WITH_NULL_SHA"])).as_deref(), Some("ssl.cipher.suites"));
        assert_eq!(refused(Tls::new().ca_pem("nothing")).as_deref(), Some("ssl.truststore.certificates"));
        assert_eq!(refused(Tls::new().ca_file("/nonexistent/ca.pem")).as_deref(), Some("ssl.truststore.location"));
        assert_eq!(refused(some().identity_pem("x", "y")).as_deref(), Some("ssl.keystore.certificate.chain"));
        let chosen = some().cipher_suites(["TLS_AES_256_GCM_SHA384", "TLS_UNKNOWN"]).versions([TlsVersion::V1_3]);
        TlsConnector::new(&chosen).unwrap();
    }
}
