//! Administration: one method per operation, one result per entity.

#[cfg(test)]
mod tests;
mod topics;

pub use topics::NewTopic;

use crate::cluster::{Client, Core, Snapshot};
use crate::net::Deadline;
use crate::protocol::Request;
use crate::{Error, ErrorCode, Result};
use std::sync::Arc;
use std::time::Duration;

/// How long to wait for metadata that may name another controller.
const NEWER_METADATA: Duration = Duration::from_secs(1);

/// The results of an operation on several entities: the entity's name and what became of it, in the order of the call.
pub type Results<T = ()> = Vec<(String, Result<T>)>;

/// Creates and deletes topics. Blocking; it has no thread, and borrows the client's connections.
///
/// Every call returns within the client's [request timeout](crate::ClientBuilder::request_timeout), or the one
/// set by [`timeout`](Self::timeout).
///
/// ```no_run
/// use sarameya::{Admin, Client, NewTopic};
///
/// let client = Client::connect("localhost:9092")?;
/// let admin = Admin::new(&client);
/// for (topic, created) in admin.create_topics(&[NewTopic::new("test3").partitions(3)])? {
///     println!("{topic}: {created:?}");
/// }
/// # Ok::<(), sarameya::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
    timeout: Duration,
}

impl Admin {
    /// Operations through this client.
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone(), timeout: client.core().config().request_timeout }
    }

    /// How long a call may take, retries and all. Kafka: `default.api.timeout.ms`. Defaults to the client's request
    /// timeout.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn core(&self) -> &Arc<Core> {
        self.client.core()
    }

    /// Sends a request to the controller and takes its answer apart with `judge`, until `judge` has nothing left for
    /// another try or the deadline has passed. A controller that moved is looked up again.
    fn on_controller<R: Request, T>(
        &self,
        deadline: Deadline,
        mut request: impl FnMut(i16) -> Result<R>,
        mut judge: impl FnMut(R::Response) -> Judged<T>,
    ) -> Result<T> {
        let core = self.core();
        let mut backoff = core.config().retry_backoff.clone();
        loop {
            let generation = core.snapshot().generation;
            let answer = self.controller(deadline).and_then(|node| {
                core.with_node(node, core.interrupt(), deadline, |connection| {
                    let version = connection.version::<R>()?;
                    connection.call_version(&request(version)?, version, deadline)
                })
            });
            let error = match answer {
                Ok(response) => match judge(response) {
                    Judged::Done(value) => return Ok(value),
                    Judged::Again(error) => error,
                },
                Err(error) => error,
            };
            if !error.is_retriable() {
                return Err(error);
            }
            log::debug!("{}: {error}; trying again", R::NAME);
            let pause = backoff.next(fastrand::f64);
            if deadline.remaining() <= pause || core.interrupt().wait(pause) {
                return Err(error);
            }
            // The metadata at hand would lead to the same place. If there is no newer one soon, try even so.
            let newer = |snapshot: &Snapshot| Ok((snapshot.generation > generation).then_some(()));
            let _ = core.wait_for(deadline.within(NEWER_METADATA), core.interrupt(), "newer metadata", newer);
        }
    }

    fn controller(&self, deadline: Deadline) -> Result<i32> {
        let core = self.core();
        core.wait_for(deadline, core.interrupt(), "the controller", |snapshot| Ok(snapshot.controller))
    }
}

/// What an answer of the controller comes to.
enum Judged<T> {
    Done(T),
    /// Something in it may succeed with another try.
    Again(Error),
}

/// Whether the same request may succeed for an entity a moment later, maybe at another controller. Most codes that
/// Kafka calls retriable are an answer here: a topic to be deleted that is unknown is not waited for. After
/// REQUEST_TIMED_OUT the controller goes on by itself, and a second try would find its work in the way.
fn passes(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::NOT_CONTROLLER | ErrorCode::THROTTLING_QUOTA_EXCEEDED)
}

/// The error for an entity's code, with the broker's own words if it has any.
fn entity_error(code: ErrorCode, words: Option<&str>, doing: &str) -> Error {
    Error::from_code(code, words.filter(|words| !words.is_empty()).unwrap_or(doing))
}
