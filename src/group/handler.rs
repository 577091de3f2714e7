//! What a user of a consumer group writes.

use super::claim::ConsumerGroupClaim;
use super::session::ConsumerGroupSession;

/// What a handler returns: any error is fine.
pub type HandlerResult = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Handles the sessions of a [`ConsumerGroup`](super::ConsumerGroup).
///
/// [`consume_claim`](Self::consume_claim) runs on one thread per claimed partition, the others on the thread that called
/// `consume`. A closure with the arguments of `consume_claim` is a handler too. An error or a panic ends the session
/// for all its claims, and `consume` returns it after cleaning up and leaving the group.
pub trait ConsumerGroupHandler: Sync {
    /// At the start of a session, before any record is handed out.
    fn setup(&self, session: &ConsumerGroupSession) -> HandlerResult {
        let _ = session;
        Ok(())
    }

    /// Processes the records of one claimed partition until `claim` ends, which it does when the session ends. It must
    /// return soon after that, within the group's [rebalance timeout](super::ConsumerGroupBuilder::rebalance_timeout)
    /// at most, or others take the partition over without waiting.
    ///
    /// Returning earlier ends the session for all claims, and the member joins again.
    fn consume_claim(&self, session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim) -> HandlerResult;

    /// At the end of a session, after all claims have returned and before what is marked is committed for the last time.
    fn cleanup(&self, session: &ConsumerGroupSession) -> HandlerResult {
        let _ = session;
        Ok(())
    }

    /// Instead of `cleanup` when the session was lost: its partitions may belong to others already, and nothing can be
    /// committed any more.
    fn lost(&self, session: &ConsumerGroupSession) -> HandlerResult {
        let _ = session;
        Ok(())
    }
}

impl<F> ConsumerGroupHandler for F
where
    F: Fn(&ConsumerGroupSession, &mut ConsumerGroupClaim) -> HandlerResult + Sync,
{
    fn consume_claim(&self, session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim) -> HandlerResult {
        self(session, claim)
    }
}
