//! Routes: first match, templates, names that collide, settings that contradict.
#![allow(clippy::unwrap_used)]

use super::*;

fn route(filter: &str, topic: &str, key: &str) -> RouteConfig {
    RouteConfig {
        filter: filter.to_owned(),
        topic: topic.to_owned(),
        key: key.to_owned(),
        ..RouteConfig::default()
    }
}

fn decide(routes: &Routes, mqtt_topic: &str) -> (String, String) {
    let mqtt_topic = Bytes::copy_from_slice(mqtt_topic.as_bytes());
    let (decision, _) = routes.decide(&mqtt_topic, &Bytes::from_static(b"dev7"));
    (
        decision.topic,
        String::from_utf8(decision.key.to_vec()).unwrap(),
    )
}

fn check(routes: &[RouteConfig], cases: &[(&str, &str, &str)]) {
    let routes = Routes::compile("north", routes).unwrap();
    for (mqtt_topic, topic, key) in cases {
        let (got_topic, got_key) = decide(&routes, mqtt_topic);
        assert_eq!(
            (got_topic.as_str(), got_key.as_str()),
            (*topic, *key),
            "{mqtt_topic}"
        );
    }
}

#[test]
fn without_routes_everything_goes_to_mqtt_with_its_topic_as_key() {
    check(
        &[],
        &[
            ("a/b", "mqtt", "a/b"),
            ("$SYS/x", "mqtt", "$SYS/x"),
            ("/", "mqtt", "/"),
        ],
    );
}

#[test]
fn the_first_route_that_matches_decides() {
    check(
        &[
            route("alarms/#", "alarms", "{client}"),
            route("alarms/fire", "fire", "x"),
            route("+/temp", "temps", "{1}"),
        ],
        &[
            ("alarms/fire", "alarms", "dev7"),
            ("alarms", "alarms", "dev7"),
            ("press1/temp", "temps", "press1"),
            ("press1/temp/max", "mqtt", "press1/temp/max"),
        ],
    );
}

#[test]
fn templates_know_site_client_topic_and_wildcards() {
    check(
        &[
            route("tele/+/#", "{site}.tele.{1}", "{2}|{client}"),
            route("$x/+", "dollar", "{mqtt_topic}"),
        ],
        &[
            ("tele/plug1/SENSOR/a", "north.tele.plug1", "SENSOR/a|dev7"),
            ("tele/plug1", "north.tele.plug1", "|dev7"),
            ("$x/y", "dollar", "$x/y"),
        ],
    );
}

#[test]
fn a_slash_becomes_a_dot_in_the_name_of_a_topic() {
    check(
        &[route("plant/#", "{mqtt_topic}", "k")],
        &[("plant/a/b", "plant.a.b", "k")],
    );
}

/// It used to be the first of the two since the start, so a restart could swap them.
#[test]
fn of_two_texts_that_make_one_name_the_one_with_slashes_has_it() {
    check(
        &[
            route("plant/#", "{mqtt_topic}", "k"),
            route("line/+/#", "{1}.{2}", "k"),
        ],
        &[
            ("plant/a.b", "mqtt", "plant/a.b"),
            ("plant/a/b", "plant.a.b", "k"),
            ("plant/a.b", "mqtt", "plant/a.b"),
            ("line/a/b/c", "a.b.c", "k"),
            ("line/a.b/c", "mqtt", "line/a.b/c"),
        ],
    );
}

#[test]
fn a_dot_is_welcome_where_no_slash_can_become_one() {
    check(
        &[
            route("tele/+", "tele.{1}", "k"),
            route("by/+", "{client}.{1}", "k"),
        ],
        &[
            ("tele/plug.1", "tele.plug.1", "k"),
            ("by/v1.2", "dev7.v1.2", "k"),
        ],
    );
}

#[test]
fn a_slash_in_a_client_id_makes_no_name() {
    let routes = Routes::compile("n", &[route("+", "{client}", "k")]).unwrap();
    let (decision, fallback) =
        routes.decide(&Bytes::from_static(b"x"), &Bytes::from_static(b"hall/lamp"));
    assert_eq!(decision.topic, "mqtt");
    assert!(matches!(fallback, Some(Fallback::NotAName(_))));
}

#[test]
fn texts_that_make_no_name_go_to_the_built_in_route_and_say_so() {
    let routes = Routes::compile("n", &[route("#", "{mqtt_topic}", "k")]).unwrap();
    let long = "x".repeat(250);
    for topic in ["ä/temp", "a b", "_retained", "/", long.as_str()] {
        let topic = Bytes::copy_from_slice(topic.as_bytes());
        let (decision, fallback) = routes.decide(&topic, &Bytes::new());
        assert_eq!(decision.topic, "mqtt");
        assert!(matches!(fallback, Some(Fallback::NotAName(_))), "{topic:?}");
    }
}

#[test]
fn routes_that_contradict_each_other_are_refused_by_name() {
    let mut first = route("a/#", "shared", "k");
    first.forward = Some(true);
    let mut second = route("b/#", "shared", "k");
    second.forward = Some(false);
    let error = Routes::compile("n", &[first, second]).err().unwrap();
    let text = error.to_string();
    for word in ["\"a/#\"", "\"b/#\"", "shared", "forward", "true and false"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn what_a_route_leaves_out_contradicts_nothing() {
    let mut configured = route("a/#", "mqtt", "k");
    configured.forward = Some(false);
    let silent = route("b/#", "mqtt", "k");
    let routes = Routes::compile("n", &[silent, configured]).unwrap();
    let settings = routes.settings_of("mqtt").unwrap();
    let said = RouteSetting {
        key: "route[1].forward".to_owned(),
        filter: "a/#".to_owned(),
        value: "false".to_owned(),
    };
    assert_eq!(settings, &[("edge.forward", said)].into());
}

#[test]
fn wrong_routes_are_refused_with_key_and_remedy() {
    for (config, words) in [
        (
            route("a/#/b", "t", "k"),
            "route[0].filter must be an MQTT filter",
        ),
        (
            route("$share/g/a", "t", "k"),
            "route[0].filter must be an MQTT filter",
        ),
        (
            route("a/+", "t{2}", "k"),
            "route[0].topic asks for wildcard 2, the filter has 1",
        ),
        (route("a", "t", "{x}"), "route[0].key may contain {site}"),
        (route("a", "t", "{"), "route[0].key has a { without a }"),
        (route("a", "a b", "k"), "route[0].topic must be 1 to 249"),
        (
            route("a", "_retained", "k"),
            "route[0].topic must be 1 to 249",
        ),
    ] {
        let text = Routes::compile("n", &[config]).err().unwrap().to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_key_that_is_one_placeholder_is_not_copied() {
    let routes = Routes::compile("n", &[]).unwrap();
    let topic = Bytes::from_static(b"a/b");
    let (decision, _) = routes.decide(&topic, &Bytes::new());
    assert_eq!(decision.key.as_ptr(), topic.as_ptr());
}
