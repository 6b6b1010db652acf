//! Who may see a path only: all else is refused in the same words, whatever is there, and left out of what is
//! told.

use fusion_proto::limits::IDEMPOTENCY_KEY;
use fusion_proto::pb;
use fusion_proto::pb::evidence::Evidence as Said;
use fusion_proto::status::Refusal;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::access::{Clients, Ring, denied, guarded, of_view};
use crate::evidence::{DIR, FILE, ROOT_INODE, batch, root, row, stat};
use crate::harness::{TestServer, VIEW, advance, refusal, uuid};
use crate::jobs::{plan, step};

/// Where those are bound to who are bound, in a view with more beside it.
const TOP: &str = "/a/b";
/// Inodes of `/a`, `/a/b` and `/secret`.
const A: u64 = 11;
const B: u64 = 12;
const SECRET: u64 = 13;

/// A server whose agent can be heard, and somebody who is bound.
struct Bound {
    server: TestServer,
    agent: Clients,
    /// Reads and operates everything.
    all: Clients,
    /// Reads and operates below [`TOP`].
    bound: Clients,
    token: String,
    session: String,
    sequence: u64,
    ring: Ring,
}

impl Bound {
    /// With `/a/b/own`, of 1 byte, `/a/bc` and `/secret/file`, of 100.
    async fn start() -> Self {
        let mut ring = Ring::new();
        let agent = ring.add("agent", "agent", &["*"], &["*"]);
        let all = ring.add("all", "operator", &["*"], &[]);
        let bound = ring.add("bound", "operator", &[VIEW], &[]);
        ring.bind(TOP);
        let server = guarded(&ring.path).await;
        let token = bound.clone();
        let [mut agent, all, bound] = [agent, all, bound].map(|it| Clients::of(&server, &it));
        let hidden = of_view("hidden", "h");
        agent.sessions.create_session(hidden).await.unwrap();
        let session = agent.sessions.create_session(of_view(VIEW, "a")).await.unwrap();
        let session = session.into_inner().session_id;
        let mut this = Self { server, agent, all, bound, token, session, sequence: 0, ring };
        let rows = vec![
            root(),
            entry("/a", (DIR, 0, A), ROOT_INODE),
            entry("/a/b", (DIR, 0, B), A),
            entry("/a/b/own", (FILE, 1, 20), B),
            entry("/a/bc", (FILE, 100, 21), A),
            entry("/secret", (DIR, 0, SECRET), ROOT_INODE),
            entry("/secret/file", (FILE, 100, 22), SECRET),
        ];
        this.push(rows).await;
        this
    }

    async fn push(&mut self, rows: Vec<pb::Evidence>) {
        self.sequence += 1;
        let pushed = pb::PushEventBatchRequest {
            session_id: self.session.clone(),
            lane: pb::Lane::Realtime.into(),
            spool_id: uuid("a"),
            batch: Some(batch(self.sequence, rows)),
        };
        let told = self.agent.events.push_event_batch(pushed).await.unwrap().into_inner();
        assert_eq!(told.acknowledgement.unwrap().rejected, []);
    }

    async fn trash(&mut self) -> Vec<pb::TrashRecord> {
        let asked = pb::ListTrashRequest {
            view: VIEW.to_owned(),
            path: "/".to_owned(),
            ..Default::default()
        };
        self.all.views.list_trash(asked).await.unwrap().into_inner().records
    }
}

fn entry(path: &str, (kind, size, inode): (u8, u64, u64), parent: u64) -> pb::Evidence {
    row(Said::Upsert(pb::Upsert {
        path: path.as_bytes().to_vec().into(),
        stat: Some(stat(kind, size, inode)),
        parent: Some(stat(DIR, 0, parent)),
        atomic: true,
    }))
}

fn rename(from: (&str, u64), to: (&str, u64), (kind, size, inode): (u8, u64, u64)) -> pb::Evidence {
    row(Said::Rename(pb::Rename {
        from: from.0.as_bytes().to_vec().into(),
        to: to.0.as_bytes().to_vec().into(),
        stat: Some(stat(kind, size, inode)),
        from_parent: Some(stat(DIR, 0, from.1)),
        to_parent: Some(stat(DIR, 0, to.1)),
    }))
}

fn remove(path: &str, parent: u64) -> pb::Evidence {
    let (path, parent) = (path.as_bytes().to_vec().into(), Some(stat(DIR, 0, parent)));
    row(Said::Remove(pb::Remove { path, parent }))
}

