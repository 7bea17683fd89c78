//! Changing a few bytes under a CRC32C without reading all the others.
//!
//! A CRC is linear: `crc(A ‖ B) = shift(crc(A), |B|) ^ crc(B)`, where `shift` multiplies by
//! x^(8·|B|) modulo the polynomial. So replacing A by A' changes the whole by
//! `shift(crc(A) ^ crc(A'), |B|)`. Besides being fast, this keeps the checksum of the bytes not
//! touched: what rots in memory on the way is still found by whoever checks next.

/// CRC32C of `A' ‖ B`, given the CRCs of `A ‖ B`, `A` and `A'` (of equal lengths) and `|B|`.
pub(crate) fn replace_prefix(whole: u32, old: u32, new: u32, rest_bytes: usize) -> u32 {
    whole ^ shift(old ^ new, rest_bytes)
}

/// `crc` times x^(8 · bytes).
fn shift(crc: u32, bytes: usize) -> u32 {
    let mut power = bytes as u64;
    let mut at = 3; // x^(2^3) = x^8: one byte
    let mut shifted = crc;
    while power > 0 && shifted != 0 {
        if power & 1 == 1 {
            shifted = multiply(X_POWERS[at & 31], shifted);
        }
        power >>= 1;
        at += 1;
    }
    shifted
}

/// Product of two polynomials, bits reflected (the top bit is x^0).
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 1 << 31;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 1 {
            (b >> 1) ^ POLYNOMIAL
        } else {
            b >> 1
        };
        bit >>= 1;
    }
    product
}

/// CRC32C (Castagnoli), reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x^(2^k) for each k; the sequence has period 32 or less for a polynomial of degree 32.
const X_POWERS: [u32; 32] = {
    let mut powers = [0; 32];
    powers[0] = 1 << 30;
    let mut at = 1;
    while at < 32 {
        powers[at] = multiply(powers[at - 1], powers[at - 1]);
        at += 1;
    }
    powers
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_a_prefix_gives_the_checksum_of_the_new_whole() {
        for rest_bytes in [0, 1, 2, 7, 8, 61, 255, 4096, 65_537, 1 << 20] {
            let rest: Vec<u8> = (0..rest_bytes).map(|at| (at * 31) as u8).collect();
            let (old, new) = (*b"one prefix of a batch", *b"and another one of it");
            let whole = crc32c::crc32c(&[&old[..], &rest].concat());
            let expected = crc32c::crc32c(&[&new[..], &rest].concat());
            let (old, new) = (crc32c::crc32c(&old), crc32c::crc32c(&new));
            assert_eq!(
                replace_prefix(whole, old, new, rest_bytes),
                expected,
                "{rest_bytes}"
            );
        }
    }
}
