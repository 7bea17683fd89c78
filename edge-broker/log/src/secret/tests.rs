//! The tag is what its paper says, and the secret is found again.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::sim::MemDisk;

/// From the paper's reference implementation: key 00 01 … 0f, messages 00 01 … of 0, 1, … bytes.
#[test]
fn tags_are_siphash_2_4() {
    let key: Vec<u8> = (0..16).collect();
    let secret = Secret::decode(&mut key.as_slice());
    let bytes: Vec<u8> = (0..64).collect();
    for (len, tag) in [
        (0, 0x726f_db47_dd0e_0e31),
        (1, 0x74f8_39c5_93dc_67fd),
        (7, 0xab02_00f5_8b01_d137),
        (8, 0x93f5_f579_9a93_2462),
        (15, 0xa129_ca61_49be_45e5),
    ] {
        assert_eq!(secret.tag(&bytes[..len]), tag, "{len} bytes");
    }
}

#[test]
fn a_secret_is_not_shown() {
    let secret = Secret::new(&MemDisk::new(1));
    assert_eq!(format!("{secret:?}"), "Secret(…)");
}
