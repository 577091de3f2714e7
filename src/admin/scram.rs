//! The passwords of users that log in with SCRAM (KIP-554).

use super::routing::Route;
use super::values::coded;
use super::{Admin, Results, outcome};
use crate::config::Secret;
use crate::protocol::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use crate::protocol::messages::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResult, UserName,
};
use crate::sasl::scram::ScramMechanism as Hashing;
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::collections::BTreeSet;

/// As many random bytes as Kafka's own tools take.
const SALT_BYTES: usize = 32;
/// Kafka takes no fewer.
const ITERATIONS_MIN: u32 = 4096;

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

/// A change of a user's password. `Debug` does not show the password.
#[derive(Debug, Clone)]
pub struct ScramAlteration {
    user: String,
    mechanism: ScramMechanism,
    /// `None` to delete it.
    password: Option<NewPassword>,
}

#[derive(Debug, Clone)]
struct NewPassword {
    password: Secret,
    iterations: u32,
}

impl ScramAlteration {
    /// Gives a user a password for one mechanism, hashed 4096 times.
    pub fn upsert(user: impl Into<String>, mechanism: ScramMechanism, password: impl Into<String>) -> Self {
        let password = NewPassword { password: Secret::new(password), iterations: ITERATIONS_MIN };
        Self { user: user.into(), mechanism, password: Some(password) }
    }

    /// Deletes a user's password for one mechanism.
    pub fn delete(user: impl Into<String>, mechanism: ScramMechanism) -> Self {
        Self { user: user.into(), mechanism, password: None }
    }

    /// How often the password is hashed. Range: 4096 to 16384, as brokers have it. Defaults to 4096.
    #[must_use]
    pub fn iterations(mut self, iterations: u32) -> Self {
        if let Some(password) = &mut self.password {
            password.iterations = iterations;
        }
        self
    }

    fn upsertion(&self, password: &NewPassword) -> Result<ScramCredentialUpsertion> {
        let hashing = match self.mechanism {
            ScramMechanism::Sha256 => Hashing::Sha256,
            ScramMechanism::Sha512 => Hashing::Sha512,
            ScramMechanism::Other(code) => {
                let message = format!("the SCRAM mechanism {code} of user {:?} is not known", self.user);
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        };
        let iterations = i32::try_from(password.iterations).ok().filter(|_| password.iterations >= ITERATIONS_MIN);
        let iterations = iterations.ok_or_else(|| {
            let message = format!("{} iterations for user {:?}: at least 4096", password.iterations, self.user);
            Error::new(ErrorKind::InvalidArgument, message)
        })?;
        let mut salt = vec![0; SALT_BYTES];
        getrandom::fill(&mut salt)
            .map_err(|error| Error::new(ErrorKind::Thread, format!("no random numbers for a salt: {error}")))?;
        let salted = hashing.salted_password(password.password.expose(), &salt, password.iterations);
        Ok(ScramCredentialUpsertion {
            name: self.user.clone(),
            mechanism: self.mechanism.code(),
            iterations,
            salt: salt.into(),
            salted_password: Bytes::from_owner(salted),
        })
    }
}

impl Admin {
    /// Gives users passwords and takes them away. RPC AlterUserScramCredentials to the controller, brokers from 2.7 on.
    /// There is one result for each user; brokers refuse more than one change of a user in a call (DUPLICATE_RESOURCE).
    /// RESOURCE_NOT_FOUND for a deletion may mean that an earlier try of this very call did it.
    ///
    /// The password is hashed here and does not leave this process. Hashing takes some milliseconds for each.
    ///
    /// ```no_run
    /// use sarameya::admin::{ScramAlteration, ScramMechanism};
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let new = ScramAlteration::upsert("alice", ScramMechanism::Sha512, "alice-secret").iterations(8192);
    /// for (user, done) in admin.alter_user_scram_credentials(&[new])? {
    ///     println!("{user}: {done:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn alter_user_scram_credentials(&self, alterations: &[ScramAlteration]) -> Result<Results> {
        let mut upsertions = Vec::new();
        let mut deletions = Vec::new();
        for alteration in alterations {
            match &alteration.password {
                Some(password) => upsertions.push(alteration.upsertion(password)?),
                None => deletions.push(ScramCredentialDeletion {
                    name: alteration.user.clone(),
                    mechanism: alteration.mechanism.code(),
                }),
            }
        }
        let users: BTreeSet<&str> = alterations.iter().map(|alteration| alteration.user.as_str()).collect();
        let users = users.into_iter().map(str::to_owned).collect();
        self.call().run(users, &Route::Controller, |asking, users| {
            let response = asking.call(&AlterUserScramCredentialsRequest {
                deletions: deletions.iter().filter(|d| users.contains(&d.name)).cloned().collect(),
                upsertions: upsertions.iter().filter(|u| users.contains(&u.name)).cloned().collect(),
            })?;
            let answers = response.results.into_iter().map(|result| {
                let doing = format!("the passwords of user {:?} were not changed", result.user);
                (result.user, outcome(result.error_code, result.error_message.as_deref(), &doing))
            });
            Ok(answers.collect())
        })
    }

    /// Which mechanisms users have passwords for. RPC DescribeUserScramCredentials to any broker, brokers from 2.7 on. A
    /// user without any is an error, RESOURCE_NOT_FOUND.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (user, outcome) in admin.describe_user_scram_credentials(&["alice"])? {
    ///     println!("{user}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
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

    /// The same for all users that have passwords, by name. RPC DescribeUserScramCredentials to any broker, brokers from 2.7
    /// on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (user, outcome) in admin.describe_all_user_scram_credentials()? {
    ///     println!("{user}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_all_user_scram_credentials(&self) -> Result<Results<Vec<ScramCredentialInfo>>> {
        self.call().ask(&Route::Any, |asking| {
            // No user means all, and so does no list; but a broker that has to refuse a request without one trips over it, and
            // answers nothing.
            let response = asking.call(&DescribeUserScramCredentialsRequest { users: Some(Vec::new()) })?;
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
    let doing = format!("user {:?} was not described", result.user);
    let outcome = outcome(result.error_code, result.error_message.as_deref(), &doing);
    (result.user, outcome.map(|()| infos.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hashed_with_salts_of_their_own_and_not_shown() {
        let new = ScramAlteration::upsert("alice", ScramMechanism::Sha256, "secret-word");
        assert!(!format!("{new:?}").contains("secret-word"));
        let NewPassword { password, iterations } = new.password.clone().unwrap();
        let first = new.upsertion(new.password.as_ref().unwrap()).unwrap();
        let second = new.upsertion(new.password.as_ref().unwrap()).unwrap();
        assert_ne!(first.salt, second.salt);
        assert_eq!((first.salt.len(), first.salted_password.len(), first.iterations), (SALT_BYTES, 32, 4096));
        let salted = Hashing::Sha256.salted_password(password.expose(), &first.salt, iterations);
        assert_eq!(first.salted_password[..], salted[..]);
        let few = new.iterations(4095);
        assert_eq!(few.upsertion(few.password.as_ref().unwrap()).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
