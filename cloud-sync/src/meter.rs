//! Bytes on the sockets to central, as the operator of the link would count them.
//!
//! Counted on the TCP socket, so after TLS; headers of TCP and IP are not included.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{SystemTime, UNIX_EPOCH},
};

use edge_site::{LinkMonth, LinkUse};

use smol::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{month, status::LinkStatus};

/// Totals over all connections.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
    kept: Mutex<Kept>,
}

/// What the site has been told.
#[derive(Debug, Default, Clone, Copy)]
struct Kept {
    /// The month as the site has it.
    month: LinkMonth,
    sent: u64,
    received: u64,
}

impl Meter {
    /// Goes on with the month that the site remembers.
    pub fn resume(&self, month: LinkMonth) {
        self.kept().month = month;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn totals(&self) -> (u64, u64) {
        let of = |total: &AtomicU64| total.load(Ordering::Relaxed);
        (of(&self.sent), of(&self.received))
    }

    /// A snapshot.
    pub fn status(&self, wall_ms: i64) -> LinkStatus {
        // Locked first: the totals are then at least what was kept.
        let kept = *self.kept();
        let (sent_bytes, received_bytes) = self.totals();
        let (sent, received) = (sent_bytes - kept.sent, received_bytes - kept.received);
        let mut month = kept.month;
        month.add(month::used(wall_ms, sent, received));
        LinkStatus {
            sent_bytes,
            received_bytes,
            month_bytes: month.bytes(),
            month_projected_bytes: month::projected_bytes(&month, wall_ms),
            month_bytes_max: 0,
        }
    }

    /// What moved since the last call, for the site; none if nothing did.
    pub fn take(&self, wall_ms: i64) -> Option<LinkUse> {
        let mut kept = self.kept();
        let (sent, received) = self.totals();
        let used = month::used(wall_ms, sent - kept.sent, received - kept.received);
        if used.sent_bytes + used.received_bytes == 0 {
            return None;
        }
        (kept.sent, kept.received) = (sent, received);
        kept.month.add(used);
        Some(used)
    }
}

/// The wall clock, milliseconds since 1970.
pub(crate) fn wall_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}

/// A TCP stream that counts, in total and for itself.
#[derive(Debug)]
pub(crate) struct Metered {
    stream: TcpStream,
    meter: Arc<Meter>,
    /// Bytes either way: whether this connection moves at all.
    moved: Arc<AtomicU64>,
}

impl Metered {
    pub fn new(stream: TcpStream, meter: Arc<Meter>) -> (Self, Arc<AtomicU64>) {
        let moved = Arc::new(AtomicU64::new(0));
        (
            Self {
                stream,
                meter,
                moved: moved.clone(),
            },
            moved,
        )
    }

    fn count(&self, total: &AtomicU64, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = result {
            total.fetch_add(*bytes as u64, Ordering::Relaxed);
            self.moved.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.count(&self.meter.received, &result);
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(&self.meter.sent, &result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests;
