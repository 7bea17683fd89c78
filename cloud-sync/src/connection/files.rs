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
    let has_password = sasl.mechanism != Mechanism::None;
    let files = [
        (tls.enabled, "central.tls.ca_file", &tls.ca_file),
        (tls.enabled, "central.tls.cert_file", &tls.cert_file),
        (tls.enabled, "central.tls.key_file", &tls.key_file),
        (has_password, PASSWORD_FILE, &sasl.password_file),
    ];
    let used = files
        .into_iter()
        .filter(|(is_used, _, path)| *is_used && !path.is_empty() && !config.bootstrap.is_empty());
    used.filter_map(|(_, key, path)| problem(key, path))
        .collect()
}

const PASSWORD_FILE: &str = "central.sasl.password_file";

fn problem(key: &'static str, path: &str) -> Option<FileProblem> {
    let secret = |path| tls::read_secret(path).map(drop);
    let outcome = match key {
        "central.tls.key_file" | PASSWORD_FILE => {
            secret(path).map_err(|why| format!("{key}: {why}"))
        }
        _ => tls::certificates(path, key).map(drop),
    };
    let stage = match key {
        PASSWORD_FILE => Stage::PasswordFile,
        _ => Stage::LocalFile,
    };
    outcome.err().map(|message| FileProblem {
        alarm_code: stage.alarm_code(),
        key,
        message,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::config::{SaslConfig, TlsConfig};

    fn config(ca_file: &Path, password_file: &Path) -> CentralConfig {
        CentralConfig {
            bootstrap: vec!["kafka:9093".into()],
            tls: TlsConfig {
                enabled: true,
                ca_file: ca_file.to_str().unwrap().into(),
                ..TlsConfig::default()
            },
            sasl: SaslConfig {
                mechanism: Mechanism::ScramSha256,
                user: "edge".into(),
                password_file: password_file.to_str().unwrap().into(),
            },
            ..CentralConfig::default()
        }
    }

    #[test]
    fn what_no_connection_could_use_is_known_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        let config = config(&dir.path().join("missing.pem"), &password);
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
