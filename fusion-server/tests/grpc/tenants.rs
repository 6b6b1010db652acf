//! Tenants on one server: what belongs to another cannot be told from what does not exist, by no method, id, key
//! or page.

use fusion_proto::limits::{CORRELATION_ID_KEY, IDEMPOTENCY_KEY};
use fusion_proto::pb;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;

use crate::access::{Clients, Ring, guarded, of_view};
use crate::harness::{TestServer, uuid};
use crate::jobs::{plan, step};
use crate::paths::{Asks, call, methods};

/// The view of another tenant, and one that is nobody's: as long, so that answers are.
const THEIRS: &str = "theirs";
const NOBODYS: &str = "nobody";

/// Two tenants, each with a view of its name, an agent, and an operator.
struct Tenants {
    server: TestServer,
    ours: Clients,
    theirs: Clients,
    /// With the file of tokens.
    _ring: Ring,
    /// By role.
    tokens: Vec<String>,
}

async fn tenants() -> Tenants {
    let mut ring = Ring::new();
    let tokens = ["reader", "operator"].map(|role| ring.add(role, role, &["ours"], &[]));
    let agent_of_ours = ring.add("agent", "agent", &["ours"], &["*"]);
    let [ours, theirs] = ["ours", THEIRS].map(|of| ring.add(of, "operator", &[of], &[]));
    let agents = ["ours", THEIRS].map(|of| {
        let token = ring.add(&format!("{of}-agent"), "agent", &[of], &["*"]);
        (of, token)
    });
    let server = guarded(&ring.path).await;
    for (of, token) in agents {
        Clients::of(&server, &token).sessions.create_session(of_view(of, "a")).await.unwrap();
    }
    let [ours, theirs] = [ours, theirs].map(|token| Clients::of(&server, &token));
    let tokens = tokens.into_iter().chain([agent_of_ours]).collect();
    Tenants { server, ours, theirs, _ring: ring, tokens }
}

/// All that a refusal says, with the name of the view or thing taken out.
fn said(status: &Status, name: &str) -> (Code, String, Vec<u8>) {
    let mut details = status.details().to_vec();
    while let Some(at) = details.windows(name.len()).position(|part| part == name.as_bytes()) {
        details[at..at + name.len()].fill(b'?');
    }
    (status.code(), status.message().replace(name, "?"), details)
}

#[tokio::test]
async fn no_method_tells_a_view_of_another_from_one_of_nobody() {
    let this = tenants().await;
    let methods = methods(&[(1, &["view"])]);
    assert!(methods.len() >= 18, "{methods:?}");
    let mut hidden = 0;
    for (method, token) in
        methods.iter().flat_map(|method| this.tokens.iter().map(move |it| (method, it)))
    {
        let of = async |view: &str| {
            let asks = Asks { view: view.to_owned(), path: "/".to_owned() };
            // A second field of another type, or one that lacks, is refused alike for both.
            let refused = call(&this.server, token, method, asks).await.unwrap_err();
            said(&refused, view)
        };
        let theirs = of(THEIRS).await;
        assert_eq!(theirs, of(NOBODYS).await, "{method}");
        hidden += usize::from(theirs.0 == Code::NotFound);
    }
    assert!(hidden >= 25, "{hidden} calls came so far as to look for the view");
}

