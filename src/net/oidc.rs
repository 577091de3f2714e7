//! Tokens for OAUTHBEARER from an OpenID provider, by the client credentials grant (RFC 6749, section 4.4; KIP-768).

use super::tls::{pem, provider};
use crate::config::{Jaas, Pem, Properties, Secret};
use crate::sasl::{OAuthBearerToken, OAuthBearerTokenProvider};
use crate::{Error, ErrorKind, Result};
use base64ct::{Base64, Encoding};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use zeroize::Zeroizing;

/// Answers of a token endpoint have some kilobytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
/// From this part of its life on a token is replaced, like Kafka's own clients do it.
const RENEWAL: f64 = 0.8;
/// A lifetime beyond a year is one of a year.
const MAX_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// Gets tokens for [`Sasl::oauthbearer`](crate::Sasl::oauthbearer) from the token endpoint of an OpenID provider, with a
/// client's id and secret. A token is used until four fifths of the lifetime that came with it; if the provider fails
/// then, until its end.
///
/// The endpoint is asked over HTTPS only, redirects are not followed, its answer may have 64 KiB, and the whole must be done
/// within the timeout. It is asked on the thread that owns a connection, within the time that setting it up may take.
///
/// ```no_run
/// use sarameya::{Client, OidcClientCredentials, Sasl, Tls};
///
/// # fn main() -> Result<(), sarameya::Error> {
/// let tokens = OidcClientCredentials::new("https://idp.example.com/oauth2/token", "client", "secret")?.scope("kafka");
/// let client =
///     Client::builder().bootstrap_servers("broker:9093").tls(Tls::new()).sasl(Sasl::oauthbearer(tokens)).build()?;
/// # Ok(())
/// # }
/// ```
pub struct OidcClientCredentials {
    endpoint: String,
    client_id: String,
    client_secret: Secret,
    scope: Option<String>,
    roots: Option<Pem>,
    timeout: Duration,
    /// The last token. Locked for looking and storing only, never while the endpoint is asked.
    cached: Mutex<Option<Cached>>,
}

#[derive(Clone)]
struct Cached {
    token: OAuthBearerToken,
    renewal: Instant,
    end: Instant,
}

impl OidcClientCredentials {
    /// A client of the token endpoint at this URL, which must begin with `https://`.
    ///
    /// Kafka: `sasl.oauthbearer.token.endpoint.url`, `sasl.oauthbearer.client.credentials.client.id` and `.client.secret`.
    pub fn new(
        endpoint: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> Result<Self> {
        let endpoint = endpoint.into();
        if !endpoint.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
            return Err(Error::config("sasl.oauthbearer.token.endpoint.url", "must begin with https://"));
        }
        Ok(Self {
            endpoint,
            client_id: client_id.into(),
            client_secret: Secret::new(client_secret),
            scope: None,
            roots: None,
            timeout: Duration::from_secs(8),
            cached: Mutex::new(None),
        })
    }

