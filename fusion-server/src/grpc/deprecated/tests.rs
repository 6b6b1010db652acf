use std::convert::Infallible;

use jiff::civil::Date;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FieldOptions, FileDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto, MethodOptions, ServiceDescriptorProto,
};
use tonic::Status;
use tower::ServiceExt as _;

use super::*;
use crate::ops::metrics::Metrics;

/// `Ask { path = 1; legacy = 2 [deprecated]; Inner inner = 3; }`, `Inner { Ask ask = 1; old = 16 [deprecated]; }`,
/// `Plain { path = 1; }`, and a service `S` with `Old(Plain)`, which is deprecated, `New(Ask)` and `Plain(Plain)`.
fn descriptor() -> Vec<u8> {
    let field = |name: &str, number, message: Option<&str>, is_deprecated| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(if message.is_some() { Type::Message } else { Type::String }.into()),
        type_name: message.map(str::to_owned),
        options: Some(FieldOptions { deprecated: Some(is_deprecated), ..Default::default() }),
        ..Default::default()
    };
    let message = |name: &str, field| DescriptorProto {
        name: Some(name.to_owned()),
        field,
        ..Default::default()
    };
    let method = |name: &str, input: &str, is_deprecated| MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(format!(".t.v1.{input}")),
        options: Some(MethodOptions { deprecated: Some(is_deprecated), ..Default::default() }),
        ..Default::default()
    };
    let ask = vec![
        field("path", 1, None, false),
        field("legacy", 2, None, true),
        field("inner", 3, Some(".t.v1.Inner"), false),
    ];
    let inner = vec![field("ask", 1, Some(".t.v1.Ask"), false), field("old", 16, None, true)];
    let file = FileDescriptorProto {
        package: Some("t.v1".to_owned()),
        message_type: vec![
            message("Ask", ask),
            message("Inner", inner),
            message("Plain", vec![field("path", 1, None, false)]),
        ],
        service: vec![ServiceDescriptorProto {
            name: Some("S".to_owned()),
            method: vec![
                method("Old", "Plain", true),
                method("New", "Ask", false),
                method("Plain", "Plain", false),
            ],
            ..Default::default()
        }],
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

#[derive(Clone, PartialEq, prost::Message)]
struct Ask {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(string, tag = "2")]
    legacy: String,
    #[prost(message, optional, boxed, tag = "3")]
    inner: Option<Box<Inner>>,
    /// Of a client that is newer than we are.
    #[prost(fixed64, tag = "9")]
    unknown: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Inner {
    #[prost(message, optional, boxed, tag = "1")]
    ask: Option<Box<Ask>>,
    #[prost(string, tag = "16")]
    old: String,
}

const SUNSETS_OF_TEST: [(&str, &str); 2] =
    [("t.v1.S/Old", "2027-06-30"), ("t.v1.Ask.legacy", "2027-12-31")];

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// What the trailer says for a call with this body, which comes a byte at a time; and what the handler got.
async fn told(method: &str, body: Vec<u8>, fails: bool) -> (Vec<String>, Vec<u8>) {
    let calls = Metrics::new().unwrap().deprecated_calls;
    let layer = DeprecatedLayer::of(&descriptor(), &SUNSETS_OF_TEST, calls.clone()).unwrap();
    let got = Arc::new(Mutex::new(Vec::new()));
    let handed = Arc::clone(&got);
    let handler = tower::service_fn(move |request: Request<Body>| {
        let got = Arc::clone(&handed);
        async move {
            *got.lock().unwrap() = request.into_body().collect().await.unwrap().to_bytes().to_vec();
            if fails {
                return Ok::<_, Infallible>(Status::not_found("nothing").into_http());
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
            let frames = [Frame::data(Bytes::from_static(b"answer")), Frame::trailers(trailers)];
            let frames = futures_util::stream::iter(frames.map(Ok::<_, Status>));
            Ok(Response::new(Body::new(http_body_util::StreamBody::new(frames))))
        }
    });
    let bytes = body.into_iter().map(|byte| Ok::<_, Status>(Frame::data(Bytes::from(vec![byte]))));
    let bytes = http_body_util::StreamBody::new(futures_util::stream::iter(bytes));
    let request = Request::builder().uri(format!("/t.v1.S/{method}")).body(Body::new(bytes));
    let answer = layer.layer(handler).oneshot(request.unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let of = |headers: &HeaderMap| {
        let values = headers.get_all(DEPRECATED_KEY).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let told = [of(&head.headers), of(&trailers)].concat();
    for one in &told {
        let name = one.split(';').next().unwrap();
        assert_eq!(calls.with_label_values(&[name]).get(), 1, "{name}");
    }
    let got = got.lock().unwrap().clone();
    (told, got)
}

fn ask() -> Ask {
    Ask { path: "/".to_owned(), unknown: 7, ..Ask::default() }
}

#[tokio::test]
async fn a_method_is_told_of_whatever_becomes_of_the_call() {
    for fails in [false, true] {
        let body = framed(&ask().encode_to_vec());
        let (said, got) = told("Old", body.clone(), fails).await;
        assert_eq!(said, ["t.v1.S/Old; sunset=2027-06-30"]);
        assert_eq!(got, body);
    }
}

#[tokio::test]
async fn a_field_is_told_of_if_it_is_there() {
    let plain = framed(&ask().encode_to_vec());
    assert_eq!(told("New", plain.clone(), false).await, (vec![], plain));
    let legacy = Ask { legacy: "x".to_owned(), ..ask() };
    let (said, _) = told("New", framed(&legacy.encode_to_vec()), false).await;
    assert_eq!(said, ["t.v1.Ask.legacy; sunset=2027-12-31"]);
    // In a message within a message, in the second message of a stream; and twice is once.
    let inner = Inner { ask: Some(Box::new(legacy.clone())), old: "y".to_owned() };
    let deep = Ask { inner: Some(Box::new(inner)), ..legacy };
    let body = [framed(&ask().encode_to_vec()), framed(&deep.encode_to_vec())].concat();
    let (said, got) = told("New", body.clone(), false).await;
    assert_eq!(said, ["t.v1.Ask.legacy; sunset=2027-12-31", "t.v1.Inner.old"]);
    assert_eq!(got, body);
}

#[tokio::test]
async fn what_has_nothing_deprecated_passes() {
    let legacy = Ask { legacy: "x".to_owned(), ..ask() };
    let body = framed(&legacy.encode_to_vec());
    assert_eq!(told("Plain", body.clone(), false).await, (vec![], body));
}

#[tokio::test]
async fn what_is_malformed_is_handed_on_as_it_is() {
    let whole = framed(&Ask { legacy: "x".to_owned(), ..ask() }.encode_to_vec());
    for body in [
        whole[..whole.len() - 1].to_vec(),
        framed(&[0xff; 40]),
        framed(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        [&[1][..], &whole[1..]].concat(),
        [&[0, 0xff, 0xff, 0xff, 0xff][..], &whole].concat(),
    ] {
        let (_, got) = told("New", body.clone(), false).await;
        assert_eq!(got, body);
    }
}

#[test]
fn all_that_our_contract_calls_deprecated_has_a_date_and_nothing_else_has() {
    let contract = Contract::read(fusion_proto::FILE_DESCRIPTOR_SET, SUNSETS).unwrap();
    let mut deprecated: Vec<_> = contract.items().map(|item| item.name.as_str()).collect();
    let mut dated: Vec<_> = SUNSETS.iter().map(|(name, _)| *name).collect();
    deprecated.sort_unstable();
    dated.sort_unstable();
    assert_eq!(deprecated, dated, "the contract, and the table of sunset dates");
    for (name, sunset) in SUNSETS {
        assert!(sunset.parse::<Date>().is_ok(), "{name}: {sunset} is no date");
    }
}
