//! Who coordinates a group or a transactional id.

use super::client::Core;
use super::snapshot::peer;
use crate::net::{Connection, Deadline, Interrupt};
use crate::protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::{Error, ErrorCode, Result};

/// From this version on many coordinators are asked for at once (KIP-699).
const BATCHED: i16 = 4;

/// What is coordinated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CoordinatorType {
    Group,
    Transaction,
}

impl CoordinatorType {
    fn key_type(self) -> i8 {
        match self {
            Self::Group => 0,
            Self::Transaction => 1,
        }
    }
}

impl Core {
    /// Asks any broker once who coordinates `key`, and remembers where that node is. Retriable errors are the caller's.
    pub(crate) fn find_coordinator(
        &self,
        key: &str,
        coordinator_type: CoordinatorType,
        interrupt: &Interrupt,
        deadline: Deadline,
    ) -> Result<i32> {
        let found = self.find_coordinators(&[key.to_owned()], coordinator_type, interrupt, deadline)?;
        let missing = || Err(Error::protocol(format!("the answer names no coordinator of {key}")));
        found.into_iter().next().map_or_else(missing, |(_, node)| node)
    }

    /// Like [`find_coordinator`](Self::find_coordinator) for many keys, all asked of one broker: one request if it knows
    /// how, else one for each key. A key that is missing from the answer has no entry.
    pub(crate) fn find_coordinators(
        &self,
        keys: &[String],
        coordinator_type: CoordinatorType,
        interrupt: &Interrupt,
        deadline: Deadline,
    ) -> Result<Vec<(String, Result<i32>)>> {
        let key_type = coordinator_type.key_type();
        let found =
            self.with_any(interrupt, deadline, |connection, deadline| ask(connection, keys, key_type, deadline))?;
        let found = found.into_iter().filter(|c| keys.contains(&c.key));
        Ok(found.map(|coordinator| self.remember(coordinator)).collect())
    }

    fn remember(&self, found: Coordinator) -> (String, Result<i32>) {
        let Coordinator { key, node_id, host, port, error_code, .. } = found;
        let outcome = match (ErrorCode(error_code), peer(node_id, &host, port)) {
            (ErrorCode::NONE, Some(peer)) => {
                self.name_broker(peer);
                Ok(node_id)
            }
            (ErrorCode::NONE, None) => {
                Err(Error::protocol(format!("the coordinator of {key} has the address {host}:{port}")))
            }
            (code, _) => Err(Error::from_code(code, format!("no coordinator for {key}"))),
        };
        (key, outcome)
    }
}

fn ask(connection: &mut Connection, keys: &[String], key_type: i8, deadline: Deadline) -> Result<Vec<Coordinator>> {
    let version = connection.version::<FindCoordinatorRequest>()?;
    if version >= BATCHED {
        let request = FindCoordinatorRequest { key_type, coordinator_keys: keys.to_vec(), ..Default::default() };
        return Ok(connection.call_version(&request, version, deadline)?.coordinators);
    }
    let one = |key: &String| {
        let request = FindCoordinatorRequest { key: key.clone(), key_type, ..Default::default() };
        let response: FindCoordinatorResponse = connection.call_version(&request, version, deadline)?;
        Ok(Coordinator {
            key: key.clone(),
            node_id: response.node_id,
            host: response.host,
            port: response.port,
            error_code: response.error_code,
            error_message: response.error_message,
        })
    };
    keys.iter().map(one).collect()
}
