//! Turns any bytes into a call, and makes it in process: path, headers, frames, message.
//!
//! Used by the test `edge` and by the fuzz target of the same name. Most calls begin as one that is well formed,
//! of every method of the contract, by every role, and are then spoilt here and there; so they come far. What
//! is checked: nothing panics anywhere, the answer comes in time and is one of gRPC, with a code that says
//! something, and a well-formed call after it is answered as if nothing had been.

#![allow(clippy::unwrap_used, reason = "what is written here is valid")]

#[allow(dead_code, reason = "shared with the tests of the services, which use all of it")]
#[path = "../grpc/evidence.rs"]
mod evidence;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fusion_proto::pb;
use fusion_proto::pb::push_events_request::Message as Pushed;
use fusion_server::access::tokens::{TokenEntry, TokenFile, issue};
use fusion_server::app::{self, Deps, Edge};
use fusion_server::config::Config;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::runtime::Runtime;

use evidence::{batch, file, listing, root, row, scan_finished, scan_started};

/// Stands in the templates for the session that lives by then.
const SESSION: &str = "00000000-0000-4000-8000-000000000000";
const SPOOL: &str = "11111111-1111-4111-8111-111111111111";
const ROLES: [&str; 4] = ["agent", "reader", "operator", "admin"];
/// Longest that a call may take which was given a tenth of it.
const PATIENCE: Duration = Duration::from_secs(20);
const HEADERS: [&str; 11] = [
    "authorization",
    "content-type",
    "grpc-encoding",
    "grpc-accept-encoding",
    "grpc-timeout",
    "x-correlation-id",
    "idempotency-key",
    "traceparent",
    "tracestate",
    "grpc-status-details-bin",
    "te",
];

static BENCH: LazyLock<Mutex<Bench>> = LazyLock::new(|| Mutex::new(Bench::begin()));

/// Makes the call that the bytes stand for, and a well-formed one after it.
pub(crate) fn run(bytes: &[u8]) -> Result<(), String> {
    let mut bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner);
    bench.run(&mut Script(bytes))
}

/// Bytes, taken one by one; zeros when there are none left.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: usize) -> usize {
        (usize::from(self.next()) << 8 | usize::from(self.next())) % bound.max(1)
    }

    fn some(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1).min(self.0.len());
        let (some, rest) = self.0.split_at(length);
        self.0 = rest;
        some.to_vec()
    }
}

/// A call that is well formed: its path, who may make it, and its messages.
struct Template {
    path: String,
    role: usize,
    messages: Vec<Vec<u8>>,
}

struct Bench {
    runtime: Runtime,
    edge: Edge,
    tokens: Vec<String>,
    templates: Vec<Template>,
    session: String,
}

