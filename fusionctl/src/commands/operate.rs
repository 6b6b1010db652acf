//! The commands of whoever runs a server: which does what.

use super::{
    Target, chain, cluster, doctor, generate, jobs, lists, records, refresh, sessions, status,
    tokens, trash,
};
use crate::cli::{ClusterCommand, OperateCommand, ServerCommand};
use crate::exit::Failure;
use crate::output::Printer;
use crate::profile::Profile;

/// Runs one.
pub(super) async fn run(
    command: OperateCommand,
    server: &Profile,
    printer: &mut Printer,
) -> Result<(), Failure> {
    match command {
        OperateCommand::Suspects { path, view } => {
            let mut target = Target::resolve(server, &path, &view).await?;
            lists::suspects(&mut target, printer).await
        }
        OperateCommand::BlindSpots { path, view } => {
            let mut target = Target::resolve(server, &path, &view).await?;
            lists::blind_spots(&mut target, printer).await
        }
        OperateCommand::Trash { command } => trash::run(server, command, printer).await,
        OperateCommand::Refresh { path, recursive, agent, view } => {
            let mut target = Target::resolve(server, &path, &view).await?;
            refresh::run(&mut target, recursive, agent.as_deref(), printer).await
        }
        OperateCommand::Jobs { command } => jobs::run(server, command, printer).await,
        OperateCommand::Audit { how, view } => jobs::audit(server, &view, how, printer).await,
        OperateCommand::Sessions { command, view } => {
            sessions::run(server, command, view.as_deref(), printer).await
        }
        OperateCommand::LogFilter { filter, reset } => {
            let filter = if reset { Some(String::new()) } else { filter };
            status::log_filter(server, filter.as_deref(), printer).await
        }
        OperateCommand::Reload => status::reload(server, printer).await,
        OperateCommand::Token { command } => tokens::run(command, printer),
        OperateCommand::Records(args) => records::run(server, args, printer).await,
        OperateCommand::Explain(args) => chain::explain(server, args, printer).await,
        OperateCommand::Trace(args) => chain::trace(server, args, printer).await,
        OperateCommand::Status => status::run(server, printer).await,
        OperateCommand::Cluster { command: ClusterCommand::Status } => {
            cluster::status(server, printer).await
        }
        OperateCommand::Server { command: ServerCommand::Drain { server: named, lift, wait } } => {
            cluster::drain(server, &named, lift, wait, printer).await
        }
        OperateCommand::Doctor => doctor::run(server, printer).await,
        OperateCommand::Completions { shell } => generate::completions(shell, printer),
        OperateCommand::Man { dir } => generate::man(&dir, printer),
    }
}
