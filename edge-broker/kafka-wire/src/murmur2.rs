//! The key hash of Kafka's Java client, so that a key lands in the partition clients expect.
//!
//! Used by the bridge for MQTT keys and by the forwarder when partition counts differ.

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// Kafka's 32-bit murmur2 of `key`.
#[must_use]
pub fn murmur2(key: &[u8]) -> i32 {
    let mut hash = SEED ^ key.len() as u32;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        hash = hash.wrapping_mul(MULTIPLIER) ^ mix(word);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    (hash ^ (hash >> 15)).cast_signed()
}

fn mix(word: &[u8]) -> u32 {
    let little_endian = word
        .iter()
        .rev()
        .fold(0_u32, |acc, byte| acc << 8 | u32::from(*byte));
    let word = little_endian.wrapping_mul(MULTIPLIER);
    (word ^ (word >> SHIFT)).wrapping_mul(MULTIPLIER)
}

/// The partition Kafka's default partitioner gives `key` in a topic of `partitions` partitions.
///
/// An empty key is hashed like any other. A topic without partitions counts as one.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key).cast_unsigned() & 0x7fff_ffff) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_equals_the_vectors_of_the_java_client() {
        let vectors: [(&str, i32); 5] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("abc", 479_470_107),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn a_key_keeps_its_partition_and_zero_partitions_do_not_divide() {
        // murmur2("21") without its sign bit is 1 173 551 340.
        assert_eq!(partition_for_key(b"21", 7), 1_173_551_340 % 7);
        assert_eq!(partition_for_key(b"", 0), 0);
    }
}
