//! Clients that mean harm, or speak nonsense: each is told so or cut off, counted, and nothing to others.

use std::time::Duration;

use bytes::Bytes;
use fusion_proto::limits::MESSAGE_BYTES;
use fusion_proto::pb;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::harness::{TestServer, advance, config, start, start_with};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const GET_ENTRY: &str = "/fusion.v1.ViewService/GetEntry";

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;

/// A connection that has begun as it should.
async fn connected(server: &TestServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.grpc).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// What the server has sent by the time that it ends a connection.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut some).await {
        all.extend_from_slice(&some[..length]);
    }
    all
}

/// Whether an honest client is served.
async fn is_served(server: &TestServer) {
    let mut views = server.views.clone();
    views.list_views(pb::ListViewsRequest::default()).await.unwrap();
}

fn outcome(of: &str) -> String {
    format!("fusion_connections_total{{outcome=\"{of}\"}}")
}

/// How a call of these bytes and headers ends.
async fn call(server: &TestServer, headers: &[(&str, &str)], bytes: Vec<u8>) -> Code {
    let mut request = http::Request::post(GET_ENTRY).header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::new(Full::new(Bytes::from(bytes)))).unwrap();
    let (head, body) = server.channel.clone().oneshot(request).await.unwrap().into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
    let code = head.headers.get("grpc-status").or(trailers.get("grpc-status"));
    Code::from_bytes(code.unwrap().as_bytes())
}

fn message(flag: u8, length: usize, bytes: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(length).unwrap().to_be_bytes(), bytes].concat()
}

#[tokio::test]
async fn messages_that_are_none_or_too_large_are_refused_and_counted() {
    let server = start().await;
    // Groups in groups, of a field that nobody knows.
    let nested = vec![0x7b; 100_000];
    let cases = [
        ("longer than it is allowed", message(0, MESSAGE_BYTES + 1, &[0; 16]), Code::OutOfRange),
        ("as long as can be said", message(0, u32::MAX as usize, &[0; 16]), Code::OutOfRange),
        ("cut off", message(0, 100, &[10, 1]), Code::Internal),
        ("nested without end", message(0, nested.len(), &nested), Code::Internal),
        ("no UTF-8", message(0, 3, &[10, 1, 0xff]), Code::Internal),
        ("compressed by nothing", message(1, 2, &[10, 0]), Code::Internal),
        ("no frame", vec![0, 0], Code::Internal),
        ("none", Vec::new(), Code::Internal),
    ];
    for (what, bytes, code) in cases {
        let name = if code == Code::Internal { "INTERNAL" } else { "OUT_OF_RANGE" };
        let series =
            format!("fusion_rpc_requests_total{{code=\"{name}\",method=\"{}\"}}", &GET_ENTRY[1..]);
        let before = server.metric(&series).await;
        assert_eq!(call(&server, &[], bytes).await, code, "{what}");
        assert_eq!(server.metric(&series).await, before + 1, "{what}");
        is_served(&server).await;
    }
    let bomb = message(1, 64, &[0; 64]);
    assert_eq!(call(&server, &[("grpc-encoding", "gzip")], bomb).await, Code::Unimplemented);
}

