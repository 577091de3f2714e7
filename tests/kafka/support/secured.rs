//! A Kafka 4.3.0 with a listener for each way to protect one, or to do that wrongly.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use sarameya::{Client, Sasl};

use super::kafka::{Cluster, ClusterOptions, Version};
use super::pki::{Authority, Issued, write};
use super::process::Process;
use super::{target_kafka, unique, wait_until};

/// The password of each user.
pub(crate) const ALICE: &str = "alice-pässword=,;\"'\\";
/// SASLprep would make something else of it: a no-break space, a ligature, and a letter in two parts.
pub(crate) const BOB: &str = "b\u{a0}o\u{fb01}e\u{301}";
/// She may do nothing but what a test allows her.
pub(crate) const CAROL: &str = "carol-secret";
/// How often the listener REAUTH wants to be convinced again. A client does it a tenth of this before, which must be
/// more than a busy machine keeps its threads waiting.
pub(crate) const REAUTH: Duration = Duration::from_secs(5);
/// A Java tool takes some seconds, and more on a loaded machine.
const TOOL_LIMIT: Duration = Duration::from_secs(300);
const MECHANISMS: &str = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER";

/// The cluster, and who it trusts.
pub(crate) struct Secured {
    pub(crate) cluster: Cluster,
    pub(crate) directory: PathBuf,
    pub(crate) ca: PathBuf,
    /// Of an authority that nobody trusts here.
    pub(crate) foreign_ca: PathBuf,
    pub(crate) client: Issued,
    pub(crate) foreign_client: Issued,
}

impl Secured {
    /// The one that the tests of this process share, started by the first that asks.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Secured> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let directory = target_kafka().join("pki").join(unique("pki"));
        std::fs::create_dir_all(&directory).expect("create a folder");
        let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
        let ca = write(&directory, "ca.pem", &ours.pem());
        let foreign_ca = write(&directory, "foreign.pem", &foreign.pem());
        let both = ["localhost", "127.0.0.1"];
        let certificates = [
            ("TLS", ours.issue("broker", &both)),
            ("MUTUAL", ours.issue("broker", &both)),
            ("EXPIRED", ours.issue_with("broker", &both, |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1))),
            ("FUTURE", ours.issue_with("broker", &both, |params| params.not_before = rcgen::date_time_ymd(2200, 1, 1))),
            ("OTHER", ours.issue("broker", &["other.example.com"])),
            ("COMMON", ours.issue("localhost", &[])),
            ("FOREIGN", foreign.issue("broker", &both)),
            ("NAMED", ours.issue("broker", &["localhost"])),
            ("SASLTLS", ours.issue("broker", &both)),
        ];
        let mut options = ClusterOptions::new(Version::V4_3_0)
            .listener("SASL", "SASL_PLAINTEXT", "localhost")
            .listener("REAUTH", "SASL_PLAINTEXT", "localhost")
            .listener("ONLYPLAIN", "SASL_PLAINTEXT", "localhost")
            .set("listener.name.onlyplain.sasl.enabled.mechanisms", "PLAIN")
            .set("delegation.token.secret.key", "of-the-tests")
            // All but carol may do everything, the brokers and those who have not said who they are included.
            .set("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
            .set("super.users", "User:ANONYMOUS;User:alice;User:bob;User:CN=alice");
        for (name, issued) in &certificates {
            let protocol = if *name == "SASLTLS" { "SASL_SSL" } else { "SSL" };
            // All but one say the name by which they are reached.
            let host = if *name == "NAMED" { "127.0.0.1" } else { "localhost" };
            let prefix = format!("listener.name.{}.ssl", name.to_lowercase());
            let store = issued.write(&directory, &format!("{name}.pem"));
            options = options
                .listener(name, protocol, host)
                .set(&format!("{prefix}.keystore.type"), "PEM")
                .set(&format!("{prefix}.keystore.location"), &store.display().to_string())
                .set(&format!("{prefix}.truststore.type"), "PEM")
                .set(&format!("{prefix}.truststore.location"), &ca.display().to_string())
                .set(&format!("{prefix}.client.auth"), if *name == "MUTUAL" { "required" } else { "none" });
        }
        for name in ["sasl", "sasltls", "reauth", "onlyplain"] {
            options = with_mechanisms(options, name);
        }
        let cluster = Cluster::start(&options);
        let users = [("alice", ALICE), ("bob", BOB)];
        let added = users.map(|(user, password)| add_user(&cluster, &directory, user, password));
        for tool in added.into_iter().flatten() {
            tool.finish(TOOL_LIMIT).success();
        }
        let client = ours.issue("alice", &["client"]);
        wait_for_users(&cluster);
        Self { cluster, directory, ca, foreign_ca, client, foreign_client: foreign.issue("alice", &["client"]) }
    }

    /// `localhost:PORT` of a listener.
    pub(crate) fn address(&self, listener: &str) -> String {
        format!("localhost:{}", self.cluster.port(listener))
    }
}

