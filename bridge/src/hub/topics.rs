//! Where messages go: topics of the log, made when the first message for them comes.

use std::sync::Arc;

use bytes::Bytes;
use edge_site::{Topic, TopicError};

use super::{Hub, lock};
use crate::connection::RetainedItem;
use crate::retained;
use crate::routes::{Decision, TopicSettings};
use crate::session::Outcome;

impl Hub {
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
        let settings = settings.to_map().into_iter();
        let settings = settings
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        self.site.alter_topic(&topic.name, None, &settings).await
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
}
