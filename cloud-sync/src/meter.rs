//! Bytes on the sockets to central, as the operator of the link would count them.
//!
//! Counted on the TCP socket, so after TLS; headers of TCP and IP are not included.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use smol::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::status::LinkStatus;

/// Totals over all connections.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
    month: Mutex<Month>,
}

/// Where the month began for this process.
#[derive(Debug, Default, Clone, Copy)]
struct Month {
    index: u64,
    began: Duration,
    bytes_before: u64,
}

impl Meter {
    /// A snapshot; `wall` is the time since 1970.
    pub fn status(&self, wall: Duration) -> LinkStatus {
        let sent_bytes = self.sent.load(Ordering::Relaxed);
        let received_bytes = self.received.load(Ordering::Relaxed);
        let total = sent_bytes + received_bytes;
        let (index, length) = month_of(wall.as_secs() / DAY_S);
        let mut month = self
            .month
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if month.index != index || month.began > wall {
            *month = Month {
                index,
                began: wall,
                bytes_before: total,
            };
        }
        let month_bytes = total.saturating_sub(month.bytes_before);
        let seen_s = (wall - month.began).as_secs_f64().max(60.0);
        let month_projected_bytes = (month_bytes as f64 / seen_s * length as f64) as u64;
        LinkStatus {
            sent_bytes,
            received_bytes,
            month_bytes,
            month_projected_bytes,
        }
    }

    /// Sets the month's beginning to now, if it has none.
    pub fn begin(&self, wall: Duration) {
        let (index, _) = month_of(wall.as_secs() / DAY_S);
        let mut month = self
            .month
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        *month = Month {
            index,
            began: wall,
            bytes_before: 0,
        };
    }
}

/// The wall clock since 1970.
pub(crate) fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

const DAY_S: u64 = 86_400;

/// (months since March of year 0, seconds of that month) of a day since 1970; Hinnant's calendar.
fn month_of(day: u64) -> (u64, u64) {
    let shifted = day + 719_468;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let year = shifted / 146_097 * 400 + year_of_era;
    let days = match month {
        1 | 3 | 6 | 8 => 30,
        11 => 28,
        _ => 31,
    };
    (year * 12 + month, days * DAY_S)
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
