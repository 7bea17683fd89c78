//! A listener that answers the first questions of a connection as a broker would.

use std::{net::TcpListener as StdListener, sync::Arc};

use futures_rustls::TlsAcceptor;
use kafka_wire::{
    BytesMut,
    protocol::{
        ApiKey, ApiVersion, ApiVersionsRequest, ApiVersionsResponse, Message,
        SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
        SaslHandshakeResponse, parse_request_header, response_frame, split_frame,
    },
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use smol::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::super::{Stream, base64, scram::Hash};
use crate::config::Mechanism;

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub fn pem(&self) -> String {
        self.pem.clone()
    }

    /// A certificate for `name`, valid from and until these days from now.
    pub fn issue(&self, name: &str, from_days: i64, until_days: i64) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let day = |days: i64| {
            let now = std::time::SystemTime::now();
            let shift = std::time::Duration::from_secs(days.unsigned_abs() * 86_400 + 60);
            if days > 0 { now + shift } else { now - shift }
        };
        params.not_before = day(from_days).into();
        params.not_after = day(until_days).into();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued {
            certificate,
            key: key.serialize_pem(),
        }
    }
}

/// How the stand-in behaves.
#[derive(Default)]
pub struct StandIn {
    tls: Option<(String, String)>,
    client_authority: Option<String>,
    login: Option<(Mechanism, Option<Hash>, String)>,
    forges: bool,
    oldest: bool,
}

/// A port where nobody listens.
pub fn closed_port() -> u16 {
    StdListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl StandIn {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with_tls(mut self, issued: &Issued) -> Self {
        self.tls = Some((issued.certificate.clone(), issued.key.clone()));
        self
    }

    pub fn asking_for_certificates(mut self, authority: &Authority) -> Self {
        self.client_authority = Some(authority.pem());
        self
    }

    pub fn with_login(mut self, mechanism: Mechanism, hash: Option<Hash>, secret: &str) -> Self {
        self.login = Some((mechanism, hash, secret.to_owned()));
        self
    }

    pub fn forging_its_signature(mut self) -> Self {
        self.forges = true;
        self
    }

    pub fn only_oldest_versions(mut self) -> Self {
        self.oldest = true;
        self
    }

    /// Listens on both loopback addresses' first free port; serves until the test ends.
    pub fn start(self) -> u16 {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let behaviour = Arc::new(self);
        std::thread::spawn(move || {
            smol::block_on(async {
                let listener = TcpListener::try_from(listener).unwrap();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    behaviour.clone().serve_socket(socket).await;
                }
            });
        });
        port
    }

    async fn serve_socket(self: Arc<Self>, socket: smol::net::TcpStream) {
        let stream: Box<dyn Stream> = match self.acceptor() {
            None => Box::new(socket),
            Some(acceptor) => match acceptor.accept(socket).await {
                Ok(stream) => Box::new(stream),
                Err(_) => return,
            },
        };
        let _ = self.serve(stream).await;
    }

    fn acceptor(&self) -> Option<TlsAcceptor> {
        let (certificate, key) = self.tls.as_ref()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ClientCertVerifier> = match &self.client_authority {
            None => Arc::new(NoClientAuth),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
                    .unwrap();
                let builder =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                builder.build().unwrap()
            }
        };
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            );
        Some(TlsAcceptor::from(Arc::new(config.unwrap())))
    }

    async fn serve(&self, mut stream: Box<dyn Stream>) -> std::io::Result<()> {
        let (mut buffer, mut chunk) = (BytesMut::new(), vec![0; 4096]);
        let mut steps = 0;
        loop {
            let Ok(frame) = split_frame(&mut buffer, 1 << 16) else {
                return Ok(());
            };
            let Some(mut frame) = frame else {
                let bytes = stream.read(&mut chunk).await?;
                if bytes == 0 {
                    return Ok(());
                }
                buffer.extend_from_slice(&chunk[..bytes]);
                continue;
            };
            let header = parse_request_header(&mut frame).unwrap();
            let (version, id) = (header.api_version, header.correlation_id);
            let answer = if header.api_key == ApiKey::ApiVersions as i16 {
                self.versions(version, id)
            } else if header.api_key == ApiKey::SaslHandshake as i16 {
                let request = SaslHandshakeRequest::decode(&mut frame, version).unwrap();
                self.handshake(version, id, request.mechanism.as_str())
            } else {
                let request = SaslAuthenticateRequest::decode(&mut frame, version).unwrap();
                steps += 1;
                let token = String::from_utf8(request.auth_bytes.to_vec()).unwrap();
                self.authenticate(version, id, steps, &token)
            };
            stream.write_all(&answer).await?;
            stream.flush().await?;
        }
    }

    fn versions(&self, version: i16, id: i32) -> BytesMut {
        let key = |key: ApiKey, max: i16| {
            ApiVersion::default()
                .with_api_key(key as i16)
                .with_max_version(max)
        };
        let keys = vec![
            key(ApiKey::ApiVersions, 3),
            key(ApiKey::SaslHandshake, 1),
            key(ApiKey::SaslAuthenticate, 2),
        ];
        let response = ApiVersionsResponse::default().with_api_keys(keys);
        if self.oldest && version > 0 {
            let response = response.with_error_code(35);
            return response_frame::<ApiVersionsRequest>(0, id, &response).unwrap();
        }
        response_frame::<ApiVersionsRequest>(version, id, &response).unwrap()
    }

    fn handshake(&self, version: i16, id: i32, asked: &str) -> BytesMut {
        let (offered, ..) = self.login.as_ref().unwrap();
        let response = SaslHandshakeResponse::default()
            .with_mechanisms(vec![offered.to_string().into()])
            .with_error_code(if asked == offered.to_string() { 0 } else { 33 });
        response_frame::<SaslHandshakeRequest>(version, id, &response).unwrap()
    }

    /// Scram's server side is played with the client's own arithmetic: same proof, same secret.
    fn authenticate(&self, version: i16, id: i32, step: usize, token: &str) -> BytesMut {
        let (_, hash, secret) = self.login.as_ref().unwrap();
        let answer = match hash {
            None if token == format!("\0edge\0{secret}") => Some(String::new()),
            None => None,
            Some(hash) => self.scram(*hash, secret, step, token),
        };
        let response = match answer {
            Some(text) => SaslAuthenticateResponse::default().with_auth_bytes(text.into()),
            None => SaslAuthenticateResponse::default().with_error_code(58),
        };
        response_frame::<SaslAuthenticateRequest>(version, id, &response).unwrap()
    }

    fn scram(&self, hash: Hash, secret: &str, step: usize, token: &str) -> Option<String> {
        let salt = base64::encode(b"a salt for all");
        if step % 2 == 1 {
            let nonce = token.rsplit_once("r=").unwrap().1;
            return Some(format!("r={nonce}server,s={salt},i=4096"));
        }
        let nonce = token
            .split(',')
            .find_map(|part| part.strip_prefix("r="))
            .unwrap();
        let ours = base64::decode(nonce.strip_suffix("server").unwrap()).unwrap();
        let (started, _) = super::super::scram::start(hash, "edge", secret, &ours);
        let (proven, last) = started
            .prove(&format!("r={nonce},s={salt},i=4096"))
            .unwrap();
        if last != token {
            return None;
        }
        let signature = base64::encode(&proven.server_signature);
        Some(if self.forges {
            format!("v=AAAA{}", &signature[4..])
        } else {
            format!("v={signature}")
        })
    }
}
