//! Templates: what they allow and what comes out.
#![allow(clippy::unwrap_used)]

use super::TopicTemplate;

fn fill(template: &str, topic: &str) -> Result<String, String> {
    TopicTemplate::parse(template)
        .map_err(|e| e.to_string())?
        .fill(topic, "plant-north")
}

#[test]
fn a_template_is_filled_with_topic_and_site() {
    assert_eq!(fill("{topic}", "mqtt").unwrap(), "mqtt");
    assert_eq!(fill("{site}.{topic}", "mqtt").unwrap(), "plant-north.mqtt");
    assert_eq!(
        fill("edge-{topic}_{site}", "a.b").unwrap(),
        "edge-a.b_plant-north"
    );
}

#[test]
fn a_template_without_topic_or_with_unknown_fields_is_refused() {
    for bad in ["", "all", "{site}", "{topic", "{topics}", "{topic}/x"] {
        assert!(fill(bad, "mqtt").is_err(), "{bad}");
    }
}

#[test]
fn names_kafka_refuses_are_refused_here_with_the_reason() {
    assert!(fill("{topic}", "a b").unwrap_err().contains("not ` `"));
    assert!(
        fill("{topic}", &"x".repeat(250))
            .unwrap_err()
            .contains("250")
    );
    assert!(fill("{topic}", "..").is_err());
}
