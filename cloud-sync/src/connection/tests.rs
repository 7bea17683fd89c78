//! Every stage of a connection against a stand-in broker: it works, and where it fails it says
//! so under the right name. Certificates are made here.
#![allow(clippy::unwrap_used)]

mod stand_in;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use stand_in::{Authority, StandIn};
use tempfile::TempDir;

use super::{Dialer, scram::Hash};
use crate::{
    config::{Mechanism, SaslConfig, TlsConfig},
    error::{ConnectError, Stage},
    meter::Meter,
};

struct Case {
    dir: TempDir,
    tls: TlsConfig,
    sasl: SaslConfig,
}

impl Case {
    fn plain() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            dir,
            tls: TlsConfig::default(),
            sasl: SaslConfig::default(),
        }
    }

    fn trusting(authority: &Authority) -> Self {
        let mut case = Self::plain();
        case.tls.enabled = true;
        case.tls.ca_file = case.file("ca.pem", &authority.pem(), 0o644);
        case
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Path::to_str(&path).unwrap().to_owned()
    }

    fn logging_in(mut self, mechanism: Mechanism, password: &str) -> Self {
        self.sasl.mechanism = mechanism;
        self.sasl.user = "edge".into();
        self.sasl.password_file = self.file("password", &format!("{password}\n"), 0o600);
        self
    }

    fn dial(&self, host: &str, port: u16) -> Result<(), ConnectError> {
        let meter = Arc::new(Meter::default());
        let dialer = Dialer::new(&self.tls, &self.sasl, meter);
        smol::block_on(dialer.dial(host, port)).map(drop)
    }

    fn stage(&self, host: &str, port: u16) -> (Stage, String) {
        let error = self.dial(host, port).unwrap_err();
        (error.stage, error.to_string())
    }
}

#[test]
fn a_plain_listener_is_spoken_to() {
    let stand_in = StandIn::new().start();
    Case::plain().dial("127.0.0.1", stand_in).unwrap();
}

#[test]
fn an_old_broker_answers_in_the_oldest_version() {
    let stand_in = StandIn::new().only_oldest_versions().start();
    Case::plain().dial("127.0.0.1", stand_in).unwrap();
}

#[test]
fn a_name_without_address_is_dns() {
    let (stage, text) = Case::plain().stage("no-such-host.invalid", 9092);
    assert_eq!(stage, Stage::Dns, "{text}");
}

#[test]
fn a_closed_port_is_tcp() {
    let (stage, text) = Case::plain().stage("127.0.0.1", stand_in::closed_port());
    assert_eq!(stage, Stage::Tcp);
    assert!(text.ends_with("connection refused"), "{text}");
}

#[test]
fn tls_works_with_our_authority_and_with_a_certificate_of_our_own() {
    let authority = Authority::new();
    let server = StandIn::new()
        .with_tls(&authority.issue("localhost", 0, 30))
        .start();
    Case::trusting(&authority)
        .dial("localhost", server)
        .unwrap();

    let mutual = StandIn::new()
        .with_tls(&authority.issue("localhost", 0, 30))
        .asking_for_certificates(&authority)
        .start();
    let mut case = Case::trusting(&authority);
    let refused = case.dial("localhost", mutual).unwrap_err();
    assert!(
        matches!(refused.stage, Stage::Tls | Stage::Protocol),
        "{refused}"
    );
    let ours = authority.issue("edge", 0, 30);
    case.tls.cert_file = case.file("cert.pem", &ours.certificate, 0o644);
    case.tls.key_file = case.file("key.pem", &ours.key, 0o600);
    case.dial("localhost", mutual).unwrap();
    case.tls.key_file = case.file("key.pem", &ours.key, 0o640);
    let case = Case {
        tls: case.tls.clone(),
        ..case
    };
    let (stage, text) = case.stage("localhost", mutual);
    assert_eq!(stage, Stage::LocalFile, "{text}");
    assert!(text.contains("chmod 600"), "{text}");
}

#[test]
fn a_certificate_for_another_name_is_told_apart() {
    let authority = Authority::new();
    let server = StandIn::new()
        .with_tls(&authority.issue("kafka.example.com", 0, 30))
        .start();
    let mut case = Case::trusting(&authority);
    let (stage, text) = case.stage("localhost", server);
    assert_eq!(stage, Stage::TlsName, "{text}");
    case.tls.server_name = "kafka.example.com".into();
    case.dial("localhost", server).unwrap();
}

