//! Nothing secret in what is logged, returned or shown, over the whole matrix of ways to protect a connection.

use std::fmt::{Debug, Write};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use log::{LevelFilter, Log, Metadata, Record};
use sarameya::admin::{KafkaPrincipal, NewDelegationToken, ScramAlteration, ScramMechanism};
use sarameya::{
    Admin, Client, ClientBuilder, Credentials, OAuthBearerToken, OidcClientCredentials, Properties, Proxy, Sasl, Tls,
};

use crate::security_sasl::{base64, encodings, mechanisms, token};
use crate::security_tls::send;
use crate::support::pki::{Issued, Stores};
use crate::support::secured::{ALICE, BOB, Secured};
use crate::support::{lock, wait_until};

const SETUP: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(60);
const WRONG: &str = "hunter2-hunter2-hunter2";
/// What other tests log meanwhile is kept too, but not without end.
const LOG_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What the whole process logs while it is wanted.
struct Capture(Mutex<String>);

impl Log for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut text = lock(&self.0);
        if text.len() < LOG_BYTES_MAX {
            let _ = writeln!(text, "{} {} {}", record.level(), record.target(), record.args());
        }
    }

    fn flush(&self) {}
}

fn capture() -> &'static Capture {
    static CAPTURE: OnceLock<&'static Capture> = OnceLock::new();
    CAPTURE.get_or_init(|| {
        let capture: &'static Capture = Box::leak(Box::new(Capture(Mutex::default())));
        log::set_logger(capture).expect("nobody else logs in this process");
        capture
    })
}

/// What was shown: settings, clients and errors, in each way that Rust shows them.
#[derive(Default)]
struct Shown(String);

impl Shown {
    fn debug(&mut self, what: &dyn Debug) {
        let _ = writeln!(self.0, "{what:?} {what:#?}");
    }

    /// Connects and sends, which may fail.
    fn attempt(&mut self, address: &str, tls: Option<&Tls>, sasl: Option<&Sasl>) -> bool {
        let mut builder: ClientBuilder = Client::builder().bootstrap_servers(address).connection_setup_timeout(SETUP);
        if let Some(tls) = tls {
            self.debug(tls);
            builder = builder.tls(tls.clone());
        }
        if let Some(sasl) = sasl {
            self.debug(sasl);
            builder = builder.sasl(sasl.clone());
        }
        self.debug(&builder);
        let outcome = builder.build().and_then(|client| {
            self.debug(&client);
            send(&client)
        });
        if let Err(error) = &outcome {
            self.debug(error);
            let mut source: Option<&dyn std::error::Error> = Some(error);
            while let Some(error) = source {
                let _ = writeln!(self.0, "{error}");
                source = error.source();
            }
        }
        outcome.is_ok()
    }
}

/// The characters of a key in PEM, line by line.
fn key_lines(issued: &Issued) -> Vec<String> {
    issued.key.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned).collect()
}

