//! DescribeUserScramCredentials and AlterUserScramCredentials, version 0 (KIP-554): the users that can log in by SCRAM.

use super::refusal::{Refusal, code_and_message};
use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, AlterUserScramCredentialsResult,
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use crate::protocol::messages::describe_user_scram_credentials::{
    CredentialInfo, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};
use crate::sasl::scram::{ScramCredential, ScramMechanism};
use std::collections::{BTreeMap, BTreeSet};

const MIN_ITERATIONS: i32 = 4096;
const MAX_ITERATIONS: i32 = 16_384;

fn mechanism(number: i8) -> Option<ScramMechanism> {
    match number {
        1 => Some(ScramMechanism::Sha256),
        2 => Some(ScramMechanism::Sha512),
        _ => None,
    }
}

fn number(mechanism: ScramMechanism) -> i8 {
    match mechanism {
        ScramMechanism::Sha256 => 1,
        ScramMechanism::Sha512 => 2,
    }
}

impl State {
    pub(super) fn describe_user_scram_credentials(
        &mut self,
        _context: &Context,
        request: DescribeUserScramCredentialsRequest,
    ) -> Reply {
        let asked: Vec<String> = request.users.unwrap_or_default().into_iter().map(|user| user.name).collect();
        let users: BTreeSet<&str> = if asked.is_empty() {
            self.security.users.scram_users().collect()
        } else {
            asked.iter().map(String::as_str).collect()
        };
        let results = users.into_iter().map(|user| {
            let info = |mechanism: ScramMechanism| {
                let credential = self.security.users.scram(user, mechanism)?;
                let iterations = i32::try_from(credential.iterations).unwrap_or(i32::MAX);
                Some(CredentialInfo { mechanism: number(mechanism), iterations })
            };
            let mechanisms = [ScramMechanism::Sha256, ScramMechanism::Sha512];
            let credential_infos: Vec<CredentialInfo> = mechanisms.into_iter().filter_map(info).collect();
            let outcome = if asked.iter().filter(|name| *name == user).count() > 1 {
                let words = "Cannot describe SCRAM credentials for the same user twice in a single request: ";
                Err(Refusal::new(ErrorCode::DUPLICATE_RESOURCE, format!("{words}{user}")))
            } else if credential_infos.is_empty() {
                let words = "Attempt to describe a user credential that does not exist: ";
                Err(Refusal::new(ErrorCode::RESOURCE_NOT_FOUND, format!("{words}{user}")))
            } else {
                Ok(())
            };
            let (error_code, error_message) = code_and_message(&outcome);
            let credential_infos = if outcome.is_ok() { credential_infos } else { Vec::new() };
            DescribeUserScramCredentialsResult { user: user.to_owned(), error_code, error_message, credential_infos }
        });
        Reply::of(DescribeUserScramCredentialsResponse { results: results.collect(), ..Default::default() })
    }

    /// Each user is altered as a whole or not at all.
    pub(super) fn alter_user_scram_credentials(
        &mut self,
        _context: &Context,
        request: AlterUserScramCredentialsRequest,
    ) -> Reply {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        let deleted = request.deletions.iter().map(|deletion| &deletion.name);
        for name in deleted.chain(request.upsertions.iter().map(|upsertion| &upsertion.name)) {
            *times.entry(name.clone()).or_default() += 1;
        }
        let mut outcomes: BTreeMap<String, Result<(), Refusal>> = BTreeMap::new();
        let once = |name: &String| times.get(name) == Some(&1);
        for name in times.keys().filter(|name| !once(name)) {
            let words = "A user credential cannot be altered twice in the same request";
            outcomes.insert(name.clone(), Err(Refusal::new(ErrorCode::DUPLICATE_RESOURCE, words)));
        }
        for deletion in request.deletions.into_iter().filter(|deletion| once(&deletion.name)) {
            outcomes.insert(deletion.name.clone(), self.delete_scram_user(deletion));
        }
        for upsertion in request.upsertions.into_iter().filter(|upsertion| once(&upsertion.name)) {
            outcomes.insert(upsertion.name.clone(), self.upsert_scram_user(upsertion));
        }
        let results = outcomes.into_iter().map(|(user, outcome)| {
            let (error_code, error_message) = code_and_message(&outcome);
            AlterUserScramCredentialsResult { user, error_code, error_message }
        });
        Reply::of(AlterUserScramCredentialsResponse { results: results.collect(), ..Default::default() })
    }

    fn delete_scram_user(&mut self, deletion: ScramCredentialDeletion) -> Result<(), Refusal> {
        let mechanism = check_user(&deletion.name, deletion.mechanism)?;
        if !self.security.users.remove_scram(&deletion.name, mechanism) {
            let words = "Attempt to delete a user credential that does not exist";
            return Err(Refusal::new(ErrorCode::RESOURCE_NOT_FOUND, words));
        }
        Ok(())
    }

