//! What becomes of what stands, and of what was answered, when a token is revoked or its scope is cut.

use std::time::Duration;

use fusion_proto::limits::IDEMPOTENCY_KEY;
use fusion_proto::pb;
use fusion_proto::pb::push_events_request::Message as Ask;
use fusion_proto::status::Refusal;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use crate::access::{Clients, Ring, denied, guarded, of_view, problem};
use crate::harness::{TestServer, VIEW, advance, asks, refusal};
use crate::jobs::{plan, step};
use crate::telling::opening;

fn watch() -> pb::WatchViewRequest {
    pb::WatchViewRequest { view: VIEW.to_owned(), path: "/".to_owned(), ..Default::default() }
}

/// How a stream ends, on driven time.
async fn end<T: std::fmt::Debug>(server: &TestServer, stream: &mut Streaming<T>) -> Status {
    loop {
        tokio::select! {
            biased;
            told = stream.message() => match told {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended well"),
                Err(status) => return status,
            },
            // Files are read in a thread of their own: time goes on as fast as that comes back.
            _ = server.get("/metrics") => advance(Duration::from_secs(1)).await,
        }
    }
}

/// That a stream has not ended by the time that the server has said something else.
async fn stands<T: std::fmt::Debug>(server: &TestServer, stream: &mut Streaming<T>) {
    let mut other = std::pin::pin!(server.get("/metrics"));
    loop {
        tokio::select! {
            biased;
            told = stream.message() => assert!(matches!(told, Ok(Some(_))), "{told:?}"),
            _ = &mut other => return,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_their_token_is_revoked_cut_or_expires_and_others_go_on() {
    let mut ring = Ring::new();
    let tokens = ["goes", "cut", "expires", "stays"].map(|id| ring.add(id, "reader", &["*"], &[]));
    let pushes = ring.add("pushes", "agent", &["*"], &["*"]);
    let stays_pushing = ring.add("keeps", "agent", &["*"], &["*"]);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(600);
    ring.file.tokens[2].expires = Some(soon.to_string());
    ring.write();
    let server = guarded(&ring.path).await;
    let mut keeps = Clients::of(&server, &stays_pushing);
    keeps.sessions.create_session(asks("k")).await.unwrap();
    let mut watches = Vec::new();
    for token in &tokens {
        let watch = Clients::of(&server, token).views.watch_view(watch()).await.unwrap();
        watches.push(watch.into_inner());
    }
    let mut pushes = Clients::of(&server, &pushes);
    let session = pushes.sessions.create_session(asks("a")).await.unwrap().into_inner().session_id;
    let (out, messages) = mpsc::channel(1);
    let opening = Ask::Opening(opening(pb::Lane::Realtime, &session, "a"));
    out.send(pb::PushEventsRequest { message: Some(opening) }).await.unwrap();
    let pushed = pushes.events.push_events(ReceiverStream::new(messages)).await.unwrap();
    let mut pushed = pushed.into_inner();
    pushed.message().await.unwrap().expect("opened");

    ring.file.tokens[1].views = vec![VIEW.to_owned()];
    ring.file.tokens.retain(|token| !["goes", "pushes"].contains(&&*token.id));
    ring.write();
    for stream in &mut watches[..2] {
        assert!(problem(Err::<(), _>(end(&server, stream).await)).contains("was revoked"));
    }
    assert!(problem(Err::<(), _>(end(&server, &mut pushed).await)).contains("was revoked"));
    // The server's end of it is over too: nothing more is taken from it.
    let open = "fusion_push_streams{lane=\"realtime\"} 0";
    while !server.get("/metrics").await.contains(open) {}
    assert_eq!(denied(&server, "revoked_token").await, 3);
    for stream in &mut watches[2..] {
        stands(&server, stream).await;
    }
    advance(Duration::from_secs(600)).await;
    assert!(problem(Err::<(), _>(end(&server, &mut watches[2]).await)).contains("has expired"));
    stands(&server, &mut watches[3]).await;
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_told_no_more_than_its_views_allow_by_then() {
    let mut ring = Ring::new();
    let agent = ring.add("agent", "agent", &["*"], &["*"]);
    let operator = ring.add("operator", "operator", &["*"], &[]);
    let server = guarded(&ring.path).await;
    Clients::of(&server, &agent).sessions.create_session(asks("a")).await.unwrap();
    let mut operator = Clients::of(&server, &operator);
    let under_key = |key: &str| {
        let mut request = Request::new(plan(&[step("s", "/", &[])]));
        request.metadata_mut().insert(IDEMPOTENCY_KEY, key.parse().unwrap());
        request
    };
    let job = operator.jobs.create_job(under_key("k")).await.unwrap().into_inner().job.unwrap();
    let cancel = || {
        let job_id = job.job_id.clone();
        let mut request = Request::new(pb::CancelJobRequest { job_id, ..Default::default() });
        request.metadata_mut().insert(IDEMPOTENCY_KEY, "c".parse().unwrap());
        request
    };
    operator.jobs.cancel_job(cancel()).await.unwrap();
    let again = operator.jobs.create_job(under_key("k")).await.unwrap().into_inner().job.unwrap();
    assert_eq!(again.job_id, job.job_id);
    operator.jobs.cancel_job(cancel()).await.unwrap();

    ring.file.tokens[1].views = vec!["other".to_owned()];
    ring.write();
    while !operator.list_views().await.unwrap().is_empty() {
        advance(Duration::from_secs(1)).await;
    }
    for key in ["k", "another"] {
        let told = refusal(operator.jobs.create_job(under_key(key)).await);
        assert!(
            matches!(&told, Refusal::ViewNotFound { view } if view.as_str() == VIEW),
            "{told:?}"
        );
    }
    let told = refusal(operator.jobs.cancel_job(cancel()).await);
    assert!(matches!(&told, Refusal::JobNotFound { job: of } if *of == job.job_id), "{told:?}");

    ring.file.tokens[1].views = vec!["*".to_owned()];
    ring.write();
    while operator.list_views().await.unwrap().is_empty() {
        advance(Duration::from_secs(1)).await;
    }
    let again = operator.jobs.create_job(under_key("k")).await.unwrap().into_inner().job.unwrap();
    assert_eq!(again.job_id, job.job_id, "it was not done again, nor forgotten");
}

#[tokio::test]
async fn pages_of_jobs_are_full_whatever_lies_between_that_is_hidden() {
    let mut ring = Ring::new();
    let all = ring.add("all", "operator", &["*"], &[]);
    let bound = ring.add("bound", "operator", &[VIEW], &[]);
    let agent = ring.add("agent", "agent", &["*"], &["*"]);
    let server = guarded(&ring.path).await;
    let mut agent = Clients::of(&server, &agent);
    for view in [VIEW, "hidden"] {
        agent.sessions.create_session(of_view(view, "a")).await.unwrap();
    }
    let [mut all, mut bound] = [all, bound].map(|token| Clients::of(&server, &token));
    let mut made = Vec::new();
    for number in 0..12 {
        let view = if number % 4 == 1 { VIEW } else { "hidden" };
        let of = pb::JobStepSpec { view: view.to_owned(), ..step("s", "/", &[]) };
        let job = all.jobs.create_job(plan(&[of])).await.unwrap().into_inner().job.unwrap();
        if view == VIEW {
            made.insert(0, job.job_id);
        }
    }
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let asked = pb::ListJobsRequest { page_size: 2, page_token, ..Default::default() };
        let page = bound.jobs.list_jobs(asked).await.unwrap().into_inner();
        let is_last = page.next_page_token.is_empty();
        assert!(page.jobs.len() == 2 || is_last && page.jobs.len() == 1, "{page:?}");
        found.extend(page.jobs.into_iter().map(|job| job.job_id));
        page_token = page.next_page_token;
        if is_last {
            break;
        }
    }
    assert_eq!(found, made);
}
