//! What to do when an answer does not get a partition further. Pure.

use crate::batch::Scan;
use crate::{Error, ErrorKind};

/// What to do about an answer without a batch beyond the offset.
#[derive(Debug)]
pub(super) enum Progress {
    /// Ask for this many bytes.
    Larger(usize),
    TooLarge(Error),
    Damaged(Error),
    Hopeless(Error),
}

/// Nothing is skipped: either there is a way to get the batch, or the partition can't go on.
pub(super) fn progress(found: &Scan, offset: i64, limit: usize) -> Progress {
    match (&found.error, found.incomplete) {
        (Some(error), _) if error.kind() == ErrorKind::Corrupt => Progress::Damaged(error.clone()),
        (Some(error), _) => Progress::Hopeless(error.clone()),
        (None, Some(size)) if size > limit || i32::try_from(size).is_err() => {
            let message = format!("the batch at offset {offset} takes {size} bytes; answers may have {limit} at most");
            let error = Error::new(ErrorKind::TooLarge, message);
            Progress::TooLarge(error.with_setting("receive.message.max.bytes"))
        }
        (None, Some(size)) => Progress::Larger(size),
        (None, None) => {
            let message = format!("asked for offset {offset}, the broker sent only batches before it");
            Progress::Damaged(Error::new(ErrorKind::Protocol, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(size: usize) -> Scan {
        Scan { incomplete: Some(size), ..Scan::default() }
    }

    #[test]
    fn r2_a_batch_cut_off_is_asked_for_in_its_exact_size_up_to_the_limit() {
        assert!(matches!(progress(&cut(5000), 7, 10_000), Progress::Larger(5000)));
        let Progress::TooLarge(error) = progress(&cut(10_001), 7, 10_000) else { panic!("must be refused") };
        assert_eq!((error.kind(), error.setting()), (ErrorKind::TooLarge, Some("receive.message.max.bytes")));
        assert!(error.to_string().contains("10001"), "{error}");
    }

    #[test]
    fn r4_r10_damage_is_read_again_and_an_unknown_magic_is_not() {
        let found = |kind| Scan { error: Some(Error::new(kind, "x")), ..Scan::default() };
        assert!(matches!(progress(&found(ErrorKind::Corrupt), 7, 10_000), Progress::Damaged(_)));
        assert!(matches!(progress(&found(ErrorKind::Unsupported), 7, 10_000), Progress::Hopeless(_)));
    }

    #[test]
    fn an_answer_without_progress_is_an_error_not_a_loop() {
        let before = Scan { next_offset: Some(7), complete: 100, batches: 1, ..Scan::default() };
        let Progress::Damaged(error) = progress(&before, 7, 10_000) else { panic!("must be an error") };
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }
}