    fn upsert_scram_user(&mut self, upsertion: ScramCredentialUpsertion) -> Result<(), Refusal> {
        let mechanism = check_user(&upsertion.name, upsertion.mechanism)?;
        let unacceptable = |words| Err(Refusal::new(ErrorCode::UNACCEPTABLE_CREDENTIAL, words));
        if upsertion.iterations < MIN_ITERATIONS {
            return unacceptable("Too few iterations");
        }
        if upsertion.iterations > MAX_ITERATIONS {
            return unacceptable("Too many iterations");
        }
        let iterations = u32::try_from(upsertion.iterations).unwrap_or_default();
        let (salt, salted) = (upsertion.salt.to_vec(), &upsertion.salted_password);
        let credential = ScramCredential::from_salted_password(mechanism, salted, salt, iterations);
        self.security.users.set_scram(&upsertion.name, mechanism, credential);
        Ok(())
    }
}

fn check_user(name: &str, number: i8) -> Result<ScramMechanism, Refusal> {
    if name.is_empty() {
        return Err(Refusal::new(ErrorCode::UNACCEPTABLE_CREDENTIAL, "Username must not be empty"));
    }
    let unknown = || Refusal::new(ErrorCode::UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism");
    mechanism(number).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;
    use crate::protocol::messages::describe_user_scram_credentials::UserName;

    fn upsertion(name: &str, mechanism: i8, iterations: i32) -> ScramCredentialUpsertion {
        ScramCredentialUpsertion {
            name: name.into(),
            mechanism,
            iterations,
            salt: b"salt".as_slice().into(),
            salted_password: vec![7; 32].into(),
        }
    }

    fn alter(
        harness: &mut Harness,
        deletions: &[(&str, i8)],
        upsertions: Vec<ScramCredentialUpsertion>,
    ) -> Vec<(String, i16)> {
        let deletion =
            |(name, mechanism): &(&str, i8)| ScramCredentialDeletion { name: (*name).into(), mechanism: *mechanism };
        let deletions = deletions.iter().map(deletion).collect();
        let response = harness.call(1, 0, AlterUserScramCredentialsRequest { deletions, upsertions });
        response.results.into_iter().map(|result| (result.user, result.error_code)).collect()
    }

    fn describe(harness: &mut Harness, users: &[&str]) -> Vec<(String, i16, Vec<(i8, i32)>)> {
        let users = Some(users.iter().map(|name| UserName { name: (*name).into() }).collect());
        let response = harness.call(1, 0, DescribeUserScramCredentialsRequest { users });
        let shown = |result: DescribeUserScramCredentialsResult| {
            let infos = result.credential_infos.iter().map(|info| (info.mechanism, info.iterations)).collect();
            (result.user, result.error_code, infos)
        };
        response.results.into_iter().map(shown).collect()
    }

    #[test]
    fn users_come_change_and_go() {
        let mut harness = Harness::new(1);
        assert_eq!(alter(&mut harness, &[], vec![upsertion("a", 1, 4096)]), [("a".into(), 0)]);
        assert_eq!(alter(&mut harness, &[], vec![upsertion("a", 2, 8192)]), [("a".into(), 0)]);
        assert_eq!(describe(&mut harness, &[]), [("a".into(), 0, vec![(1, 4096), (2, 8192)])]);
        let expected = ScramMechanism::Sha256;
        let kept = harness.state.security.users.scram("a", expected).unwrap();
        let own = ScramCredential::from_salted_password(expected, &[7; 32], b"salt".to_vec(), 4096);
        assert_eq!((&*kept.stored_key, &*kept.server_key), (&*own.stored_key, &*own.server_key));
        assert_eq!(alter(&mut harness, &[("a", 1)], vec![]), [("a".into(), 0)]);
        assert_eq!(describe(&mut harness, &["a", "b"]), [("a".into(), 0, vec![(2, 8192)]), ("b".into(), 91, vec![])]);
    }

    #[test]
    fn what_can_not_be_kept_is_refused_user_by_user() {
        let mut harness = Harness::new(1);
        let all = vec![
            upsertion("", 1, 4096),
            upsertion("few", 1, 4095),
            upsertion("many", 1, 16_385),
            upsertion("odd", 3, 4096),
            upsertion("twice", 1, 4096),
            upsertion("twice", 2, 4096),
            upsertion("well", 1, 4096),
        ];
        let codes = [("", 93), ("absent", 91), ("few", 93), ("many", 93), ("odd", 33), ("twice", 92), ("well", 0)];
        let codes = codes.map(|(name, code)| (name.to_owned(), code));
        assert_eq!(alter(&mut harness, &[("absent", 1)], all), codes);
        assert_eq!(describe(&mut harness, &["well", "well"])[0].1, 92);
        assert_eq!(describe(&mut harness, &[]).len(), 1);
    }
}
