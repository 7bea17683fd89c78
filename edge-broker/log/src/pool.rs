//! Few things by slice number, opened when they are needed, the least recently used one going
//! first.
//!
//! ```text
//! get ──> there? ──────────────────────────────> use it
//!           │ no       somebody opens it? ─────> wait for that one ──> use it
//!           └────────────────────── no ────────> open it, no lock held
//! ```
//! Opening one thing waits for no other, and nothing is opened twice at a time. What went may
//! still be in a reader's hands.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::DiskError;

/// A few things by slice number.
pub struct Pool<T> {
    count_max: usize,
    state: Mutex<State<T>>,
    opened: Condvar,
}

struct State<T> {
    /// The least recently used one first.
    items: Vec<(u64, Arc<T>)>,
    /// Being opened by somebody.
    opening: Vec<u64>,
}

impl<T> Pool<T> {
    /// Nothing open yet.
    pub fn new(count_max: usize) -> Pool<T> {
        Pool {
            count_max: count_max.max(1),
            state: Mutex::new(State {
                items: Vec::new(),
                opening: Vec::new(),
            }),
            opened: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thing of a number, opened if need be. When opening fails, whoever waited for it tries
    /// by itself.
    pub fn get(
        &self,
        number: u64,
        open: impl FnOnce() -> Result<T, DiskError>,
    ) -> Result<Arc<T>, DiskError> {
        let opening = |state: &mut State<T>| state.opening.contains(&number);
        let state = self.opened.wait_while(self.lock(), opening);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if let Some(item) = state.touch(number) {
            return Ok(item);
        }
        state.opening.push(number);
        drop(state);
        // Whatever comes of it, nobody waits for it any longer.
        let _done = Opening { pool: self, number };
        let item = Arc::new(open()?);
        self.lock().put(number, Arc::clone(&item), self.count_max);
        Ok(item)
    }

    /// Lets go of one.
    pub fn remove(&self, number: u64) {
        self.lock().items.retain(|(held, _)| *held != number);
    }
}

impl<T> State<T> {
    fn touch(&mut self, number: u64) -> Option<Arc<T>> {
        let at = self.items.iter().position(|(held, _)| *held == number)?;
        self.items[at..].rotate_left(1);
        self.items.last().map(|(_, item)| Arc::clone(item))
    }

    fn put(&mut self, number: u64, item: Arc<T>, count_max: usize) {
        self.items.push((number, item));
        if self.items.len() > count_max {
            self.items.remove(0);
        }
    }
}

struct Opening<'a, T> {
    pool: &'a Pool<T>,
    number: u64,
}

impl<T> Drop for Opening<'_, T> {
    fn drop(&mut self) {
        self.pool.lock().opening.retain(|held| *held != self.number);
        self.pool.opened.notify_all();
    }
}

#[cfg(test)]
mod tests;
