//! What a request means: read-only paths for everybody, commands on the socket only.
//!
//! Leaves reading figures to `gather`, streams to `stream`, HTTP itself to `http`.

use std::sync::Arc;

use edge_site::ReadError;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use smol::stream;

use super::api::{Refusal, path};
use super::http::{Body, full};
use super::stream::{Query, Tail, TailError};
use super::{App, commands};

/// Largest body of a command: one message and its frame.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Which door a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The Unix socket: whoever may open it may command.
    Socket,
    /// The TCP address: reading only.
    Http,
}

/// A refusal with its status.
#[derive(Debug)]
pub struct Refused(pub StatusCode, pub Refusal);

impl Refused {
    /// Without advice.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Refused {
        Refused(
            status,
            Refusal {
                error: error.into(),
                fix: Vec::new(),
            },
        )
    }

    /// Adds one way out.
    pub fn fix(mut self, line: impl Into<String>) -> Refused {
        self.1.fix.push(line.into());
        self
    }
}

/// Answers one request.
pub async fn handle(app: Arc<App>, door: Door, request: Request<Incoming>) -> Response<Body> {
    let answer = match door {
        Door::Http if !host_is_allowed(&request) => Err(Refused::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this Host is not served here",
        )
        .fix(
            "ask by an address, http://127.0.0.1:9883, or by localhost: a name of a web page's \
              choice could be anybody's",
        )),
        _ => route(&app, door, request).await,
    };
    answer.unwrap_or_else(|Refused(status, refusal)| {
        let mut answer = json(status, &refusal);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static(READING);
            answer.headers_mut().insert(ALLOW, allowed);
        }
        answer
    })
}

/// The methods of the paths that only read.
const READING: &str = "GET, HEAD";

async fn route(
    app: &Arc<App>,
    door: Door,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let (method, name) = (request.method().clone(), request.uri().path().to_owned());
    match (method, name.as_str()) {
        (Method::GET | Method::HEAD, "/health") => Ok(lamp(app.health())),
        (Method::GET | Method::HEAD, "/ready") => Ok(lamp(app.ready().await)),
        (Method::GET | Method::HEAD, "/metrics") => Ok(metrics(app).await),
        (Method::GET | Method::HEAD, path::STATUS) => Ok(json(StatusCode::OK, &app.report().await)),
        (_, "/health" | "/ready" | "/metrics" | path::STATUS) => Err(Refused::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("this path only reads: {name}"),
        )
        .fix(format!("ask with {READING}"))),
        (Method::POST, _) if door == Door::Socket => command(app, &name, request).await,
        _ => Err(nothing_here(door, &name)),
    }
}

async fn command(
    app: &Arc<App>,
    name: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let body = body(request).await?;
    match name {
        path::TOPICS => ok(&commands::topics(app).await),
        path::CREATE => ok(&commands::create(app, parse(&body)?).await?),
        path::DESCRIBE => ok(&commands::describe(app, &parse(&body)?).await?),
        path::SET => ok(&commands::set(app, parse(&body)?).await?),
        path::DELETE => ok(&commands::delete(app, parse(&body)?).await?),
        path::PUBLISH => ok(&commands::publish(app, parse(&body)?).await?),
        path::RETRY => ok(&commands::retry(app, parse(&body)?).await?),
        path::TAIL => tail(app, parse(&body)?).await,
        _ => Err(nothing_here(Door::Socket, name)),
    }
}

/// Lines as they are read; the next read starts when the socket took the last one.
async fn tail(app: &Arc<App>, query: Query) -> Result<Response<Body>, Refused> {
    let tail = Tail::open(app.site.clone(), query)
        .await
        .map_err(|error| match error {
            TailError::UnknownTopic(name) => commands::unknown_topic(app, &name),
            TailError::UnknownPartition(number) => Refused::new(
                StatusCode::NOT_FOUND,
                format!("no such partition: {number}"),
            ),
            TailError::Filter(what) => Refused::new(StatusCode::BAD_REQUEST, what),
            TailError::Read(error) => refuse_read(&error),
        })?;
    let chunks = stream::unfold(tail, |mut tail| async move {
        let chunk = tail.next_chunk().await?;
        Some((Ok(Frame::data(chunk)), tail))
    });
    Ok(respond(
        StatusCode::OK,
        "application/x-ndjson",
        StreamBody::new(chunks).boxed_unsync(),
    ))
}

/// Where the store is damaged it mends itself within seconds; how it found that is for the log.
fn refuse_read(error: &ReadError) -> Refused {
    let refused = |text: String| Refused::new(StatusCode::SERVICE_UNAVAILABLE, text);
    match error {
        ReadError::Storage(what) => {
            log::warn!("a tail cannot begin: {what}");
            refused("where to begin cannot be found: the log is damaged there".to_owned())
                .fix("it is salvaged within seconds: try again, or use --from-beginning")
                .fix("what was lost and what was put aside: edge-broker status")
        }
        other => refused(other.to_string()),
    }
}

async fn metrics(app: &App) -> Response<Body> {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    respond(
        StatusCode::OK,
        OPEN_METRICS,
        full(super::metrics::text(&app.report().await)),
    )
}

/// `/health` and `/ready`: a word for people, a status for machines.
fn lamp(state: Result<(), String>) -> Response<Body> {
    let (status, text) = match state {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    };
    respond(status, "text/plain; charset=utf-8", full(text))
}

fn ok<T: Serialize>(answer: &T) -> Result<Response<Body>, Refused> {
    Ok(json(StatusCode::OK, answer))
}

fn json<T: Serialize>(status: StatusCode, answer: &T) -> Response<Body> {
    match serde_json::to_vec(answer) {
        Ok(bytes) => respond(status, "application/json", full(bytes)),
        Err(error) => respond(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain",
            full(format!("answer cannot be written: {error}\n")),
        ),
    }
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn nothing_here(door: Door, name: &str) -> Refused {
    let refused = Refused::new(StatusCode::NOT_FOUND, format!("nothing here: {name}"));
    match door {
        Door::Http => refused.fix("this address answers GET /health /ready /metrics /status"),
        Door::Socket => refused.fix("the command and the gateway may be of different versions"),
    }
}

async fn body(request: Request<Incoming>) -> Result<Vec<u8>, Refused> {
    let limited = Limited::new(request.into_body(), BODY_BYTES_MAX);
    let collected = limited.collect().await.map_err(|_| {
        Refused::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("body is over {BODY_BYTES_MAX} bytes"),
        )
    })?;
    Ok(collected.to_bytes().to_vec())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        Refused::new(
            StatusCode::BAD_REQUEST,
            format!("command is not understood: {error}"),
        )
    })
}

/// A web page in the operator's browser may not read this door by a name of its own that points
/// to 127.0.0.1 (DNS rebinding): an address or localhost cannot be such a name.
fn host_is_allowed(request: &Request<Incoming>) -> bool {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    host.is_some_and(is_allowed_host)
}

fn is_allowed_host(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = without_port.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_allowed_host;

    #[test]
    fn only_addresses_and_localhost_are_hosts_of_this_door() {
        for host in [
            "localhost",
            "localhost:9883",
            "127.0.0.1:9883",
            "[::1]:9883",
            "10.0.0.5",
        ] {
            assert!(is_allowed_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9883",
            "localhost.evil.example:9883",
        ] {
            assert!(!is_allowed_host(host), "{host}");
        }
    }
}
