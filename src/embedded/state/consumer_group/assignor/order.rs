//! The order in which Java goes through its hash tables: Kafka's uniform assignor gives partitions out in it, so whoever
//! wants the same partitions needs the same order.

use super::super::TopicId;

/// The fewest places a table has.
const LEAST: usize = 16;

/// The places of a table that grew while so many elements came one by one.
pub(super) fn grown(elements: usize) -> usize {
    let mut places = LEAST;
    while elements.saturating_mul(4) > places.saturating_mul(3) {
        places = places.saturating_mul(2);
    }
    places
}

/// The places of a table that was made for so many elements.
pub(super) fn made_for(elements: usize) -> usize {
    (elements.saturating_mul(4) / 3 + 1).next_power_of_two().max(LEAST)
}

/// Puts elements into the order of a table. Those that share a place stay in the order they came in.
pub(super) fn sort_in_table<T>(elements: &mut [T], places: usize, hash: impl Fn(&T) -> u32) {
    elements.sort_by_key(|element| {
        let hash = hash(element);
        (hash ^ hash >> 16) as usize & (places - 1)
    });
}

/// `String.hashCode`.
pub(super) fn hash_of_text(text: &str) -> u32 {
    text.encode_utf16().fold(0, |hash: u32, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

/// `Uuid.hashCode`.
pub(super) fn hash_of_id(id: &TopicId) -> u32 {
    id.chunks(4).fold(0, |hash, word| hash ^ word.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
}

/// `Integer.hashCode`.
pub(super) fn hash_of_number(number: i32) -> u32 {
    number.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        assert_eq!(hash_of_text("consumer-1"), 4_128_728_090);
        assert_eq!(hash_of_id(&[1, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 8]), 0x0100_000d);
        assert_eq!(hash_of_number(-1), u32::MAX);
    }

    #[test]
    fn tables_double_when_they_are_three_quarters_full() {
        assert_eq!([grown(0), grown(12), grown(13), grown(24), grown(25)], [16, 16, 32, 32, 64]);
        assert_eq!([made_for(0), made_for(11), made_for(12), made_for(23), made_for(24)], [16, 16, 32, 32, 64]);
    }

    #[test]
    fn the_place_is_in_the_lowest_bits_with_the_highest_mixed_in() {
        let mut numbers = vec![17, 3, 0x1_0000, 2, 1];
        sort_in_table(&mut numbers, 16, |number| hash_of_number(*number));
        assert_eq!(numbers, [17, 0x1_0000, 1, 2, 3]);
    }
}
