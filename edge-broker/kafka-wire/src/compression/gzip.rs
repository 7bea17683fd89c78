//! gzip: a ten-byte header, deflate, CRC32 and length.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use flate2::{Compress, Compression as Level, Crc, FlushCompress, Status};

use super::Refused;

/// Magic, method deflate, no flags, no time, no hints, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The deflate state, about 300 KB, reset rather than made anew.
pub(super) struct Context(Compress);

impl Default for Context {
    fn default() -> Self {
        Self(Compress::new(Level::default(), false))
    }
}

impl Context {
    pub(super) fn compress(&mut self, from: &[u8], to: &mut Vec<u8>) {
        self.0.reset();
        to.extend_from_slice(&HEADER);
        to.reserve(from.len());
        // Whatever does not fit into the input's own size does not pay.
        let done = self.0.compress_vec(from, to, FlushCompress::Finish);
        if !matches!(done, Ok(Status::StreamEnd)) {
            to.clear();
            return;
        }
        let mut crc = Crc::new();
        crc.update(from);
        to.extend_from_slice(&crc.sum().to_le_bytes());
        to.extend_from_slice(&crc.amount().to_le_bytes());
    }
}

pub(super) fn decompress(from: &[u8], to: &mut Vec<u8>, bytes_max: usize) -> Result<(), Refused> {
    let mut decoder = MultiGzDecoder::new(from);
    let start = to.len();
    loop {
        // Doubles, but never beyond the cap and the one byte that shows it is exceeded.
        let (filled, count) = (to.len(), to.len() - start);
        let room = count
            .max(CHUNK_BYTES)
            .min((bytes_max - count).saturating_add(1));
        to.reserve_exact(room);
        to.resize(filled + room, 0);
        let read = decoder.read(&mut to[filled..]).map_err(Refused::damaged)?;
        to.truncate(filled + read);
        if read == 0 {
            return Ok(());
        }
        if count + read > bytes_max {
            return Err(Refused::TooLarge);
        }
    }
}

/// What the output grows by at first.
const CHUNK_BYTES: usize = 4096;
