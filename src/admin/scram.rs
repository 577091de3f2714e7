//! The passwords of users that log in with SCRAM (KIP-554).

use super::routing::Route;
use super::values::coded;
use super::{Admin, Results, outcome};
use crate::protocol::messages::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResult, UserName,
};
use crate::{ErrorCode, Result};

coded! {
    /// How a user logs in.
    ScramMechanism {
        /// With SHA-256.
        Sha256 = 1 "SCRAM-SHA-256",
        /// With SHA-512.
        Sha512 = 2 "SCRAM-SHA-512",
    }
}

/// What can be told of a user's password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScramCredentialInfo {
    /// For which mechanism it is.
    pub mechanism: ScramMechanism,
    /// How often it was hashed.
    pub iterations: i32,
}

impl Admin {
    /// Which mechanisms users have passwords for. RPC DescribeUserScramCredentials to any broker, brokers from 2.7 on. A
    /// user without any is an error, RESOURCE_NOT_FOUND.
    pub fn describe_user_scram_credentials(&self, users: &[&str]) -> Result<Results<Vec<ScramCredentialInfo>>> {
        let users = users.iter().map(|user| (*user).to_owned()).collect();
        self.call().run(users, &Route::Any, |asking, users| {
            let name = |user: &String| UserName { name: user.clone() };
            let users = Some(users.iter().map(name).collect());
            let response = asking.call(&DescribeUserScramCredentialsRequest { users })?;
            outcome(response.error_code, response.error_message.as_deref(), "users were not described")?;
            Ok(response.results.into_iter().map(described).collect())
        })
    }

    /// The same for all users that have passwords, by name.
    pub fn describe_all_user_scram_credentials(&self) -> Result<Results<Vec<ScramCredentialInfo>>> {
        self.call().ask(&Route::Any, |asking| {
            let response = asking.call(&DescribeUserScramCredentialsRequest { users: None })?;
            outcome(response.error_code, response.error_message.as_deref(), "users were not described")?;
            let mut users: Vec<_> = response.results.into_iter().map(described).collect();
            users.sort_by(|(a, _), (b, _)| a.cmp(b));
            Ok(users)
        })
    }
}

fn described(result: DescribeUserScramCredentialsResult) -> (String, Result<Vec<ScramCredentialInfo>>) {
    let infos = result.credential_infos.into_iter().map(|info| ScramCredentialInfo {
        mechanism: ScramMechanism::from_code(info.mechanism),
        iterations: info.iterations,
    });
    let words = result.error_message.as_deref();
    // The broker's words for it do not name the user.
    let words = words.filter(|_| ErrorCode(result.error_code) != ErrorCode::RESOURCE_NOT_FOUND);
    let outcome = outcome(result.error_code, words, &format!("user {:?} was not described", result.user));
    (result.user, outcome.map(|()| infos.collect()))
}
