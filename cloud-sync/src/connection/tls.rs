//! TLS by rustls with ring: whom we trust, who we are, and which part of a handshake failed.
//!
//! Files are read again when they change, so that renewed certificates need no restart.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use futures_rustls::{TlsConnector, client::TlsStream};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

use crate::{config::TlsConfig, error::Stage, meter::Metered};

/// TLS as configured.
#[derive(Debug)]
pub(super) struct Tls {
    config: TlsConfig,
    /// The newest settings and the dates of the files they were made from. Kept, because it also
    /// holds session tickets: a resumed handshake costs a fraction of the bytes.
    cached: Arc<Cached>,
}

type Dates = [Option<SystemTime>; 3];
type Cached = Mutex<Option<(Dates, Arc<ClientConfig>)>>;

impl Tls {
    pub fn new(config: TlsConfig) -> Self {
        Self {
            config,
            cached: Arc::default(),
        }
    }

    /// Shakes hands; an error names the stage that failed.
    pub async fn handshake(
        &self,
        host: &str,
        stream: Metered,
    ) -> Result<TlsStream<Metered>, (Stage, String)> {
        let (config, cached) = (self.config.clone(), self.cached.clone());
        let client = smol::unblock(move || client_config(&config, &cached)).await;
        let client = client.map_err(|why| (Stage::LocalFile, why))?;
        let name = match self.config.server_name.as_str() {
            "" => host,
            name => name,
        };
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            (
                Stage::TlsName,
                format!("not a name a certificate can have: {name}"),
            )
        })?;
        TlsConnector::from(client)
            .connect(name, stream)
            .await
            .map_err(|error| explain(&error))
    }
}

/// Which stage an error of the handshake belongs to, and what it says.
fn explain(error: &io::Error) -> (Stage, String) {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(reason)) = inner else {
        return match (inner, error.kind()) {
            (None, io::ErrorKind::UnexpectedEof) => (
                Stage::Tls,
                "closed during the handshake; is this a TLS listener?".into(),
            ),
            (Some(rustls::Error::InvalidMessage(_)), _) => (
                Stage::Tls,
                "the answer is not TLS; is this a TLS listener?".into(),
            ),
            _ => (Stage::Tls, error.to_string()),
        };
    };
    let stage = match reason {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Stage::TlsName
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Stage::TlsDate,
        _ => Stage::Tls,
    };
    (stage, reason.to_string())
}

fn client_config(config: &TlsConfig, cached: &Cached) -> Result<Arc<ClientConfig>, String> {
    let date = |path: &str| fs::metadata(path).and_then(|found| found.modified()).ok();
    let dates = [
        date(&config.ca_file),
        date(&config.cert_file),
        date(&config.key_file),
    ];
    let mut cached = cached
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some((of, client)) = &*cached
        && *of == dates
    {
        return Ok(client.clone());
    }
    let client = Arc::new(build(config)?);
    *cached = Some((dates, client.clone()));
    Ok(client)
}

fn build(config: &TlsConfig) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(&config.ca_file)?);
    if config.cert_file.is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let chain = certificates(&config.cert_file, "central.tls.cert_file")?;
    let pem = read_secret(&config.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| format!("central.tls.key_file {}: {error}", config.key_file))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| format!("central.tls.key_file {}: {error}", config.key_file))
}

fn roots(ca_file: &str) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    if ca_file.is_empty() {
        let found = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            return Err(
                "the system has no trusted authorities: install ca-certificates or set \
                        central.tls.ca_file"
                    .into(),
            );
        }
        return Ok(store);
    }
    for certificate in certificates(ca_file, "central.tls.ca_file")? {
        store
            .add(certificate)
            .map_err(|error| format!("central.tls.ca_file {ca_file}: {error}"))?;
    }
    Ok(store)
}

pub(super) fn certificates(path: &str, key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = fs::read(path).map_err(|error| format!("{key} {path}: {error}"))?;
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let list = list.map_err(|error| format!("{key} {path}: {error}"))?;
    if list.is_empty() {
        return Err(format!("{key} holds no PEM certificate: {path}"));
    }
    Ok(list)
}

/// Reads a file that only its owner may read.
pub(super) fn read_secret(path: &str) -> Result<String, String> {
    let found = fs::metadata(path).map_err(|error| format!("{path}: {error}"))?;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "others may read it (mode {mode:o}), chmod 600 it: {path}"
        ));
    }
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}