/// A request for a path, of any method that takes one.
#[derive(Clone, Message)]
pub(crate) struct Asks {
    #[prost(string, tag = "1")]
    pub(crate) view: String,
    #[prost(string, tag = "2")]
    pub(crate) path: String,
}

/// The methods whose requests have these fields, each a number and the names that it may have.
pub(crate) fn methods(fields: &[(i32, &[&str])]) -> Vec<String> {
    let set = FileDescriptorSet::decode(fusion_proto::FILE_DESCRIPTOR_SET).unwrap();
    let has_them = |input: &str| {
        let mut messages = set.file.iter().flat_map(|file| &file.message_type);
        let request = messages.find(|it| input.ends_with(&format!(".{}", it.name()))).unwrap();
        fields.iter().all(|(number, names)| {
            let mut fields = request.field.iter();
            fields.any(|field| names.contains(&field.name()) && field.number() == *number)
        })
    };
    let services = set.file.iter().flat_map(|file| &file.service);
    let methods = services.flat_map(|service| {
        let of_it = service.method.iter().filter(|method| has_them(method.input_type()));
        of_it.map(move |method| format!("/fusion.v1.{}/{}", service.name(), method.name()))
    });
    methods.collect()
}

/// How a call ends, or that it gives a first message.
pub(crate) async fn call(
    server: &TestServer,
    token: &str,
    method: &str,
    asks: Asks,
) -> Result<(), Status> {
    let mut client = Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(asks);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let codec = ProstCodec::<Asks, ()>::default();
    let path = PathAndQuery::try_from(method).unwrap();
    let mut told = client.server_streaming(request, path, codec).await?.into_inner();
    told.message().await.map(drop)
}

#[tokio::test]
async fn every_method_refuses_other_paths_alike_whatever_is_there() {
    let mut this = Bound::start().await;
    let token = this.token.clone();
    let methods = methods(&[(1, &["view", "views"]), (2, &["path"])]);
    assert_eq!(methods.len(), 14, "{methods:?}");
    let mut refused = 0;
    for method in &methods {
        let asks = |view: &str, path: &str| Asks { view: view.to_owned(), path: path.to_owned() };
        let mut told = Vec::new();
        let paths = ["/secret/file", "/secret", "/a/bc", "/a", "/", "/none", "/a/none/x"];
        for (view, path) in paths.map(|path| (VIEW, path)).into_iter().chain([
            ("hidden", "/"),
            ("missing", "/"),
            ("hidden", "/secret"),
        ]) {
            let status = call(&this.server, &token, method, asks(view, path)).await.unwrap_err();
            told.push((status.code(), status.message().to_owned(), status.details().to_vec()));
            refused += 1;
        }
        assert_eq!(told[0].0, Code::PermissionDenied, "{method}: {told:?}");
        assert!(told[0].1.contains(TOP), "{told:?}");
        assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{method}: {told:?}");
        // That one waits for an agent, which is none here.
        let paths = [TOP, "/a/b/own"].into_iter().filter(|_| !method.ends_with("/RefreshPath"));
        for path in paths {
            let answer = call(&this.server, &token, method, asks(VIEW, path)).await;
            let is_denied =
                answer.as_ref().is_err_and(|status| status.code() == Code::PermissionDenied);
            assert!(!is_denied, "{method} {path}: {answer:?}");
        }
        let answer = |view| call(&this.server, &token, method, asks(view, TOP));
        let [hidden, missing] = [answer("hidden").await, answer("missing").await];
        // Where several views are asked for, what is wrong with one is told in its place.
        let hidden = format!("{:?}", hidden.map_err(|it| refusal::<()>(Err(it))));
        let missing = format!("{:?}", missing.map_err(|it| refusal::<()>(Err(it))));
        let hidden = hidden.replace("hidden", "missing");
        assert_eq!(hidden, missing, "{method}");
    }
    assert_eq!(denied(&this.server, "path").await, refused);
    let refresh = pb::RefreshPathRequest {
        view: VIEW.to_owned(),
        path: TOP.to_owned(),
        agent_id: "nobody".to_owned(),
        ..Default::default()
    };
    let told = refusal(this.bound.views.refresh_path(refresh).await);
    assert!(matches!(told, Refusal::AgentNotFound { .. }), "{told:?}");
}

