//! A frame: what one group commit writes, and what one raft entry carries.
//!
//! ```text
//! entry data  = header (49 bytes) | item | item | …          the proposer's half
//! item        = 1 | topic id 16 | partition 4 | length 4 | batch      one RecordBatch v2
//!             | 2 | length 4 | control entry
//! ```
//! Numbers are little-endian. The other half of the header (index, entry term, write sequence,
//! store id, kind, length, checksum) differs from store to store and is put around the entry
//! where it is stored: see `value`.
//!
//! The site's core builds frames, everybody reads them. Bytes in, bytes out; no copies on reading.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{FrameError, TopicPartition};

/// The proposer's half of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Format level.
    pub level: u8,
    /// The proposer's term; differs from the entry's when a deposed leader's frame was passed on,
    /// and then the frame applies as nothing.
    pub proposer_term: u64,
    /// The proposer's store.
    pub store_id: u64,
    /// Intake sequence of the first batch; the others follow it by one each.
    pub first_intake: u64,
    /// The site's time, which never goes back.
    pub site_time_ms: i64,
    /// The boot of the proposer.
    pub boot_id: u64,
    /// Milliseconds since that boot.
    pub boot_ms: u64,
}

/// The format this program writes.
pub const FRAME_LEVEL: u8 = 1;

/// Encoded length of the header.
pub const FRAME_HEADER_BYTES: usize = 49;

/// What a batch costs in a frame besides its own bytes.
pub const BATCH_ITEM_BYTES: usize = 25;

/// What a control entry costs in a frame besides its own bytes.
pub const CONTROL_ITEM_BYTES: usize = 5;

const TAG_BATCH: u8 = 1;
const TAG_CONTROL: u8 = 2;

/// One thing in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Records of one partition.
    Batch {
        /// Which partition.
        partition: TopicPartition,
        /// RecordBatch v2 bytes, base offset set.
        batch: Bytes,
    },
    /// A control entry of the site's state machine.
    Control(Bytes),
}

impl FrameHeader {
    fn put(&self, to: &mut BytesMut) {
        to.put_u8(self.level);
        to.put_u64_le(self.proposer_term);
        to.put_u64_le(self.store_id);
        to.put_u64_le(self.first_intake);
        to.put_i64_le(self.site_time_ms);
        to.put_u64_le(self.boot_id);
        to.put_u64_le(self.boot_ms);
    }

    /// Reads the header at the start of an entry's data.
    pub fn decode(mut data: &[u8]) -> Result<FrameHeader, FrameError> {
        match data.first() {
            None => return Err(FrameError::Short { at_bytes: 0 }),
            Some(&FRAME_LEVEL) => {}
            Some(&level) => return Err(FrameError::Level(level)),
        }
        if data.len() < FRAME_HEADER_BYTES {
            return Err(FrameError::Short {
                at_bytes: data.len(),
            });
        }
        Ok(FrameHeader {
            level: data.get_u8(),
            proposer_term: data.get_u64_le(),
            store_id: data.get_u64_le(),
            first_intake: data.get_u64_le(),
            site_time_ms: data.get_i64_le(),
            boot_id: data.get_u64_le(),
            boot_ms: data.get_u64_le(),
        })
    }
}

/// Builds a frame, item by item.
#[derive(Debug)]
pub struct FrameBuilder {
    bytes: BytesMut,
    items: usize,
}

impl FrameBuilder {
    /// A frame without items.
    pub fn new(header: &FrameHeader) -> FrameBuilder {
        FrameBuilder::with_capacity(header, 4096)
    }

    /// The same, for about so many bytes.
    pub fn with_capacity(header: &FrameHeader, bytes: usize) -> FrameBuilder {
        let mut buffer = BytesMut::with_capacity(bytes.max(FRAME_HEADER_BYTES));
        header.put(&mut buffer);
        FrameBuilder {
            bytes: buffer,
            items: 0,
        }
    }

