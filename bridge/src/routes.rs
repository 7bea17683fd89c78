//! From MQTT topics to topics of the log: topic, key, level. First match wins.
//!
//! Example: a route `filter = "tele/+/#", topic = "tele.{1}", key = "{2}"` sends
//! `tele/plug1/SENSOR` to topic `tele.plug1` with key `SENSOR`. The built-in last route takes
//! everything to topic `mqtt` with the MQTT topic as key.
//!
//! Pure; which topics exist and what their ids are is the caller's business.

mod settings;
mod template;

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use bytes::Bytes;
use edge_site::{AckLevel, check_topic_name};

use crate::codec::topic::{check_filter, shared};
use crate::config::RouteConfig;
use crate::error::StartError;
pub use settings::RouteSetting;
pub(crate) use settings::TopicSettings;
use template::{Template, Values};

/// All routes, compiled; the built-in one is last.
pub(crate) struct Routes {
    site: Bytes,
    routes: Vec<Route>,
    /// What they say about their topics.
    settings: HashMap<String, TopicSettings>,
}

/// One route.
pub(crate) struct Route {
    filter: Bytes,
    topic: Template,
    key: Template,
    pub(crate) ack: AckLevel,
}

/// Where one MQTT topic of one client goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Which route decided, for its level and the settings of its topic.
    pub(crate) route: usize,
    /// The topic of the log.
    pub(crate) topic: String,
    /// The key.
    pub(crate) key: Bytes,
    /// Whether the name was made from the MQTT topic or the client.
    pub(crate) is_templated: bool,
}

/// Why a message went to the built-in route although another one matched.
///
/// A rule, not a memory: which of two texts has a name is the same after every start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// Its dot would look like a slash: `plant/a.b` as `plant.a.b`, which is `plant/a/b`.
    Ambiguous(String),
    /// The text makes no legal name.
    NotAName(String),
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fallback::Ambiguous(value) => {
                let why = "its route makes a dot of each slash, and there is a dot already";
                write!(f, "{why}: {value:?}")
            }
            Fallback::NotAName(name) => write!(f, "its route makes no topic name of it: {name:?}"),
        }
    }
}

impl Routes {
    /// Checks and compiles; refuses routes that contradict each other.
    pub(crate) fn compile(site: &str, configs: &[RouteConfig]) -> Result<Routes, StartError> {
        let mut routes = Vec::with_capacity(configs.len() + 1);
        for (at, config) in configs.iter().enumerate() {
            routes.push(compile_one(at, config)?);
        }
        routes.push(compile_one(configs.len(), &RouteConfig::default())?);
        Ok(Routes {
            site: Bytes::copy_from_slice(site.as_bytes()),
            routes,
            settings: settings::gather(configs)?,
        })
    }

    /// The route a decision names.
    pub(crate) fn route(&self, index: usize) -> &Route {
        &self.routes[index]
    }

    /// Topics whose names are known without a message.
    pub(crate) fn fixed_topics(&self) -> BTreeSet<&str> {
        let fixed = self.routes.iter().filter(|route| route.topic.is_fixed());
        fixed.map(|route| route.topic.source()).collect()
    }

    /// What routes say about a topic that they name.
    pub(crate) fn settings_of(&self, topic: &str) -> Option<&TopicSettings> {
        self.settings.get(topic)
    }

    /// What the routes say about the topic of a decision, which a template may have made.
    pub(crate) fn settings_for(&self, decision: &Decision) -> Option<&TopicSettings> {
        self.settings_of(self.routes[decision.route].topic.source())
    }

    /// Filters of the routes that lead to this topic; `None` where a template could, too.
    pub(crate) fn filters_of(&self, topic: &str) -> Option<Vec<Bytes>> {
        if self.routes.iter().any(|route| !route.topic.is_fixed()) {
            return None;
        }
        let leading = self
            .routes
            .iter()
            .filter(|route| route.topic.source() == topic);
        Some(leading.map(|route| route.filter.clone()).collect())
    }

