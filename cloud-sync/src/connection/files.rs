//! The files that `[central]` names, looked at without a connection.
//!
//! They are read at each connection; but on a link that is down nobody gets so far, and who set
//! the gateway up has left before the message comes.

use crate::config::{CentralConfig, Mechanism};
use crate::error::Stage;

use super::tls;

/// A file that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    /// The alarm that it will be once central is reached.
    pub alarm_code: &'static str,
    /// The key that names it.
    pub key: &'static str,
    /// Key, what is wrong, and the file.
    pub message: String,
}

impl FileProblem {
    /// What to do about it, as for the same problem at a connection.
    pub fn hint(&self) -> &'static str {
        Stage::LocalFile.hint()
    }
}

/// Everything that is wrong with the files named now; reads them, and blocks for it.
pub fn check_files(config: &CentralConfig) -> Vec<FileProblem> {
    let (tls, sasl) = (&config.tls, &config.sasl);
    if config.bootstrap.is_empty() {
        return Vec::new();
    }
    let certificates = |path: &str, key| tls::certificates(path, key).map(drop);
    let secret = |path: &str, key| {
        let read = tls::read_secret(path).map(drop);
        read.map_err(|why| format!("{key}: {why}"))
    };
    let (ca, cert, key) = (
        "central.tls.ca_file",
        "central.tls.cert_file",
        "central.tls.key_file",
    );
    let password = "central.sasl.password_file";
    let is_used = |path: &str| tls.enabled && !path.is_empty();
    let checks = [
        (
            ca,
            is_used(&tls.ca_file).then(|| certificates(&tls.ca_file, ca)),
        ),
        (
            cert,
            is_used(&tls.cert_file).then(|| certificates(&tls.cert_file, cert)),
        ),
        (
            key,
            is_used(&tls.key_file).then(|| secret(&tls.key_file, key)),
        ),
        (
            password,
            (sasl.mechanism != Mechanism::None).then(|| secret(&sasl.password_file, password)),
        ),
    ];
    let problem = |(key, outcome): (&'static str, Option<Result<(), String>>)| {
        let stage = match key == password {
            true => Stage::PasswordFile,
            false => Stage::LocalFile,
        };
        Some(FileProblem {
            alarm_code: stage.alarm_code(),
            key,
            message: outcome?.err()?,
        })
    };
    checks.into_iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{SaslConfig, TlsConfig};

    #[test]
    fn what_no_connection_could_use_is_known_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        let path = password.to_str().unwrap().to_owned();
        let config = CentralConfig {
            bootstrap: vec!["kafka:9093".into()],
            tls: TlsConfig {
                enabled: true,
                ca_file: dir.path().join("missing.pem").to_str().unwrap().into(),
                ..TlsConfig::default()
            },
            sasl: SaslConfig {
                mechanism: Mechanism::ScramSha256,
                user: "edge".into(),
                password_file: path,
            },
            ..CentralConfig::default()
        };
        let codes = || {
            let found = check_files(&config).into_iter();
            found
                .map(|one| (one.alarm_code, one.key))
                .collect::<Vec<_>>()
        };
        let ca = ("central.tls", "central.tls.ca_file");
        let secret = ("central.auth", "central.sasl.password_file");
        assert_eq!(codes(), [ca, secret], "both are missing");
        fs::write(&password, "secret").unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(codes(), [ca, secret], "others may read it");
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(codes(), [ca]);
    }
}