    /// Adds a batch whose base offset is set.
    pub fn push_batch(&mut self, partition: TopicPartition, batch: &[u8]) {
        self.bytes.reserve(BATCH_ITEM_BYTES + batch.len());
        self.bytes.put_u8(TAG_BATCH);
        self.bytes.put_slice(partition.topic.as_bytes());
        self.bytes.put_u32_le(partition.partition);
        self.bytes.put_u32_le(batch.len() as u32);
        self.bytes.put_slice(batch);
        self.items += 1;
    }

    /// Adds a control entry.
    pub fn push_control(&mut self, control: &[u8]) {
        self.bytes.reserve(CONTROL_ITEM_BYTES + control.len());
        self.bytes.put_u8(TAG_CONTROL);
        self.bytes.put_u32_le(control.len() as u32);
        self.bytes.put_slice(control);
        self.items += 1;
    }

    /// Items so far.
    pub fn items(&self) -> usize {
        self.items
    }

    /// The entry's data.
    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// A frame that was read. Its items borrow nothing and copy nothing.
#[derive(Clone, Debug)]
pub struct Frame {
    header: FrameHeader,
    data: Bytes,
}

impl Frame {
    /// Reads a frame and checks that it consists of whole items; the checksum is the store's.
    pub fn decode(data: Bytes) -> Result<Frame, FrameError> {
        let header = FrameHeader::decode(&data)?;
        let mut at = FRAME_HEADER_BYTES;
        while at < data.len() {
            at = ItemPlace::at(&data, at)?.end();
        }
        Ok(Frame { header, data })
    }

    /// The proposer's half of the header.
    pub fn header(&self) -> FrameHeader {
        self.header
    }

    /// The items in their order.
    pub fn items(&self) -> impl Iterator<Item = Item> + use<'_> {
        item_places(&self.data)
            .filter_map(Result::ok)
            .map(|place| match place.partition {
                Some(partition) => Item::Batch {
                    partition,
                    batch: self.data.slice(place.range()),
                },
                None => Item::Control(self.data.slice(place.range())),
            })
    }
}

/// Where an item's bytes lie in the entry's data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ItemPlace {
    /// `None` for a control entry.
    pub partition: Option<TopicPartition>,
    start: usize,
    len: usize,
}

impl ItemPlace {
    fn at(data: &[u8], at: usize) -> Result<ItemPlace, FrameError> {
        let short = FrameError::Short { at_bytes: at };
        let mut rest = data.get(at..).ok_or(short.clone())?;
        let tag = *rest.first().ok_or(short.clone())?;
        let head = match tag {
            TAG_BATCH => BATCH_ITEM_BYTES,
            TAG_CONTROL => CONTROL_ITEM_BYTES,
            other => return Err(FrameError::Item(other)),
        };
        if rest.len() < head {
            return Err(short);
        }
        rest.advance(1);
        let partition = (tag == TAG_BATCH).then(|| {
            let mut topic = [0; 16];
            rest.copy_to_slice(&mut topic);
            TopicPartition {
                topic: crate::TopicId::from_bytes(topic),
                partition: rest.get_u32_le(),
            }
        });
        let len = rest.get_u32_le() as usize;
        if rest.len() < len {
            return Err(short);
        }
        Ok(ItemPlace {
            partition,
            start: at + head,
            len,
        })
    }

    /// The item's bytes.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.len
    }

    fn end(&self) -> usize {
        self.start + self.len
    }
}

/// The items of an entry's data, by place; ends after the first that cannot be read.
pub(crate) fn item_places(
    data: &[u8],
) -> impl Iterator<Item = Result<ItemPlace, FrameError>> + use<'_> {
    let mut at = FRAME_HEADER_BYTES;
    std::iter::from_fn(move || {
        if at >= data.len() {
            return None;
        }
        let place = ItemPlace::at(data, at);
        at = place.as_ref().map_or(data.len(), ItemPlace::end);
        Some(place)
    })
}

#[cfg(test)]
mod tests;