    /// Where a message goes, and why not where its first matching route says.
    pub(crate) fn decide(
        &self,
        mqtt_topic: &Bytes,
        client: &Bytes,
    ) -> (Decision, Option<Fallback>) {
        for (index, route) in self.routes.iter().enumerate() {
            let Some(wildcards) = capture(&route.filter, mqtt_topic) else {
                continue;
            };
            let values = Values {
                site: &self.site,
                client,
                mqtt_topic,
                wildcards: &wildcards,
            };
            let key = route.key.expand_key(values);
            let decision = |topic, is_templated| Decision {
                route: index,
                topic,
                key,
                is_templated,
            };
            if route.topic.is_fixed() {
                let topic = route.topic.source().to_owned();
                return (decision(topic, false), None);
            }
            return match topic_name(&route.topic, values) {
                Ok(topic) => (decision(topic, true), None),
                Err(fallback) => (self.decide_builtin(mqtt_topic), Some(fallback)),
            };
        }
        (self.decide_builtin(mqtt_topic), None)
    }

    /// What the built-in route says.
    pub(crate) fn decide_builtin(&self, mqtt_topic: &Bytes) -> Decision {
        let route = self.routes.len() - 1;
        Decision {
            route,
            topic: self.routes[route].topic.source().to_owned(),
            key: mqtt_topic.clone(),
            is_templated: false,
        }
    }
}

/// The topic name that a template makes.
fn topic_name(template: &Template, values: Values) -> Result<String, Fallback> {
    let name = template.expand_name(values).map_err(Fallback::Ambiguous)?;
    if is_topic_name(&name) {
        Ok(name)
    } else {
        Err(Fallback::NotAName(name))
    }
}

/// A topic's name, and not one of the gateway's own (`_…`).
fn is_topic_name(name: &str) -> bool {
    check_topic_name(name).is_ok() && !name.starts_with('_')
}

/// What the wildcards of a filter stand for in a topic; `None` = it does not match.
///
/// Unlike in a subscription, wildcards also match topics that start with `$`.
fn capture(filter: &[u8], topic: &Bytes) -> Option<Vec<Bytes>> {
    let mut captured = Vec::new();
    let mut rest = Some(topic.clone());
    for level in filter.split(|b| *b == b'/') {
        if level == b"#" {
            captured.push(rest.unwrap_or_default());
            return Some(captured);
        }
        let mut here = rest?;
        rest = here.iter().position(|b| *b == b'/').map(|slash| {
            let after = here.slice(slash + 1..);
            here.truncate(slash);
            after
        });
        if level == b"+" {
            captured.push(here);
        } else if level != here {
            return None;
        }
    }
    rest.is_none().then_some(captured)
}

fn compile_one(at: usize, config: &RouteConfig) -> Result<Route, StartError> {
    let key = |name: &str| format!("route[{at}].{name}");
    if check_filter(&config.filter).is_err() || shared(&config.filter).is_some() {
        let allowed = "must be an MQTT filter, wildcards + and # alone in their level, # last";
        return Err(StartError::config(
            key("filter"),
            allowed,
            format!("{:?}", config.filter),
        ));
    }
    if !matches!(config.ack, AckLevel::Memory | AckLevel::Disk) {
        return Err(StartError::config(
            key("ack"),
            "must be memory or disk",
            config.ack,
        ));
    }
    let topic = Template::compile(&config.topic, &config.filter)
        .map_err(|allowed| StartError::config(key("topic"), allowed, &config.topic))?;
    if topic.is_fixed() && !is_topic_name(&config.topic) {
        let allowed = "must be 1 to 249 of a-z A-Z 0-9 . _ -, not starting with _";
        return Err(StartError::config(
            key("topic"),
            allowed,
            format!("{:?}", config.topic),
        ));
    }
    Ok(Route {
        filter: Bytes::copy_from_slice(config.filter.as_bytes()),
        topic,
        key: Template::compile(&config.key, &config.filter)
            .map_err(|allowed| StartError::config(key("key"), allowed, &config.key))?,
        ack: config.ack,
    })
}

#[cfg(test)]
mod tests;
