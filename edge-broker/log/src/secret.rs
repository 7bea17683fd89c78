//! The secret of a store: with it a stored value is told from bytes that a client sent.
//!
//! ```text
//! identity ──────────── secret ──┐
//! slices/<n>/secret ─── secret ──┴──> tag of every value's head
//! ```
//! Clients choose what lies on the disk inside of values, so after a power cut that tore the value
//! around it a payload may look like whatever its sender likes, except like something with a tag of
//! ours. The secret is made with the store's first identity, outlives its incarnations, is in no
//! record, no answer and no log, and stands beside each slice too: who loses the identity file
//! loses no data.
//!
//! The tag is SipHash-2-4, which is made for this and needs 30 ns for a value's head. The checksum
//! of a payload stays a CRC: it is there for damage, and the tag covers it.

use std::collections::BTreeMap;
use std::fmt;

use bytes::{Buf, BufMut};

use crate::identity::Identity;
use crate::{Disk, DiskError};

/// 128 bits that no client knows.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret([u64; 2]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Length of an encoded secret.
pub const SECRET_BYTES: usize = 16;

const MAGIC: [u8; 8] = *b"edgesec1";
const FILE_BYTES: usize = MAGIC.len() + SECRET_BYTES + 4;

impl Secret {
    /// A new one.
    pub fn new<D: Disk>(disk: &D) -> Secret {
        Secret([disk.random(), disk.random()])
    }

    /// The secret of the store on a disk: the identity's, or the one most of its slices have.
    pub fn of<D: Disk>(disk: &D, known: Option<Identity>) -> Result<Secret, DiskError> {
        if let Some(identity) = known {
            return Ok(identity.secret);
        }
        let mut counts: BTreeMap<Secret, usize> = BTreeMap::new();
        for number in disk.slice_numbers()? {
            if let Some(secret) = Secret::beside(disk, number) {
                *counts.entry(secret).or_default() += 1;
            }
        }
        let found = counts.into_iter().max_by_key(|(_, count)| *count);
        Ok(found.map_or_else(|| Secret::new(disk), |(secret, _)| secret))
    }

    /// The secret that stands beside a slice; `None` when the file is missing or damaged.
    pub fn beside<D: Disk>(disk: &D, number: u64) -> Option<Secret> {
        let bytes = disk.read_file(&file(number), FILE_BYTES).ok()??;
        let (body, mut crc) = bytes.split_at_checked(FILE_BYTES - 4)?;
        if crc.try_get_u32_le().ok()? != crc32c::crc32c(body) {
            return None;
        }
        Some(Secret::decode(&mut body.strip_prefix(&MAGIC)?))
    }

    /// The content of the file beside a slice.
    pub fn file_content(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(FILE_BYTES);
        to.put_slice(&MAGIC);
        self.encode(&mut to);
        to.put_u32_le(crc32c::crc32c(&to));
        to
    }

    /// Appends its [`SECRET_BYTES`].
    pub fn encode(&self, to: &mut Vec<u8>) {
        to.put_u64_le(self.0[0]);
        to.put_u64_le(self.0[1]);
    }

    /// Reads them back; there must be as many.
    pub fn decode(from: &mut &[u8]) -> Secret {
        Secret([from.get_u64_le(), from.get_u64_le()])
    }

    /// What only who knows the secret can say of some bytes: their SipHash-2-4.
    pub fn tag(&self, bytes: &[u8]) -> u64 {
        let mut state = State::new(self.0);
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            state.take(
                word.iter()
                    .rev()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte)),
            );
        }
        let rest = words.remainder().iter().rev();
        let rest = rest.fold(0, |word, byte| word << 8 | u64::from(*byte));
        state.take((bytes.len() as u64) << 56 | rest);
        state.finish()
    }
}

/// Where it stands beside a slice.
pub fn file(number: u64) -> String {
    format!("slices/{number}/{FILE}")
}

/// Its name in the folder of a slice.
pub const FILE: &str = "secret";

/// SipHash by its paper (Aumasson and Bernstein, 2012).
struct State([u64; 4]);

impl State {
    fn new(key: [u64; 2]) -> State {
        State([
            key[0] ^ 0x736f_6d65_7073_6575,
            key[1] ^ 0x646f_7261_6e64_6f6d,
            key[0] ^ 0x6c79_6765_6e65_7261,
            key[1] ^ 0x7465_6462_7974_6573,
        ])
    }

    fn take(&mut self, word: u64) {
        self.0[3] ^= word;
        self.mix();
        self.mix();
        self.0[0] ^= word;
    }

    fn mix(&mut self) {
        let [v0, v1, v2, v3] = &mut self.0;
        *v0 = v0.wrapping_add(*v1);
        *v1 = v1.rotate_left(13) ^ *v0;
        *v0 = v0.rotate_left(32);
        *v2 = v2.wrapping_add(*v3);
        *v3 = v3.rotate_left(16) ^ *v2;
        *v0 = v0.wrapping_add(*v3);
        *v3 = v3.rotate_left(21) ^ *v0;
        *v2 = v2.wrapping_add(*v1);
        *v1 = v1.rotate_left(17) ^ *v2;
        *v2 = v2.rotate_left(32);
    }

    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        for _ in 0..4 {
            self.mix();
        }
        self.0.iter().fold(0, |all, word| all ^ word)
    }
}

#[cfg(test)]
mod tests;
