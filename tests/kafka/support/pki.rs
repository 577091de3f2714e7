//! Certificate authorities and certificates of tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64ct::{Base64, Encoding};
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use pkcs8::PrivateKeyInfoRef;
use pkcs8::pkcs5::pbes2::Parameters;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::process::Spec;
use super::{tools, unique};

/// A Java tool takes some seconds, and more on a loaded machine.
const TOOL_LIMIT: Duration = Duration::from_secs(120);

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a self-signed certificate"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these DNS names and IP addresses.
    pub(crate) fn issue(&self, common_name: &str, names: &[&str]) -> Issued {
        self.issue_with(common_name, names, |_| {})
    }

    pub(crate) fn issue_with(
        &self,
        common_name: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, common_name);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Issued {
    /// Writes key and certificate into one file, as Kafka's PEM stores have them.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> PathBuf {
        write(directory, name, &format!("{}{}", self.key, self.certificate))
    }
}

/// The bytes in a text of PEM.
fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    Base64::decode_vec(&body).expect("base64")
}

/// Java's stores of a client's key and of who is trusted, made from PEM: by `keytool`, but for the PKCS#12 file that it begins with.
pub(crate) struct Stores {
    pub(crate) trusted: PathBuf,
    pub(crate) identity: PathBuf,
}

impl Stores {
    pub(crate) fn make(kind: &str, directory: &Path, ca: &Path, client: &Issued, password: &str, key: &str) -> Self {
        let [first, trusted, identity] =
            ["first", "trusted", "identity"].map(|name| directory.join(unique(&format!("{kind}-{name}"))));
        let chain = PrivateKeyChain::new(
            "1",
            PrivateKey::from_der(&der(&client.key)).expect("a key"),
            [Certificate::from_der(&der(&client.certificate)).expect("a certificate")],
        );
        let mut store = KeyStore::new();
        store.add_entry("client", KeyStoreEntry::PrivateKeyChain(chain));
        fs::write(&first, store.writer(password).write().expect("a store")).expect("write a store");
        let text = |path: &Path| path.display().to_string();
        let (ca, first, trusted_path, identity_path) = (text(ca), text(&first), text(&trusted), text(&identity));
        keytool(
            &["-importcert", "-alias", "ca", "-file", &ca, "-storetype", kind, "-keystore", &trusted_path],
            password,
        );
        let from = ["-importkeystore", "-srckeystore", &first, "-srcstorepass", password, "-srcalias", "client"];
        let to = ["-destkeystore", &identity_path, "-deststoretype", kind, "-deststorepass", password];
        keytool(&[&from[..], &to, &["-destkeypass", key]].concat(), password);
        Self { trusted, identity }
    }
}

fn keytool(arguments: &[&str], password: &str) {
    // It stands beside java.
    let program = tools::java_program().with_file_name("keytool");
    let store = if arguments[0] == "-importcert" { vec!["-storepass", password] } else { Vec::new() };
    let tool = Spec::new(program).args(["-J-Xmx128m", "-J-XX:TieredStopAtLevel=1"]).args(arguments.iter().copied());
    tool.args(store).args(["-noprompt"]).spawn().finish(TOOL_LIMIT).success();
}

impl Issued {
    /// The key in PEM, encrypted as `openssl pkcs8 -topk8` does it.
    pub(crate) fn encrypted_key(&self, password: &str) -> String {
        let (der, iv) = (der(&self.key), [7; 16]);
        let parameters =
            Parameters::generate_pbkdf2_sha256_aes256cbc(2048, b"salt-salt-salt-1", iv).expect("parameters");
        let key = PrivateKeyInfoRef::try_from(&der[..]).expect("a key in PKCS#8");
        let encrypted = key.encrypt_with_params(parameters, password).expect("encrypted");
        let text = Base64::encode_string(encrypted.as_bytes());
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
        format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{}\n-----END ENCRYPTED PRIVATE KEY-----\n", lines.join("\n"))
    }
}

/// Writes a file, and returns its path.
pub(crate) fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).expect("write a file of PEM");
    path
}