#[tokio::test]
async fn views_are_as_large_as_what_may_be_seen_of_them() {
    let mut this = Bound::start().await;
    let asked = pb::GetViewRequest { view: VIEW.to_owned() };
    let shown = this.bound.views.get_view(asked.clone()).await.unwrap().into_inner().view.unwrap();
    let listed = this.bound.views.list_views(pb::ListViewsRequest::default()).await.unwrap();
    let [listed] = &*listed.into_inner().views else { panic!("one view") };
    for view in [&shown, listed] {
        let totals = view.totals.unwrap();
        assert_eq!((totals.files, totals.bytes, totals.directories), (1, 1, 0), "{totals:?}");
    }
    let whole = this.all.views.get_view(asked).await.unwrap().into_inner().view.unwrap();
    assert_eq!(whole.totals.unwrap().files, 3);
}

#[tokio::test]
async fn what_is_not_of_a_path_is_not_for_who_is_bound_to_one() {
    let mut this = Bound::start().await;
    let sessions = pb::ListSessionsRequest::default();
    let session = pb::GetSessionRequest { session_id: this.session.clone() };
    this.all.sessions.list_sessions(sessions.clone()).await.unwrap();
    this.all.sessions.get_session(session.clone()).await.unwrap();
    let listed = refusal(this.bound.sessions.list_sessions(sessions).await);
    assert_eq!(listed, refusal(this.bound.sessions.get_session(session).await));
    assert!(
        matches!(&listed, Refusal::PermissionDenied { permission } if permission.contains("path"))
    );
}

#[tokio::test]
async fn records_of_the_trash_are_there_for_whose_path_they_stood_at() {
    let mut this = Bound::start().await;
    this.push(vec![remove("/a/b/own", B), remove("/secret/file", SECRET)]).await;
    let records = this.trash().await;
    let id = |path: &str| records.iter().find(|it| it.path == path).unwrap().trash_id;
    let asked =
        pb::ListTrashRequest { view: VIEW.to_owned(), path: TOP.to_owned(), ..Default::default() };
    let seen = this.bound.views.list_trash(asked).await.unwrap().into_inner().records;
    assert_eq!(seen.iter().map(|it| &*it.path).collect::<Vec<_>>(), ["/a/b/own"]);

    let restore = |trash_id| pb::RestoreTrashRequest { view: VIEW.to_owned(), trash_id };
    let purge = |trash_id| pb::PurgeTrashRequest { view: VIEW.to_owned(), trash_id };
    for (number, trash_id) in [("outside", id("/secret/file")), ("none", 1 << 40)] {
        let of = Refusal::TrashNotFound { trash: trash_id.to_string() };
        let told = refusal(this.bound.views.restore_trash(restore(trash_id)).await);
        assert_eq!(told, of, "{number}");
        assert_eq!(refusal(this.bound.views.purge_trash(purge(trash_id)).await), of, "{number}");
    }
    assert_eq!(this.trash().await.len(), 2, "nothing was done");
    let restored = this.bound.views.restore_trash(restore(id("/a/b/own"))).await.unwrap();
    assert_eq!(restored.into_inner().record.unwrap().path, "/a/b/own");
}

#[tokio::test]
async fn jobs_are_there_for_who_may_see_all_that_they_are_about() {
    let mut this = Bound::start().await;
    let (own, above, other) =
        (step("own", "/a/b/x", &[]), step("above", "/a", &[]), step("other", "/a/bc", &[]));
    let whole = pb::JobStepSpec { kind: pb::StepKind::Audit.into(), ..step("whole", "", &[]) };
    for steps in [vec![above.clone()], vec![own.clone(), other.clone()], vec![whole]] {
        let told = refusal(this.bound.jobs.create_job(plan(&steps)).await);
        assert!(matches!(told, Refusal::PermissionDenied { .. }), "{told:?}");
    }
    let mut made = Vec::new();
    for steps in [vec![above], vec![own.clone(), other], vec![own.clone(), step("top", TOP, &[])]] {
        let job = this.all.jobs.create_job(plan(&steps)).await.unwrap().into_inner().job.unwrap();
        made.push(job.job_id);
    }
    let listed = this.bound.jobs.list_jobs(pb::ListJobsRequest::default()).await.unwrap();
    let listed: Vec<_> = listed.into_inner().jobs.into_iter().map(|job| job.job_id).collect();
    assert_eq!(listed, made[2..]);
    for (job_id, is_seen) in made.into_iter().zip([false, false, true]) {
        let none = Refusal::JobNotFound { job: job_id.clone() };
        let asked = pb::GetJobRequest { job_id: job_id.clone() };
        let got = this.bound.jobs.get_job(asked).await;
        assert_eq!(got.is_ok(), is_seen);
        let watched = this.bound.jobs.watch_job(pb::WatchJobRequest { job_id: job_id.clone() });
        let watched = watched.await.map(drop);
        let cancelled = pb::CancelJobRequest { job_id: job_id.clone(), ..Default::default() };
        let cancelled = this.bound.jobs.cancel_job(cancelled).await.map(drop);
        let retried = this.bound.jobs.retry_job(pb::RetryJobRequest { job_id }).await.map(drop);
        if is_seen {
            watched.unwrap();
            cancelled.unwrap();
            retried.unwrap();
        } else {
            for answer in [got.map(drop), watched, cancelled, retried] {
                assert_eq!(refusal(answer), none);
            }
        }
    }
}

