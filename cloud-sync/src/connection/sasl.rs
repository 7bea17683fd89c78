//! Logging in: PLAIN and SCRAM over Kafka's SaslHandshake and SaslAuthenticate.

use std::time::{Duration, Instant};

use kafka_wire::{
    Bytes,
    protocol::{ErrorCode, SaslAuthenticateRequest, SaslHandshakeRequest},
};
use ring::rand::{SecureRandom, SystemRandom};

use super::{
    Connection,
    scram::{self, Hash},
    tls::read_secret,
};
use crate::{
    config::{Mechanism, SaslConfig},
    error::{ConnectError, Stage},
};

const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const NONCE_BYTES: usize = 24;

/// Logs in as configured; without a mechanism there is nothing to do.
pub(super) async fn log_in(to: &mut Connection, config: &SaslConfig) -> Result<(), ConnectError> {
    let hash = match config.mechanism {
        Mechanism::None => return Ok(()),
        Mechanism::Plain => None,
        Mechanism::ScramSha256 => Some(Hash::Sha256),
        Mechanism::ScramSha512 => Some(Hash::Sha512),
    };
    let address = to.address.clone();
    let path = config.password_file.clone();
    let secret = smol::unblock(move || read_secret(&path)).await;
    let secret = secret.map_err(|why| ConnectError::new(Stage::PasswordFile, &address, why))?;
    let password = secret.trim_end_matches(['\n', '\r']);
    shake_hands(to, config.mechanism).await?;
    match hash {
        None => {
            let token = format!("\0{}\0{password}", config.user);
            exchange(to, token.into_bytes().into()).await?;
        }
        Some(hash) => scram_log_in(to, hash, &config.user, password).await?,
    }
    Ok(())
}

async fn shake_hands(to: &mut Connection, mechanism: Mechanism) -> Result<(), ConnectError> {
    let version = to.version::<SaslHandshakeRequest>(1)?;
    let request = SaslHandshakeRequest::default().with_mechanism(mechanism.to_string().into());
    let answer = to.call(version, &request).await.map_err(closed)?;
    let reason = match answer.error_code {
        0 => return Ok(()),
        UNSUPPORTED_SASL_MECHANISM => {
            let offered: Vec<_> = answer.mechanisms.iter().map(ToString::to_string).collect();
            format!("{mechanism} is not offered, but: {}", offered.join(", "))
        }
        code => ErrorCode(code).to_string(),
    };
    Err(ConnectError::new(Stage::Sasl, &to.address, reason))
}

async fn scram_log_in(
    to: &mut Connection,
    hash: Hash,
    user: &str,
    password: &str,
) -> Result<(), ConnectError> {
    let address = to.address.clone();
    let refused = |why: String| ConnectError::new(Stage::Sasl, &address, why);
    let mut nonce = [0; NONCE_BYTES];
    let filled = SystemRandom::new().fill(&mut nonce);
    filled.map_err(|_| refused("the system has no randomness".into()))?;
    let (started, first) = scram::start(hash, user, password, &nonce);
    let challenge = text(&exchange(to, first.into_bytes().into()).await?).map_err(refused)?;
    // The derivation takes milliseconds of CPU by design.
    let proving = smol::unblock(move || started.prove(&challenge)).await;
    let (proven, last) = proving.map_err(refused)?;
    let verdict = text(&exchange(to, last.into_bytes().into()).await?).map_err(refused)?;
    proven.check(&verdict).map_err(refused)
}

fn text(bytes: &Bytes) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "server's message is not text".into())
}

/// Sends one token and returns the server's.
async fn exchange(to: &mut Connection, token: Bytes) -> Result<Bytes, ConnectError> {
    let version = to.version::<SaslAuthenticateRequest>(2)?;
    let request = SaslAuthenticateRequest::default().with_auth_bytes(token);
    let answer = to.call(version, &request).await.map_err(closed)?;
    if answer.error_code != 0 {
        let said = answer
            .error_message
            .map(|text| format!(": {text}"))
            .unwrap_or_default();
        let reason = format!("{}{said}", ErrorCode(answer.error_code));
        return Err(ConnectError::new(Stage::Sasl, &to.address, reason));
    }
    if answer.session_lifetime_ms > 0 {
        let lifetime = Duration::from_millis(answer.session_lifetime_ms as u64);
        to.expires_at = Some(Instant::now() + lifetime * 9 / 10);
    }
    Ok(answer.auth_bytes)
}

/// A broker that closes while we log in has refused.
fn closed(error: ConnectError) -> ConnectError {
    match error.stage {
        Stage::Broken => ConnectError {
            stage: Stage::Sasl,
            ..error
        },
        _ => error,
    }
}
