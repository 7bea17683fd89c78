//! LZ4 frames, on the block functions of `lz4_flex`: so the output goes straight to where it
//! belongs, within the cap, and a small batch does not pay for a 64 KB window.
//!
//! Checksums inside the frame are skipped: the batch has its own over the same bytes.

use lz4_flex::block::{
    CompressTable, DecompressError, compress_into_with_table, decompress_into_with_dict,
    get_maximum_output_size,
};

use super::Refused;

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
/// Version 1, blocks independent, no checksums, no content size.
const FLAGS: u8 = 0b0110_0000;
/// Block size code, bytes, and the header checksum (xxh32 of flags and code, second byte).
const BLOCK_SIZES: [(u8, usize, u8); 4] = [
    (4, 64 << 10, 0x82),
    (5, 256 << 10, 0xfb),
    (6, 1 << 20, 0x51),
    (7, 4 << 20, 0x73),
];
/// Set in a block's length when its bytes are not compressed.
const STORED_BIT: u32 = 1 << 31;
/// How far back a block may refer.
const WINDOW_BYTES: usize = 64 << 10;

const VERSION_MASK: u8 = 0b1100_0000;
const BLOCK_CHECKSUM_FLAG: u8 = 1 << 4;
const CONTENT_SIZE_FLAG: u8 = 1 << 3;
const CONTENT_CHECKSUM_FLAG: u8 = 1 << 2;
const DICTIONARY_FLAG: u8 = 1;

/// The hash tables, one per input size class.
pub(super) struct Context {
    small: CompressTable,
    large: CompressTable,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            small: CompressTable::small(),
            large: CompressTable::large(),
        }
    }
}

impl Context {
    pub(super) fn compress(&mut self, from: &[u8], to: &mut Vec<u8>) {
        let size = BLOCK_SIZES
            .into_iter()
            .find(|(_, bytes, _)| from.len() <= *bytes);
        let (code, block_bytes, header_checksum) = size.unwrap_or(BLOCK_SIZES[3]);
        to.extend_from_slice(&MAGIC);
        to.extend_from_slice(&[FLAGS, code << 4, header_checksum]);
        for block in from.chunks(block_bytes) {
            self.block(block, to);
        }
        to.extend_from_slice(&[0; 4]);
    }

    fn block(&mut self, block: &[u8], to: &mut Vec<u8>) {
        let table = if block.len() < u16::MAX as usize {
            &mut self.small
        } else {
            &mut self.large
        };
        let length_at = to.len();
        let start = length_at + 4;
        to.resize(start + get_maximum_output_size(block.len()), 0);
        let written = compress_into_with_table(block, &mut to[start..], table);
        let length = match written {
            Ok(length) if length < block.len() => {
                to.truncate(start + length);
                length as u32
            }
            _ => {
                to.truncate(start);
                to.extend_from_slice(block);
                block.len() as u32 | STORED_BIT
            }
        };
        to[length_at..start].copy_from_slice(&length.to_le_bytes());
    }
}

pub(super) fn decompress(
    mut from: &[u8],
    to: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), Refused> {
    let start = to.len();
    let bytes_end = start.saturating_add(bytes_max);
    while !from.is_empty() {
        from = frame(from, to, bytes_end)?;
    }
    Ok(())
}

/// Reads one frame and returns what follows it.
fn frame<'a>(mut from: &'a [u8], to: &mut Vec<u8>, bytes_end: usize) -> Result<&'a [u8], Refused> {
    let magic = take(&mut from, 4)?;
    if magic != MAGIC {
        return skippable(magic, from);
    }
    let header = FrameHeader::read(&mut from)?;
    let frame_start = to.len();
    loop {
        let length = u32_le(take(&mut from, 4)?);
        if length == 0 {
            break;
        }
        let block = take(&mut from, (length & !STORED_BIT) as usize)?;
        header.block(block, length & STORED_BIT != 0, to, frame_start, bytes_end)?;
        if header.block_checksums {
            take(&mut from, 4)?;
        }
    }
    if header.content_checksum {
        take(&mut from, 4)?;
    }
    Ok(from)
}

fn skippable<'a>(magic: &[u8], mut from: &'a [u8]) -> Result<&'a [u8], Refused> {
    if u32_le(magic) & !0xf != SKIPPABLE_MAGIC {
        return Err(Refused::damaged("not an lz4 frame"));
    }
    let length = u32_le(take(&mut from, 4)?);
    take(&mut from, length as usize)?;
    Ok(from)
}

struct FrameHeader {
    block_bytes_max: usize,
    block_checksums: bool,
    content_checksum: bool,
}

impl FrameHeader {
    fn read(from: &mut &[u8]) -> Result<Self, Refused> {
        let [flags, descriptor] = *take(from, 2)? else {
            return Err(Refused::damaged("frame header"));
        };
        if flags & VERSION_MASK != FLAGS & VERSION_MASK {
            return Err(Refused::damaged("frame version"));
        }
        if flags & DICTIONARY_FLAG != 0 {
            return Err(Refused::damaged("needs a dictionary"));
        }
        let size = BLOCK_SIZES
            .into_iter()
            .find(|(code, ..)| *code == descriptor >> 4);
        let (_, block_bytes_max, _) = size.ok_or_else(|| Refused::damaged("block size"))?;
        let content_size_bytes = if flags & CONTENT_SIZE_FLAG != 0 { 8 } else { 0 };
        take(from, content_size_bytes + 1)?;
        Ok(Self {
            block_bytes_max,
            block_checksums: flags & BLOCK_CHECKSUM_FLAG != 0,
            content_checksum: flags & CONTENT_CHECKSUM_FLAG != 0,
        })
    }

    /// Appends one block; `to[frame_start..]` is what it may refer back to.
    fn block(
        &self,
        block: &[u8],
        stored: bool,
        to: &mut Vec<u8>,
        frame_start: usize,
        bytes_end: usize,
    ) -> Result<(), Refused> {
        let start = to.len();
        let room = bytes_end - start;
        if stored {
            if block.len() > room {
                return Err(Refused::TooLarge);
            }
            to.extend_from_slice(block);
            return Ok(());
        }
        // A block byte yields at most 255 bytes, so a short block cannot claim a large buffer.
        let expected = self.block_bytes_max.min(block.len().saturating_mul(255));
        to.resize(start + expected.min(room), 0);
        let (before, out) = to.split_at_mut(start);
        let window = &before[frame_start.max(start.saturating_sub(WINDOW_BYTES))..];
        match decompress_into_with_dict(block, out, window) {
            Ok(written) => {
                to.truncate(start + written);
                Ok(())
            }
            Err(DecompressError::OutputTooSmall { .. }) if expected > room => {
                Err(Refused::TooLarge)
            }
            Err(error) => Err(Refused::damaged(error)),
        }
    }
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Result<&'a [u8], Refused> {
    let (taken, rest) = from
        .split_at_checked(count)
        .ok_or_else(|| Refused::damaged("frame is cut short"))?;
    *from = rest;
    Ok(taken)
}

fn u32_le(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
