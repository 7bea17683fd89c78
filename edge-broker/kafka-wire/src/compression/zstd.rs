//! Zstandard, in one shot: no window is ever allocated for what a frame claims.

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::compress_bound;

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
    pub(super) fn decompress(
        &mut self,
        from: &[u8],
        to: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(), Refused> {
        // Refuses a frame that states a larger size before it allocates; one that states none
        // gets at most the cap.
        let out = self.0.decompress(from, bytes_max).map_err(|error| {
            let message = error.to_string();
            if message.contains("too small") {
                Refused::TooLarge
            } else {
                Refused::damaged(message)
            }
        })?;
        if to.is_empty() {
            *to = out;
        } else {
            to.extend_from_slice(&out);
        }
        Ok(())
    }
}