/// A token of a page with another key: the head says of which request it is, and nothing guards the rest.
fn forged(token: &str, key: &[u8]) -> String {
    const HEAD: usize = (1 + 16 + 8) * 2;
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}{key}", &token[..HEAD])
}

#[tokio::test]
async fn a_forged_token_leads_to_nothing_outside_the_path() {
    let mut this = Bound::start().await;
    this.push(vec![entry("/a/b/more", (FILE, 1, 23), B)]).await;
    this.push(vec![remove("/secret/file", SECRET), remove("/a/b/own", B)]).await;
    this.push(vec![entry("/a/b/other", (FILE, 1, 24), B), remove("/a/b/more", B)]).await;
    let export = |resume_token: String| pb::ExportEntriesRequest {
        view: VIEW.to_owned(),
        path: TOP.to_owned(),
        resume_token,
        ..Default::default()
    };
    let mut exported = this.bound.views.export_entries(export(String::new())).await.unwrap();
    let token = exported.get_mut().message().await.unwrap().unwrap().resume_token;
    for at in ["/", "/a", "/a/ba", "/secret", "/secret/e", "/a/b/a"] {
        let key = [&[0; 8], at.as_bytes()].concat();
        let asked = export(forged(&token, &key));
        let mut told = this.bound.views.export_entries(asked).await.unwrap().into_inner();
        let mut rows = Vec::new();
        while let Some(message) = told.message().await.unwrap() {
            rows.extend(message.rows);
        }
        let rows = String::from_utf8(rows).unwrap();
        assert!(rows.lines().count() == 1 && rows.contains("\"/a/b/other\""), "{at}: {rows}");
    }
    let list = |page_token: String| pb::ListTrashRequest {
        view: VIEW.to_owned(),
        path: TOP.to_owned(),
        page_size: 1,
        page_token,
    };
    let first = this.bound.views.list_trash(list(String::new())).await.unwrap().into_inner();
    assert_eq!(first.records[0].path, "/a/b/own");
    let from_the_first = forged(&first.next_page_token, &0_u64.to_be_bytes());
    let again = this.bound.views.list_trash(list(from_the_first)).await.unwrap().into_inner();
    assert_eq!(again.records, first.records);
}

/// What is told of changes: type, path, where from and to, bytes before and after.
type Seen = (pb::EventType, String, Option<(String, String)>, [Option<u64>; 2]);

fn seen(event: &pb::EventEnvelope) -> Seen {
    let Some(pb::event_envelope::Payload::Entry(entry)) = &event.payload else {
        panic!("{event:?}");
    };
    let moved =
        (!entry.from_path.is_empty()).then(|| (entry.from_path.clone(), entry.to_path.clone()));
    let sizes = [&entry.before, &entry.after].map(|stat| stat.as_ref().map(|stat| stat.size));
    (event.event_type(), event.target.as_ref().unwrap().path.clone(), moved, sizes)
}

async fn until(watch: &mut Streaming<pb::WatchViewResponse>, revision: u64) -> Vec<Seen> {
    let mut told = Vec::new();
    loop {
        let message = watch.message().await.unwrap().unwrap();
        told.extend(message.events.iter().map(seen));
        if message.revision >= revision {
            return told;
        }
    }
}

#[tokio::test]
async fn a_rename_across_the_edge_is_something_that_came_or_went() {
    let dir = (DIR, 0, A);
    let away = rename(("/a", ROOT_INODE), ("/elsewhere", ROOT_INODE), dir);
    edge(away, pb::EventType::EntryMovedOut).await;
}

#[tokio::test]
async fn what_takes_the_path_along_is_told_as_happening_to_it() {
    let mut this = edge(remove("/a", ROOT_INODE), pb::EventType::NodeSoftDeleted).await;
    let all = this.trash().await;
    assert!(all.iter().any(|record| record.path == "/a"), "{all:?}");
    let trash =
        pb::ListTrashRequest { view: VIEW.to_owned(), path: TOP.to_owned(), ..Default::default() };
    let trash = this.bound.views.list_trash(trash).await.unwrap().into_inner().records;
    assert_eq!(trash, [], "what took the path along is not theirs to restore");
}

