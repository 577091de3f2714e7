//! Delegation tokens: credentials that are made, renewed and ended by way of others (KIP-48).

use super::routing::Route;
use super::{Admin, outcome};
use crate::Result;
use crate::protocol::messages::create_delegation_token::{CreatableRenewers, CreateDelegationTokenRequest};
use crate::protocol::messages::describe_delegation_token::{
    DescribeDelegationTokenOwner, DescribeDelegationTokenRequest,
};
use crate::protocol::messages::expire_delegation_token::ExpireDelegationTokenRequest;
use crate::protocol::messages::renew_delegation_token::RenewDelegationTokenRequest;
use crate::sasl::Credentials;
use base64ct::{Base64, Encoding};
use bytes::Bytes;
use std::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

/// From this version on tokens can be made for others (KIP-373).
const OWNERS: i16 = 3;

/// Who someone is, such as `User:alice`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KafkaPrincipal {
    /// The type, which is `User` unless the cluster has types of its own.
    pub principal_type: String,
    /// The name.
    pub name: String,
}

impl KafkaPrincipal {
    /// A user.
    pub fn user(name: impl Into<String>) -> Self {
        Self { principal_type: "User".to_owned(), name: name.into() }
    }
}

impl fmt::Display for KafkaPrincipal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.principal_type, self.name)
    }
}

/// A token. Times are in milliseconds since 1970. Its secret does not show in `Debug`, and is wiped from memory with the token.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DelegationToken {
    /// Its id, which is the user name of SCRAM.
    pub token_id: String,
    /// Its secret.
    hmac: Zeroizing<Vec<u8>>,
    /// Whom it stands for.
    pub owner: KafkaPrincipal,
    /// Who asked for it; the owner on brokers before 3.3.
    pub requester: KafkaPrincipal,
    /// Who may renew it beside the owner; empty just after it was made.
    pub renewers: Vec<KafkaPrincipal>,
    /// When it was made.
    pub issue_timestamp: i64,
    /// When it ends unless it is renewed.
    pub expiry_timestamp: i64,
    /// When it ends for good.
    pub max_timestamp: i64,
}

impl DelegationToken {
    /// Its secret, by which it is renewed and ended.
    #[must_use]
    pub fn hmac(&self) -> &[u8] {
        &self.hmac
    }

    /// User and password to log in with: its id, and its secret in base64.
    ///
    /// ```no_run
    /// use sarameya::{Client, Sasl};
    /// # let admin = sarameya::Admin::new(&Client::connect("localhost:9092")?);
    /// # let token = admin.create_delegation_token(&sarameya::admin::NewDelegationToken::new())?;
    /// let sasl = Sasl::scram_sha_512_with(token.credentials()).delegation_token();
    /// let client = Client::builder().bootstrap_servers("localhost:9092").sasl(sasl).build()?;
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials::new(self.token_id.as_str(), Base64::encode_string(&self.hmac))
    }
}

impl fmt::Debug for DelegationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelegationToken")
            .field("token_id", &self.token_id)
            .field("owner", &self.owner)
            .field("requester", &self.requester)
            .field("renewers", &self.renewers)
            .field("issue_timestamp", &self.issue_timestamp)
            .field("expiry_timestamp", &self.expiry_timestamp)
            .field("max_timestamp", &self.max_timestamp)
            .finish_non_exhaustive()
    }
}

/// A token to be made.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct NewDelegationToken {
    owner: Option<KafkaPrincipal>,
    renewers: Vec<KafkaPrincipal>,
    max_lifetime: Option<Duration>,
}

impl NewDelegationToken {
    /// For the one who asks, as long-lived as the broker allows.
    pub fn new() -> Self {
        Self::default()
    }

    /// For somebody else. Brokers from 3.3 on (KIP-373).
    pub fn owner(mut self, owner: KafkaPrincipal) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Someone who may renew it, beside the owner.
    pub fn renewer(mut self, renewer: KafkaPrincipal) -> Self {
        self.renewers.push(renewer);
        self
    }

    /// How long it lives at most. Kafka: `delegation.token.max.lifetime.ms` is the broker's default.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_lifetime = Some(lifetime);
        self
    }
}

impl Admin {
    /// Makes a token. RPC CreateDelegationToken to any broker, brokers from 1.1 on, over an authenticated connection that
    /// was not itself made with a token. If the answer is lost and the call tries again, there is a second one, which
    /// expires by itself.
    ///
    /// ```no_run
    /// use sarameya::admin::NewDelegationToken;
    /// use std::time::Duration;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let token = admin.create_delegation_token(&NewDelegationToken::new().max_lifetime(Duration::from_secs(3600)))?;
    /// println!("{} until {}", token.token_id, token.expiry_timestamp);
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn create_delegation_token(&self, token: &NewDelegationToken) -> Result<DelegationToken> {
        let renewer = |renewer: &KafkaPrincipal| CreatableRenewers {
            principal_type: renewer.principal_type.clone(),
            principal_name: renewer.name.clone(),
        };
        self.call().ask(&Route::Any, |asking| {
            if token.owner.is_some() {
                let without = "tokens can't be made for others";
                asking.needs::<CreateDelegationTokenRequest>(OWNERS, without)?;
            }
            let version = asking.version::<CreateDelegationTokenRequest>()?;
            let response = asking.call(&CreateDelegationTokenRequest {
                owner_principal_type: token.owner.as_ref().map(|owner| owner.principal_type.clone()),
                owner_principal_name: token.owner.as_ref().map(|owner| owner.name.clone()),
                renewers: token.renewers.iter().map(renewer).collect(),
                max_lifetime_ms: token.max_lifetime.map_or(-1, milliseconds),
            })?;
            outcome(response.error_code, None, "the token was not made")?;
            let owner = KafkaPrincipal { principal_type: response.principal_type, name: response.principal_name };
            let requester = KafkaPrincipal {
                principal_type: response.token_requester_principal_type,
                name: response.token_requester_principal_name,
            };
            Ok(DelegationToken {
                token_id: response.token_id,
                hmac: response.hmac.to_vec().into(),
                requester: if version >= OWNERS { requester } else { owner.clone() },
                owner,
                renewers: Vec::new(),
                issue_timestamp: response.issue_timestamp_ms,
                expiry_timestamp: response.expiry_timestamp_ms,
                max_timestamp: response.max_timestamp_ms,
            })
        })
    }

