//! SCRAM (RFC 5802, RFC 7677): proving a password without sending it, and asking the same back.
//!
//! Pure: the nonce is an argument. One struct per step, so that the order cannot be wrong.

use std::num::NonZeroU32;

use ring::{digest, hmac, pbkdf2};

use super::base64;

/// Fewer iterations than this are no protection (RFC 7677 §4); more than that stall a small CPU.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

/// Which hash.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// The first message was sent.
pub(super) struct Started {
    hash: Hash,
    password: String,
    nonce: String,
    first_bare: String,
}

/// The proof was sent.
pub(super) struct Proven {
    pub(super) server_signature: Vec<u8>,
}

/// Begins; the first message to the server.
pub(super) fn start(hash: Hash, user: &str, password: &str, nonce: &[u8]) -> (Started, String) {
    let nonce = base64::encode(nonce);
    let user = user.replace('=', "=3D").replace(',', "=2C");
    let first_bare = format!("n={user},r={nonce}");
    let first = format!("n,,{first_bare}");
    (
        Started {
            hash,
            password: password.to_owned(),
            nonce,
            first_bare,
        },
        first,
    )
}

impl Started {
    /// Answers the server's challenge with the proof.
    pub fn prove(self, server_first: &str) -> Result<(Proven, String), String> {
        let odd = || format!("server's challenge is not SCRAM: {server_first}");
        if let Some(error) = field(server_first, 'e') {
            return Err(format!("server says: {error}"));
        }
        let nonce = field(server_first, 'r').ok_or_else(odd)?;
        let salt = field(server_first, 's')
            .and_then(base64::decode)
            .ok_or_else(odd)?;
        let iterations: u32 = field(server_first, 'i')
            .and_then(|i| i.parse().ok())
            .ok_or_else(odd)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("server's nonce does not continue ours".into());
        }
        if !ITERATIONS.contains(&iterations) {
            return Err(format!(
                "iterations from 4096 to 1000000 are accepted: {iterations}"
            ));
        }
        let final_bare = format!("c=biws,r={nonce}");
        let message = format!("{},{server_first},{final_bare}", self.first_bare);
        let (proof, server_signature) = self.sign(&salt, iterations, message.as_bytes());
        let last = format!("{final_bare},p={}", base64::encode(&proof));
        Ok((Proven { server_signature }, last))
    }

    fn sign(&self, salt: &[u8], iterations: u32, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let length = self.hash.digest().output_len();
        let mut salted = vec![0; length];
        let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(
            self.hash.pbkdf2(),
            rounds,
            salt,
            self.password.as_bytes(),
            &mut salted,
        );
        let mac = |key: &[u8], data: &[u8]| {
            hmac::sign(&hmac::Key::new(self.hash.hmac(), key), data)
                .as_ref()
                .to_vec()
        };
        let client_key = mac(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), &client_key);
        let client_signature = mac(stored_key.as_ref(), message);
        let proof = client_key
            .iter()
            .zip(&client_signature)
            .map(|(a, b)| a ^ b)
            .collect();
        let server_key = mac(&salted, b"Server Key");
        (proof, mac(&server_key, message))
    }
}

impl Proven {
    /// Checks that the server knows the password too.
    pub fn check(self, server_final: &str) -> Result<(), String> {
        if let Some(error) = field(server_final, 'e') {
            return Err(format!("server says: {error}"));
        }
        let signature = field(server_final, 'v').and_then(base64::decode);
        if signature.as_deref() == Some(&self.server_signature) {
            return Ok(());
        }
        Err(
            "server could not prove that it knows the password: this may not be your cluster"
                .into(),
        )
    }
}

/// The value of one field of a comma-separated message.
fn field(message: &str, name: char) -> Option<&str> {
    message
        .split(',')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests;
