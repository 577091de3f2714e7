//! Who a client says it is, and how it proves that.

use super::scram::ScramMechanism;
use crate::config::{Jaas, Properties, Secret};
use crate::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// An error of a provider.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Settings of SASL: a mechanism, and where user and password or a token come from.
///
/// ```no_run
/// use sarameya::{Client, Sasl, Tls};
///
/// # fn main() -> Result<(), sarameya::Error> {
/// let client = Client::builder()
///     .bootstrap_servers("broker:9093")
///     .tls(Tls::new())
///     .sasl(Sasl::scram_sha_512("alice", "alice-secret"))
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// Every new connection authenticates, and one whose session the broker has limited (`connections.max.reauth.ms`,
/// KIP-368) does so again in time, between two requests. Providers are asked each time, on the thread that owns the
/// connection and within its deadline as far as they keep to it: they must answer soon. Passwords and tokens do not show in
/// `Debug`, errors and logs, and are wiped from memory when they are not needed any more.
#[derive(Clone)]
#[must_use]
pub struct Sasl(Mechanism);

#[derive(Clone)]
enum Mechanism {
    Plain(Arc<dyn CredentialProvider>),
    Scram { hash: ScramMechanism, provider: Arc<dyn CredentialProvider>, token: bool },
    OAuthBearer(Arc<dyn OAuthBearerTokenProvider>),
}

/// A user and a password.
#[derive(Debug, Clone)]
pub struct Credentials {
    user: String,
    password: Secret,
}

/// Where user and password come from, asked for every authentication: a rotated password is used by the next connection.
///
/// A closure that returns `Result<Credentials, E>` is one. It is called on threads that own connections, and must answer
/// soon. Its error or panic fails the connection with an error of kind [`Authentication`](ErrorKind::Authentication).
pub trait CredentialProvider: Send + Sync {
    /// The user and password that are valid now.
    fn credentials(&self) -> Result<Credentials, BoxError>;
}

/// A bearer token (RFC 6750) for OAUTHBEARER, usually a JSON Web Token.
#[derive(Debug, Clone)]
pub struct OAuthBearerToken {
    token: Secret,
    extensions: BTreeMap<String, String>,
}

/// Where tokens come from, asked for every authentication; a provider that fetches them keeps them until shortly before
/// they expire.
///
/// A closure that returns `Result<OAuthBearerToken, E>` is one. It is called on threads that own connections, and must
/// answer soon. Its error or panic fails the connection with an error of kind
/// [`Authentication`](ErrorKind::Authentication).
pub trait OAuthBearerTokenProvider: Send + Sync {
    /// A token that is valid now, and for some time.
    fn token(&self) -> Result<OAuthBearerToken, BoxError>;
}

/// What an exchange begins with.
pub(super) enum Proof {
    Plain(Credentials),
    Scram { hash: ScramMechanism, credentials: Credentials, token: bool },
    OAuthBearer(OAuthBearerToken),
}

impl Sasl {
    /// PLAIN (RFC 4616): the password itself goes to the broker, so it belongs behind TLS.
    pub fn plain(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self(Mechanism::Plain(Arc::new(Credentials::new(user, password))))
    }

    /// PLAIN with user and password from a provider.
    pub fn plain_with(provider: impl CredentialProvider + 'static) -> Self {
        Self(Mechanism::Plain(Arc::new(provider)))
    }

    /// SCRAM-SHA-256 (RFC 7677): the broker learns no password, and must prove that it knows its hash.
    pub fn scram_sha_256(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::scram_sha_256_with(Credentials::new(user, password))
    }

    /// SCRAM-SHA-256 with user and password from a provider.
    pub fn scram_sha_256_with(provider: impl CredentialProvider + 'static) -> Self {
        Self(Mechanism::Scram { hash: ScramMechanism::Sha256, provider: Arc::new(provider), token: false })
    }

    /// SCRAM-SHA-512: like [`scram_sha_256`](Self::scram_sha_256) with a longer hash.
    pub fn scram_sha_512(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::scram_sha_512_with(Credentials::new(user, password))
    }

    /// SCRAM-SHA-512 with user and password from a provider.
    pub fn scram_sha_512_with(provider: impl CredentialProvider + 'static) -> Self {
        Self(Mechanism::Scram { hash: ScramMechanism::Sha512, provider: Arc::new(provider), token: false })
    }

    /// Makes a SCRAM mechanism authenticate with a delegation token (KIP-48): the user is the token's id, the password
    /// its HMAC in base64. Kafka: `tokenauth=true` in `sasl.jaas.config`. Other mechanisms stay as they are.
    pub fn delegation_token(mut self) -> Self {
        if let Mechanism::Scram { token, .. } = &mut self.0 {
            *token = true;
        }
        self
    }