/// Renames across the edge, and at last something that takes the path along, told live, again and in a list.
async fn edge(last: pb::Evidence, last_type: pb::EventType) -> Bound {
    let mut this = Bound::start().await;
    let watch =
        pb::WatchViewRequest { view: VIEW.to_owned(), path: TOP.to_owned(), ..Default::default() };
    let mut live = this.bound.views.watch_view(watch.clone()).await.unwrap().into_inner();
    let from = live.message().await.unwrap().unwrap().revision;
    let file = (FILE, 1, 20);
    this.push(vec![rename(("/a/b/own", B), ("/secret/gone", SECRET), file)]).await;
    this.push(vec![rename(("/secret/gone", SECRET), ("/a/b/back", B), file)]).await;
    this.push(vec![rename(("/a/b/back", B), ("/a/b/again", B), file)]).await;
    this.push(vec![rename(("/secret/file", SECRET), ("/a/bc2", A), (FILE, 100, 22))]).await;
    this.push(vec![last]).await;
    let asked = pb::GetViewRequest { view: VIEW.to_owned() };
    let last = this.all.views.get_view(asked).await.unwrap().into_inner().view.unwrap();
    let last = last.freshness.unwrap().revision;

    use pb::EventType as Type;
    let at = |kind, path: &str, sizes| -> Seen { (kind, path.to_owned(), None, sizes) };
    let moved = Some(("/a/b/back".to_owned(), "/a/b/again".to_owned()));
    let expected = [
        at(Type::EntryMovedOut, "/a/b/own", [Some(1), None]),
        at(Type::EntryMovedIn, "/a/b/back", [None, Some(1)]),
        (Type::EntryMoved, "/a/b/again".to_owned(), moved, [Some(1), Some(1)]),
        at(last_type, TOP, [None, None]),
    ];
    // The directory's own stat changes with what is in it.
    let of_entries = |told: Vec<Seen>| -> Vec<Seen> {
        told.into_iter().filter(|(kind, ..)| *kind != Type::EntryModified).collect()
    };
    assert_eq!(of_entries(until(&mut live, last).await), expected);
    let again = pb::WatchViewRequest { after_revision: Some(from), ..watch };
    let mut again = this.bound.views.watch_view(again).await.unwrap().into_inner();
    assert_eq!(of_entries(until(&mut again, last).await), expected);
    let changes = pb::ListChangesRequest {
        view: VIEW.to_owned(),
        path: TOP.to_owned(),
        after_revision: from,
        ..Default::default()
    };
    let listed = this.bound.views.list_changes(changes.clone()).await.unwrap().into_inner();
    assert_eq!(of_entries(listed.events.iter().map(seen).collect()), expected);
    let itself = pb::ListChangesRequest { itself: true, ..changes };
    let itself = this.bound.views.list_changes(itself).await.unwrap().into_inner();
    assert_eq!(of_entries(itself.events.iter().map(seen).collect()), expected[3..]);
    this
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_told_no_more_than_its_path_allows_by_then() {
    let mut this = Bound::start().await;
    this.push(vec![remove("/a/b/own", B)]).await;
    let trash_id = this.trash().await[0].trash_id;
    let under_key = || {
        let mut request = Request::new(pb::RestoreTrashRequest { view: VIEW.to_owned(), trash_id });
        request.metadata_mut().insert(IDEMPOTENCY_KEY, "k".parse().unwrap());
        request
    };
    let job_under_key = || {
        let mut request = Request::new(plan(&[step("s", "/a/b/x", &[])]));
        request.metadata_mut().insert(IDEMPOTENCY_KEY, "j".parse().unwrap());
        request
    };
    for _ in 0..2 {
        let restored = this.bound.views.restore_trash(under_key()).await.unwrap().into_inner();
        assert_eq!(restored.record.unwrap().path, "/a/b/own");
        this.bound.jobs.create_job(job_under_key()).await.unwrap();
    }
    this.ring.bind("/secret");
    let in_force = || pb::GetStatsRequest {
        view: VIEW.to_owned(),
        path: "/secret".to_owned(),
        ..Default::default()
    };
    while this.bound.views.get_stats(in_force()).await.is_err() {
        advance(std::time::Duration::from_secs(1)).await;
    }
    let told = refusal(this.bound.views.restore_trash(under_key()).await);
    assert_eq!(told, Refusal::TrashNotFound { trash: trash_id.to_string() });
    let told = refusal(this.bound.jobs.create_job(job_under_key()).await);
    assert!(matches!(told, Refusal::PermissionDenied { .. }), "{told:?}");
}
