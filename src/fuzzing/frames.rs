//! Bytes of a connection, cut into reads of any size: frames, and the headers of the answers in them.
//!
//! Input: a byte with the number of reads in its low bits and the limit of a frame in its highest, a byte for the size of each
//! of these reads, which then repeat, and the bytes that come.

use crate::Error;
use crate::net::{Inbox, answer_body};
use bytes::Bytes;

const SMALL_LIMIT: usize = 4096;
const LARGE_LIMIT: usize = 100 * 1024 * 1024;

struct Input<'a> {
    limit: usize,
    reads: &'a [u8],
    stream: &'a [u8],
}

fn input(data: &[u8]) -> Option<Input<'_>> {
    let (&first, rest) = data.split_first()?;
    let (reads, stream) = rest.split_at_checked(usize::from(first & 0x0f))?;
    Some(Input { limit: if first & 0x80 == 0 { SMALL_LIMIT } else { LARGE_LIMIT }, reads, stream })
}

/// Hands each frame to `each` until the stream ends or is refused. Returns whether it was refused, rather than cut.
fn read(input: &Input<'_>, mut each: impl FnMut(Bytes)) -> bool {
    let mut inbox = Inbox::default();
    let mut rest = input.stream;
    let mut sizes = input.reads.iter().copied().cycle();
    let mut cut = false;
    loop {
        let frame = inbox.read_frame(input.limit, |buffer| {
            let spare = buffer.capacity() - buffer.len();
            assert!(spare > 0, "a read into no space looks like the end of the stream");
            let size = sizes.next().map_or(usize::MAX, |size| usize::from(size) + 1);
            let (now, later) = rest.split_at(size.min(spare).min(rest.len()));
            if now.is_empty() {
                cut = true;
                return Err(Error::protocol("the end"));
            }
            buffer.extend_from_slice(now);
            rest = later;
            Ok(now.len())
        });
        match frame {
            Ok(frame) => each(frame),
            Err(_) => return !cut,
        }
    }
}

pub(super) fn decode(data: &[u8]) {
    let Some(input) = input(data) else { return };
    read(&input, |frame| {
        let _ = answer_body(frame, 1, 1);
    });
}

pub(super) fn check(data: &[u8]) {
    let Some(input) = input(data) else { return };
    let mut frames = Vec::new();
    let refused = read(&input, |frame| frames.push(frame));

    // The same without a reader: a length, then so many bytes.
    let (mut rest, mut expected, mut illegal) = (input.stream, Vec::new(), false);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let tls = matches!(length, [0x15 | 0x16, 3, ..]);
        let Some(length) = usize::try_from(i32::from_be_bytes(*length))
            .ok()
            .filter(|length| !tls && (4..=input.limit).contains(length))
        else {
            illegal = true;
            break;
        };
        let Some((frame, after)) = after.split_at_checked(length) else { break };
        expected.push(frame);
        rest = after;
    }
    assert_eq!(frames, expected);
    assert_eq!(refused, illegal);
    frames.iter().for_each(check_header);
}

fn check_header(frame: &Bytes) {
    let id = frame.first_chunk().map_or(0, |id| i32::from_be_bytes(*id));
    let plain = answer_body(frame.clone(), id, 0).expect("a correlation id is all there is");
    assert_eq!(plain.remaining(), frame.len() - 4);
    assert!(answer_body(frame.clone(), id.wrapping_add(1), 0).is_err(), "an answer to another request");
    if let Ok(tagged) = answer_body(frame.clone(), id, 1) {
        assert!(tagged.remaining() < plain.remaining(), "tags take a byte at least");
    }
}
