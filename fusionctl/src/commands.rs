//! What each command does; one file per command.

mod dev;
mod live;
mod reads;
mod views;

pub(crate) use reads::Share;

use fusion_core::id::ViewName;
use fusion_core::path::{PathRef, TreePath, notation};
use fusion_proto::client::CallError;
use fusion_proto::status::Refusal;
use fusion_proto::views::{Freshness, ViewsClient};

use crate::cli::{Args, Command, ViewArg};
use crate::exit::Failure;
use crate::output::Printer;

/// Runs a command.
///
/// # Errors
/// It could not be done; what was printed before may be incomplete.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let mut printer = Printer::new(args.output);
    let server = args.server;
    match args.command {
        Command::Dev { dir, view, data_dir } => {
            dev::run(dev::Request { dir, view, data_dir }, &mut printer).await
        }
        Command::Views => views::run(&mut connect(&server)?, &mut printer).await,
        Command::Read(read) => reads::run(*read, &server, &mut printer).await,
        Command::Live(command) => live::run(&server, command, &mut printer).await,
    }
}

/// A path in a view of a server.
struct Target {
    client: ViewsClient,
    server: String,
    view: ViewName,
    path: TreePath,
}

impl Target {
    /// Checks the path, connects, and finds the view if there is only one.
    async fn resolve(server: &str, path: &str, view: &ViewArg) -> Result<Self, Failure> {
        let path = parse_path(path)?;
        let mut client = connect(server)?;
        let view = match view.name.as_deref() {
            Some(name) => view_name(name)?,
            None => only_view(&mut client, server).await?,
        };
        Ok(Self { client, server: server.to_owned(), view, path })
    }

    /// What a failed call means to whoever typed the command.
    fn explain(&self, error: &CallError) -> Failure {
        explain(error, &self.server)
    }
}

fn connect(server: &str) -> Result<ViewsClient, Failure> {
    ViewsClient::connect(server)
        .map_err(|error| Failure::usage(format!("--server {server}: {error}")))
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

fn view_name(name: &str) -> Result<ViewName, Failure> {
    ViewName::new(name).map_err(|error| Failure::usage(format!("--view: {error}")))
}

/// What a failed call means, and what to do next.
fn explain(error: &CallError, server: &str) -> Failure {
    if error.is_unreachable() {
        return Failure::refused(format!(
            "no server answers at {server}: {error}\n  is it running? Name another one by --server or \
             FUSION_SERVER_URL; `fusionctl dev DIR` starts one of your own"
        ));
    }
    let next = match error {
        CallError::Refused(Refusal::ViewNotFound { .. }) => "see `fusionctl views`",
        CallError::Refused(Refusal::PathNotFound { .. }) => {
            "see what is there: `fusionctl ls` of the directory above it"
        }
        CallError::Refused(Refusal::ViewNotReady { .. }) => "see `fusionctl views` for its state",
        _ => return Failure::refused(error.to_string()),
    };
    Failure::refused(format!("{error}\n  {next}"))
}

/// Says on standard error what an answer is not worth, if the view is not ready.
fn warn_unless_ready(view: &ViewName, freshness: &Freshness) {
    if !freshness.is_ready() {
        let reasons = freshness.reasons.join("; ");
        eprintln!("fusionctl: view {view} is {}: {reasons}", freshness.state_text());
    }
}
