//! Tokens, roles and scopes: who may do what, what who may not is told, and files that change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fusion_proto::client::CallHook;
use fusion_proto::limits::{CORRELATION_ID_KEY, IDEMPOTENCY_KEY};
use fusion_proto::pb;
use fusion_proto::pb::admin_service_client::AdminServiceClient;
use fusion_proto::pb::event_service_client::EventServiceClient;
use fusion_proto::pb::job_service_client::JobServiceClient;
use fusion_proto::pb::session_service_client::SessionServiceClient;
use fusion_proto::pb::view_service_client::ViewServiceClient;
use fusion_proto::status::{ObsoleteCause, Refusal};
use fusion_server::access::tokens::{TokenEntry, TokenFile, issue};
use tempfile::TempDir;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{TestServer, VIEW, advance, asks, config, refusal, start_with};
use crate::jobs::{plan, step};

pub(crate) type Hooked = InterceptedService<Channel, CallHook>;

/// The clients of one token.
pub(crate) struct Clients {
    pub(crate) sessions: SessionServiceClient<Hooked>,
    pub(crate) events: EventServiceClient<Hooked>,
    pub(crate) views: ViewServiceClient<Hooked>,
    pub(crate) jobs: JobServiceClient<Hooked>,
    pub(crate) admin: AdminServiceClient<Hooked>,
    pub(crate) health: HealthClient<Hooked>,
}

impl Clients {
    /// With this in `authorization`, or nothing.
    pub(crate) fn new(server: &TestServer, authorization: Option<&str>) -> Self {
        let authorization = authorization.map(str::to_owned);
        let hook = CallHook::new(move |metadata| {
            if let Some(value) = &authorization {
                assert!(metadata.set("authorization", value));
            }
        });
        let channel = || server.channel.clone();
        Self {
            sessions: SessionServiceClient::with_interceptor(channel(), hook.clone()),
            events: EventServiceClient::with_interceptor(channel(), hook.clone()),
            views: ViewServiceClient::with_interceptor(channel(), hook.clone()),
            jobs: JobServiceClient::with_interceptor(channel(), hook.clone()),
            admin: AdminServiceClient::with_interceptor(channel(), hook.clone()),
            health: HealthClient::with_interceptor(channel(), hook),
        }
    }

    pub(crate) fn of(server: &TestServer, token: &str) -> Self {
        Self::new(server, Some(&format!("Bearer {token}")))
    }

    pub(crate) async fn list_views(&mut self) -> Result<Vec<String>, Status> {
        let answer = self.views.list_views(pb::ListViewsRequest::default()).await?;
        Ok(answer.into_inner().views.into_iter().map(|view| view.name).collect())
    }
}

/// A file of tokens that a test adds to.
pub(crate) struct Ring {
    _dir: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) file: TokenFile,
}

impl Ring {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("tokens.toml");
        let ring = Self { _dir: dir, path, file: TokenFile::default() };
        ring.write();
        ring
    }

    pub(crate) fn write(&self) {
        std::fs::write(&self.path, self.file.to_toml().unwrap()).unwrap();
    }

    /// A new token; its principal is called as it is.
    pub(crate) fn add(&mut self, id: &str, role: &str, views: &[&str], agents: &[&str]) -> String {
        let (token, sha256) = issue(id).unwrap();
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        self.file.tokens.push(TokenEntry {
            id: id.to_owned(),
            principal: id.to_owned(),
            sha256,
            role: role.to_owned(),
            views: owned(views),
            agents: owned(agents),
            path: None,
            created: "2026-01-01T00:00:00Z".to_owned(),
            expires: None,
        });
        self.write();
        token
    }

    /// Binds the last token to a path.
    pub(crate) fn bind(&mut self, path: &str) {
        self.file.tokens.last_mut().unwrap().path = Some(path.to_owned());
        self.write();
    }
}

pub(crate) async fn guarded(tokens: &Path) -> TestServer {
    let mut config = config();
    config.token_file = Some(tokens.to_owned());
    start_with(config).await
}

pub(crate) async fn denied(server: &TestServer, reason: &str) -> u64 {
    let series = format!("fusion_denied_calls_total{{reason=\"{reason}\"}} ");
    let text = server.get("/metrics").await;
    text.lines().find_map(|line| line.strip_prefix(&*series)).map_or(0, |it| it.parse().unwrap())
}

pub(crate) fn problem<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    match refusal(answer) {
        Refusal::Unauthenticated { problem } => problem,
        other => panic!("{other:?}"),
    }
}

