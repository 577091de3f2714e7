//! Calls that can't be interrupted, on threads that nobody has to wait for.

use super::{Deadline, Interrupt};
use crate::{Error, ErrorKind, Result};
use crossbeam_channel::Receiver;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls that have not come back. One that hangs is left behind.
static CALLS: AtomicUsize = AtomicUsize::new(0);
/// More than all threads of several clients dial at the same moment, few enough to be no burden if all of them hang.
const MAX_CALLS: usize = 64;

/// Counts a call from its start to its end, however it ends.
struct Counted;

impl Counted {
    fn new() -> Option<Self> {
        let before = CALLS.fetch_add(1, Ordering::SeqCst);
        let counted = Self;
        (before < MAX_CALLS).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        CALLS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs `call`, which does what `doing` says, and waits for it until the deadline or the interrupt.
///
/// Each runs in a thread of its own by the name of `thread`, at most [`MAX_CALLS`] in all. It owns nothing but what the
/// call needs, and ends when that comes back, whether or not anybody still waits for the answer.
pub(super) fn aside<T: Send + 'static>(
    thread: &str,
    doing: &str,
    interrupt: &Interrupt,
    deadline: Deadline,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let Some(counted) = Counted::new() else {
        return Err(Error::new(ErrorKind::Network, format!("{doing}: too many such calls are hanging")));
    };
    // Bound 1: the one answer, which must not block a thread that nobody waits for any more.
    let (answer, answered) = crossbeam_channel::bounded(1);
    let spawned = std::thread::Builder::new().name(thread.into()).spawn(move || {
        let _counted = counted;
        let _ = answer.send(call());
    });
    if let Err(error) = spawned {
        return Err(Error::new(ErrorKind::Thread, format!("starting {thread}: {error}")));
    }
    wait_for_answer(doing, &answered, interrupt, deadline)
}

fn wait_for_answer<T>(doing: &str, answered: &Receiver<T>, interrupt: &Interrupt, deadline: Deadline) -> Result<T> {
    crossbeam_channel::select! {
        recv(answered) -> answer => {
            answer.map_err(|_| Error::new(ErrorKind::Network, format!("{doing}: the call panicked")))
        }
        recv(interrupt.channel()) -> _ => Err(Error::new(ErrorKind::Closed, format!("closed while {doing}"))),
        default(deadline.remaining()) => Err(Error::new(ErrorKind::Timeout, format!("{doing} took too long"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn c14_a_call_that_hangs_ends_with_the_interrupt_and_at_the_deadline() {
        // Never answers while the sender lives.
        let (_sender, answered) = crossbeam_channel::bounded::<()>(1);
        let interrupt = Interrupt::new().unwrap();
        let soon = Deadline::after(Duration::from_millis(30));
        let late = wait_for_answer("looking up h", &answered, &interrupt, soon).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
        assert!(late.to_string().contains("looking up h"), "{late}");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(30));
                interrupt.trigger();
            });
            let far = Deadline::after(Duration::from_secs(60));
            let closed = wait_for_answer("looking up h", &answered, &interrupt, far).unwrap_err();
            assert_eq!(closed.kind(), ErrorKind::Closed);
        });
    }

    #[test]
    fn a_call_that_panics_is_an_error() {
        let far = Deadline::after(Duration::from_secs(60));
        let interrupt = Interrupt::new().unwrap();
        let error = aside("t", "dialling h", &interrupt, far, || -> u8 { panic!("on purpose") }).unwrap_err();
        assert_eq!(error.to_string(), "dialling h: the call panicked");
        assert_eq!(aside("t", "dialling h", &interrupt, far, || 7).unwrap(), 7);
    }
}