#[tokio::test]
async fn where_several_views_are_asked_for_the_others_are_not_there() {
    let mut this = tenants().await;
    let mut told = Vec::new();
    for view in [THEIRS, NOBODYS] {
        let views = vec!["ours".to_owned(), view.to_owned()];
        let compared =
            pb::CompareViewsRequest { views, path: "/".to_owned(), ..Default::default() };
        let compared = this.ours.views.compare_views(compared).await.unwrap().into_inner().views;
        let found = pb::FindEntriesRequest {
            view: "ours".to_owned(),
            path: "/".to_owned(),
            more_views: vec![view.to_owned()],
            ..Default::default()
        };
        let mut found = this.ours.views.find_entries(found).await.unwrap().into_inner();
        let mut messages = Vec::new();
        while let Some(message) = found.message().await.unwrap() {
            messages.extend((message.view == view).then_some(message));
        }
        let compared: Vec<_> = compared.into_iter().filter(|row| row.view == view).collect();
        assert!(compared[0].error.is_some() && messages[0].error.is_some());
        told.push(format!("{compared:?} {messages:?}").replace(view, "?"));
    }
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn the_health_of_a_view_of_another_cannot_be_watched() {
    let mut this = tenants().await;
    let mut watched = Vec::new();
    for view in [THEIRS, NOBODYS] {
        let service = format!("fusion.v1.view/{view}");
        let watch = this.ours.health.watch(HealthCheckRequest { service }).await;
        watched.push(said(&watch.unwrap_err(), view));
    }
    assert_eq!(watched[0], watched[1]);
    let service = "fusion.v1.view/ours".to_owned();
    this.ours.health.watch(HealthCheckRequest { service }).await.unwrap();
}

fn job_of(view: &str, correlation: &str, key: &str) -> Request<pb::CreateJobRequest> {
    let of = pb::JobStepSpec { view: view.to_owned(), ..step("s", "/", &[]) };
    let mut request = Request::new(plan(&[of]));
    request.metadata_mut().insert(CORRELATION_ID_KEY, correlation.parse().unwrap());
    request.metadata_mut().insert(IDEMPOTENCY_KEY, key.parse().unwrap());
    request
}

#[tokio::test]
async fn a_chain_or_a_page_of_another_leads_to_nothing() {
    let mut this = tenants().await;
    for key in ["1", "2"] {
        this.theirs.jobs.create_job(job_of(THEIRS, "case:1", key)).await.unwrap();
    }
    let list = |correlation: &str, page_token: String| pb::ListJobsRequest {
        correlation_id: correlation.to_owned(),
        page_size: 1,
        page_token,
        ..Default::default()
    };
    let first = this.theirs.jobs.list_jobs(list("case:1", String::new())).await.unwrap();
    let first = first.into_inner();
    assert!(first.jobs.len() == 1 && !first.next_page_token.is_empty());
    // Neither by the chain, nor by the place where another had come to, which grants nothing.
    for token in [String::new(), first.next_page_token] {
        let listed = this.ours.jobs.list_jobs(list("case:1", token)).await.unwrap().into_inner();
        assert_eq!(listed, pb::ListJobsResponse::default());
    }
    let none = this.ours.jobs.list_jobs(list("case:2", String::new())).await.unwrap();
    assert_eq!(none.into_inner(), pb::ListJobsResponse::default());

    // A chain of one's own may have the same name; it has what is one's own in it.
    let own = this.ours.jobs.create_job(job_of("ours", "case:1", "1")).await.unwrap();
    let own = own.into_inner().job.unwrap().job_id;
    let listed = this.ours.jobs.list_jobs(list("case:1", String::new())).await.unwrap();
    let listed: Vec<_> = listed.into_inner().jobs.into_iter().map(|job| job.job_id).collect();
    assert_eq!(listed, [own]);
}

#[tokio::test]
async fn a_key_of_another_is_as_one_that_nobody_has() {
    let mut this = tenants().await;
    let theirs = this.theirs.jobs.create_job(job_of(THEIRS, "c", "key")).await.unwrap();
    let theirs = theirs.into_inner().job.unwrap();
    let delete = |key: &str| pb::DeleteIdempotencyKeyRequest {
        method: "fusion.v1.JobService/CreateJob".to_owned(),
        key: key.to_owned(),
    };
    for key in ["key", "none"] {
        let deleted = this.ours.admin.delete_idempotency_key(delete(key)).await.unwrap();
        assert!(!deleted.into_inner().existed, "{key}");
    }
    // Another request under the same key is no reuse of it, and the first is done once all the same.
    this.ours.jobs.create_job(job_of("ours", "c", "key")).await.unwrap();
    let again = this.theirs.jobs.create_job(job_of(THEIRS, "c", "key")).await.unwrap();
    assert_eq!(again.into_inner().job.unwrap().job_id, theirs.job_id);
    let deleted = this.theirs.admin.delete_idempotency_key(delete("key")).await.unwrap();
    assert!(deleted.into_inner().existed);
}

#[tokio::test]
async fn records_of_what_others_did_are_for_administrators() {
    let mut this = tenants().await;
    this.theirs.jobs.create_job(job_of(THEIRS, "case:1", "k")).await.unwrap();
    for correlation_id in ["case:1", "case:2"] {
        let asked = pb::ListAuditRecordsRequest {
            correlation_id: correlation_id.to_owned(),
            ..Default::default()
        };
        let refused = this.ours.admin.list_audit_records(asked).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    let job_id = uuid("none");
    let none = this.ours.jobs.get_job(pb::GetJobRequest { job_id: job_id.clone() }).await;
    let theirs = this.theirs.jobs.list_jobs(pb::ListJobsRequest::default()).await.unwrap();
    let job = theirs.into_inner().jobs.remove(0).job_id;
    let hidden = this.ours.jobs.get_job(pb::GetJobRequest { job_id: job.clone() }).await;
    assert_eq!(said(&hidden.unwrap_err(), &job), said(&none.unwrap_err(), &job_id));
}