impl Bench {
    fn begin() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let tokens_file = dir.path().join("tokens.toml");
        let tokens = write_tokens(&tokens_file);
        let mut config = Config { token_file: Some(tokens_file), ..small() };
        config.grpc.address.set_port(0);
        config.http.address.set_port(0);
        let edge = runtime.block_on(async {
            let deps = Deps::bind(&config).await.unwrap();
            app::build(config, deps).unwrap().edge().await.unwrap()
        });
        let session = SESSION.to_owned();
        Self { runtime, edge, tokens, templates: templates(), session }
    }

    fn run(&mut self, script: &mut Script<'_>) -> Result<(), String> {
        let (request, told) = self.request(script);
        let Some(request) = request else { return Ok(()) };
        let (http, code) = self.call(request)?;
        // What is no gRPC at all may be told so by HTTP.
        let sound = match code {
            Some(code) => http == StatusCode::OK && (0..=16).contains(&code) && code != 2,
            None => http.is_client_error(),
        };
        if !sound {
            return Err(format!("{told}: HTTP {http}, code {code:?}"));
        }
        self.is_well(&told)
    }

    /// A heartbeat of the session is answered; a new one is begun where the last call ended it.
    fn is_well(&mut self, told: &str) -> Result<(), String> {
        let beat = pb::HeartbeatRequest { session_id: self.session.clone(), ..Default::default() };
        let code = self.well_formed("SessionService/Heartbeat", 0, &beat.encode_to_vec())?;
        match code {
            // ABORTED: it is over.
            10 => self.join(told),
            0 => Ok(()),
            code => Err(format!("after {told}: a heartbeat ended with {code}")),
        }
    }

    fn join(&mut self, told: &str) -> Result<(), String> {
        let asks = asks().encode_to_vec();
        let request = self.framed("/fusion.v1.SessionService/CreateSession", 0, &asks);
        let (head, body) = self.runtime.block_on(async {
            let answer = self.edge.call(request).await;
            let (head, body) = answer.into_parts();
            (head, body.collect().await.unwrap().to_bytes())
        });
        // One that is refused has its code in the head.
        let Some(made) = body.get(5..).filter(|_| !head.headers.contains_key("grpc-status")) else {
            return Err(format!("after {told}: no session is given: {:?}", head.headers));
        };
        let made = pb::CreateSessionResponse::decode(made).map_err(|error| error.to_string())?;
        self.session = made.session_id;
        Ok(())
    }

    fn well_formed(&self, method: &str, token: usize, message: &[u8]) -> Result<i32, String> {
        let (http, code) =
            self.call(self.framed(&format!("/fusion.v1.{method}"), token, message))?;
        code.ok_or_else(|| format!("{method}: HTTP {http} without a code"))
    }

    fn framed(&self, path: &str, token: usize, message: &[u8]) -> Request<Frames> {
        let request = Request::post(path)
            .header("content-type", "application/grpc")
            .header("authorization", format!("Bearer {}", self.tokens[token]));
        request.body(frames(vec![frame(0, message.len(), message)])).unwrap()
    }

    /// How a call ends: its HTTP status, and its code if it has one.
    fn call(&self, request: Request<Frames>) -> Result<(StatusCode, Option<i32>), String> {
        let path = request.uri().path().to_owned();
        let edge = &self.edge;
        let answered = async move {
            let answer = edge.call(request).await;
            let (head, mut body) = answer.into_parts();
            let mut code = code_of(&head.headers);
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| format!("{path}: the answer breaks: {error}"))?;
                if let Some(trailers) = frame.trailers_ref() {
                    code = code_of(trailers);
                }
            }
            Ok((head.status, code))
        };
        let limited = async { tokio::time::timeout(PATIENCE, answered).await };
        self.runtime.block_on(limited).unwrap_or_else(|_| Err("a call has no end".to_owned()))
    }

    /// The call that the bytes stand for, and what to call it; none if HTTP itself has no such request.
    fn request(&mut self, script: &mut Script<'_>) -> (Option<Request<Frames>>, String) {
        let template = &self.templates[script.below(self.templates.len())];
        let flags = script.next();
        let mut path = template.path.clone();
        if flags & 0b111 == 1 {
            let raw = script.some(40);
            let at = script.below(path.len());
            path.replace_range(at.., &String::from_utf8_lossy(&raw));
        }
        let mut request = Request::post(&path).header("content-type", "application/grpc");
        request = request.header("grpc-timeout", "20m");
        let who = match script.next() {
            0..=199 => template.role,
            other => usize::from(other % 5),
        };
        if let Some(token) = self.tokens.get(who) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for _ in 0..(flags >> 3) & 0b11 {
            let name = HEADERS[script.below(HEADERS.len())];
            let value = script.some(200);
            let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(&value))
            else {
                continue;
            };
            request.headers_mut().map(|headers| headers.insert(name, value));
        }
        let body = self.body(template, script);
        // A deadline that was asked for is kept; without one a watch has no end.
        if let Some(headers) = request.headers_mut()
            && headers.get("grpc-timeout").is_none_or(|left| !is_short(left))
        {
            headers.insert("grpc-timeout", HeaderValue::from_static("20m"));
        }
        (request.body(body).ok(), path)
    }

    /// The messages of a template, spoilt, in frames that may be.
    fn body(&self, template: &Template, script: &mut Script<'_>) -> Frames {
        let mut whole = VecDeque::new();
        for message in &template.messages {
            let mut message = with_session(message, &self.session);
            for _ in 0..script.next() % 6 {
                spoil(&mut message, script);
            }
            whole.push_back(match script.next() {
                0..=199 => frame(0, message.len(), &message),
                200..=219 => frame(1, message.len(), &message),
                220..=239 => frame(0, script.below(1 << 16), &message),
                240..=247 => frame(script.next(), usize::MAX >> 32, &message),
                _ => message,
            });
        }
        if script.next().is_multiple_of(16) {
            whole.push_back(script.some(512));
        }
        frames(whole.into())
    }
}