fn with_mechanisms(options: ClusterOptions, listener: &str) -> ClusterOptions {
    let prefix = format!("listener.name.{listener}");
    let package = "org.apache.kafka.common.security";
    let plain = format!(
        "{package}.plain.PlainLoginModule required user_alice=\"{}\" user_bob=\"{}\" user_carol=\"{CAROL}\";",
        escaped(ALICE),
        escaped(BOB)
    );
    let millis = if listener == "reauth" { REAUTH.as_millis() } else { 0 };
    let mut options = options.set(&format!("{prefix}.plain.sasl.jaas.config"), &properties_escaped(&plain));
    if listener != "onlyplain" {
        options = options.set(&format!("{prefix}.sasl.enabled.mechanisms"), MECHANISMS);
    }
    for mechanism in ["scram-sha-256", "scram-sha-512"] {
        let jaas = format!("{package}.scram.ScramLoginModule required;");
        options = options.set(&format!("{prefix}.{mechanism}.sasl.jaas.config"), &jaas);
    }
    for mechanism in ["plain", "scram-sha-256", "scram-sha-512", "oauthbearer"] {
        options = options.set(&format!("{prefix}.{mechanism}.connections.max.reauth.ms"), &millis.to_string());
    }
    // Kafka's own validator for tests: tokens that nobody has signed.
    let oauth =
        format!("{package}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"admin\";");
    options.set(&format!("{prefix}.oauthbearer.sasl.jaas.config"), &oauth)
}

/// Kafka's own tool makes the SCRAM credentials, so that they are what Kafka makes of a password. It takes one at a time.
fn add_user(cluster: &Cluster, directory: &Path, user: &str, password: &str) -> Vec<Process> {
    let password = properties_escaped(password);
    let add = |mechanism: &str| {
        let text = format!("{mechanism}=iterations=8192,password={password}\n");
        let file = write(directory, &format!("{user}-{mechanism}.config"), &text).display().to_string();
        let arguments = ["--alter", "--entity-type", "users", "--entity-name", user, "--add-config-file", &file];
        cluster.tools().spawn("configs", &arguments)
    };
    ["SCRAM-SHA-256", "SCRAM-SHA-512"].into_iter().map(add).collect()
}

/// The controller has the credentials when the tool ends; the broker takes them over in its own time.
fn wait_for_users(cluster: &Cluster) {
    let address = format!("localhost:{}", cluster.port("SASL"));
    for (user, password) in [("alice", ALICE), ("bob", BOB)] {
        for sasl in [Sasl::scram_sha_256(user, password), Sasl::scram_sha_512(user, password)] {
            let builder = || Client::builder().bootstrap_servers(&address).connection_setup_timeout(TOOL_LIMIT);
            wait_until(&format!("{user} is known"), TOOL_LIMIT, || builder().sasl(sasl.clone()).build().is_ok());
        }
    }
}

/// As it stands between double quotes in a JAAS configuration.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// As a value of a properties file of Java, which is read in Latin-1.
pub(crate) fn properties_escaped(text: &str) -> String {
    let unit = |c: char| match c {
        '\\' => "\\\\".to_owned(),
        c if c.is_ascii() => c.to_string(),
        c => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    };
    text.chars().map(unit).collect()
}
