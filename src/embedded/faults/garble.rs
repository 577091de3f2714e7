//! Answers that are damaged on their way.

use bytes::Bytes;

/// How an answer is damaged; for [`Cluster::garble_next`](crate::embedded::Cluster::garble_next).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Garble {
    /// The answer is whole, but its correlation id is that of no request.
    CorrelationId,
    /// The length is right for the bytes that come, but the last half of the body is missing.
    ShortBody,
    /// Half of the bytes that the length promises; then the connection ends.
    Truncated,
    /// The length is right, the correlation id too; every other byte is random.
    RandomBody,
    /// Random bytes from the very start, length and all; then the connection ends.
    RandomBytes,
    /// A length of 2 GiB less one byte, and nothing after it; the connection stays.
    HugeLength,
    /// A negative length, and nothing after it; the connection stays.
    NegativeLength,
}

/// Where the body begins, after length and correlation id.
const BODY: usize = 8;

impl Garble {
    /// Damages a frame, its length included. Also says whether the connection ends after it.
    pub(in crate::embedded) fn damage(self, mut frame: Vec<u8>, random: &mut fastrand::Rng) -> (Bytes, bool) {
        let body = BODY.min(frame.len());
        let half = body + (frame.len() - body) / 2;
        match self {
            Self::CorrelationId => frame.iter_mut().take(body).skip(4).for_each(|byte| *byte = !*byte),
            Self::ShortBody => {
                frame.truncate(half);
                let length = u32::try_from(half.saturating_sub(4)).unwrap_or(u32::MAX).to_be_bytes();
                frame.iter_mut().zip(length).for_each(|(byte, new)| *byte = new);
            }
            Self::Truncated => frame.truncate(half),
            Self::RandomBody => frame.iter_mut().skip(body).for_each(|byte| *byte = random.u8(..)),
            Self::RandomBytes => frame.iter_mut().for_each(|byte| *byte = random.u8(..)),
            Self::HugeLength => frame = i32::MAX.to_be_bytes().to_vec(),
            Self::NegativeLength => frame = i32::MIN.to_be_bytes().to_vec(),
        }
        (frame.into(), matches!(self, Self::Truncated | Self::RandomBytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged(garble: Garble) -> (Vec<u8>, bool) {
        let mut frame = 20u32.to_be_bytes().to_vec();
        frame.extend(7u32.to_be_bytes());
        frame.extend([1; 16]);
        let (bytes, ends) = garble.damage(frame, &mut fastrand::Rng::with_seed(1));
        (bytes.to_vec(), ends)
    }

    #[test]
    fn each_way_damages_what_it_says_and_leaves_the_rest() {
        let (bytes, ends) = damaged(Garble::CorrelationId);
        assert_eq!((&bytes[..8], &bytes[8..], ends), (&[0, 0, 0, 20, 255, 255, 255, 248][..], &[1; 16][..], false));
        let (bytes, ends) = damaged(Garble::ShortBody);
        assert_eq!((&*bytes, ends), (&[0, 0, 0, 12, 0, 0, 0, 7, 1, 1, 1, 1, 1, 1, 1, 1][..], false));
        let (bytes, ends) = damaged(Garble::Truncated);
        assert_eq!((&*bytes, ends), (&[0, 0, 0, 20, 0, 0, 0, 7, 1, 1, 1, 1, 1, 1, 1, 1][..], true));
        let (bytes, ends) = damaged(Garble::RandomBody);
        assert_eq!((&bytes[..8], bytes.len(), ends), (&[0, 0, 0, 20, 0, 0, 0, 7][..], 24, false));
        assert_ne!(bytes[8..], [1; 16]);
        let (bytes, ends) = damaged(Garble::RandomBytes);
        assert_eq!((bytes.len(), ends), (24, true));
        assert_ne!(bytes[..8], [0, 0, 0, 20, 0, 0, 0, 7]);
        assert_eq!(damaged(Garble::HugeLength), (vec![127, 255, 255, 255], false));
        assert_eq!(damaged(Garble::NegativeLength), (vec![128, 0, 0, 0], false));
    }
}
