//! The codecs a batch may be compressed with. Each has its file; what they share is here: names,
//! numbers, and the cap on what decompression may produce.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

use crate::BatchError;

/// Kafka's compression codecs; the discriminant is the number on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Records as they are.
    #[default]
    None = 0,
    /// gzip.
    Gzip = 1,
    /// Snappy, framed as the Java client frames it.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard.
    Zstd = 4,
}

impl Compression {
    /// All codecs by their number.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this number on the wire.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        usize::try_from(number)
            .ok()
            .and_then(|at| Self::ALL.get(at).copied())
    }

    /// Kafka's name, as in `compression.type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.name() == text)
            .ok_or_else(|| {
                format!("unknown compression, use none, gzip, snappy, lz4 or zstd: {text}")
            })
    }
}

thread_local! {
    /// One state for all builders of a thread: a zstd context has more than a megabyte, and a
    /// gateway has a builder per partition.
    static COMPRESSOR: RefCell<Compressor> = RefCell::default();
    static DECOMPRESSOR: RefCell<Decompressor> = RefCell::default();
}

/// Compresses `from` and hands the result to `then`, or `None` where compressing does not pay.
pub(crate) fn compress<R>(
    codec: Compression,
    from: &[u8],
    then: impl FnOnce(Option<&[u8]>) -> R,
) -> R {
    if codec == Compression::None || from.len() < COMPRESS_BYTES_MIN {
        return then(None);
    }
    COMPRESSOR.with_borrow_mut(|compressor| {
        let compressed = compressor.compress(codec, from);
        let pays = !compressed.is_empty() && compressed.len() < from.len();
        let result = then(pays.then_some(compressed));
        compressor.buffer.shrink_to(BUFFER_BYTES_KEPT);
        result
    })
}

/// Decompresses `from` into `to`, which must be empty, up to `bytes_max` bytes.
///
/// Never allocates more than `bytes_max` and a constant; on an error `to` holds nonsense.
pub(crate) fn decompress(
    codec: Compression,
    from: &[u8],
    to: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), BatchError> {
    debug_assert!(to.is_empty());
    DECOMPRESSOR
        .with_borrow_mut(|decompressor| decompressor.decompress(codec, from, to, bytes_max))
        .map_err(|refused| match refused {
            Refused::TooLarge => BatchError::TooLarge {
                decompressed_bytes_max: bytes_max,
            },
            Refused::Damaged(message) => BatchError::Compressed {
                codec: codec.name(),
                message,
            },
        })
}

/// What compressing keeps between batches: making a context costs more than using it.
#[derive(Default)]
struct Compressor {
    buffer: Vec<u8>,
    gzip: Option<gzip::Context>,
    lz4: Option<lz4::Context>,
    snappy: Option<snappy::Context>,
    zstd: Option<zstd::Context>,
}

impl Compressor {
    /// `from` compressed, or nothing where the codec cannot.
    fn compress(&mut self, codec: Compression, from: &[u8]) -> &[u8] {
        let to = &mut self.buffer;
        to.clear();
        match codec {
            Compression::None => {}
            Compression::Gzip => self.gzip.get_or_insert_default().compress(from, to),
            Compression::Lz4 => self.lz4.get_or_insert_default().compress(from, to),
            Compression::Snappy => self.snappy.get_or_insert_default().compress(from, to),
            Compression::Zstd => self.zstd.get_or_insert_default().compress(from, to),
        }
        to
    }
}

/// What decompressing keeps between batches.
#[derive(Default)]
struct Decompressor {
    zstd: Option<zstd::Decoder>,
}

impl Decompressor {
    fn decompress(
        &mut self,
        codec: Compression,
        from: &[u8],
        to: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(), Refused> {
        match codec {
            Compression::None if from.len() > bytes_max => Err(Refused::TooLarge),
            Compression::None => {
                to.extend_from_slice(from);
                Ok(())
            }
            Compression::Gzip => gzip::decompress(from, to, bytes_max),
            Compression::Snappy => snappy::decompress(from, to, bytes_max),
            Compression::Lz4 => lz4::decompress(from, to, bytes_max),
            Compression::Zstd => self
                .zstd
                .get_or_insert_default()
                .decompress(from, to, bytes_max),
        }
    }
}

/// Why a codec gave up.
#[derive(Debug)]
enum Refused {
    /// The output would exceed the cap.
    TooLarge,
    /// The input is not what the codec writes.
    Damaged(String),
}

impl Refused {
    fn damaged(what: impl fmt::Display) -> Self {
        Self::Damaged(what.to_string())
    }
}

/// Below this no codec wins: its own frame costs more than it saves.
const COMPRESS_BYTES_MIN: usize = 64;
/// What a thread keeps after a batch; one giant batch must not pin its memory for ever.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

#[cfg(test)]
mod tests;
