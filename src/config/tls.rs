//! What TLS trusts and shows.

use super::Secret;
use crate::{Error, ErrorKind, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Certificates and keys are some kilobytes; a path to something else is noticed before it fills the memory.
const PEM_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Settings of TLS: whom the client trusts, and who it says it is. The default trusts what the system trusts and shows
/// no certificate of its own, as suits brokers with a public certificate.
///
/// A broker's certificate must be valid for the name or IP address that the broker is dialled by: for all but the
/// bootstrap addresses, the one it advertises. Only subject alternative names count, not the common name. TLS 1.2 and 1.3
/// are spoken.
///
/// Files are read when the client is built, and looked at again for every new connection, so that certificates can be
/// rotated while the client runs. A file that can't be used then is logged as a warning, and the last good one stands.
///
/// ```no_run
/// use sarameya::{Client, Tls};
///
/// # fn main() -> Result<(), sarameya::Error> {
/// let tls = Tls::new().ca_file("ca.pem").identity_files("client.pem", "client.key");
/// let client = Client::builder().bootstrap_servers("broker:9093").tls(tls).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Tls {
    pub(crate) roots: Option<Pem>,
    pub(crate) roots_password: Option<Secret>,
    pub(crate) identity: Option<Identity>,
    pub(crate) identity_passwords: StorePasswords,
    pub(crate) verification: Verification,
    pub(crate) versions: Option<Vec<TlsVersion>>,
    pub(crate) cipher_suites: Option<Vec<String>>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// The client's certificates and their key.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificates: Pem,
    pub(crate) key: Pem,
}

/// What a store of certificates and keys, and the key in it, are locked with.
#[derive(Debug, Clone, Default)]
pub(crate) struct StorePasswords {
    pub(crate) store: Option<Secret>,
    pub(crate) key: Option<Secret>,
}

/// What of a broker's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Verification {
    #[default]
    Full,
    NotTheName,
    Nothing,
}

/// Text in PEM format or a store in another, and where it is.
#[derive(Clone)]
pub(crate) enum Pem {
    File { path: PathBuf, setting: &'static str },
    Memory { text: Arc<Zeroizing<Vec<u8>>>, setting: &'static str },
}

impl Tls {
    /// The default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificate authorities in this file of PEM, and no others.
    ///
    /// Kafka: `ssl.truststore.location` with `ssl.truststore.type` PEM. Defaults to what the system trusts.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.roots = Some(Pem::file(path, "ssl.truststore.location"));
        self
    }

    /// Trusts the certificate authorities in this PEM, and no others.
    ///
    /// Kafka: `ssl.truststore.certificates`. Defaults to what the system trusts.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(Pem::memory(pem, "ssl.truststore.certificates"));
        self
    }

    /// Trusts the certificate authorities in this store, and no others. It may be PKCS#12 or JKS, as Java's `keytool` makes
    /// them (feature `stores`); its content says which. Without a password, [`ca_file`](Self::ca_file) takes one too: one in
    /// JKS is then not checked for changes.
    ///
    /// Kafka: `ssl.truststore.location`, `ssl.truststore.password`; `ssl.truststore.type` JKS or PKCS12.
    #[cfg(feature = "stores")]
    pub fn ca_store(mut self, path: impl Into<PathBuf>, password: impl Into<String>) -> Self {
        self.roots_password = Some(Secret::new(password));
        self.ca_file(path)
    }

    /// Shows brokers the certificate of the first key in this store, PKCS#12 or JKS, as Java's `keytool` makes them (feature
    /// `stores`); its content says which.
    ///
    /// Kafka: `ssl.keystore.location`, `ssl.keystore.password`; `ssl.keystore.type` JKS or PKCS12. Defaults to none.
    #[cfg(feature = "stores")]
    pub fn identity_store(mut self, path: impl Into<PathBuf>, password: impl Into<String>) -> Self {
        self.identity_passwords.store = Some(Secret::new(password));
        let path = path.into();
        self.identity_files(path.clone(), path)
    }

    /// The password of the client's key itself: of an encrypted key in PEM (PKCS#8), or of one in a JKS store that has another
    /// password than the store (feature `stores`).
    ///
    /// Kafka: `ssl.key.password`. Defaults to the store's.
    #[cfg(feature = "stores")]
    pub fn key_password(mut self, password: impl Into<String>) -> Self {
        self.identity_passwords.key = Some(Secret::new(password));
        self
    }

    /// Shows brokers the certificate in the one file, with the key in the other, for `ssl.client.auth` (mTLS). The chain
    /// begins with the client's own certificate. Both may be the same file. The key is one in PKCS#8, PKCS#1 or SEC1; an
    /// encrypted one in PKCS#8 needs the feature `stores` and `key_password`.
    ///
    /// Kafka: `ssl.keystore.location` with `ssl.keystore.type` PEM, which has both in one file. Defaults to none.
    pub fn identity_files(mut self, certificates: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let setting = "ssl.keystore.location";
        self.identity = Some(Identity { certificates: Pem::file(certificates, setting), key: Pem::file(key, setting) });
        self
    }