    /// OAUTHBEARER (RFC 7628, KIP-255) with tokens from a provider. The token goes to the broker, so it belongs behind TLS.
    pub fn oauthbearer(provider: impl OAuthBearerTokenProvider + 'static) -> Self {
        Self(Mechanism::OAuthBearer(Arc::new(provider)))
    }

    /// The name of the mechanism. Kafka: `sasl.mechanism`.
    #[must_use]
    pub fn mechanism(&self) -> &'static str {
        match &self.0 {
            Mechanism::Plain(_) => "PLAIN",
            Mechanism::Scram { hash, .. } => hash.name(),
            Mechanism::OAuthBearer(_) => "OAUTHBEARER",
        }
    }

    /// Whether a broker, or who listens on the way to it, learns what it needs to pose as this client.
    pub(crate) fn shows_the_secret(&self) -> bool {
        !matches!(self.0, Mechanism::Scram { .. })
    }

    /// Asks the provider.
    pub(super) fn proof(&self) -> Result<Proof> {
        Ok(match &self.0 {
            Mechanism::Plain(provider) => Proof::Plain(self.ask(|| provider.credentials())?),
            Mechanism::Scram { hash, provider, token } => {
                Proof::Scram { hash: *hash, credentials: self.ask(|| provider.credentials())?, token: *token }
            }
            Mechanism::OAuthBearer(provider) => Proof::OAuthBearer(self.ask(|| provider.token())?),
        })
    }

    fn ask<T>(&self, provider: impl FnOnce() -> Result<T, BoxError>) -> Result<T> {
        let failed =
            |why: &str| Error::new(ErrorKind::Authentication, format!("{}: the provider {why}", self.mechanism()));
        // A panic in a user's provider must not end the thread that owns the connection.
        match catch_unwind(AssertUnwindSafe(provider)) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(&format!("of credentials failed: {error}")).with_boxed_source(error)),
            Err(_) => Err(failed("of credentials panicked")),
        }
    }

    /// What `sasl.mechanism` and `sasl.jaas.config` ask for.
    pub(crate) fn from_properties(properties: &Properties) -> Result<Self> {
        // Kafka's default.
        let name = properties.get("sasl.mechanism").map_or("GSSAPI", str::trim);
        let jaas = properties.get("sasl.jaas.config").map(Jaas::parse).transpose()?;
        let required = || Error::config("sasl.jaas.config", format!("{name} needs it"));
        if let Some(hash) = ScramMechanism::from_name(name) {
            let jaas = jaas.ok_or_else(required)?;
            let provider = Arc::new(credentials(&jaas, "ScramLoginModule", name)?);
            let token = jaas.get("tokenauth").is_some_and(|value| value.eq_ignore_ascii_case("true"));
            return Ok(Self(Mechanism::Scram { hash, provider, token }));
        }
        match name {
            "PLAIN" => Ok(Self::plain_with(credentials(&jaas.ok_or_else(required)?, "PlainLoginModule", name)?)),
            "OAUTHBEARER" => {
                super::oauth::from_properties(properties, jaas.as_ref()).map(|p| Self(Mechanism::OAuthBearer(p)))
            }
            "GSSAPI" => Err(Error::config("sasl.mechanism", "GSSAPI (Kerberos), Kafka's default, is not supported")),
            _ => {
                let known = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER";
                Err(Error::config("sasl.mechanism", format!("{name:?} is not supported; {known} are")))
            }
        }
    }
}

fn credentials(jaas: &Jaas, module: &str, mechanism: &str) -> Result<Credentials> {
    let refused = |why: String| Error::config("sasl.jaas.config", why);
    if jaas.module != module {
        return Err(refused(format!("{mechanism} needs a {module}, not a {}", jaas.module)));
    }
    let get = |name| jaas.get(name).filter(|value| !value.is_empty());
    match (get("username"), get("password")) {
        (Some(user), Some(password)) => Ok(Credentials::new(user, password)),
        _ => Err(refused(format!("{module} needs a username and a password"))),
    }
}

impl Credentials {
    /// A user and a password.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: Secret::new(password) }
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> &Secret {
        &self.password
    }
}

/// Fixed ones.
impl CredentialProvider for Credentials {
    fn credentials(&self) -> Result<Credentials, BoxError> {
        Ok(self.clone())
    }
}

impl<F, E> CredentialProvider for F
where
    F: Fn() -> Result<Credentials, E> + Send + Sync,
    E: Into<BoxError>,
{
    fn credentials(&self) -> Result<Credentials, BoxError> {
        self().map_err(Into::into)
    }
}

