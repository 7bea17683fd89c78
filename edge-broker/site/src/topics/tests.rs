//! Names and settings.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn names_are_kafkas() {
    for good in ["a", "a.b_c-D9", "_retained", &"x".repeat(249)] {
        assert_eq!(check_topic_name(good), Ok(()));
    }
    for bad in ["", ".", "..", "a/b", "ä", "a b", &"x".repeat(250)] {
        assert!(check_topic_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn settings_go_in_and_out_by_name() {
    let mut config = TopicConfig::default();
    for (name, value) in config.clone().to_map() {
        config.set(name, &value).unwrap();
    }
    assert_eq!(config, TopicConfig::default());
    config.set("retention.ms", "-1").unwrap();
    config.set("edge.priority", "high").unwrap();
    assert_eq!((config.retention_ms, config.priority), (-1, Priority::High));
}

#[test]
fn a_wrong_setting_says_what_is_allowed_and_changes_nothing() {
    let mut config = TopicConfig::default();
    let settings = [("retention.ms", "5"), ("max.message.bytes", "0")];
    let settings = settings.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let error = config.set_all(&settings).unwrap_err().to_string();
    assert_eq!(
        error,
        "setting max.message.bytes must be 1024 to 8388608 bytes: \"0\""
    );
    assert_eq!(config, TopicConfig::default());
    let error = config.set("retention", "1").unwrap_err().to_string();
    assert!(error.contains("retention.ms"), "{error}");
}
