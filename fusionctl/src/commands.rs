//! What each command does; one file per command.

mod chain;
mod cluster;
mod dev;
mod doctor;
mod generate;
mod jobs;
mod lists;
mod live;
mod once;
mod operate;
mod pages;
mod picture;
mod reads;
mod records;
mod refresh;
mod sessions;
mod status;
mod tokens;
mod trash;
mod views;

pub(crate) use reads::Share;

use fusion_core::id::{CorrelationId, ViewName};
use fusion_core::path::{PathRef, TreePath, notation};
use fusion_proto::client::{Bearer, CallError, CallHook, Client};
use fusion_proto::limits::{CORRELATION_ID_KEY, IDEMPOTENCY_KEY};
use fusion_proto::status::Refusal;
use fusion_proto::views::{Freshness, ViewsClient};
use uuid::Uuid;

use crate::cli::{Args, Command, ViewArg};
use crate::exit::{Failure, note};
use crate::output::Printer;
use crate::profile::Profile;

pub(crate) use cluster::server_json;
pub(crate) use doctor::{Finding, spoken};
pub(crate) use picture::Picture;

/// Runs a command.
///
/// # Errors
/// It could not be done; what was printed before may be incomplete.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let mut printer = Printer::new(args.output);
    let mut server = Profile::load(args.server, args.access, args.profile.as_deref())?;
    let drawn = || CorrelationId::new(&Uuid::new_v4().to_string()).ok();
    server.correlation = args.correlation_id.or_else(drawn);
    match args.command {
        Command::Dev { dir, view, data_dir, servers } => {
            dev::run(dev::Request { dir, view, data_dir, servers }, &mut printer).await
        }
        Command::Views { command } => views::run(&server, command, &mut printer).await,
        Command::Read(read) => reads::run(*read, &server, &mut printer).await,
        Command::Live(command) => live::run(&server, command, &mut printer).await,
        Command::Operate(command) => operate::run(command, &server, &mut printer).await,
    }
}

/// A path in a view of a server.
struct Target {
    client: ViewsClient,
    server: String,
    view: ViewName,
    path: TreePath,
    /// The chain of cause and effect that its calls belong to.
    chain: Option<CorrelationId>,
}

impl Target {
    /// Checks the path, connects, and finds the view if there is only one.
    /// A path below a mount of the profile is the view's that is mounted there.
    async fn resolve(server: &Profile, path: &str, view: &ViewArg) -> Result<Self, Failure> {
        let named = named_view(view)?;
        let mut client = connect(server)?;
        let (view, path) = match server.map(path, named.as_ref())? {
            Some(mapped) => mapped,
            None => {
                let path = parse_path(path)?;
                (the_view(&mut client, server, named).await?, path)
            }
        };
        let chain = server.correlation.clone();
        Ok(Self { client, server: server.server.clone(), view, path, chain })
    }

    /// What a failed call means to whoever typed the command.
    fn explain(&self, error: &CallError) -> Failure {
        explain(error, &self.server)
    }
}

fn connect(server: &Profile) -> Result<ViewsClient, Failure> {
    Ok(connect_all(server)?.views)
}

/// All clients of the server.
fn connect_all(server: &Profile) -> Result<Client, Failure> {
    let Profile { server, tls, token_file, correlation, .. } = server;
    let bearer = token_file.as_ref().map(|file| {
        Bearer::for_server(server, file)
            .map_err(|fault| Failure::usage(format!("--token-file: {fault}")))
    });
    let (bearer, chain) = (bearer.transpose()?, correlation.clone());
    let hook = CallHook::new(move |metadata| {
        if let Some(chain) = &chain {
            metadata.set(CORRELATION_ID_KEY, chain.as_str());
        }
        if let Some(key) = once::key() {
            metadata.set(IDEMPOTENCY_KEY, &key);
        }
        if let Some(bearer) = &bearer {
            bearer.show(metadata);
        }
    });
    fusion_proto::client::connect_with(server, tls, hook)
        .map_err(|error| Failure::usage(format!("--server {server}: {error}")))
}