#[tokio::test]
async fn metadata_beyond_its_bound_is_refused_and_what_names_a_call_is_checked() {
    let server = start().await;
    let good = || message(0, 6, &[10, 1, b'v', 18, 1, b'/']);
    assert_eq!(call(&server, &[], good()).await, Code::NotFound);
    for (name, value) in [("x-correlation-id", "a\tb"), ("x-correlation-id", &*"c".repeat(10_000))]
    {
        assert_eq!(call(&server, &[(name, value)], good()).await, Code::InvalidArgument, "{name}");
    }
    for size in [20 << 10, 1 << 20] {
        let bomb = "x".repeat(size);
        let request = http::Request::post(GET_ENTRY).header("x-bomb", &bomb);
        let request = request.body(Body::empty()).unwrap();
        match server.channel.clone().oneshot(request).await {
            Ok(answer) => {
                assert_eq!(answer.status(), http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
            }
            // The connection went with it.
            Err(error) => assert_eq!(size, 1 << 20, "{error:?}"),
        }
        let other =
            pb::view_service_client::ViewServiceClient::connect(format!("http://{}", server.grpc));
        other.await.unwrap().list_views(pb::ListViewsRequest::default()).await.unwrap();
    }
}

#[tokio::test]
async fn frames_that_break_the_protocol_end_their_connection_and_no_other() {
    let server = start().await;
    is_served(&server).await;
    // The server says how many calls a connection may have, and how long their heads may be.
    let mut settings = [0; 33];
    connected(&server).await.read_exact(&mut settings).await.unwrap();
    let rows: Vec<&[u8]> = settings[9..].chunks(6).collect();
    for row in [[0, 3, 0, 0, 0x20, 0], [0, 6, 0, 0, 0x40, 0]] {
        assert!(rows.contains(&&row[..]), "{rows:?}");
    }
    // POST http GetEntry, without a table.
    let path = u8::try_from(GET_ENTRY.len()).unwrap();
    let head = [&[0x83, 0x86, 0x04, path][..], GET_ENTRY.as_bytes(), &[0x01, 1, b'h']].concat();
    let reset_at_once: Vec<u8> = (0..2_000)
        .flat_map(|call| {
            let stream = call * 2 + 1;
            [frame(1, 4, stream, &head), frame(3, 0, stream, &8_u32.to_be_bytes())].concat()
        })
        .collect();
    let cases = [
        ("data of no stream", frame(0, 0, 0, b"x")),
        ("a head that is none", frame(1, 5, 1, &[0xff; 64])),
        ("longer than a frame may be", [&[0xff, 0xff, 0xff, 0, 0][..], &[0; 4]].concat()),
        ("a head that never ends", [frame(1, 0, 1, &head), frame(0, 0, 1, b"x")].concat()),
        ("settings of half a row", frame(SETTINGS, 0, 0, &[0; 5])),
        ("calls that are begun and taken back", reset_at_once),
    ];
    for (what, bytes) in cases {
        let mut stream = connected(&server).await;
        // It may be ended before all is sent.
        let _ = stream.write_all(&bytes).await;
        let told = rest(stream).await;
        let mut at = 0;
        let mut kinds = Vec::new();
        while let Some([a, b, c, kind]) = told.get(at..at + 4) {
            kinds.push(*kind);
            at += 9 + u32::from_be_bytes([0, *a, *b, *c]) as usize;
        }
        // Where bytes of ours were not read, what was told may be lost with the connection.
        assert!(kinds.contains(&GO_AWAY) || kinds.len() <= 2, "{what}: {kinds:?}");
        is_served(&server).await;
    }
    while server.metric("fusion_connections").await > 1 {}
}

#[tokio::test(start_paused = true)]
async fn who_does_not_begin_to_speak_is_cut_off() {
    let server = start().await;
    is_served(&server).await;
    let silent = TcpStream::connect(server.grpc).await.unwrap();
    let mut half = TcpStream::connect(server.grpc).await.unwrap();
    half.write_all(&PREFACE[..PREFACE.len() - 1]).await.unwrap();
    while server.metric("fusion_connections").await != 3 {}
    // The limit begins when the server takes it up.
    while server.metric(&outcome("silent")).await != 2 {
        advance(Duration::from_secs(1)).await;
    }
    rest(silent).await;
    rest(half).await;
    is_served(&server).await;
    while server.metric("fusion_connections").await != 1 {}
}

#[tokio::test]
async fn connections_are_bounded_and_their_places_come_back() {
    const MOST: usize = 200;
    let mut config = config();
    config.max_connections = MOST;
    let server = start_with(config).await;
    is_served(&server).await;
    let mut idle = Vec::new();
    for _ in 1..MOST {
        idle.push(connected(&server).await);
    }
    while server.metric("fusion_connections").await != MOST as u64 {}
    for _ in 0..5 {
        let mut one_more = TcpStream::connect(server.grpc).await.unwrap();
        assert!(matches!(one_more.read(&mut [0]).await, Ok(0) | Err(_)));
    }
    assert_eq!(server.metric(&outcome("refused")).await, 5);
    is_served(&server).await;
    idle.pop();
    while server.metric("fusion_connections").await == MOST as u64 {}
    let mut again = connected(&server).await;
    assert_eq!(again.read(&mut [0]).await.unwrap(), 1);
}

#[tokio::test]
async fn who_holds_connections_of_the_http_port_gives_way() {
    const MOST: usize = 256;
    let server = start().await;
    let mut silent = Vec::new();
    for _ in 0..MOST {
        let mut stream = TcpStream::connect(server.http).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nX: ").await.unwrap();
        silent.push(stream);
    }
    for _ in 0..3 {
        assert!(server.get("/livez").await.starts_with("HTTP/1.1 200"));
    }
    let mut oldest = silent.remove(0);
    let mut some = [0; 16];
    let ended = tokio::time::timeout(Duration::from_secs(10), oldest.read(&mut some)).await;
    assert!(matches!(ended.unwrap(), Ok(0) | Err(_)), "the oldest had to go");
    let newest = silent.last_mut().unwrap();
    newest.write_all(b"y\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    newest.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "who came last is served: {answer}");
}