fn needed<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    match refusal(answer) {
        Refusal::PermissionDenied { permission } => permission,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_shows_no_good_token_is_told_so_and_counted() {
    let mut ring = Ring::new();
    let good = ring.add("good", "reader", &["*"], &[]);
    let old = ring.add("old", "reader", &["*"], &[]);
    ring.file.tokens[1].expires = Some("2026-01-02T00:00:00Z".to_owned());
    ring.write();
    let server = guarded(&ring.path).await;
    Clients::of(&server, &good).list_views().await.unwrap();
    let (_, foreign) = (issue("good").unwrap().1, issue("good").unwrap().0);
    let hash = ring.file.tokens[0].sha256.clone();
    let cases = [
        (None, "no_token", "is needed"),
        (Some("Basic eDp5".to_owned()), "malformed", "`Bearer TOKEN`"),
        (Some(format!("Bearer {foreign}")), "unknown_token", "not known"),
        (Some(format!("Bearer {hash}")), "unknown_token", "not known"),
        (Some(format!("Bearer {old}")), "expired_token", "expired"),
    ];
    for (authorization, reason, says) in cases {
        let before = denied(&server, reason).await;
        let told = problem(Clients::new(&server, authorization.as_deref()).list_views().await);
        assert!(told.contains(says), "{told}");
        for secret in [&good, &foreign, &old, &hash] {
            assert!(!told.contains(&**secret), "{told}");
        }
        assert_eq!(denied(&server, reason).await, before + 1, "{reason}");
    }
    let mut nobody = Clients::new(&server, None);
    nobody.health.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn each_role_may_do_its_own_and_no_more() {
    let mut ring = Ring::new();
    let [agent, reader, operator, admin] = ["agent", "reader", "operator", "admin"].map(|role| {
        let agents: &[&str] = if role == "agent" { &["a"] } else { &[] };
        ring.add(role, role, &["*"], agents)
    });
    let server = guarded(&ring.path).await;
    let [mut agent, mut reader, mut operator, mut admin] =
        [agent, reader, operator, admin].map(|token| Clients::of(&server, &token));
    let session = agent.sessions.create_session(asks("a")).await.unwrap().into_inner().session_id;
    let refresh = || pb::RefreshPathRequest {
        view: VIEW.to_owned(),
        path: "/".to_owned(),
        agent_id: "nobody".to_owned(),
        ..Default::default()
    };
    let evict = || pb::EvictSessionRequest { session_id: session.clone(), allow_missing: false };

    assert_eq!(needed(agent.list_views().await), "role reader");
    assert_eq!(needed(agent.jobs.create_job(plan(&[step("s", "/", &[])])).await), "role operator");
    assert_eq!(needed(agent.admin.evict_session(evict()).await), "role admin");
    let other = agent.sessions.create_session(asks("b")).await;
    assert_eq!(needed(other), "agent id b");
    assert_eq!(denied(&server, "agent_id").await, 1);

    assert_eq!(reader.list_views().await.unwrap(), [VIEW]);
    assert_eq!(needed(reader.sessions.create_session(asks("r")).await), "role agent");
    assert_eq!(needed(reader.views.refresh_path(refresh()).await), "role operator");

    assert_eq!(operator.list_views().await.unwrap(), [VIEW]);
    let lacking = refusal(operator.views.refresh_path(refresh()).await);
    assert!(matches!(lacking, Refusal::AgentNotFound { .. }), "{lacking:?}");
    operator.jobs.create_job(plan(&[step("s", "/", &[])])).await.unwrap();
    let seen = pb::GetSessionRequest { session_id: session.clone() };
    operator.sessions.get_session(seen).await.unwrap();
    assert_eq!(needed(operator.sessions.create_session(asks("o")).await), "role agent");
    assert_eq!(needed(operator.admin.evict_session(evict()).await), "role admin");

    assert_eq!(admin.list_views().await.unwrap(), [VIEW]);
    admin.admin.evict_session(evict()).await.unwrap();
    assert!(denied(&server, "role").await >= 7);
}

/// What a call about a view says, with the name of the view taken out.
fn says<T: std::fmt::Debug>(answer: Result<T, Status>, view: &str) -> (Code, String, String) {
    let refused = refusal(answer);
    let told = format!("{refused:?}").replace(view, "VIEW");
    (refused.code(), refused.to_string().replace(view, "VIEW"), told)
}

/// Calls methods that name a view, once with one that is hidden and once with one that does not exist.
macro_rules! same {
    ($client:expr; $($method:ident: $request:ident { $($field:ident: $value:expr),* };)*) => {$({
        #[allow(clippy::needless_update, reason = "some requests have no other field")]
        let ask = |view: &str| pb::$request {
            view: view.to_owned(), $($field: $value,)* ..Default::default()
        };
        let hidden = says($client.$method(ask("hidden")).await, "hidden");
        let missing = says($client.$method(ask("missing")).await, "missing");
        assert_eq!(hidden, missing, stringify!($method));
        assert_eq!(hidden.0, Code::NotFound, "{} {hidden:?}", stringify!($method));
    })*};
}

pub(crate) fn of_view(view: &str, agent: &str) -> pb::CreateSessionRequest {
    pb::CreateSessionRequest { view: view.to_owned(), ..asks(agent) }
}

fn root() -> String {
    "/".to_owned()
}

/// A server with a view that all may see and one that is hidden, each with a session; the latter's.
async fn with_a_hidden_view(ring: &mut Ring) -> (TestServer, String) {
    let pushes = ring.add("pushes", "agent", &["*"], &["*"]);
    let server = guarded(&ring.path).await;
    let mut agent = Clients::of(&server, &pushes);
    agent.sessions.create_session(asks("a")).await.unwrap();
    let hidden = agent.sessions.create_session(of_view("hidden", "h")).await.unwrap();
    (server, hidden.into_inner().session_id)
}

pub(crate) async fn health(
    health: &mut HealthClient<Hooked>,
    view: &str,
) -> Result<(), (Code, String)> {
    let service = format!("fusion.v1.view/{view}");
    let told = health.check(HealthCheckRequest { service }).await;
    told.map(drop).map_err(|status| (status.code(), status.message().to_owned()))
}

#[tokio::test]
async fn to_who_reads_a_hidden_view_is_as_one_that_does_not_exist() {
    let mut ring = Ring::new();
    let tokens = ["reader", "operator"].map(|role| ring.add(role, role, &[VIEW], &[]));
    let (server, _) = with_a_hidden_view(&mut ring).await;
    for token in &tokens {
        let mut asks = Clients::of(&server, token);
        assert_eq!(asks.list_views().await.unwrap(), [VIEW]);
        let compared = pb::CompareViewsRequest { path: root(), ..Default::default() };
        let compared = asks.views.compare_views(compared).await.unwrap().into_inner().views;
        assert_eq!(compared.iter().map(|row| &*row.view).collect::<Vec<_>>(), [VIEW]);
        let fresh = i32::from(pb::ReadClass::Fresh);
        same! { asks.views;
            get_view: GetViewRequest {};
            get_entry: GetEntryRequest { path: root() };
            get_entry: GetEntryRequest { path: root(), read_class: fresh };
            get_stats: GetStatsRequest { path: root() };
            list_entries: ListEntriesRequest { path: root() };
            find_entries: FindEntriesRequest { path: root() };
            get_breakdown: GetBreakdownRequest { path: root() };
            export_entries: ExportEntriesRequest { path: root() };
            watch_view: WatchViewRequest { path: root() };
            list_changes: ListChangesRequest { path: root() };
            wait_quiet: WaitQuietRequest {
                path: root(),
                quiet_for: Some(prost_types::Duration { seconds: 1, nanos: 0 })
            };
            list_suspects: ListSuspectsRequest { path: root() };
            list_blind_spots: ListBlindSpotsRequest { path: root() };
            list_trash: ListTrashRequest { path: root() };
        }
        let hidden = health(&mut asks.health, "hidden").await.unwrap_err();
        assert_eq!(Err(hidden), health(&mut asks.health, "missing").await);
    }
    let mut nobody = Clients::new(&server, None);
    let seen = health(&mut nobody.health, VIEW).await.unwrap_err();
    assert_eq!(Err(seen), health(&mut nobody.health, "missing").await);
}

#[tokio::test]
async fn to_who_operates_a_hidden_view_is_as_one_that_does_not_exist() {
    let mut ring = Ring::new();
    let all = ring.add("all", "operator", &["*"], &[]);
    let bound = ring.add("bound", "operator", &[VIEW], &[]);
    let (server, hidden_session) = with_a_hidden_view(&mut ring).await;
    let (mut all, mut bound) = (Clients::of(&server, &all), Clients::of(&server, &bound));
    same! { bound.views;
        refresh_path: RefreshPathRequest { path: root() };
        restore_trash: RestoreTrashRequest { trash_id: 1 };
        purge_trash: PurgeTrashRequest { trash_id: 1 };
    }
    same! { bound.sessions; list_sessions: ListSessionsRequest {}; }

    let of = |view: &str| pb::JobStepSpec { view: view.to_owned(), ..step("s", "/", &[]) };
    let hidden = says(bound.jobs.create_job(plan(&[of("hidden")])).await, "hidden");
    assert_eq!(hidden, says(bound.jobs.create_job(plan(&[of("missing")])).await, "missing"));
    let made = all.jobs.create_job(plan(&[of("hidden")])).await.unwrap().into_inner();
    let hidden = made.job.unwrap().job_id;
    let get = |job_id: &str| pb::GetJobRequest { job_id: job_id.to_owned() };
    let none = crate::harness::uuid("missing");
    let missing = says(bound.jobs.get_job(get(&none)).await, &none);
    assert_eq!(says(bound.jobs.get_job(get(&hidden)).await, &hidden), missing);
    let job_id = || hidden.clone();
    let watch = pb::WatchJobRequest { job_id: job_id() };
    assert_eq!(says(bound.jobs.watch_job(watch).await, &hidden), missing);
    let cancel = pb::CancelJobRequest { job_id: job_id(), ..Default::default() };
    assert_eq!(says(bound.jobs.cancel_job(cancel).await, &hidden), missing);
    let retry = pb::RetryJobRequest { job_id: job_id() };
    assert_eq!(says(bound.jobs.retry_job(retry).await, &hidden), missing);
    let listed = bound.jobs.list_jobs(pb::ListJobsRequest::default()).await.unwrap();
    assert!(listed.into_inner().jobs.is_empty());

    let sessions = bound.sessions.list_sessions(pb::ListSessionsRequest::default()).await.unwrap();
    let sessions = sessions.into_inner().sessions;
    assert!(sessions.len() == 1 && sessions[0].view == VIEW, "{sessions:?}");
    let theirs = pb::GetSessionRequest { session_id: hidden_session };
    let theirs = refusal(bound.sessions.get_session(theirs).await);
    assert!(matches!(theirs, Refusal::SessionNotFound { .. }), "{theirs:?}");
}

#[tokio::test]
async fn to_an_agent_a_hidden_view_is_as_one_that_does_not_exist() {
    let mut ring = Ring::new();
    let narrow = ring.add("narrow", "agent", &[VIEW], &["*"]);
    let (server, _) = with_a_hidden_view(&mut ring).await;
    let mut agent = Clients::of(&server, &narrow);
    let hidden = says(agent.sessions.create_session(of_view("hidden", "n")).await, "hidden");
    let missing = says(agent.sessions.create_session(of_view("missing", "n")).await, "missing");
    assert_eq!(hidden, missing);
    assert_eq!(hidden.0, Code::NotFound);
    agent.sessions.create_session(asks("n")).await.unwrap();
}

#[tokio::test]
async fn a_session_is_of_its_principal_and_so_is_a_key() {
    let mut ring = Ring::new();
    let [first, second] = ["first", "second"].map(|id| ring.add(id, "agent", &["*"], &["*"]));
    let [one, two] = ["one", "two"].map(|id| ring.add(id, "operator", &["*"], &[]));
    let server = guarded(&ring.path).await;
    let [mut first, mut second] = [first, second].map(|token| Clients::of(&server, &token));
    let joined = first.sessions.create_session(asks("a")).await.unwrap().into_inner();
    let beat =
        || pb::HeartbeatRequest { session_id: joined.session_id.clone(), ..Default::default() };
    let stolen = refusal(second.sessions.heartbeat(beat()).await);
    let unknown = ObsoleteCause::Unknown;
    assert!(
        matches!(&stolen, Refusal::SessionObsolete { cause, view: None, .. } if *cause == unknown),
        "{stolen:?}"
    );
    let end = pb::EndSessionRequest { session_id: joined.session_id.clone(), allow_missing: false };
    assert!(matches!(
        refusal(second.sessions.end_session(end).await),
        Refusal::SessionNotFound { .. }
    ));
    first.sessions.heartbeat(beat()).await.unwrap();

    let mut made = Vec::new();
    for token in [&one, &two, &one] {
        let mut request = Request::new(plan(&[step("s", "/", &[])]));
        request.metadata_mut().insert(IDEMPOTENCY_KEY, "same".parse().unwrap());
        let answer = Clients::of(&server, token).jobs.create_job(request).await.unwrap();
        made.push(answer.into_inner().job.unwrap());
    }
    assert_ne!(made[0].job_id, made[1].job_id);
    assert_eq!(made[0].job_id, made[2].job_id);
    assert_eq!((&*made[0].principal, &*made[1].principal), ("one", "two"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_is_good_no_more_and_a_bad_file_changes_nothing() {
    let mut ring = Ring::new();
    let (stays, goes) =
        (ring.add("stays", "reader", &["*"], &[]), ring.add("goes", "reader", &["*"], &[]));
    let server = guarded(&ring.path).await;
    let (mut stays, mut goes) = (Clients::of(&server, &stays), Clients::of(&server, &goes));
    let refused = "fusion_reloads_total{outcome=\"refused\",what=\"tokens\"} 1";
    std::fs::write(&ring.path, "[[token]]\nid = \"x\"\npaths = [\"/\"]\n").unwrap();
    while !server.get("/metrics").await.contains(refused) {
        advance(Duration::from_secs(1)).await;
    }
    goes.list_views().await.unwrap();
    ring.file.tokens.pop();
    ring.write();
    while goes.list_views().await.is_ok() {
        advance(Duration::from_secs(1)).await;
    }
    assert!(problem(goes.list_views().await).contains("not known"));
    stays.list_views().await.unwrap();
    assert!(server.get("/metrics").await.contains(refused), "told once");
}

#[tokio::test(start_paused = true)]
async fn a_reload_takes_tokens_at_once_and_is_for_administrators() {
    let mut ring = Ring::new();
    let [operator, admin] = ["operator", "admin"].map(|role| ring.add(role, role, &["*"], &[]));
    let server = guarded(&ring.path).await;
    let (mut operator, mut admin) = (Clients::of(&server, &operator), Clients::of(&server, &admin));
    let ask = || pb::ReloadConfigRequest {};
    assert_eq!(needed(operator.admin.reload_config(ask()).await), "role admin");
    let mut new = Clients::of(&server, &ring.add("new", "reader", &["*"], &[]));
    assert!(problem(new.list_views().await).contains("not known"));
    let changes = admin.admin.reload_config(ask()).await.unwrap().into_inner().changes;
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].key.as_str(), changes[0].value.as_str()), ("tokens", "read anew"));
    new.list_views().await.unwrap();
    assert_eq!(admin.admin.reload_config(ask()).await.unwrap().into_inner().changes, []);
}

#[tokio::test(start_paused = true)]
async fn a_changing_call_that_is_denied_is_recorded_and_a_flood_of_them_does_not_fill_the_store() {
    const FLOOD: usize = 200;
    let mut ring = Ring::new();
    let [reader, admin] = ["reader", "admin"].map(|role| ring.add(role, role, &["*"], &[]));
    let server = guarded(&ring.path).await;
    let (mut reader, mut admin) = (Clients::of(&server, &reader), Clients::of(&server, &admin));
    let reset = || {
        let mut request = Request::new(pb::ResetViewRequest { view: VIEW.to_owned() });
        request.metadata_mut().insert(IDEMPOTENCY_KEY, "k".parse().unwrap());
        request.metadata_mut().insert(CORRELATION_ID_KEY, "case:7".parse().unwrap());
        request
    };
    for _ in 0..FLOOD {
        assert_eq!(needed(reader.admin.reset_view(reset()).await), "role admin");
    }
    // Neither what only reads, nor who shows no good token.
    assert_eq!(
        needed(reader.admin.get_server_info(pb::GetServerInfoRequest::default()).await),
        "role admin"
    );
    problem(Clients::new(&server, Some("Bearer fusion.x.y")).admin.reset_view(reset()).await);
    advance(Duration::from_secs(3600)).await;
    needed(reader.admin.reset_view(reset()).await);
    let mut records = async |wanted: usize| loop {
        let asked = pb::ListAuditRecordsRequest::default();
        let found = admin.admin.list_audit_records(asked).await.unwrap().into_inner().records;
        if found.len() >= wanted {
            return found;
        }
        tokio::task::yield_now().await;
    };
    let found = records(11).await;
    assert_eq!(found.len(), 11, "{found:?}");
    for record in &found {
        let call = match record.payload.as_ref() {
            Some(pb::event_envelope::Payload::Call(call)) => call,
            other => panic!("{other:?}"),
        };
        assert_eq!(call.method, "fusion.v1.AdminService/ResetView");
        assert_eq!((&*call.code, &*call.reason), ("PERMISSION_DENIED", "PERMISSION_DENIED"));
        assert_eq!(record.actor.as_ref().unwrap().principal, "reader");
        assert_eq!(record.correlation_id, "case:7");
        assert!(!call.key_digest.is_empty() && call.key_digest != "k");
    }
    let left_out: Vec<_> = found.iter().map(|it| it.payload.as_ref().unwrap()).collect();
    assert!(format!("{:?}", left_out[0]).contains(&(FLOOD - 10).to_string()), "{left_out:?}");
}