/// The view that is named on the command line.
fn named_view(view: &ViewArg) -> Result<Option<ViewName>, Failure> {
    let name = view.name.as_deref().map(|name| view_name("--view", name));
    name.transpose()
}

fn view_name(what: &str, name: &str) -> Result<ViewName, Failure> {
    ViewName::new(name).map_err(|error| Failure::usage(format!("{what}: {error}")))
}

/// The view that is named, else the profile's, else the only one.
async fn the_view(
    client: &mut ViewsClient,
    server: &Profile,
    named: Option<ViewName>,
) -> Result<ViewName, Failure> {
    match named.or_else(|| server.view.clone()) {
        Some(view) => Ok(view),
        None => only_view(client, &server.server).await,
    }
}

/// The view of a server that has just one.
async fn only_view(client: &mut ViewsClient, server: &str) -> Result<ViewName, Failure> {
    let views = client.list_views().await.map_err(|error| explain(&error, server))?;
    match views.as_slice() {
        [] => Err(Failure::refused(format!(
            "the server at {server} has no view yet: an agent makes one when it first connects"
        ))),
        [view] => Ok(view.name.clone()),
        views => {
            let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
            Err(Failure::usage(format!(
                "the server has {} views; name one with --view: {}",
                names.len(),
                names.join(", ")
            )))
        }
    }
}

fn parse_path(text: &str) -> Result<TreePath, Failure> {
    let wrong = |why: String| Failure::usage(format!("path `{text}`: {why}"));
    let bytes = notation::parse(text).map_err(|error| wrong(error.to_string()))?;
    let path = PathRef::new(&bytes).map_err(|error| wrong(error.to_string()))?;
    Ok(path.to_owned())
}

/// What a failed call means, and what to do next.
fn explain(error: &CallError, server: &str) -> Failure {
    if error.is_insecure() {
        return Failure::refused(format!("no secure connection to {server}: {error}"));
    }
    if error.is_unreachable() {
        return Failure::refused(format!(
            "no server answers at {server}: {error}\n\
             Start one (fusion-server), or name the right one: --server, FUSION_SERVER or the profile"
        ));
    }
    Failure::refused(match next_step(error) {
        Some(step) => format!("{error}\n{step}"),
        None => error.to_string(),
    })
}

/// What to do about a refusal.
fn next_step(error: &CallError) -> Option<&'static str> {
    let CallError::Refused(refusal) = error else { return None };
    match refusal {
        Refusal::ViewNotFound { .. } => Some("`fusionctl views` lists them"),
        Refusal::PathNotFound { .. } => {
            Some("see what is there: `fusionctl ls` of the directory above it")
        }
        Refusal::TrashNotFound { .. } => Some("`fusionctl trash list` shows what is there"),
        Refusal::JobNotFound { .. } => Some("`fusionctl jobs list` shows those that are kept"),
        Refusal::AgentNotFound { .. } => Some("`fusionctl sessions` lists the agents"),
        Refusal::SessionNotFound { .. } => Some("`fusionctl sessions` lists those that live"),
        Refusal::PathTaken { .. } => {
            Some("keep what stands there, or `fusionctl trash purge` the record")
        }
        Refusal::ViewNotReady { .. } | Refusal::ScanFailed { .. } => {
            Some("`fusionctl doctor` finds what is wrong")
        }
        Refusal::Unauthenticated { .. } => {
            Some("show a token that is good: --token-file, FUSION_TOKEN_FILE or the profile")
        }
        Refusal::PermissionDenied { .. } => {
            Some("have whoever runs the server give your token that role: `fusionctl token create`")
        }
        Refusal::StoreUnavailable { .. } => {
            Some("free or mend the disk of the server's data directory")
        }
        _ => None,
    }
}

/// Says on standard error what an answer is not worth, if the view is not ready.
fn warn_unless_ready(view: &ViewName, freshness: &Freshness) {
    if !freshness.is_ready() {
        let reasons = freshness.reasons.join("; ");
        note(&format!("view {view} is {}: {reasons}", freshness.state_text()));
    }
}
