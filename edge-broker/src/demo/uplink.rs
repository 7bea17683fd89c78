//! The way to central, which can be cut.
//!
//! A cut is first a black hole, as when a mast goes dark: open connections carry nothing and new
//! ones get no answer. After a while it becomes a refusal, as when the modem gives up: every
//! connection is closed. Shared by the stand-in, the relay and the stage.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smol::channel::{Receiver, Sender};

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything passes.
    Up,
    /// Nothing passes and nothing is closed.
    BlackHole,
    /// Connections are closed at once.
    Refused,
}

/// Handle on the way; cheap to clone.
#[derive(Debug, Clone)]
pub struct Uplink {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    state: State,
    /// Counts the changes that close every open connection.
    breaks: u64,
    /// Dropped at every change, which wakes whoever waits on its receiver.
    wake: Sender<()>,
    changed: Receiver<()>,
}

impl Uplink {
    /// A way that is up.
    pub fn new() -> Uplink {
        let (wake, changed) = smol::channel::bounded(1);
        let shared = Shared {
            state: State::Up,
            breaks: 0,
            wake,
            changed,
        };
        Uplink {
            shared: Arc::new(Mutex::new(shared)),
        }
    }

    /// How it is now.
    pub fn state(&self) -> State {
        self.lock().state
    }

    /// Changes it.
    pub fn set(&self, state: State) {
        let (wake, changed) = smol::channel::bounded(1);
        let mut shared = self.lock();
        let ends_black_hole = shared.state == State::BlackHole && state != State::BlackHole;
        shared.breaks += u64::from(ends_black_hole || state == State::Refused);
        shared.state = state;
        shared.wake = wake;
        shared.changed = changed;
    }

    /// To be taken when a connection opens, for `broken`.
    pub fn breaks(&self) -> u64 {
        self.lock().breaks
    }

    /// Returns when a connection that opened at `breaks` must be closed: a black hole ended or a
    /// refusal began. Safe to drop at any time.
    pub async fn broken(&self, breaks: u64) {
        self.until(|shared| shared.breaks != breaks).await;
    }

    /// Waits while nothing passes. Safe to drop at any time.
    pub async fn passes(&self) {
        self.until(|shared| shared.state == State::Up).await;
    }

    async fn until(&self, holds: impl Fn(&Shared) -> bool) {
        loop {
            let changed = {
                let shared = self.lock();
                if holds(&shared) {
                    return;
                }
                shared.changed.clone()
            };
            // Ends, with an error, when `set` drops the sender.
            let _ = changed.recv().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smol::Timer;
    use smol::future::or;

    use super::{State, Uplink};

    /// Whether a connection that was open before `changes` is closed by them.
    fn closes(changes: &'static [State]) -> bool {
        let uplink = Uplink::new();
        let (changer, breaks) = (uplink.clone(), uplink.breaks());
        smol::block_on(or(
            async move {
                uplink.broken(breaks).await;
                true
            },
            async move {
                for state in changes {
                    Timer::after(Duration::from_millis(2)).await;
                    changer.set(*state);
                }
                Timer::after(Duration::from_millis(10)).await;
                false
            },
        ))
    }

    #[test]
    fn a_black_hole_keeps_connections_open_and_its_end_closes_them() {
        assert!(!closes(&[State::BlackHole]));
        assert!(closes(&[State::BlackHole, State::Up]));
        assert!(closes(&[State::BlackHole, State::Refused]));
    }

    #[test]
    fn a_refusal_closes_connections() {
        assert!(closes(&[State::Refused]));
    }
}