#[test]
fn a_certificate_that_is_over_or_not_begun_is_told_apart() {
    let authority = Authority::new();
    for (from, until) in [(-30, -1), (10, 30)] {
        let server = StandIn::new()
            .with_tls(&authority.issue("localhost", from, until))
            .start();
        let (stage, text) = Case::trusting(&authority).stage("localhost", server);
        assert_eq!(stage, Stage::TlsDate, "{text}");
    }
}

#[test]
fn an_unknown_authority_is_tls() {
    let server = StandIn::new()
        .with_tls(&Authority::new().issue("localhost", 0, 30))
        .start();
    let (stage, text) = Case::trusting(&Authority::new()).stage("localhost", server);
    assert_eq!(stage, Stage::Tls, "{text}");
}

#[test]
fn tls_to_a_plain_listener_and_the_reverse_are_told() {
    let authority = Authority::new();
    let plain = StandIn::new().start();
    let (stage, text) = Case::trusting(&authority).stage("localhost", plain);
    assert_eq!(stage, Stage::Tls);
    assert!(text.contains("is this a TLS listener?"), "{text}");

    let tls = StandIn::new()
        .with_tls(&authority.issue("localhost", 0, 30))
        .start();
    let (stage, text) = Case::plain().stage("localhost", tls);
    assert_eq!(stage, Stage::Protocol, "{text}");
}

#[test]
fn logging_in_works_by_each_mechanism() {
    for (mechanism, hash) in [
        (Mechanism::Plain, None),
        (Mechanism::ScramSha256, Some(Hash::Sha256)),
        (Mechanism::ScramSha512, Some(Hash::Sha512)),
    ] {
        let server = StandIn::new().with_login(mechanism, hash, "secret").start();
        Case::plain()
            .logging_in(mechanism, "secret")
            .dial("127.0.0.1", server)
            .unwrap();
        let (stage, text) = Case::plain()
            .logging_in(mechanism, "wrong")
            .stage("127.0.0.1", server);
        assert_eq!(stage, Stage::Sasl);
        assert!(text.contains("SASL_AUTHENTICATION_FAILED"), "{text}");
    }
}

#[test]
fn a_server_that_cannot_prove_the_password_is_refused() {
    let server = StandIn::new()
        .with_login(Mechanism::ScramSha256, Some(Hash::Sha256), "secret")
        .forging_its_signature()
        .start();
    let case = Case::plain().logging_in(Mechanism::ScramSha256, "secret");
    let (stage, text) = case.stage("127.0.0.1", server);
    assert_eq!(stage, Stage::Sasl);
    assert!(text.contains("may not be your cluster"), "{text}");
}

#[test]
fn a_mechanism_that_is_not_offered_is_named_with_those_that_are() {
    let server = StandIn::new()
        .with_login(Mechanism::Plain, None, "secret")
        .start();
    let case = Case::plain().logging_in(Mechanism::ScramSha512, "secret");
    let (_, text) = case.stage("127.0.0.1", server);
    assert!(
        text.contains("SCRAM-SHA-512 is not offered, but: PLAIN"),
        "{text}"
    );
}

#[test]
fn a_password_that_others_may_read_is_refused() {
    let server = StandIn::new()
        .with_login(Mechanism::Plain, None, "secret")
        .start();
    let mut case = Case::plain().logging_in(Mechanism::Plain, "secret");
    case.sasl.password_file = case.file("open", "secret", 0o644);
    let error = case.dial("127.0.0.1", server).unwrap_err();
    assert_eq!(error.stage, Stage::PasswordFile);
    assert_eq!(error.alarm_code(), "central.auth", "not a matter of TLS");
    let text = error.to_string();
    assert!(text.contains("mode 644"), "{text}");
}

/// Metadata may name an address on the network although `bootstrap` is this machine.
#[test]
fn plain_goes_readable_to_this_machine_only() {
    let sasl = SaslConfig {
        mechanism: Mechanism::Plain,
        ..SaslConfig::default()
    };
    let meter = Arc::new(Meter::default());
    let open = Dialer::new(&TlsConfig::default(), &sasl, meter.clone());
    assert!(open.shows_password());
    let closed = TlsConfig {
        enabled: true,
        ..TlsConfig::default()
    };
    assert!(!Dialer::new(&closed, &sasl, meter.clone()).shows_password());
    assert!(!Dialer::new(&TlsConfig::default(), &SaslConfig::default(), meter).shows_password());
}
