//! Where messages go: topics of the log, made when the first message for them comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use edge_site::{Topic, TopicError};

use super::{Hub, lock};
use crate::retained;
use crate::retaining::RetainedItem;
use crate::routes::{Decision, RouteSetting, TopicSettings};
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
        let settings = values(self.routes.settings_for(decision), |_, _| true);
        self.site
            .ensure_topic_with(&decision.topic, &settings)
            .await
    }

    /// A topic that a route names, as the routes want it: what they leave out stays as it is.
    pub(crate) async fn prepare_topic(&self, name: &str) -> Result<Arc<Topic>, TopicError> {
        let settings = self.routes.settings_of(name);
        let Some(topic) = self.site.topics().get(name).cloned() else {
            let settings = values(settings, |_, _| true);
            return self.site.ensure_topic_with(name, &settings).await;
        };
        let has = topic.config.to_map();
        let other = values(settings, |setting, said| {
            has.get(setting) != Some(&said.value)
        });
        if other.is_empty() {
            return Ok(topic);
        }
        let changed: Vec<_> = other
            .iter()
            .map(|(name, to)| format!("{name}={to}"))
            .collect();
        log::info!(
            "topic {name} has {} from now on: its route says so",
            changed.join(" ")
        );
        self.site.alter_topic(name, None, &other).await
    }

    /// The topic of retained messages, once there is one.
    pub(crate) fn retained_topic(&self) -> Option<Arc<Topic>> {
        self.site.topics().get(retained::TOPIC).cloned()
    }

    /// Creates it with the first retained message.
    pub(crate) async fn create_retained_topic(&self) -> Result<Arc<Topic>, TopicError> {
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
        self.site
            .ensure_topic_with(retained::TOPIC, &settings)
            .await
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
                .and_then(|done| done.offsets.get(item.item))
                // Refused by itself, it has none.
                .filter(|offset| **offset >= 0);
            let committed = offset.map(|offset| (*offset, item.bytes, item.is_message));
            index.end(&item.topic, item.token, item.log, committed);
        }
    }
}

/// Some of what routes say about a topic, as the site takes it.
fn values(
    settings: Option<&TopicSettings>,
    is_wanted: impl Fn(&str, &RouteSetting) -> bool,
) -> BTreeMap<String, String> {
    let all = settings.into_iter().flatten();
    let wanted = all.filter(|(setting, said)| is_wanted(setting, said));
    wanted
        .map(|(setting, said)| ((*setting).to_owned(), said.value.clone()))
        .collect()
}
