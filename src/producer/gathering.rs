//! Whether batches with room wait for an answer.

use std::time::{Duration, Instant};

/// A packet's way to a near broker and back takes no longer.
const NEAR: Duration = Duration::from_millis(1);

/// How long batches with room wait for an outstanding answer at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct GatherLimits {
    /// That of a near broker: Kafka's own default of `linger.ms`.
    pub(super) near: Duration,
    /// That of any other.
    pub(super) far: Duration,
}

impl Default for GatherLimits {
    fn default() -> Self {
        Self { near: Duration::from_millis(5), far: Duration::from_millis(1) }
    }
}

/// Batches with room wait while an answer is outstanding. A broker takes up a connection's next request when it has answered
/// the last one, so a request that is sent sooner gains no more than a packet's way there and back, and what others add to
/// the batch meanwhile would need requests of their own. Once there is an answer, or another batch has to go, those with
/// room go along.
#[derive(Debug)]
pub(super) struct Gathering {
    limits: GatherLimits,
    /// When the last request was sent, unless something was answered since.
    sent: Option<Instant>,
}

impl Gathering {
    pub(super) fn new(limits: GatherLimits) -> Self {
        Self { limits, sent: None }
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = Some(now);
    }

    /// Something was answered, or nothing that was sent will be.
    pub(super) fn end(&mut self) {
        self.sent = None;
    }

    /// Until when they wait, if they do. The round trip is the shortest time in which that broker has answered.
    pub(super) fn until(&self, now: Instant, round_trip: Option<Duration>) -> Option<Instant> {
        let limit = if is_near(round_trip) { self.limits.near } else { self.limits.far };
        self.sent.map(|sent| sent + limit).filter(|until| now < *until)
    }

    /// Whether even filled batches can wait for the answer.
    pub(super) fn can_block(&self, now: Instant, round_trip: Option<Duration>) -> bool {
        is_near(round_trip) && self.until(now, round_trip).is_some()
    }
}

fn is_near(round_trip: Option<Duration>) -> bool {
    round_trip.is_some_and(|time| time <= NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_with_room_wait_for_a_near_brokers_answer_and_hardly_for_another_ones() {
        let ms = Duration::from_millis;
        let (near, far, start) = (Some(ms(1)), Some(Duration::from_micros(1001)), Instant::now());
        let mut gathering = Gathering::new(GatherLimits::default());
        assert_eq!(gathering.until(start, near), None, "nothing was sent");
        gathering.sent(start);
        assert_eq!(gathering.until(start, near), Some(start + ms(5)));
        assert_eq!([far, None].map(|time| gathering.until(start, time)), [Some(start + ms(1)); 2]);
        assert_eq!((gathering.until(start + ms(5), near), gathering.until(start + ms(1), far)), (None, None));
        assert!(gathering.can_block(start + ms(4), near) && !gathering.can_block(start + ms(5), near));
        assert!(!gathering.can_block(start, far));
        gathering.end();
        assert_eq!(gathering.until(start, near), None, "there is an answer");
        assert!(!gathering.can_block(start, near));
    }
}
