//! Who coordinates a group or a transactional id.

use super::client::Core;
use super::snapshot::peer;
use crate::net::{Deadline, Interrupt};
use crate::protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::{Error, ErrorCode, ErrorKind, Result};

/// What is coordinated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CoordinatorType {
    Group,
}

impl CoordinatorType {
    fn key_type(self) -> i8 {
        match self {
            Self::Group => 0,
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
        self.with_any(interrupt, deadline, |connection, deadline| {
            let version = connection.version::<FindCoordinatorRequest>()?;
            let mut request = FindCoordinatorRequest { key_type: coordinator_type.key_type(), ..Default::default() };
            // From version 4 on many are asked for at once.
            if version >= 4 {
                request.coordinator_keys = vec![key.to_owned()];
            } else {
                request.key = key.to_owned();
            }
            let response = connection.call_version(&request, version, deadline)?;
            let (code, node_id, host, port) = first_coordinator(response, key, version)?;
            match code {
                ErrorCode::NONE => {}
                code => return Err(Error::from_code(code, format!("no coordinator for {key}"))),
            }
            let Some(peer) = peer(node_id, &host, port) else {
                return Err(Error::protocol(format!("the coordinator of {key} has the address {host}:{port}")));
            };
            self.name_broker(peer);
            Ok(node_id)
        })
    }
}

fn first_coordinator(
    response: FindCoordinatorResponse,
    key: &str,
    version: i16,
) -> Result<(ErrorCode, i32, String, i32)> {
    if version < 4 {
        return Ok((ErrorCode(response.error_code), response.node_id, response.host, response.port));
    }
    let found = response.coordinators.into_iter().find(|c| c.key == key);
    found
        .map(|c| (ErrorCode(c.error_code), c.node_id, c.host, c.port))
        .ok_or_else(|| Error::new(ErrorKind::Protocol, format!("the answer names no coordinator of {key}")))
}
