//! Connects to Amazon MSK as an IAM role or user: OAUTHBEARER with tokens that this program signs itself.

mod sigv4;
#[path = "../support/mod.rs"]
mod support;

use base64ct::{Base64UrlUnpadded, Encoding};
use clap::Parser;
use jiff::Timestamp;
use sarameya::{Admin, Client, OAuthBearerToken, Sasl, Tls};
use sigv4::{Credentials, Request};
use std::process::ExitCode;
use std::time::Duration;
use support::Outcome;

/// What MSK allows at most.
const LIFETIME: Duration = Duration::from_secs(900);
/// The digest of the empty body that the signed request has.
const NO_BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Lists the topics of an Amazon MSK cluster. The credentials are those in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and,
/// for temporary ones, AWS_SESSION_TOKEN.
#[derive(Debug, Parser)]
struct Args {
    /// Brokers with the port for IAM, 9098 within AWS, comma separated
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap_server: String,

    /// The cluster's region [default: AWS_REGION]
    #[arg(long)]
    region: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(|| list(&args))
}

fn list(args: &Args) -> Outcome<ExitCode> {
    let region = match &args.region {
        Some(region) => region.clone(),
        None => std::env::var("AWS_REGION").map_err(|_| "neither --region nor AWS_REGION is given")?,
    };
    // Asked for every connection: credentials that were replaced in the environment are used by the next one.
    let tokens = move || -> Outcome<OAuthBearerToken> {
        Ok(OAuthBearerToken::new(token(&Credentials::from_env()?, &region, Timestamp::now())))
    };
    let client = Client::builder()
        .bootstrap_servers(&args.bootstrap_server)
        .tls(Tls::new())
        .sasl(Sasl::oauthbearer(tokens))
        .build()?;
    for topic in Admin::new(&client).list_topics()? {
        support::print_line(topic.name)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A token for MSK: the URL of a request for `kafka-cluster:Connect` that is signed but never sent, in base64.
fn token(credentials: &Credentials, region: &str, now: Timestamp) -> String {
    let host = format!("kafka.{region}.amazonaws.com");
    let request = Request {
        host: &host,
        path: "/",
        parameters: &[("Action", "kafka-cluster:Connect")],
        service: "kafka-cluster",
        region,
        body_sha256: NO_BODY,
        lifetime: LIFETIME,
    };
    let url = sigv4::presigned_url(&request, credentials, now);
    // Brokers log it, so that one can tell who connects; it is no part of what is signed.
    let agent = concat!("sarameya-example-", env!("CARGO_PKG_VERSION"));
    Base64UrlUnpadded::encode_string(format!("{url}&User-Agent={agent}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_signed_url_of_a_connect_request() {
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", Some("a+b/c="));
        let now: Timestamp = "2026-02-03T04:05:06Z".parse().unwrap();
        let url = Base64UrlUnpadded::decode_vec(&token(&credentials, "eu-central-1", now)).unwrap();
        let url = String::from_utf8(url).unwrap();
        let (address, query) = url.split_once('?').unwrap();
        assert_eq!(address, "https://kafka.eu-central-1.amazonaws.com/");
        let names: Vec<&str> = query.split('&').map(|pair| pair.split('=').next().unwrap()).collect();
        let expected = [
            "Action",
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Date",
            "X-Amz-Expires",
            "X-Amz-Security-Token",
            "X-Amz-SignedHeaders",
            "X-Amz-Signature",
            "User-Agent",
        ];
        assert_eq!(names, expected);
        assert!(query.starts_with("Action=kafka-cluster%3AConnect&"), "{query}");
        assert!(query.contains("X-Amz-Expires=900&X-Amz-Security-Token=a%2Bb%2Fc%3D&"), "{query}");
        assert!(
            query.contains("%2F20260203%2Feu-central-1%2Fkafka-cluster%2Faws4_request&X-Amz-Date=20260203T040506Z&")
        );
        assert!(!url.contains("secret"));
        // Another moment, another signature.
        let later = token(&credentials, "eu-central-1", now + Duration::from_secs(1));
        assert_ne!(later, token(&credentials, "eu-central-1", now));
    }
}
