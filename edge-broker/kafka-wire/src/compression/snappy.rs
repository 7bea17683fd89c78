//! Snappy as the Java client frames it ("xerial": a header, then blocks with their lengths), and
//! bare snappy, which other clients send.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::Refused;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const VERSION: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// The block size of the Java client.
const BLOCK_BYTES: usize = 32 * 1024;
/// No snappy element yields more output per input byte than this; larger claims are lies.
const EXPANSION_MAX: usize = 64;

/// The encoder with its hash table.
pub(super) struct Context(Encoder);

impl Default for Context {
    fn default() -> Self {
        Self(Encoder::new())
    }
}

impl Context {
    pub(super) fn compress(&mut self, from: &[u8], to: &mut Vec<u8>) {
        to.extend_from_slice(&MAGIC);
        to.extend_from_slice(&VERSION);
        for block in from.chunks(BLOCK_BYTES) {
            let length_at = to.len();
            let block_at = length_at + 4;
            to.resize(block_at + max_compress_len(block.len()), 0);
            let Ok(length) = self.0.compress(block, &mut to[block_at..]) else {
                to.clear();
                return;
            };
            to[length_at..block_at].copy_from_slice(&(length as u32).to_be_bytes());
            to.truncate(block_at + length);
        }
    }
}

pub(super) fn decompress(from: &[u8], to: &mut Vec<u8>, bytes_max: usize) -> Result<(), Refused> {
    let Some(framed) = from.strip_prefix(&MAGIC) else {
        return block(from, to, bytes_max);
    };
    let (_version, mut rest) = framed
        .split_at_checked(VERSION.len())
        .ok_or_else(|| Refused::damaged("header"))?;
    let mut left = bytes_max;
    while !rest.is_empty() {
        let (length, behind) = rest
            .split_first_chunk::<4>()
            .ok_or_else(|| Refused::damaged("block length"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (compressed, behind) = behind
            .split_at_checked(length)
            .ok_or_else(|| Refused::damaged("block is cut"))?;
        let before = to.len();
        block(compressed, to, left)?;
        left -= to.len() - before;
        rest = behind;
    }
    Ok(())
}

fn block(from: &[u8], to: &mut Vec<u8>, bytes_max: usize) -> Result<(), Refused> {
    let length = decompress_len(from).map_err(Refused::damaged)?;
    if length / EXPANSION_MAX > from.len() {
        return Err(Refused::damaged(format_args!(
            "impossible length: {length}"
        )));
    }
    if length > bytes_max {
        return Err(Refused::TooLarge);
    }
    let start = to.len();
    to.resize(start + length, 0);
    let written = Decoder::new()
        .decompress(from, &mut to[start..])
        .map_err(Refused::damaged)?;
    to.truncate(start + written);
    Ok(())
}
