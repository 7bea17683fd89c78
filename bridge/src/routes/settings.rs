//! What routes say about their topics: a setting belongs to the topic, not to the route.
//!
//! A route that leaves a setting out says nothing: the topic keeps what it has. What a route of
//! the file names is so from every start on, and `topic set` of it is refused; the built-in route
//! names nothing. Where the topic is a template, it is said to topics that the route creates.

use std::collections::{BTreeMap, HashMap};

use edge_site::TopicConfig;

use crate::config::RouteConfig;
use crate::error::StartError;

/// A setting of a topic that a route of the configuration decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSetting {
    /// The key in the file: `route[0].forward`.
    pub key: String,
    /// The filter of that route.
    pub filter: String,
    /// What the file says.
    pub value: String,
}

/// By the names of settings: `edge.forward`.
pub(crate) type TopicSettings = BTreeMap<&'static str, RouteSetting>;

/// What the routes name, by topic; refuses routes that contradict each other.
pub(super) fn gather(
    configs: &[RouteConfig],
) -> Result<HashMap<String, TopicSettings>, StartError> {
    let mut topics: HashMap<String, TopicSettings> = HashMap::new();
    for (at, config) in configs.iter().enumerate() {
        let topic = topics.entry(config.topic.clone()).or_default();
        for (setting, value) in named(config) {
            let key = setting.trim_start_matches("edge.");
            let first = topic.entry(setting).or_insert_with(|| RouteSetting {
                key: format!("route[{at}].{key}"),
                filter: config.filter.clone(),
                value: value.clone(),
            });
            if first.value != value {
                return Err(StartError::RouteConflict {
                    topic: config.topic.clone(),
                    setting: key,
                    first: Box::new((first.filter.clone(), first.value.clone())),
                    second: Box::new((config.filter.clone(), value)),
                });
            }
        }
    }
    Ok(topics)
}

fn named(config: &RouteConfig) -> impl Iterator<Item = (&'static str, String)> {
    let unnamed = TopicConfig::default();
    let topic = TopicConfig {
        forward: config.forward.unwrap_or(unnamed.forward),
        priority: config.priority.unwrap_or(unnamed.priority),
        when_full: config.when_full.unwrap_or(unnamed.when_full),
        ..unnamed
    };
    let is_named = [
        ("edge.forward", config.forward.is_some()),
        ("edge.priority", config.priority.is_some()),
        ("edge.when_full", config.when_full.is_some()),
    ];
    let all = topic.to_map().into_iter();
    all.filter(move |(setting, _)| is_named.contains(&(*setting, true)))
}