    /// Has a token live on for this long, or for the broker's default of `delegation.token.expiry.time.ms` for `None`, up
    /// to its maximum. Returns the new end in milliseconds since 1970. RPC RenewDelegationToken to any broker, brokers
    /// from 1.1 on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for token in admin.describe_delegation_tokens(None)? {
    ///     println!("{} until {}", token.token_id, admin.renew_delegation_token(token.hmac(), None)?);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn renew_delegation_token(&self, hmac: &[u8], period: Option<Duration>) -> Result<i64> {
        self.call().ask(&Route::Any, |asking| {
            let (hmac, renew_period_ms) = (wiped(hmac), period.map_or(-1, milliseconds));
            let response = asking.call(&RenewDelegationTokenRequest { hmac, renew_period_ms })?;
            outcome(response.error_code, None, "the token was not renewed")?;
            Ok(response.expiry_timestamp_ms)
        })
    }

    /// Ends a token in this long, or at once for `None`. Returns its end in milliseconds since 1970. RPC
    /// ExpireDelegationToken to any broker, brokers from 1.1 on. DELEGATION_TOKEN_NOT_FOUND may mean that an earlier try of
    /// this very call ended it.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for token in admin.describe_delegation_tokens(None)? {
    ///     // Without a period it ends now.
    ///     admin.expire_delegation_token(token.hmac(), None)?;
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn expire_delegation_token(&self, hmac: &[u8], period: Option<Duration>) -> Result<i64> {
        self.call().ask(&Route::Any, |asking| {
            let (hmac, expiry_time_period_ms) = (wiped(hmac), period.map_or(-1, milliseconds));
            let response = asking.call(&ExpireDelegationTokenRequest { hmac, expiry_time_period_ms })?;
            outcome(response.error_code, None, "the token was not ended")?;
            Ok(response.expiry_timestamp_ms)
        })
    }

    /// The tokens of these owners, or all that the caller may see for `None`. RPC DescribeDelegationToken to any broker,
    /// brokers from 1.1 on.
    ///
    /// ```no_run
    /// use sarameya::admin::KafkaPrincipal;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for token in admin.describe_delegation_tokens(Some(&[KafkaPrincipal::user("alice")]))? {
    ///     println!("{}", token.token_id);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_delegation_tokens(&self, owners: Option<&[KafkaPrincipal]>) -> Result<Vec<DelegationToken>> {
        let owner = |owner: &KafkaPrincipal| DescribeDelegationTokenOwner {
            principal_type: owner.principal_type.clone(),
            principal_name: owner.name.clone(),
        };
        self.call().ask(&Route::Any, |asking| {
            let version = asking.version::<DescribeDelegationTokenRequest>()?;
            let owners = owners.map(|owners| owners.iter().map(owner).collect());
            let response = asking.call(&DescribeDelegationTokenRequest { owners })?;
            outcome(response.error_code, None, "tokens were not described")?;
            let tokens = response.tokens.into_iter().map(|token| {
                let owner = KafkaPrincipal { principal_type: token.principal_type, name: token.principal_name };
                let requester = KafkaPrincipal {
                    principal_type: token.token_requester_principal_type,
                    name: token.token_requester_principal_name,
                };
                let renewers = token.renewers.into_iter();
                DelegationToken {
                    token_id: token.token_id,
                    hmac: token.hmac.to_vec().into(),
                    requester: if version >= OWNERS { requester } else { owner.clone() },
                    owner,
                    renewers: renewers
                        .map(|r| KafkaPrincipal { principal_type: r.principal_type, name: r.principal_name })
                        .collect(),
                    issue_timestamp: token.issue_timestamp,
                    expiry_timestamp: token.expiry_timestamp,
                    max_timestamp: token.max_timestamp,
                }
            });
            Ok(tokens.collect())
        })
    }
}

/// For a request, a copy that goes with it.
fn wiped(hmac: &[u8]) -> Bytes {
    Bytes::from_owner(Zeroizing::new(hmac.to_vec()))
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x10_the_secret_of_a_token_does_not_show() {
        let alice = KafkaPrincipal::user("alice");
        let token = DelegationToken {
            token_id: "id".into(),
            hmac: b"hunter2".to_vec().into(),
            owner: alice.clone(),
            requester: alice.clone(),
            renewers: vec![alice],
            issue_timestamp: 1,
            expiry_timestamp: 2,
            max_timestamp: 3,
        };
        let shown = format!("{token:?}");
        assert!(shown.contains("token_id: \"id\"") && shown.contains("max_timestamp: 3"), "{shown}");
        // As text or as the numbers of its bytes.
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
        let credentials = token.credentials();
        assert_eq!((credentials.user(), credentials.password().expose()), ("id", "aHVudGVyMg=="));
    }
}
