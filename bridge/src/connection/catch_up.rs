//! A session that fell behind reads committed frames itself, at its own pace.
//!
//! It starts at the first record it did not get and goes on until the live dispatcher is not
//! further than itself; then it is live again. Nothing is skipped and nothing comes twice.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use edge_site::{CommittedFrame, FrameReadError, FrameReader};

use crate::dispatcher::deliveries_of;
use crate::hub::Hub;
use crate::mailbox::{Delivery, Mailbox, Position, Standing};

type Read = (FrameReader, Result<Arc<CommittedFrame>, FrameReadError>);

/// Reading the log for one session.
pub(crate) struct CatchUp {
    /// Records before this one were delivered.
    from: Position,
    reader: Option<FrameReader>,
    reading: Option<Pin<Box<dyn Future<Output = Read> + Send>>>,
    /// A piece of a frame.
    found: VecDeque<Delivery>,
    found_bytes: usize,
    /// Everything up to this frame has been found.
    passed: u64,
    /// The store could not be read; the next try is when this is over.
    pause: Option<smol::Timer>,
}

/// A reader takes about this much off the log at once, or one frame.
const READ_BYTES: usize = 256 << 10;
/// Deliveries found at once; a frame that holds more is read again for the next piece.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// The same while memory is short.
const PIECE_BYTES_MIN: usize = 16 << 10;

/// Between two tries to read a store that fails.
const PAUSE: Duration = Duration::from_secs(1);

/// What to do next.
pub(crate) enum Caught {
    /// Here is one.
    Delivery(Delivery),
    /// The session is live again.
    Live,
    /// Frames before this index are gone by retention.
    Gap { first_index: u64 },
    /// The store cannot be read now.
    Failed(String),
}

impl CatchUp {
    pub(crate) fn new(hub: &Hub, from: Position) -> CatchUp {
        CatchUp {
            from,
            reader: Some(hub.site.frames(Some(from.0)).reading(READ_BYTES)),
            reading: None,
            found: VecDeque::new(),
            found_bytes: 0,
            passed: from.0.saturating_sub(1),
            pause: None,
        }
    }

    /// The next delivery, or that there is none left.
    pub(crate) fn poll_next(
        &mut self,
        hub: &Arc<Hub>,
        mailbox: &Mailbox,
        cx: &mut Context,
    ) -> Poll<Caught> {
        loop {
            if let Some(delivery) = self.found.pop_front() {
                self.found_bytes -= delivery.bytes();
                return Poll::Ready(Caught::Delivery(delivery));
            }
            if self.try_go_live(hub, mailbox) {
                return Poll::Ready(Caught::Live);
            }
            if let Some(pause) = &mut self.pause {
                std::task::ready!(Pin::new(pause).poll(cx));
                self.pause = None;
            }
            match self.poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(frame)) => self.take_piece(hub, mailbox, &frame),
                Poll::Ready(Err(FrameReadError::Gone { first_index })) => {
                    self.read_from(hub, first_index);
                    return Poll::Ready(Caught::Gap { first_index });
                }
                Poll::Ready(Err(error)) => {
                    self.pause = Some(smol::Timer::after(PAUSE));
                    return Poll::Ready(Caught::Failed(error.to_string()));
                }
            }
        }
    }

    /// The deliveries of a frame, or as many of them as may be in memory at once.
    fn take_piece(&mut self, hub: &Arc<Hub>, mailbox: &Mailbox, frame: &CommittedFrame) {
        let bytes_max = match mailbox.is_memory_short() {
            true => PIECE_BYTES_MIN,
            false => PIECE_BYTES_MAX,
        };
        let piece = deliveries_of(hub, frame, mailbox.id, self.from, bytes_max);
        self.found_bytes += piece.bytes;
        self.found.extend(piece.deliveries);
        match piece.rest {
            Some(from) => {
                self.from = from;
                self.read_from(hub, frame.index);
            }
            None => self.passed = frame.index,
        }
    }

    fn read_from(&mut self, hub: &Hub, index: u64) {
        self.reader = Some(hub.site.frames(Some(index)).reading(READ_BYTES));
    }

    /// What it holds in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        let read_ahead = match (&self.reader, &self.reading) {
            (Some(reader), _) => reader.held_bytes(),
            // What a read may bring.
            (None, Some(_)) => READ_BYTES,
            (None, None) => 0,
        };
        self.found_bytes + read_ahead
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context,
    ) -> Poll<Result<Arc<CommittedFrame>, FrameReadError>> {
        if let Some(reader) = &mut self.reader
            && let Some(frame) = reader.try_next()
        {
            return Poll::Ready(Ok(frame));
        }
        if let Some(mut reader) = self.reader.take() {
            self.reading = Some(Box::pin(async move {
                let frame = reader.next().await;
                (reader, frame)
            }));
        }
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(Err(FrameReadError::Stopping));
        };
        let (reader, frame) = std::task::ready!(reading.as_mut().poll(cx));
        self.reading = None;
        self.reader = Some(reader);
        Poll::Ready(frame)
    }

    /// The dispatcher names its frame before it looks at a mailbox: what it has not begun yet
    /// when we look under the mailbox's lock, it will deliver itself.
    fn try_go_live(&self, hub: &Hub, mailbox: &Mailbox) -> bool {
        let mut contents = mailbox.lock();
        if hub.dispatching() > self.passed {
            return false;
        }
        contents.standing = Standing::Live {
            from: (self.passed + 1, 0),
        };
        true
    }
}

#[cfg(test)]
mod tests;