impl OAuthBearerToken {
    /// A token in the form in which it goes to the broker, such as a JSON Web Token in its compact form.
    pub fn new(token: impl Into<String>) -> Self {
        Self { token: Secret::new(token), extensions: BTreeMap::new() }
    }

    /// Adds a SASL extension (KIP-342): a name of letters, and a value of printable characters.
    #[must_use]
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extensions.insert(name.into(), value.into());
        self
    }

    pub(crate) fn token(&self) -> &Secret {
        &self.token
    }

    pub(super) fn extensions(&self) -> &BTreeMap<String, String> {
        &self.extensions
    }
}

/// A fixed one.
impl OAuthBearerTokenProvider for OAuthBearerToken {
    fn token(&self) -> Result<OAuthBearerToken, BoxError> {
        Ok(self.clone())
    }
}

impl<F, E> OAuthBearerTokenProvider for F
where
    F: Fn() -> Result<OAuthBearerToken, E> + Send + Sync,
    E: Into<BoxError>,
{
    fn token(&self) -> Result<OAuthBearerToken, BoxError> {
        self().map_err(Into::into)
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sasl({})", self.mechanism())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Result<Sasl> {
        Sasl::from_properties(&text.parse()?)
    }

    #[test]
    fn mechanisms_come_from_kafkas_settings() {
        let plain = from(
            "sasl.mechanism=PLAIN\nsasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n\
             \x20 username=\"alice\" password=\"alice-secret\";",
        );
        let Proof::Plain(credentials) = plain.unwrap().proof().unwrap() else { panic!("not PLAIN") };
        assert_eq!((credentials.user(), credentials.password().expose()), ("alice", "alice-secret"));
        for name in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            for (option, expected) in [("", false), ("tokenauth=true", true), ("tokenauth=\"false\"", false)] {
                let text = format!(
                    "sasl.mechanism={name}\nsasl.jaas.config=x.ScramLoginModule required username=u password=p {option};"
                );
                let sasl = from(&text).unwrap();
                assert_eq!(sasl.mechanism(), name);
                let Proof::Scram { token, .. } = sasl.proof().unwrap() else { panic!("not SCRAM") };
                assert_eq!(token, expected, "{option}");
            }
        }
    }

    #[test]
    fn an_error_names_the_setting_and_tells_no_secret() {
        let jaas = |config: &str| format!("sasl.mechanism=PLAIN\nsasl.jaas.config={config}");
        for (text, setting) in [
            (String::new(), "sasl.mechanism"),
            ("sasl.mechanism=GSSAPI".into(), "sasl.mechanism"),
            ("sasl.mechanism=plain".into(), "sasl.mechanism"),
            ("sasl.mechanism=PLAIN".into(), "sasl.jaas.config"),
            ("sasl.mechanism=SCRAM-SHA-512".into(), "sasl.jaas.config"),
            (jaas("PlainLoginModule required username=u password=hunter2"), "sasl.jaas.config"),
            (jaas("ScramLoginModule required username=u password=hunter2;"), "sasl.jaas.config"),
            (jaas("PlainLoginModule required password=hunter2;"), "sasl.jaas.config"),
            (jaas("PlainLoginModule required username=u password=\"\";"), "sasl.jaas.config"),
        ] {
            let error = from(&text).unwrap_err();
            assert_eq!((error.kind(), error.setting()), (ErrorKind::Config, Some(setting)), "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn s8_a_provider_is_asked_each_time_and_its_failure_is_the_connections() {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let sasl = Sasl::plain_with(move || match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Ok(Credentials::new("u", "first")),
            1 => Ok(Credentials::new("u", "second")),
            2 => Err("the vault is closed"),
            _ => panic!("broken"),
        });
        for expected in ["first", "second"] {
            let Proof::Plain(credentials) = sasl.proof().unwrap() else { panic!("not PLAIN") };
            assert_eq!(credentials.password().expose(), expected);
        }
        for why in ["the vault is closed", "panicked"] {
            let error = sasl.proof().err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Authentication);
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn x10_nothing_secret_shows() {
        let token = OAuthBearerToken::new("hunter2").extension("a", "b");
        let token_shown = format!("{token:?} {token:#?}");
        let shown = format!("{:?} {token_shown}", Credentials::new("u", "hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
        for sasl in [Sasl::plain("u", "hunter2"), Sasl::scram_sha_512("u", "hunter2"), Sasl::oauthbearer(token)] {
            assert_eq!(format!("{sasl:?}"), format!("Sasl({})", sasl.mechanism()));
        }
    }
}
