//! What all connections share: who is connected, who subscribed to what, where messages go.
//!
//! Locks are held for moments and never across an await or while a client's bytes are parsed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use edge_site::{LossCause, Site, Topic, TopicError, TopicPartition};
use smol::channel::{Receiver, Sender};

use crate::codec::packet::{Publish, QoS};
use crate::config::BridgeConfig;
use crate::connection::{RetainedItem, unpinned};
use crate::limits::{Penalties, SaidLately};
use crate::mailbox::{Delivery, Mailbox, Position, Signal};
use crate::message::Message;
use crate::retained::{self, Moment, RetainedIndex, Seen};
use crate::routes::{Decision, Routes, TopicSettings};
use crate::session::{Outcome, Subscription};
use crate::stats::Counters;
use crate::trie::Trie;

/// One subscription in the tree.
pub(crate) struct Subscriber {
    mailbox: Arc<Mailbox>,
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
    subscription_id: Option<u32>,
    since: Since,
}

/// What is too old for a subscription, though it may come across it: the dispatcher is behind
/// what is committed, and a session that catches up is further behind.
#[derive(Clone)]
struct Since {
    /// Frames before this one were committed before it was subscribed.
    index: u64,
    /// Retained messages that it got, or did not want, as such.
    retained: Seen,
}

impl Since {
    fn excludes(&self, place: Place, topic: &[u8]) -> bool {
        match place.retained {
            Some(offset) => self.retained.has(topic, offset),
            None => place.position.0 < self.index,
        }
    }
}

/// Where a committed message is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) position: Position,
    /// The offset of its record among the retained ones, where it is one.
    pub(crate) retained: Option<i64>,
}

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
    shed: Mutex<HashMap<Option<TopicPartition>, u64>>,
    /// The frame the live dispatcher is at; sessions that catch up compare with it.
    dispatching: AtomicU64,
    next_id: AtomicU64,
    retained_topic: OnceLock<Arc<Topic>>,
    /// Bytes in all mailboxes.
    queued_bytes: Arc<AtomicUsize>,
    started: Instant,
    stopping: AtomicBool,
}

struct Client {
    mailbox: Arc<Mailbox>,
    /// Closes when the connection's task has ended.
    ended: Receiver<()>,
}

/// A connection's place among the clients.
pub(crate) struct Registered {
    pub(crate) mailbox: Arc<Mailbox>,
    /// Dropped when the connection's task ends.
    pub(crate) _ended: Sender<()>,
}

