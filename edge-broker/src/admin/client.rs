//! The other end of the admin socket: how commands ask the gateway.
//!
//! Finds the gateway by its data folder; turns every refusal into a failure with its remedy.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use smol::Async;
use smol_hyper::rt::FuturesIo;

use super::api::Refusal;
use super::socket;
use crate::cli::{Common, ServeArgs};
use crate::config::Config;
use crate::failure::{Exit, Failure};

/// An answer that is read at once may not be larger.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The gateway of one data folder.
#[derive(Debug, Clone)]
pub struct Gateway {
    data: PathBuf,
}

impl Gateway {
    /// `--data`, else what the configuration on this machine says.
    pub fn find(common: &Common) -> Result<Gateway, Failure> {
        let data = match &common.data {
            Some(data) => data.clone(),
            None => Config::load(&ServeArgs::default())?.storage.dir,
        };
        // Paths of sockets follow from the absolute one; a missing folder stays as it is named.
        let data = data.canonicalize().unwrap_or(data);
        Ok(Gateway { data })
    }

    /// Asks and waits for the whole answer.
    pub fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        question: &Q,
    ) -> Result<A, Failure> {
        smol::block_on(async {
            let answer = self.send(Method::POST, path, question).await?;
            parse(&whole(answer).await?)
        })
    }

    /// Reads a read-only path.
    pub fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, Failure> {
        smol::block_on(async {
            let answer = self.send(Method::GET, path, &()).await?;
            parse(&whole(answer).await?)
        })
    }

    /// Asks for a stream of lines.
    pub async fn lines<Q: Serialize>(&self, path: &str, question: &Q) -> Result<Lines, Failure> {
        let answer = self.send(Method::POST, path, question).await?;
        Ok(Lines {
            body: answer.into_body(),
            buffer: BytesMut::new(),
        })
    }

    async fn send<Q: Serialize>(
        &self,
        method: Method,
        path: &str,
        question: &Q,
    ) -> Result<Response<Incoming>, Failure> {
        let socket = socket::find(&self.data);
        let stream = Async::<UnixStream>::connect(&socket)
            .await
            .map_err(|error| no_gateway(&self.data, &error))?;
        let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(FuturesIo::new(stream))
            .await
            .map_err(broken)?;
        smol::spawn(async move {
            // Its end shows in the answer.
            let _ = connection.await;
        })
        .detach();
        let body = serde_json::to_vec(question).map_err(broken)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .body(Full::new(Bytes::from(body)))
            .map_err(broken)?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        if answer.status().is_success() {
            Ok(answer)
        } else {
            Err(refusal(answer).await)
        }
    }
}

/// Lines of an answer as they come.
pub struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    /// The next line without its end; none when the gateway ended the answer.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let mut searched = 0;
        loop {
            let found = self.buffer[searched..]
                .iter()
                .position(|byte| *byte == b'\n');
            if let Some(at) = found {
                let line = self.buffer.split_to(searched + at).freeze();
                self.buffer.advance(1);
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => return Err(went_away()),
                None => return Ok(None),
            }
        }
    }
}

impl Lines {
    /// Whether the next line needs no waiting.
    pub fn more_is_here(&self) -> bool {
        self.buffer.contains(&b'\n')
    }
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(_) => Err(went_away()),
    }
}

fn parse<A: DeserializeOwned>(bytes: &[u8]) -> Result<A, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::new(
            Exit::SOFTWARE,
            format!("the gateway's answer is not understood: {error}"),
        )
        .fix("command and gateway should be of one version: edge-broker --version")
    })
}

async fn refusal(answer: Response<Incoming>) -> Failure {
    let status = answer.status();
    let refusal: Option<Refusal> = match whole(answer).await {
        Ok(bytes) => serde_json::from_slice(&bytes).ok(),
        Err(_) => None,
    };
    match refusal {
        Some(refusal) => Failure {
            code: Exit::REFUSED,
            message: refusal.error,
            fixes: refusal.fix,
        },
        None => Failure::new(Exit::REFUSED, format!("the gateway refused: {status}")),
    }
}

fn no_gateway(data: &Path, error: &std::io::Error) -> Failure {
    let text = format!("no gateway answers in {}", data.display());
    let failure = Failure::new(Exit::NO_GATEWAY, text);
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        return failure
            .fix("its socket belongs to another user: run this as that user, or as root");
    }
    failure
        .fix("start it: edge-broker serve")
        .fix("or name the folder of a running one: --data DIR")
}

fn went_away() -> Failure {
    Failure::new(Exit::NO_GATEWAY, "the gateway went away")
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::new(
        Exit::NO_GATEWAY,
        format!("the gateway does not answer: {error}"),
    )
}