/// One edit of a message.
fn spoil(message: &mut Vec<u8>, script: &mut Script<'_>) {
    let at = script.below(message.len() + 1);
    match script.next() % 5 {
        0 => message.truncate(at),
        1 => drop(message.splice(at..at, script.some(64))),
        2 => drop(
            message.drain(at..(at + 1 + usize::from(script.next() % 8)).min(message.len()).max(at)),
        ),
        3 => message.extend_from_within(at..),
        _ => {
            let byte = script.next();
            message.get_mut(at).into_iter().for_each(|it| *it = byte);
        }
    }
}

type Frames = http_body_util::combinators::BoxBody<Bytes, Infallible>;

fn frames(all: Vec<Vec<u8>>) -> Frames {
    let all = all.into_iter().map(|data| Ok(http_body::Frame::data(Bytes::from(data))));
    StreamBody::new(futures_util::stream::iter(all)).boxed()
}

fn frame(flag: u8, length: usize, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    [&[flag][..], &length.to_be_bytes(), message].concat()
}

/// The code of a call; none for an internal error of ours, which has details. That of the library, for what
/// is no message, has none.
fn code_of(headers: &HeaderMap) -> Option<i32> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    (code != 13 || !headers.contains_key("grpc-status-details-bin")).then_some(code)
}

/// Whether a deadline ends within the patience of the bench.
fn is_short(left: &HeaderValue) -> bool {
    let text = left.to_str().unwrap_or_default();
    text.len() <= 5 && ["m", "u", "n"].iter().any(|unit| text.ends_with(unit)) && {
        text[..text.len() - 1].bytes().all(|digit| digit.is_ascii_digit()) && text.len() > 1
    }
}

/// The message with the session that lives in place of that of the template: it is as long.
fn with_session(message: &[u8], session: &str) -> Vec<u8> {
    let mut message = message.to_vec();
    let places: Vec<usize> = message
        .windows(SESSION.len())
        .enumerate()
        .filter_map(|(at, part)| (part == SESSION.as_bytes()).then_some(at))
        .collect();
    for at in places {
        message[at..at + SESSION.len()].copy_from_slice(session.as_bytes());
    }
    message
}

/// A server that stays small however long it is called.
fn small() -> Config {
    let second = Duration::from_secs(1);
    let mut config = Config {
        idempotency_ttl: second,
        job_ttl: second,
        audit_ttl: second,
        max_open_jobs: 64,
        max_views: 6,
        ..Config::default()
    };
    config.session.timeout_max = Duration::from_secs(600);
    config.view_defaults.settings.trash_ttl = second;
    config.view_defaults.settings.held_max = 100;
    // Whatever evidence made of its root, a session is given.
    config.view_defaults.settings.accept_root = true;
    config.quotas.requests_per_second = 1_000_000;
    config
}

/// A token for each role, which may do on every view what the role may; the file is read once.
fn write_tokens(path: &std::path::Path) -> Vec<String> {
    let mut written = TokenFile::default();
    let mut tokens = Vec::new();
    for role in ROLES {
        let (token, sha256) = issue(role).unwrap();
        let agents = if role == "agent" { vec!["*".to_owned()] } else { Vec::new() };
        written.tokens.push(TokenEntry {
            id: role.to_owned(),
            principal: role.to_owned(),
            sha256,
            role: role.to_owned(),
            views: vec!["*".to_owned()],
            agents,
            path: None,
            created: "2026-01-01T00:00:00Z".to_owned(),
            expires: None,
        });
        tokens.push(token);
    }
    std::fs::write(path, written.to_toml().unwrap()).unwrap();
    tokens
}

fn asks() -> pb::CreateSessionRequest {
    pb::CreateSessionRequest {
        view: "v".to_owned(),
        agent_id: "a".to_owned(),
        instance_id: SPOOL.to_owned(),
        spool_id: SPOOL.to_owned(),
        client: Some(pb::Client { hostname: "host".to_owned(), ..Default::default() }),
        root: Some(pb::Root {
            uri: "file://host/tree".to_owned(),
            identity: Some(pb::RootIdentity::default()),
        }),
        capabilities: vec![pb::Capability::Realtime.into(), pb::Capability::Scan.into()],
        proposed_timeout: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
    }
}

