//! Zstandard, in one shot: no window is ever allocated for what a frame claims.

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{compress_bound, get_frame_content_size};

use super::Refused;

/// zstd's own default: batches of telemetry shrink well and a core does some 200 MB/s.
const LEVEL: i32 = 3;

/// The compression context, a few MB at worst.
pub(super) struct Context(Compressor<'static>);

impl Default for Context {
    fn default() -> Self {
        let mut compressor = Compressor::default();
        // Fails only for a level that does not exist.
        compressor
            .set_compression_level(LEVEL)
            .expect("zstd knows its default level");
        Self(compressor)
    }
}

impl Context {
    pub(super) fn compress(&mut self, from: &[u8], to: &mut Vec<u8>) {
        to.reserve(compress_bound(from.len()));
        if self.0.compress_to_buffer(from, to).is_err() {
            to.clear();
        }
    }
}

/// The decompression context, some 160 KB.
#[derive(Default)]
pub(super) struct Decoder(Decompressor<'static>);

impl Decoder {
    /// A frame may state a size it does not have, or none: so room is made by the bytes that came,
    /// up to the cap, and made larger only when zstd has filled it.
    pub(super) fn decompress(
        &mut self,
        from: &[u8],
        to: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(), Refused> {
        let stated = get_frame_content_size(from).ok().flatten();
        if stated.is_some_and(|stated| stated > bytes_max as u64) {
            return Err(Refused::TooLarge);
        }
        let mut room = from
            .len()
            .saturating_mul(RATIO_EXPECTED)
            .max(ROOM_BYTES_MIN);
        if let Some(stated) = stated {
            room = room.min(stated as usize);
        }
        loop {
            room = room.min(bytes_max);
            // zstd writes from the start of a vector, up to its capacity.
            to.clear();
            to.reserve_exact(room);
            match self.0.decompress_to_buffer(from, to) {
                Ok(_) if to.len() > bytes_max => return Err(Refused::TooLarge),
                Ok(_) => return Ok(()),
                Err(error) if !error.to_string().contains("too small") => {
                    return Err(Refused::damaged(error));
                }
                Err(_) if room == bytes_max => return Err(Refused::TooLarge),
                Err(_) => room = room.saturating_mul(4),
            }
        }
    }
}

/// Most batches shrink less than this, so that one attempt is enough.
const RATIO_EXPECTED: usize = 32;
const ROOM_BYTES_MIN: usize = 4096;
