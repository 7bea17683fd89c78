//! HTTP/1.1 on a socket: accepts, bounds, hands each request to the door's service.
//!
//! Two doors use it: the Unix socket (commands) and the TCP address (reading only). hyper does the
//! protocol; what a request means is `service`'s business.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use smol::Async;
use smol::io::{AsyncRead, AsyncWrite};
use smol_hyper::rt::{FuturesIo, SmolTimer};

/// What an answer carries; it may be a stream.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Sockets of one door at the same time; beyond it a new one is closed at once.
const CONNECTIONS_MAX: usize = 64;

/// A request's head must be there within this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A whole answer at once.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// Counts the sockets of one door.
#[derive(Clone, Default)]
pub struct Room(Arc<AtomicUsize>);

impl Room {
    /// A place, given back when it is dropped; none when all are taken.
    fn take(&self) -> Option<Place> {
        let taken = self.0.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.0.clone());
        (taken < CONNECTIONS_MAX).then_some(place)
    }
}

struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one socket in a task of its own until it closes.
///
/// The socket is a bare [`Async`], whose waker stays registered until the socket is ready. hyper
/// counts on that: it may go to sleep after a write that succeeded behind one that had to wait.
/// The sockets of `smol::net` forget their waker with the success, and an answer longer than the
/// socket's buffer then stops midway for ever.
pub fn serve<S, F, Answer>(socket: Async<S>, room: &Room, handle: F)
where
    S: Send + 'static,
    Async<S>: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> Answer + Clone + Send + 'static,
    Answer: Future<Output = Response<Body>> + Send + 'static,
{
    let Some(place) = room.take() else { return };
    smol::spawn(async move {
        let service = service_fn(move |request| {
            let answer = handle(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let served = http1::Builder::new()
            .timer(SmolTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(FuturesIo::new(socket), service)
            .await;
        if let Err(error) = served {
            log::debug!("admin: {error}");
        }
        drop(place);
    })
    .detach();
}

/// After a failed accept: a moment, so that an exhausted machine is not made busy as well.
pub async fn after_failed_accept(error: io::Error) {
    log::warn!("admin: cannot accept: {error}");
    smol::Timer::after(Duration::from_millis(200)).await;
}

#[cfg(test)]
mod tests;
