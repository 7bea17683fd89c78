//! What all connections share: who is connected, who subscribed to what, where messages go.
//!
//! Locks are held for moments and never across an await or while a client's bytes are parsed.

mod clients;
mod losses;
mod subscribers;
mod topics;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use edge_site::Site;

use self::clients::Client;
pub(crate) use self::clients::{NoPlace, Registered};
use self::losses::Losses;
pub(crate) use self::losses::cause_of;
use self::subscribers::Subscriber;
pub(crate) use self::subscribers::{Place, RetainedPlace};
use crate::config::BridgeConfig;
use crate::limits::{Penalties, SaidLately};
use crate::retained::RetainedIndex;
use crate::routes::Routes;
use crate::stats::Counters;
use crate::trie::Trie;

/// What all connections share.
pub(crate) struct Hub {
    pub(crate) site: Site,
    pub(crate) config: BridgeConfig,
    pub(crate) routes: Routes,
    pub(crate) retained: Mutex<RetainedIndex>,
    pub(crate) counters: Counters,
    pub(crate) penalties: Mutex<Penalties>,
    said: Mutex<SaidLately>,
    subscriptions: RwLock<Trie<Subscriber>>,
    /// Counts changes of the subscriptions, so that what is derived from them can be kept.
    subscriptions_version: AtomicU64,
    clients: Mutex<HashMap<Bytes, Client>>,
    shed: Mutex<Losses>,
    /// The frame the live dispatcher is at; sessions that catch up compare with it.
    dispatching: AtomicU64,
    next_id: AtomicU64,
    /// When a client may be closed again for want of memory.
    relief_due_ms: AtomicU64,
    started: Instant,
    stopping: AtomicBool,
}

impl Hub {
    pub(crate) fn new(config: BridgeConfig, routes: Routes, site: Site) -> Hub {
        Hub {
            site,
            routes,
            retained: Mutex::default(),
            counters: Counters::default(),
            penalties: Mutex::new(Penalties::new(config.mqtt.hold_s_max * 1000)),
            said: Mutex::new(SaidLately::new(config.log_repeat_s * 1000)),
            subscriptions: RwLock::new(Trie::new()),
            subscriptions_version: AtomicU64::new(0),
            clients: Mutex::default(),
            shed: Mutex::default(),
            dispatching: AtomicU64::new(0),
            next_id: AtomicU64::new(1),
            relief_due_ms: AtomicU64::new(0),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            config,
        }
    }

    /// Milliseconds of monotonic time.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// The wall clock, for timestamps of records.
    pub(crate) fn wall_ms() -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        since.as_millis() as i64
    }

    /// A number that was not given before.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn set_dispatching(&self, index: u64) {
        self.dispatching.store(index, Ordering::SeqCst);
    }

    pub(crate) fn dispatching(&self) -> u64 {
        self.dispatching.load(Ordering::SeqCst)
    }

    /// Whether this may be said about this client now, or was said lately.
    pub(crate) fn may_say(&self, client_id: &[u8], what: &'static str) -> bool {
        lock(&self.said).may_say(self.now_ms(), client_id, what)
    }
}

/// A lock that a panic elsewhere does not spoil: what it guards is valid between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
