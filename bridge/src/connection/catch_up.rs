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
    found: VecDeque<Delivery>,
    /// Everything up to this frame has been found.
    passed: u64,
    /// The store could not be read; the next try is when this is over.
    pause: Option<smol::Timer>,
}

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
            reader: Some(hub.site.frames(Some(from.0))),
            reading: None,
            found: VecDeque::new(),
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
                Poll::Ready(Ok(frame)) => {
                    let found = deliveries_of(hub, &frame, mailbox.id, self.from);
                    self.found.extend(found);
                    self.passed = frame.index;
                }
                Poll::Ready(Err(FrameReadError::Gone { first_index })) => {
                    self.reader = Some(hub.site.frames(Some(first_index)));
                    return Poll::Ready(Caught::Gap { first_index });
                }
                Poll::Ready(Err(error)) => {
                    self.pause = Some(smol::Timer::after(PAUSE));
                    return Poll::Ready(Caught::Failed(error.to_string()));
                }
            }
        }
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