    /// The scope to ask for.
    ///
    /// Kafka: `sasl.oauthbearer.scope`. Defaults to none.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into()).filter(|scope| !scope.is_empty());
        self
    }

    /// Trusts the certificate authorities in this PEM for the endpoint, and no others.
    ///
    /// Defaults to what the system trusts.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(Pem::memory(pem, "ssl.truststore.certificates"));
        self
    }

    /// How long it may take to get a token, from the name look-up to the whole answer.
    ///
    /// Kafka: `sasl.login.connect.timeout.ms` and `sasl.login.read.timeout.ms`. Defaults to 8 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What the settings ask for; `None` if they name no endpoint.
    pub(crate) fn from_properties(properties: &Properties) -> Result<Option<Self>> {
        let get = |name: &str| properties.get(name).map(str::trim).filter(|value| !value.is_empty());
        let Some(endpoint) = get("sasl.oauthbearer.token.endpoint.url") else { return Ok(None) };
        let jaas = get("sasl.jaas.config").map(Jaas::parse).transpose()?;
        // Before KIP-1139 they were options of the login module.
        let either = |name: &'static str, option: &str| {
            get(name).or_else(|| jaas.as_ref()?.get(option).filter(|value| !value.is_empty()))
        };
        let needed = |name: &'static str, option| either(name, option).ok_or_else(|| Error::config(name, "is needed"));
        let id = needed("sasl.oauthbearer.client.credentials.client.id", "clientId")?;
        let secret = needed("sasl.oauthbearer.client.credentials.client.secret", "clientSecret")?;
        let mut client = Self::new(endpoint, id, secret)?;
        if let Some(scope) = either("sasl.oauthbearer.scope", "scope") {
            client = client.scope(scope);
        }
        if let Some(path) = jaas.as_ref().and_then(|jaas| jaas.get("ssl.truststore.location")) {
            client.roots = Some(Pem::file(path, "sasl.jaas.config"));
        }
        Ok(Some(client))
    }

    fn fetch(&self) -> Result<Cached> {
        let asked = Instant::now();
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        let authorization = Zeroizing::new(format!("Basic {}", self.encoded().as_str()));
        let request = self.agent()?.post(&self.endpoint).header("Authorization", authorization.as_str());
        let mut response = request.header("Accept", "application/json").send_form(form).map_err(|e| self.failed(&e))?;
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let body = Zeroizing::new(body.map_err(|error| self.failed(&error))?);
        self.read(asked, response.status().as_u16(), &body)
    }

    /// Reads the endpoint's answer. Of a refusal only what the RFC has for people is repeated.
    fn read(&self, asked: Instant, status: u16, body: &str) -> Result<Cached> {
        let answer: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        let text = |name: &str| answer.get(name).and_then(serde_json::Value::as_str);
        if status != 200 {
            let words = [text("error"), text("error_description")].map(Option::unwrap_or_default).join(" ");
            return Err(self.failed(&format!("HTTP status {status} {}", words.trim())));
        }
        // Kafka takes an id token in place of an access token too.
        let token = text("access_token").or_else(|| text("id_token"));
        let token = token.ok_or_else(|| self.failed(&"the answer holds no access_token"))?;
        // Without a lifetime the token is for this one time.
        let seconds = answer.get("expires_in").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let lifetime = Duration::from_secs(seconds).min(MAX_LIFETIME);
        let after = |time: Duration| asked.checked_add(time).unwrap_or(asked);
        Ok(Cached {
            token: OAuthBearerToken::new(token),
            renewal: after(lifetime.mul_f64(RENEWAL)),
            end: after(lifetime),
        })
    }

    fn agent(&self) -> Result<ureq::Agent> {
        let certificates = match &self.roots {
            Some(given) => pem::certificates(&given.read()?).map_err(|why| given.refuse(&why))?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        let roots: Vec<Certificate<'static>> =
            certificates.iter().map(|c| Certificate::from_der(c).to_owned()).collect();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(provider::provider()?)
            .root_certs(RootCerts::new_with_certs(&roots))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .max_redirects(0)
            .max_redirects_will_error(true)
            .http_status_as_error(false)
            .max_response_header_size(MAX_ANSWER_BYTES as usize)
            .timeout_global(Some(self.timeout))
            .build();
        Ok(config.new_agent())
    }

    /// Id and secret as the endpoint is told them.
    fn encoded(&self) -> Zeroizing<String> {
        let pair = Zeroizing::new(format!("{}:{}", self.client_id, self.client_secret.expose()));
        Zeroizing::new(Base64::encode_string(pair.as_bytes()))
    }

    fn failed(&self, why: &dyn fmt::Display) -> Error {
        let why = why.to_string();
        // An endpoint may send back what it was told.
        let hidden = if self.client_secret.is_in(&why) { "(its words hold the secret)" } else { &why };
        Error::new(ErrorKind::Authentication, format!("asking {} for a token: {hidden}", self.endpoint))
            .with_setting("sasl.oauthbearer.token.endpoint.url")
    }

    fn cached(&self) -> Option<Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl OAuthBearerTokenProvider for OidcClientCredentials {
    fn token(&self) -> Result<OAuthBearerToken, Box<dyn std::error::Error + Send + Sync>> {
        let cached = self.cached();
        if let Some(fresh) = cached.as_ref().filter(|cached| Instant::now() < cached.renewal) {
            return Ok(fresh.token.clone());
        }
        match (self.fetch(), cached) {
            (Ok(fetched), _) => {
                *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = Some(fetched.clone());
                Ok(fetched.token)
            }
            (Err(error), Some(last)) if Instant::now() < last.end => {
                log::warn!("the last token is used until its end: {error}");
                Ok(last.token)
            }
            (Err(error), _) => Err(error.into()),
        }
    }
}

impl fmt::Debug for OidcClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcClientCredentials")
            .field("endpoint", &self.endpoint)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tls::tests::{Authority, server};
    use super::*;
    use rustls::{ServerConnection, StreamOwned};
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;

    const SECRET: &str = "hunter2";

    /// An endpoint that gives these answers, one to each request, and keeps the requests.
    struct Endpoint {
        url: String,
        ca: String,
        requests: Arc<Mutex<Vec<String>>>,
    }

    impl Endpoint {
        fn new(answers: &[&str]) -> Self {
            let authority = Authority::new();
            let config = server(&authority.issue(&["localhost"]), None);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
            let requests = Arc::new(Mutex::new(Vec::new()));
            let (kept, answers) = (requests.clone(), answers.iter().map(ToString::to_string).collect::<Vec<_>>());
            std::thread::spawn(move || {
                for answer in answers {
                    let (socket, _) = listener.accept().unwrap();
                    let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), socket);
                    let mut request = Vec::new();
                    let mut buffer = [0; 4096];
                    // What follows a redirect may have no body.
                    while !["grant_type=", "GET /other HTTP/1.1"]
                        .iter()
                        .any(|end| String::from_utf8_lossy(&request).contains(end))
                    {
                        match stream.read(&mut buffer) {
                            Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
                            _ => break,
                        }
                    }
                    kept.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                    let _ = stream.write_all(answer.as_bytes());
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            });
            Self { url, ca: authority.pem(), requests }
        }

        fn client(&self) -> OidcClientCredentials {
            OidcClientCredentials::new(&self.url, "me", SECRET).unwrap().ca_pem(self.ca.clone())
        }
    }

    fn http(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    }

    #[test]
    fn a_token_is_asked_for_once_in_its_lifetime() {
        let good = http("200 OK", "{\"access_token\":\"abc\",\"expires_in\":3600,\"token_type\":\"Bearer\"}");
        let endpoint = Endpoint::new(&[&good]);
        let client = endpoint.client().scope("a b");
        for _ in 0..3 {
            assert_eq!(client.token().unwrap().token().expose(), "abc");
        }
        let requests = endpoint.requests.lock().unwrap();
        let [request] = requests.as_slice() else { panic!("{} requests", requests.len()) };
        assert!(request.starts_with("POST /token HTTP/1.1"), "{request}");
        assert!(request.to_ascii_lowercase().contains("authorization: basic bwu6ahvudgvymg=="), "{request}");
        assert!(request.contains("grant_type=client_credentials&scope=a"), "{request}");
        let shown = format!("{client:?}");
        assert!(shown.contains("me") && !shown.contains(SECRET), "{shown}");
    }

    #[test]
    fn a_token_without_a_lifetime_is_used_once_and_a_failure_is_bridged_by_a_valid_one() {
        let once = http("200 OK", "{\"access_token\":\"1\"}");
        let next = http("200 OK", "{\"id_token\":\"2\"}");
        let endpoint = Endpoint::new(&[&once, &next]);
        let client = endpoint.client();
        assert_eq!(client.token().unwrap().token().expose(), "1");
        assert_eq!(client.token().unwrap().token().expose(), "2");
        let now = Instant::now();
        let failing = Endpoint::new(&[&http("500 Oh", ""), &http("500 Oh", "")]).client();
        let hour = Duration::from_secs(3600);
        let token = OAuthBearerToken::new("last");
        *failing.cached.lock().unwrap() = Some(Cached { token: token.clone(), renewal: now, end: now + hour });
        assert_eq!(failing.token().unwrap().token().expose(), "last");
        *failing.cached.lock().unwrap() = Some(Cached { token, renewal: now, end: now });
        assert!(failing.token().is_err());
    }

    #[test]
    fn what_is_no_token_is_an_error_without_the_secret() {
        let refused =
            http("401 Unauthorized", "{\"error\":\"invalid_client\",\"error_description\":\"no such client\"}");
        let echo = http("400 Bad Request", "{\"error\":\"hunter2\"}");
        let encoded = http("400 Bad Request", "{\"error\":\"not Basic bWU6aHVudGVyMg==\"}");
        let cut = http("400 Bad Request", "{\"error\":\"not Basic bWU6aHVudGVyMg\"}");
        let elsewhere = "HTTP/1.1 302 Found\r\nLocation: https://localhost:1/x\r\nContent-Length: 0\r\n\r\n";
        let large = http("200 OK", &"x".repeat(70_000));
        for (answer, why) in [
            (refused.as_str(), "401 invalid_client no such client"),
            (&echo, "hold the secret"),
            (&encoded, "hold the secret"),
            (&cut, "hold the secret"),
            (elsewhere, "token"),
            (&large, "token"),
            (&http("200 OK", "{}"), "no access_token"),
            (&http("200 OK", "no JSON"), "no access_token"),
            ("nonsense\r\n\r\n", "token"),
            ("", "token"),
        ] {
            let error = Endpoint::new(&[answer]).client().token().unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains(SECRET) && !error.contains("bWU6"), "{answer:.60}: {error}");
        }
    }

    #[test]
    fn what_follows_a_redirect_or_is_too_large_is_no_token_although_it_is_one() {
        let token = "{\"access_token\":\"abc\",\"expires_in\":3600";
        let good = http("200 OK", &format!("{token}}}"));
        let redirect = |status: &str| {
            format!("HTTP/1.1 {status}\r\nLocation: /other\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        };
        let redirects = ["302 Found", "303 See Other", "307 Temporary Redirect"].map(redirect);
        let pad = "x".repeat(70_000);
        let large = http("200 OK", &format!("{token},\"pad\":\"{pad}\"}}"));
        let long_header = good.replacen("\r\n", &format!("\r\nPad: {pad}\r\n"), 1);
        let other_status = good.replacen("200 OK", "201 Created", 1);
        for answer in redirects.iter().chain([&large, &long_header, &other_status]) {
            let endpoint = Endpoint::new(&[answer, &good]);
            assert!(endpoint.client().token().is_err(), "{answer:.60}");
            assert_eq!(endpoint.requests.lock().unwrap().len(), 1, "{answer:.60}");
        }
    }

    #[test]
    fn a_lifetime_can_not_be_too_long_nor_less_than_nothing() {
        let with = |lifetime: &str| http("200 OK", &format!("{{\"access_token\":\"abc\",\"expires_in\":{lifetime}}}"));
        let endpoint = Endpoint::new(&[&with("18446744073709551615")]);
        let client = endpoint.client();
        for _ in 0..2 {
            assert_eq!(client.token().unwrap().token().expose(), "abc", "of the first answer");
        }
        for lifetime in ["-1", "1e300", "\"3600\"", "null"] {
            let endpoint = Endpoint::new(&[&with(lifetime)]);
            let cached = endpoint.client().fetch().unwrap();
            assert!(cached.end <= Instant::now(), "{lifetime}");
        }
    }

    #[test]
    fn a_token_is_renewed_before_its_end() {
        let read = |seconds: u64| {
            let client = OidcClientCredentials::new("https://a/", "me", SECRET).unwrap();
            let asked = Instant::now();
            let cached = client.read(asked, 200, &format!("{{\"access_token\":\"a\",\"expires_in\":{seconds}}}"));
            let Cached { renewal, end, .. } = cached.unwrap();
            (renewal - asked, end - asked)
        };
        assert_eq!(read(100), (Duration::from_secs(80), Duration::from_secs(100)));
        assert_eq!(read(u64::MAX).1, MAX_LIFETIME);
    }

    #[test]
    fn x10_neither_the_secret_nor_a_token_shows() {
        let client = OidcClientCredentials::new("https://a/", "me", SECRET).unwrap();
        let token = OAuthBearerToken::new("token-of-today");
        let now = Instant::now();
        *client.cached.lock().unwrap() = Some(Cached { token, renewal: now, end: now });
        let shown = format!("{client:?} {client:#?}");
        assert!(!shown.contains(SECRET) && !shown.contains("of-today"), "{shown}");
    }

    #[test]
    fn only_a_trusted_endpoint_is_told_the_secret_and_none_may_hang() {
        let endpoint = Endpoint::new(&["", ""]);
        let stranger = endpoint.client().ca_pem(Authority::new().pem());
        assert!(stranger.token().is_err());
        assert!(endpoint.requests.lock().unwrap().iter().all(String::is_empty), "something was said");
        for url in ["http://localhost/token", "file:///etc/passwd", "", "localhost"] {
            let error = OidcClientCredentials::new(url, "me", SECRET).unwrap_err();
            assert_eq!(error.setting(), Some("sasl.oauthbearer.token.endpoint.url"), "{url}");
        }
        // The system accepts for the listener, and nobody answers.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let client = OidcClientCredentials::new(url, "me", SECRET).unwrap().timeout(Duration::from_millis(200));
        let start = Instant::now();
        assert!(client.token().is_err());
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[test]
    fn it_is_made_of_kafkas_settings() {
        let from = |text: &str| OidcClientCredentials::from_properties(&text.parse().unwrap());
        assert!(from("sasl.mechanism=OAUTHBEARER").unwrap().is_none());
        let url = "sasl.oauthbearer.token.endpoint.url=https://a/b\n";
        for rest in [
            "sasl.oauthbearer.client.credentials.client.id=me\nsasl.oauthbearer.client.credentials.client.secret=s\n\
             sasl.oauthbearer.scope=all",
            "sasl.jaas.config=x.OAuthBearerLoginModule required clientId=me clientSecret='s' scope=all;",
        ] {
            let client = from(&format!("{url}{rest}")).unwrap().unwrap();
            assert_eq!(
                (&*client.endpoint, &*client.client_id, client.client_secret.expose()),
                ("https://a/b", "me", "s")
            );
            assert_eq!(client.scope.as_deref(), Some("all"));
        }
        let missing = from(url).unwrap_err();
        assert_eq!(missing.setting(), Some("sasl.oauthbearer.client.credentials.client.id"));
        assert!(from("sasl.oauthbearer.token.endpoint.url=http://a/b\nsasl.jaas.config=x.M required clientId=a clientSecret=b;").is_err());
    }
}