impl Hub {
    pub(crate) fn new(config: BridgeConfig, routes: Routes, site: Site) -> Hub {
        let repeat_s = if config.log_repeat_s == 0 {
            60
        } else {
            config.log_repeat_s
        };
        Hub {
            site,
            routes,
            retained: Mutex::default(),
            counters: Counters::default(),
            penalties: Mutex::new(Penalties::new(config.mqtt.hold_s_max * 1000)),
            said: Mutex::new(SaidLately::new(repeat_s * 1000)),
            subscriptions: RwLock::new(Trie::new()),
            subscriptions_version: AtomicU64::new(0),
            clients: Mutex::default(),
            shed: Mutex::default(),
            dispatching: AtomicU64::new(0),
            next_id: AtomicU64::new(1),
            retained_topic: OnceLock::new(),
            queued_bytes: Arc::default(),
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

    // ---- clients ----

    /// Takes a client in, pushing out who has its id; `None` = as many as may be are connected.
    ///
    /// Waits until the older connection is done, so that its messages and its will come first.
    pub(crate) async fn register(&self, client_id: &Bytes) -> Option<Registered> {
        let (sender, ended) = smol::channel::bounded(1);
        let queued = self.queued_bytes.clone();
        let mailbox = Arc::new(Mailbox::new(self.next_id(), client_id.clone(), queued));
        let older = {
            let mut clients = lock(&self.clients);
            let full = clients.len() >= self.config.mqtt.connections_max;
            if full && !clients.contains_key(client_id) {
                return None;
            }
            clients.insert(
                client_id.clone(),
                Client {
                    mailbox: mailbox.clone(),
                    ended,
                },
            )
        };
        if let Some(older) = older {
            self.counters.taken_over.add(1);
            older.mailbox.signal(Signal::TakenOver);
            let timeout = async {
                smol::Timer::after(TAKE_OVER_WAIT).await;
            };
            let ended = async {
                let _ = older.ended.recv().await;
            };
            smol::future::or(ended, timeout).await;
        }
        if self.stopping.load(Ordering::SeqCst) {
            mailbox.signal(Signal::Stop);
        }
        Some(Registered {
            mailbox,
            _ended: sender,
        })
    }

    /// Lets a client go, unless another connection has taken its id over.
    pub(crate) fn unregister(&self, mailbox: &Mailbox) {
        let mut clients = lock(&self.clients);
        if clients
            .get(&mailbox.client_id)
            .is_some_and(|c| c.mailbox.id == mailbox.id)
        {
            clients.remove(&mailbox.client_id);
        }
    }

    pub(crate) fn connected(&self) -> usize {
        lock(&self.clients).len()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Tells every connection to end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for client in lock(&self.clients).values() {
            client.mailbox.signal(Signal::Stop);
        }
    }

    // ---- subscriptions ----

    /// Adds a subscription, or replaces the one with its filter; the moment is for its retained
    /// messages.
    pub(crate) fn subscribe(&self, mailbox: &Arc<Mailbox>, subscription: &Subscription) -> Moment {
        let filter = &subscription.filter;
        let index = self.site.frames(None).next_index();
        // Held together, as the dispatcher does where it delivers retained messages: each comes
        // before this subscription or after it.
        let retained = lock(&self.retained);
        let mut subscriptions = self
            .subscriptions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let (moment, seen) = retained.now();
        let replaced = subscriptions.remove(&filter.filter, mailbox.id);
        let since = replaced.map_or(
            Since {
                index,
                retained: seen,
            },
            |replaced| replaced.since,
        );
        let subscriber = Subscriber {
            mailbox: mailbox.clone(),
            qos: filter.qos,
            no_local: filter.no_local,
            retain_as_published: filter.retain_as_published,
            subscription_id: subscription.subscription_id,
            since,
        };
        subscriptions.insert(&filter.filter, mailbox.id, subscriber);
        self.subscriptions_version.fetch_add(1, Ordering::Release);
        moment
    }

    pub(crate) fn unsubscribe<'a>(
        &self,
        mailbox: &Mailbox,
        filters: impl Iterator<Item = &'a Bytes>,
    ) {
        let mut subscriptions = self
            .subscriptions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for filter in filters {
            subscriptions.remove(filter, mailbox.id);
        }
        self.subscriptions_version.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    pub(crate) fn subscriptions_version(&self) -> u64 {
        self.subscriptions_version.load(Ordering::Acquire)
    }

    /// Calls `found` with each filter subscribed to.
    pub(crate) fn any_filter(&self, found: impl FnMut(&[u8]) -> bool) -> bool {
        self.subscriptions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .any_filter(found)
    }

    // ---- messages ----

    /// Delivers a QoS 0 message at once; sheds where a subscriber is slow.
    pub(crate) fn deliver_live(
        &self,
        topic: &[u8],
        client_id: &[u8],
        make: impl FnOnce() -> Arc<Message>,
    ) {
        let matched = self.matched(topic, client_id, None, |_| true);
        if matched.is_empty() {
            return;
        }
        let message = make();
        let mut shed = 0;
        for matched in matched {
            let mailbox = matched.mailbox.clone();
            shed += u64::from(!mailbox.push_live(matched.delivery(&message)));
        }
        if shed > 0 {
            self.shed(None, shed);
        }
    }

    /// A retained publish is about to be appended: the index knows it from here on, and at QoS 0
    /// those who subscribed before get it at once. Gives back the number it ends with.
    pub(crate) fn begin_retained(&self, publish: &Publish, client_id: &Bytes) -> u64 {
        let token = self.next_id();
        if publish.qos > QoS::AtMostOnce {
            lock(&self.retained).begin(&publish.topic, token, None);
            return token;
        }
        let message = Arc::new(unpinned(publish, client_id));
        let visible = (!publish.payload.is_empty()).then(|| message.clone());
        // Held over the delivery: who subscribes gets it live or as retained, not both, not none.
        let mut index = lock(&self.retained);
        index.begin(&publish.topic, token, Some(visible));
        self.deliver_live(&publish.topic, client_id, || message);
        token
    }

    /// Delivers a committed message to the sessions that keep up.
    pub(crate) fn deliver_committed(
        &self,
        place: Place,
        topic: &[u8],
        client_id: &[u8],
        make: impl FnOnce() -> Option<Message>,
    ) {
        let matched = self.matched(topic, client_id, None, |s| !s.since.excludes(place, topic));
        if matched.is_empty() {
            return;
        }
        let Some(message) = make().map(Arc::new) else {
            return;
        };
        let mut shed = 0;
        for matched in matched {
            let mailbox = matched.mailbox.clone();
            let delivery = matched.delivery(&message);
            if delivery.qos == QoS::AtMostOnce {
                shed += u64::from(!mailbox.push_live(delivery));
            } else {
                mailbox.push_committed(place.position, delivery);
            }
        }
        if shed > 0 {
            self.shed(None, shed);
        }
    }

    /// What one session that catches up gets of a committed message; QoS 0 it got, or was shed.
    pub(crate) fn delivery_for(
        &self,
        session: u64,
        place: Place,
        topic: &[u8],
        client_id: &[u8],
        make: impl FnOnce() -> Option<Message>,
    ) -> Option<Delivery> {
        let wants = |subscriber: &Subscriber| !subscriber.since.excludes(place, topic);
        let matched = self.matched(topic, client_id, Some(session), wants).pop()?;
        if matched.qos == QoS::AtMostOnce {
            return None;
        }
        let message = Arc::new(make()?);
        Some(matched.delivery(&message))
    }

    /// Who gets a message: each session once, with the best of its subscriptions that match.
    fn matched(
        &self,
        topic: &[u8],
        client_id: &[u8],
        only: Option<u64>,
        wants: impl Fn(&Subscriber) -> bool,
    ) -> Vec<Matched> {
        let mut all: Vec<Matched> = Vec::new();
        let subscriptions = self
            .subscriptions
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        subscriptions.matches(topic, |id, subscriber| {
            let own = subscriber.no_local && subscriber.mailbox.client_id == client_id;
            if own || only.is_some_and(|only| only != id) || !wants(subscriber) {
                return;
            }
            all.push(Matched {
                mailbox: subscriber.mailbox.clone(),
                qos: subscriber.qos,
                retain_as_published: subscriber.retain_as_published,
                subscription_ids: subscriber.subscription_id.into_iter().collect(),
            });
        });
        drop(subscriptions);
        if all.len() > 1 {
            merge_overlapping(&mut all);
        }
        all
    }

    // ---- topics ----

    /// Where a message goes; says so where it is not where its route says.
    pub(crate) fn decide(&self, mqtt_topic: &Bytes, client_id: &Bytes) -> Decision {
        let (decision, fallback) = self.routes.decide(mqtt_topic, client_id);
        if let Some(fallback) = fallback
            && self.may_say(mqtt_topic, "fallback")
        {
            let mqtt_topic = String::from_utf8_lossy(mqtt_topic);
            let shown: String = mqtt_topic.chars().take(100).collect();
            log::warn!("{shown:?} goes to topic {}: {fallback}", decision.topic);
        }
        decision
    }

    /// The topic of a decision, with the settings of its route where it is new.
    pub(crate) async fn create_topic_for(
        &self,
        decision: &Decision,
    ) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.site.topics().get(&decision.topic) {
            return Ok(topic.clone());
        }
        let settings = self.routes.route(decision.route).settings;
        let topic = self.site.ensure_topic(&decision.topic).await?;
        self.apply_settings(topic, settings).await
    }

    /// Gives a topic what the routes say about it.
    pub(crate) async fn apply_settings(
        &self,
        topic: Arc<Topic>,
        settings: TopicSettings,
    ) -> Result<Arc<Topic>, TopicError> {
        if settings == TopicSettings::of(&topic.config) {
            return Ok(topic);
        }
        self.site
            .alter_topic(&topic.name, None, &settings.to_map())
            .await
    }

    /// The topic of retained messages, once there is one.
    pub(crate) fn retained_topic(&self) -> Option<&Arc<Topic>> {
        if self.retained_topic.get().is_none()
            && let Some(topic) = self.site.topics().get(retained::TOPIC)
        {
            let _ = self.retained_topic.set(topic.clone());
        }
        self.retained_topic.get()
    }

    /// Creates it with the first retained message.
    pub(crate) async fn create_retained_topic(&self) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.retained_topic() {
            return Ok(topic.clone());
        }
        // Kept until it is replaced: the oldest are those that matter as much as the newest.
        let settings = [
            ("edge.forward", "false"),
            ("edge.when_full", "refuse"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
        ];
        let settings = settings
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        match self
            .site
            .create_topic(retained::TOPIC, Some(1), &settings)
            .await
        {
            Err(TopicError::Exists(_)) => self.site.ensure_topic(retained::TOPIC).await,
            other => other,
        }
    }

    /// Tells the index of retained messages how an append ended.
    pub(crate) fn settle(&self, items: &[RetainedItem], outcome: &Outcome) {
        if items.is_empty() {
            return;
        }
        let mut index = lock(&self.retained);
        for item in items {
            let offset = outcome
                .as_ref()
                .ok()
                .and_then(|done| done.offsets.get(item.item));
            let committed = offset.map(|offset| (*offset, item.bytes, item.is_message));
            index.end(&item.topic, item.token, committed);
        }
    }

    // ---- the dispatcher's place ----

    pub(crate) fn set_dispatching(&self, index: u64) {
        self.dispatching.store(index, Ordering::SeqCst);
    }

    pub(crate) fn dispatching(&self) -> u64 {
        self.dispatching.load(Ordering::SeqCst)
    }

    // ---- losses and log lines ----

    /// Counts QoS 0 messages that were not stored (with a partition) or not delivered (without).
    pub(crate) fn shed(&self, partition: Option<TopicPartition>, count: u64) {
        self.counters.shed.add(count);
        *lock(&self.shed).entry(partition).or_default() += count;
    }

    /// Hands what was shed to the ledger of the site; called each second.
    pub(crate) async fn report_shed(&self) {
        let shed = std::mem::take(&mut *lock(&self.shed));
        for (partition, count) in shed {
            self.site
                .shed(LossCause::QosZeroOverload, partition, count)
                .await;
        }
    }

    /// Whether this may be said about this client now, or was said lately.
    pub(crate) fn may_say(&self, client_id: &[u8], what: &'static str) -> bool {
        lock(&self.said).may_say(self.now_ms(), client_id, what)
    }
}

/// How long a new connection waits for an older one of the same client.
const TAKE_OVER_WAIT: std::time::Duration = std::time::Duration::from_secs(3);

struct Matched {
    mailbox: Arc<Mailbox>,
    qos: QoS,
    retain_as_published: bool,
    subscription_ids: Vec<u32>,
}

impl Matched {
    /// Quality is the lower of published and subscribed; a live message is not a retained one.
    fn delivery(self, message: &Arc<Message>) -> Delivery {
        Delivery {
            message: message.clone(),
            qos: self.qos.min(message.publish.qos),
            retain: self.retain_as_published && message.publish.retain,
            subscription_ids: self.subscription_ids,
        }
    }
}

fn merge_overlapping(all: &mut Vec<Matched>) {
    all.sort_by_key(|matched| matched.mailbox.id);
    all.dedup_by(|next, kept| {
        if next.mailbox.id != kept.mailbox.id {
            return false;
        }
        kept.qos = kept.qos.max(next.qos);
        kept.retain_as_published |= next.retain_as_published;
        kept.subscription_ids.append(&mut next.subscription_ids);
        true
    });
}

/// A lock that a panic elsewhere does not spoil: what it guards is valid between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