    /// Like [`identity_files`](Self::identity_files), from memory. The key is wiped when it is not needed any more.
    ///
    /// Kafka: `ssl.keystore.certificate.chain` and `ssl.keystore.key`. Defaults to none.
    pub fn identity_pem(mut self, certificates: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some(Identity {
            certificates: Pem::memory(certificates, "ssl.keystore.certificate.chain"),
            key: Pem::memory(key, "ssl.keystore.key"),
        });
        self
    }

    /// The versions of TLS that may be spoken; the highest one both sides have is.
    ///
    /// Kafka: `ssl.enabled.protocols`. Defaults to 1.2 and 1.3.
    pub fn versions(mut self, versions: impl IntoIterator<Item = TlsVersion>) -> Self {
        self.versions = Some(versions.into_iter().collect());
        self
    }

    /// The cipher suites that may be used, by their IANA names such as `TLS_AES_256_GCM_SHA384`. Those this crate does
    /// not have are left out.
    ///
    /// Kafka: `ssl.cipher.suites`. Defaults to all of TLS 1.3, and those of TLS 1.2 with forward secrecy and
    /// authenticated encryption.
    pub fn cipher_suites<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.cipher_suites = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Accepts a certificate for any name, as long as a trusted authority has issued it. **Dangerous**: whoever has any
    /// certificate of that authority can pose as a broker. A warning is logged when the client is built.
    ///
    /// Kafka: an empty `ssl.endpoint.identification.algorithm`.
    pub fn danger_accept_any_host_name(mut self) -> Self {
        self.verification = Verification::NotTheName;
        self
    }

    /// Accepts any certificate at all. **Dangerous**: whoever is on the way can read and change everything. A warning is
    /// logged when the client is built.
    pub fn danger_accept_any_certificate(mut self) -> Self {
        self.verification = Verification::Nothing;
        self
    }
}

impl Pem {
    pub(crate) fn file(path: impl Into<PathBuf>, setting: &'static str) -> Self {
        Self::File { path: path.into(), setting }
    }

    pub(crate) fn memory(text: impl Into<Vec<u8>>, setting: &'static str) -> Self {
        Self::Memory { text: Arc::new(Zeroizing::new(text.into())), setting }
    }

    /// The text as it is now.
    pub(crate) fn read(&self) -> Result<Arc<Zeroizing<Vec<u8>>>> {
        match self {
            Self::Memory { text, .. } => Ok(text.clone()),
            Self::File { path, .. } => read_file(path)
                .map(|text| Arc::new(Zeroizing::new(text)))
                .map_err(|error| self.refuse(&format!("reading {}: {error}", path.display())).with_source(error)),
        }
    }

    /// An error that names the setting, and the file if it is one.
    pub(crate) fn refuse(&self, why: &str) -> Error {
        match self {
            Self::File { path, setting } if !why.contains(&*path.to_string_lossy()) => {
                Error::config(setting, format!("{}: {why}", path.display()))
            }
            Self::File { setting, .. } | Self::Memory { setting, .. } => Error::config(setting, why),
        }
    }
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(PEM_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > PEM_BYTES_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
    }
    Ok(text)
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Memory { .. } => f.write_str("[hidden]"),
        }
    }
}

impl Error {
    /// TLS could not be agreed on, or a certificate was refused by either side.
    pub(crate) fn tls(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Tls, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_to_something_huge_or_endless_is_refused_before_it_fills_the_memory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("huge.pem");
        // Sparse: it takes no space.
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(PEM_BYTES_MAX).unwrap();
        assert_eq!(Pem::file(&path, "ssl.keystore.location").read().unwrap().len() as u64, PEM_BYTES_MAX);
        file.set_len(PEM_BYTES_MAX + 1).unwrap();
        for path in [path.as_path(), Path::new("/dev/zero")] {
            let error = Pem::file(path, "ssl.keystore.location").read().unwrap_err();
            assert_eq!(error.setting(), Some("ssl.keystore.location"));
            assert!(error.to_string().contains("larger than 16 MiB"), "{error}");
        }
    }

    #[test]
    fn x10_keys_and_passwords_of_tls_do_not_show() {
        let mut tls = Tls::new().identity_pem("certificate", "hunter2").ca_pem("hunter2");
        let passwords = StorePasswords { store: Some(Secret::new("hunter2")), key: Some(Secret::new("hunter2")) };
        (tls.roots_password, tls.identity_passwords) = (Some(Secret::new("hunter2")), passwords);
        let shown = format!("{tls:?} {tls:#?}");
        assert!(!shown.contains("hunter2") && shown.contains("[hidden]"), "{shown}");
    }
}