/// A well-formed call of every method, and of those that take much some more.
fn templates() -> Vec<Template> {
    let mut all = vec![template("SessionService/CreateSession", &[asks().encode_to_vec()])];
    for method in ["Heartbeat", "EndSession", "GetSession"] {
        let beat = pb::HeartbeatRequest { session_id: SESSION.to_owned(), ..Default::default() };
        all.push(template(&format!("SessionService/{method}"), &[beat.encode_to_vec()]));
    }
    for (lane, batch) in batches() {
        let spool_id = if lane == pb::Lane::Realtime { SPOOL.to_owned() } else { String::new() };
        let (session_id, lane) = (SESSION.to_owned(), lane.into());
        let opening = pb::PushOpening {
            session_id: session_id.clone(),
            lane,
            spool_id: spool_id.clone(),
            first_held: 1,
            next: 1,
        };
        let say = |message| pb::PushEventsRequest { message: Some(message) }.encode_to_vec();
        let stream = [say(Pushed::Opening(opening)), say(Pushed::Batch(batch.clone()))];
        all.push(template("EventService/PushEvents", &stream));
        let single = pb::PushEventBatchRequest { session_id, lane, spool_id, batch: Some(batch) };
        all.push(template("EventService/PushEventBatch", &[single.encode_to_vec()]));
    }
    let step = pb::JobStepSpec {
        step_id: "s".to_owned(),
        kind: pb::StepKind::Scan.into(),
        view: "v".to_owned(),
        path: "/".to_owned(),
        ..Default::default()
    };
    let plan = pb::CreateJobRequest { steps: vec![step], priority: 0 };
    all.push(template("JobService/CreateJob", &[plan.encode_to_vec()]));
    // The first field of most is a view or an id, the second a path.
    let view =
        pb::GetEntryRequest { view: "v".to_owned(), path: "/".to_owned(), ..Default::default() };
    let set = FileDescriptorSet::decode(fusion_proto::FILE_DESCRIPTOR_SET).unwrap();
    for service in set.file.iter().flat_map(|file| &file.service) {
        for method in &service.method {
            let name = format!("{}/{}", service.name(), method.name());
            all.push(template(&name, &[view.encode_to_vec()]));
        }
    }
    for path in ["health.v1.Health/Check", "health.v1.Health/Watch"] {
        all.push(Template { path: format!("/grpc.{path}"), role: 1, messages: vec![Vec::new()] });
    }
    let reflect = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned();
    all.push(Template { path: reflect, role: 1, messages: vec![vec![0x3a, 0]] });
    all
}

fn template(method: &str, messages: &[Vec<u8>]) -> Template {
    let role = match method.split('/').next() {
        Some("SessionService" | "EventService") => "agent",
        Some("AdminService") => "admin",
        _ => "operator",
    };
    let role = ROLES.iter().position(|it| *it == role).unwrap();
    Template { path: format!("/fusion.v1.{method}"), role, messages: messages.to_vec() }
}

/// Evidence of every kind.
fn batches() -> Vec<(pb::Lane, pb::EvidenceBatch)> {
    use pb::evidence::Evidence as Said;
    let stat = |kind, inode| Some(evidence::stat(kind, 0, inode));
    let parent = stat(evidence::DIR, evidence::ROOT_INODE);
    let path = || Bytes::from_static(b"/a");
    let told = vec![
        root(),
        file("/a", 1),
        row(Said::Rename(pb::Rename {
            from: path(),
            to: Bytes::from_static(b"/b"),
            stat: stat(evidence::FILE, 7),
            from_parent: parent,
            to_parent: parent,
        })),
        row(Said::Remove(pb::Remove { path: path(), parent })),
        row(Said::Unreadable(pb::Unreadable { dir: path(), errno: 13 })),
        row(Said::Overflow(pb::Overflow::default())),
    ];
    let names = ["a".to_owned(), "b".to_owned()];
    let listed =
        pb::EvidenceBatch { listings: vec![listing("/", &names, 0, true)], ..batch(1, vec![]) };
    vec![
        (pb::Lane::Realtime, batch(1, told)),
        (pb::Lane::Scan, batch(1, vec![scan_started(), scan_finished()])),
        (pb::Lane::Scan, listed),
    ]
}
