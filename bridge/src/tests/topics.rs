//! Topics of the log: what routes say about them, and what people set.

use edge_site::{Priority, TopicConfig};

use super::client::Door;
use crate::RouteConfig;

fn set(door: &Door, topic: &str, settings: &[(&str, &str)]) {
    let settings = settings.iter();
    let settings = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    smol::block_on(door.site.alter_topic(topic, None, &settings.collect())).unwrap();
}

fn config_of(door: &Door, topic: &str) -> TopicConfig {
    door.site.topics().get(topic).unwrap().config.clone()
}

fn route(filter: &str, topic: &str) -> RouteConfig {
    RouteConfig {
        filter: filter.to_owned(),
        topic: topic.to_owned(),
        ..Default::default()
    }
}

/// Every start used to undo it without a word, the built-in route for the topic `mqtt`.
#[test]
fn what_people_set_stays_over_restarts_where_no_route_names_it() {
    let routes = vec![route("alarms/#", "alarms")];
    let door = Door::with(|config| config.routes.clone_from(&routes));
    for topic in ["mqtt", "alarms"] {
        set(
            &door,
            topic,
            &[("edge.forward", "false"), ("edge.priority", "high")],
        );
    }
    let door = Door::reopen(door.close(), |config| config.routes = routes);
    for topic in ["mqtt", "alarms"] {
        let config = config_of(&door, topic);
        assert!(!config.forward, "{topic}");
        assert_eq!(config.priority, Priority::High, "{topic}");
        assert_eq!(door.bridge.route_setting(topic, "edge.forward"), None);
    }
}

#[test]
fn what_a_route_names_is_so_from_the_next_start_on_and_the_rest_stays() {
    let door = Door::open();
    set(&door, "mqtt", &[("edge.priority", "high")]);
    let door = Door::reopen(door.close(), |config| {
        config.routes = vec![RouteConfig {
            forward: Some(false),
            ..route("a/#", "mqtt")
        }];
    });
    let config = config_of(&door, "mqtt");
    assert!(!config.forward);
    assert_eq!(config.priority, Priority::High);
    let said = door.bridge.route_setting("mqtt", "edge.forward").unwrap();
    assert_eq!(
        (said.key.as_str(), said.filter.as_str()),
        ("route[0].forward", "a/#")
    );
    assert_eq!(door.bridge.route_setting("mqtt", "edge.priority"), None);
}

#[test]
fn a_route_with_a_template_says_it_to_the_topics_that_it_creates() {
    let routes = vec![RouteConfig {
        forward: Some(false),
        ..route("tele/+", "tele.{1}")
    }];
    let door = Door::with(|config| config.routes.clone_from(&routes));
    let mut client = door.client("dev7");
    client.publish("tele/1", "x");
    client.publish("tele/2", "x");
    assert!(!config_of(&door, "tele.1").forward);
    set(&door, "tele.2", &[("edge.forward", "true")]);
    let door = Door::reopen(door.close(), |config| config.routes = routes);
    door.client("dev7").publish("tele/2", "y");
    assert!(config_of(&door, "tele.2").forward);
}
