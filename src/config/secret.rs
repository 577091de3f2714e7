//! What must not be seen: passwords, tokens, keys.

use base64ct::{Base64Unpadded, Encoding};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// So many bytes of a secret in a row are not shown either.
const TELLING_BYTES: usize = 8;

/// A password, token or key. It shows as `[hidden]` wherever it is printed, and its memory is wiped when the last copy
/// goes. Copies share that memory.
#[derive(Clone)]
pub(crate) struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// The secret itself. What is made of it must be wiped too.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a peer's words [hold](hold) it.
    pub(crate) fn is_in(&self, words: &str) -> bool {
        hold(words, self.expose())
    }
}

/// Whether a peer's words hold a secret or a telling part of it, as it is or in base64, alone or within something longer.
/// Such words are not repeated. To be asked before they are cut.
pub(crate) fn hold(words: &str, secret: &str) -> bool {
    let parts: HashSet<&[u8]> = match secret.len() {
        0 => return false,
        length => secret.as_bytes().windows(length.min(TELLING_BYTES)).collect(),
    };
    let width = secret.len().min(TELLING_BYTES);
    let holds = |bytes: &[u8]| bytes.windows(width).any(|part| parts.contains(part));
    holds(words.as_bytes()) || decodings(words).any(|bytes| holds(&bytes))
}

/// What is in words if they are base64 of either alphabet, beginning with any of their characters.
fn decodings(words: &str) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    words.as_bytes().split(move |byte| !is_digit(byte)).flat_map(|run| {
        (0..4).filter_map(move |skipped| {
            let standard = run.get(skipped..)?.iter().map(|byte| match byte {
                b'-' => '+',
                b'_' => '/',
                other => char::from(*other),
            });
            let mut text = Zeroizing::new(String::with_capacity(run.len().saturating_add(3)));
            text.extend(standard);
            // What was cut is decoded as far as it goes.
            while !text.len().is_multiple_of(4) {
                text.push('A');
            }
            Base64Unpadded::decode_vec(&text).ok().map(Zeroizing::new)
        })
    })
}

/// Makes room for `more` bytes in a buffer that holds a secret. One that grows by itself would leave its old memory behind.
pub(crate) fn reserve_wiping(buffer: &mut Vec<u8>, more: usize) {
    let needed = buffer.len().saturating_add(more);
    if needed > buffer.capacity() {
        let mut larger = Vec::with_capacity(needed);
        larger.extend_from_slice(buffer);
        std::mem::replace(buffer, larger).zeroize();
    }
}

/// Wipes the first `taken` bytes of a buffer, and whatever is behind its end.
pub(crate) fn wipe_front(buffer: &mut Vec<u8>, taken: &mut usize) {
    let kept = Zeroizing::new(buffer.get(*taken..).unwrap_or_default().to_vec());
    // All of its memory.
    buffer.zeroize();
    buffer.extend_from_slice(&kept);
    *taken = 0;
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64ct::Base64;

    #[test]
    fn x10_a_secret_does_not_show() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "[hidden] Some(\n    [hidden],\n)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn x10_words_that_hold_a_secret_are_known_in_base64_and_in_part_too() {
        let secret = "open sesame, or else?>";
        let mut held: Vec<String> =
            ["open sesame, or else?>", "it was 'open ses", "or else?>"].map(str::to_owned).into();
        for before in ["", "A", "Al", "Aladdin:"] {
            let encoded = Base64::encode_string(format!("{before}{secret}").as_bytes());
            held.push(format!("no Basic {encoded}"));
            // Wherever it was cut, eight bytes are left.
            let own = before.len() * 4 / 3 + 2..=encoded.len() - 18;
            held.extend(own.map(|start| format!("...{}...", &encoded[start..start + 14])));
        }
        for words in &held {
            assert!(hold(words, secret), "{words}");
        }
        for words in ["", "open", "or else", "HTTP/1.1 407", "b3Bl", "QWxhZGRpbjpvcGVuIA=="] {
            assert!(!hold(words, secret), "{words}");
        }
        // Short ones count as a whole; the alphabet may be that of URLs.
        for (words, secret) in [
            ("x", "x"),
            ("me:x", "x"),
            ("bWU6eA==", "x"),
            ("bWU6eA", "x"),
            ("YWJjPj4+", "abc>>>"),
            ("YWJjPj4-", "abc>>>"),
            ("YWJjPz8/", "abc???"),
            ("YWJjPz8_", "abc???"),
        ] {
            assert!(hold(words, secret), "{words}");
        }
        assert!(!hold("bWU6eA==", "") && !hold("hunter", "hunter2"));
    }

    #[test]
    fn a_buffer_that_grows_keeps_what_it_holds() {
        let mut buffer = b"hunter2".to_vec();
        reserve_wiping(&mut buffer, 1000);
        assert!(buffer.capacity() >= 1007);
        let memory = buffer.as_ptr();
        reserve_wiping(&mut buffer, 1000);
        assert_eq!((&buffer[..], buffer.as_ptr()), (&b"hunter2"[..], memory));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn x10_buffers_keep_no_copy_of_what_was_taken_nor_where_they_grew_from() {
        use crate::copies::{self, LENGTH, Masked};
        if copies::case().is_none() {
            let own = "config::secret::tests::x10_buffers_keep_no_copy_of_what_was_taken_nor_where_they_grew_from";
            return copies::run(own, "a buffer", &[]);
        }
        let looked_for = Masked::secret();
        let mut buffer = copies::secret().into_bytes();
        for more in [LENGTH, 10_000, 100_000] {
            reserve_wiping(&mut buffer, more);
            assert_eq!(looked_for.copies(), 1, "with room for {more}");
        }
        buffer.extend_from_slice(b"next");
        let (memory, mut taken) = (buffer.as_ptr(), LENGTH);
        wipe_front(&mut buffer, &mut taken);
        assert_eq!((&buffer[..], taken, buffer.as_ptr()), (&b"next"[..], 0, memory));
        buffer.extend(copies::secret().into_bytes());
        buffer.truncate(2);
        assert_eq!(looked_for.copies(), 2, "behind the end, and where it came from");
        wipe_front(&mut buffer, &mut taken);
        assert_eq!(looked_for.in_memory_of(&buffer), 0);
        assert_eq!(buffer, b"ne");
    }
}
