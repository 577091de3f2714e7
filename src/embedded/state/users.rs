//! Who may authenticate, and with which passwords.

use crate::config::Secret;
use crate::sasl::scram::{ScramCredential, ScramMechanism};
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;

/// The users of all listeners.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Users {
    /// For PLAIN.
    passwords: BTreeMap<String, Secret>,
    scram: BTreeMap<String, Vec<(ScramMechanism, ScramCredential)>>,
}

impl Users {
    pub(in crate::embedded) fn set_password(&mut self, user: &str, password: Secret) {
        self.passwords.insert(user.to_owned(), password);
    }

    pub(super) fn has_password(&self, user: &str, password: &Secret) -> bool {
        let known = self.passwords.get(user);
        known.is_some_and(|known| known.expose().as_bytes().ct_eq(password.expose().as_bytes()).into())
    }

    pub(in crate::embedded) fn set_scram(
        &mut self,
        user: &str,
        mechanism: ScramMechanism,
        credential: ScramCredential,
    ) {
        let credentials = self.scram.entry(user.to_owned()).or_default();
        credentials.retain(|(known, _)| *known != mechanism);
        credentials.push((mechanism, credential));
    }

    pub(super) fn scram(&self, user: &str, mechanism: ScramMechanism) -> Option<&ScramCredential> {
        let mut credentials = self.scram.get(user)?.iter();
        credentials.find(|(known, _)| *known == mechanism).map(|(_, credential)| credential)
    }

    /// Takes a credential away; whether it was there.
    pub(super) fn remove_scram(&mut self, user: &str, mechanism: ScramMechanism) -> bool {
        let Some(credentials) = self.scram.get_mut(user) else { return false };
        let before = credentials.len();
        credentials.retain(|(known, _)| *known != mechanism);
        let removed = credentials.len() < before;
        if credentials.is_empty() {
            self.scram.remove(user);
        }
        removed
    }

    /// Who has a credential, by name.
    pub(super) fn scram_users(&self) -> impl Iterator<Item = &str> {
        self.scram.keys().map(String::as_str)
    }
}