#[test]
fn x10_nothing_secret_is_logged_or_shown_over_the_whole_matrix_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let log = capture();
    log::set_max_level(LevelFilter::Trace);
    let mut shown = Shown::default();
    let trusting = || Tls::new().ca_file(&secured.ca);
    let good_token = token("alice", SystemTime::now());
    let old_token = token("alice", SystemTime::now() - Duration::from_secs(7200));
    let mut secrets: Vec<String> = [ALICE, BOB, WRONG, "store-secret", "key-secret"].map(str::to_owned).into();

    // A delegation token, and a forged one.
    let alice = Client::builder().bootstrap_servers(secured.address("SASL")).sasl(Sasl::scram_sha_256("alice", ALICE));
    let admin = Admin::new(&alice.build().unwrap());
    let made = admin.create_delegation_token(&NewDelegationToken::new().renewer(KafkaPrincipal::user("bob"))).unwrap();
    shown.debug(&made);
    secrets.push(base64(made.hmac()));
    secrets.push(made.hmac().iter().map(|byte| format!("{byte:02x}")).collect());
    let login = Sasl::scram_sha_512(&made.token_id, base64(made.hmac())).delegation_token();
    wait_until("the token is accepted", LIMIT, || shown.attempt(&secured.address("SASL"), None, Some(&login)));
    let forged = Sasl::scram_sha_512(&made.token_id, WRONG).delegation_token();

    for (listener, tls) in [("SASL", None), ("SASLTLS", Some(trusting()))] {
        let address = secured.address(listener);
        let good = mechanisms("alice", ALICE).into_iter().chain(mechanisms("bob", BOB));
        for sasl in good.chain([login.clone(), Sasl::oauthbearer(good_token.clone())]) {
            assert!(shown.attempt(&address, tls.as_ref(), Some(&sasl)), "{listener} {sasl:?}\n{}", shown.0);
        }
        let bad = mechanisms("alice", WRONG).into_iter().chain(mechanisms("mallory", WRONG));
        for sasl in bad.chain([forged.clone(), Sasl::oauthbearer(old_token.clone())]) {
            assert!(!shown.attempt(&address, tls.as_ref(), Some(&sasl)), "{listener} {sasl:?}");
        }
    }
    let own = |issued: &Issued| trusting().identity_pem(issued.certificate.clone(), issued.key.clone());
    let mutual = secured.address("MUTUAL");
    assert!(shown.attempt(&mutual, Some(&own(&secured.client)), None), "{}", shown.0);
    assert!(!shown.attempt(&mutual, Some(&own(&secured.foreign_client)), None));
    let stores = Stores::make("JKS", &secured.directory, &secured.ca, &secured.client, "store-secret", "key-secret");
    let from_stores = Tls::new().ca_store(&stores.trusted, "store-secret");
    let from_stores = from_stores.identity_store(&stores.identity, "store-secret");
    assert!(shown.attempt(&mutual, Some(&from_stores.clone().key_password("key-secret")), None), "{}", shown.0);
    assert!(!shown.attempt(&mutual, Some(&from_stores.key_password(WRONG)), None));
    log::set_max_level(LevelFilter::Off);

    let logged = std::mem::take(&mut *lock(&log.0));
    assert!(logged.len() < LOG_BYTES_MAX, "not all was kept");
    for level in ["TRACE sarameya::net", "DEBUG sarameya::net"] {
        assert!(logged.contains(level), "nothing of {level}");
    }
    assert!(logged.contains("SaslAuthenticate") && shown.0.contains("SASL_AUTHENTICATION_FAILED"));
    for token in [&good_token, &old_token] {
        shown.debug(token);
    }
    let mut forbidden: Vec<String> = secrets.iter().flat_map(|secret| encodings(secret)).collect();
    forbidden.extend(key_lines(&secured.client).into_iter().chain(key_lines(&secured.foreign_client)));
    // How the claims of every token here begin, in base64.
    forbidden.push(base64(b"{\"sub\":\"alice\",").trim_end_matches('=').to_owned());
    for secret in forbidden {
        assert!(!logged.contains(&secret), "logged: {secret}");
        assert!(!shown.0.contains(&secret), "shown: {secret}");
    }
}

#[test]
fn x10_settings_show_no_secret_in_debug() {
    let properties: Properties = format!(
        "bootstrap.servers=a:1\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nproxy.url=http://u:{WRONG}@p:1\n\
         sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" \
         password=\"{WRONG}\";\nssl.key.password={WRONG}\nssl.keystore.password={WRONG}\nssl.truststore.password={WRONG}\n"
    )
    .parse()
    .unwrap();
    let tls = Tls::new().ca_store("/ca", WRONG).identity_store("/me", WRONG).key_password(WRONG);
    let oidc = || OidcClientCredentials::new("https://idp.example.com/token", "me", WRONG).unwrap();
    let (oidc, other_oidc) = (oidc(), oidc());
    let mut shown = Shown::default();
    for settings in [
        &properties as &dyn Debug,
        &Client::builder().properties(&properties).unwrap(),
        &Client::builder().tls(tls.clone()).sasl(Sasl::plain("u", WRONG)),
        &tls,
        &Tls::new().identity_pem("certificate", WRONG),
        &Sasl::scram_sha_256("u", WRONG),
        &Sasl::scram_sha_512("u", WRONG).delegation_token(),
        &Sasl::oauthbearer(OAuthBearerToken::new(WRONG)),
        &Credentials::new("u", WRONG),
        &OAuthBearerToken::new(WRONG),
        &oidc,
        &Sasl::oauthbearer(other_oidc),
        &Proxy::socks5("p", 1).credentials("u", WRONG),
        &Proxy::from_url(&format!("socks5://u:{WRONG}@p:1")).unwrap(),
        &ScramAlteration::upsert("u", ScramMechanism::Sha256, WRONG),
    ] {
        let before = shown.0.len();
        shown.debug(settings);
        assert!(shown.0.len() > before + 4, "it shows something");
    }
    for secret in encodings(WRONG) {
        assert!(!shown.0.contains(&secret), "{secret}\n{}", shown.0);
    }
}
