//! `[central]`: defaults, spellings and refusals.
#![allow(clippy::unwrap_used)]

use super::{CentralConfig, Mechanism, OnRejected, SaslConfig, byte_size, split_host_port};

fn parse(json: &str) -> Result<CentralConfig, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[test]
fn an_empty_section_is_the_defaults_and_valid() {
    let config = parse("{}").unwrap();
    assert_eq!(config, CentralConfig::default());
    config.validate().unwrap();
}

#[test]
fn what_is_written_is_read_back_equal() {
    let text = serde_json::to_string(&CentralConfig::default()).unwrap();
    assert!(text.contains(r#""request_bytes_max":"512KiB""#), "{text}");
    assert!(text.contains(r#""compression":"zstd""#), "{text}");
    assert_eq!(parse(&text).unwrap(), CentralConfig::default());
}

#[test]
fn values_have_the_spellings_of_the_manual() {
    let config = parse(
        r#"{"on_rejected":"park","request_bytes_max":"1MiB","bytes_per_s_max":64000,
            "compression":"lz4","sasl":{"mechanism":"SCRAM-SHA-512","user":"u"}}"#,
    )
    .unwrap();
    assert_eq!(config.on_rejected, OnRejected::Park);
    assert_eq!(config.request_bytes_max, 1 << 20);
    assert_eq!(config.bytes_per_s_max, 64_000);
    assert_eq!(config.sasl.mechanism, Mechanism::ScramSha512);
}

#[test]
fn unknown_keys_and_impossible_values_are_refused_with_the_remedy() {
    assert!(parse(r#"{"linger":1}"#).unwrap_err().contains("linger_ms"));
    assert!(
        parse(r#"{"request_bytes_max":"many"}"#)
            .unwrap_err()
            .contains("512KiB")
    );
    let config = CentralConfig {
        in_flight_max: 6,
        ..CentralConfig::default()
    };
    assert_eq!(
        config.validate().unwrap_err().to_string(),
        "central.in_flight_max: from 1 to 5 is allowed: 6"
    );
}

#[test]
fn sasl_needs_its_user_and_password() {
    let mut config = CentralConfig::default();
    config.sasl.mechanism = Mechanism::Plain;
    assert!(
        config
            .validate()
            .unwrap_err()
            .to_string()
            .starts_with("central.sasl.user")
    );
    config.sasl.user = "u".into();
    assert!(
        config
            .validate()
            .unwrap_err()
            .to_string()
            .contains("password_file")
    );
}

#[test]
fn a_readable_password_does_not_leave_the_machine() {
    let mut config = CentralConfig {
        bootstrap: vec!["kafka.example.com:9092".into()],
        ..CentralConfig::default()
    };
    config.sasl = SaslConfig {
        mechanism: Mechanism::Plain,
        user: "u".into(),
        password_file: "p".into(),
    };
    let refused = config.validate().unwrap_err().to_string();
    assert!(refused.contains("central.tls.enabled = true"), "{refused}");
    config.bootstrap = vec!["localhost:9092".into(), "[::1]:9092".into()];
    config.validate().unwrap();
    config.bootstrap = vec!["kafka.example.com:9092".into()];
    config.sasl.mechanism = Mechanism::ScramSha256;
    config.validate().unwrap();
    config.sasl.mechanism = Mechanism::Plain;
    config.tls.enabled = true;
    config.validate().unwrap();
}

#[test]
fn addresses_need_a_host_and_a_port() {
    assert_eq!(
        split_host_port("k-1.example.com:9092").unwrap(),
        ("k-1.example.com".into(), 9092)
    );
    assert_eq!(split_host_port("[::1]:9092").unwrap(), ("::1".into(), 9092));
    for bad in [
        "",
        "kafka",
        "kafka:",
        "kafka:0",
        ":9092",
        "::1:9092",
        "http://k:9092",
        "k:99999",
    ] {
        assert!(split_host_port(bad).is_err(), "{bad}");
    }
}

#[test]
fn sizes_are_numbers_with_or_without_unit() {
    assert_eq!(byte_size::parse("16_384"), Some(16_384));
    assert_eq!(byte_size::parse("2MB"), Some(2_000_000));
    assert_eq!(byte_size::parse("512 KiB"), Some(512 << 10));
    assert_eq!(byte_size::parse("1TB"), None);
}
