//! Questions about what is in a view; one file per command.

mod compare;
mod count;
mod du;
mod export;
mod find;
mod ls;
mod owner;
mod quantity;
mod stat;
mod tree;

pub(crate) use du::Share;

use super::{Target, connect, explain, parse_path, view_name, warn_unless_ready};
use crate::cli::ViewArg;
use crate::cli::reads::Read;
use crate::exit::Failure;
use crate::output::Printer;
use crate::profile::Profile;

pub(super) async fn run(
    read: Read,
    server: &Profile,
    printer: &mut Printer,
) -> Result<(), Failure> {
    match read {
        Read::Ls(ls) => {
            let mut target = Target::resolve(server, &ls.path, &ls.view).await?;
            ls::run(&mut target, &ls, printer).await
        }
        Read::Tree(tree) => {
            let mut target = Target::resolve(server, &tree.path, &tree.view).await?;
            tree::run(&mut target, &tree, printer).await
        }
        Read::Stat { path, view } => {
            let mut target = Target::resolve(server, &path, &view).await?;
            stat::run(&mut target, printer).await
        }
        Read::Du(du) => {
            let mut target = Target::resolve(server, &du.path, &du.view).await?;
            du::run(&mut target, &du, printer).await
        }
        Read::Find(find) => find::run(server, *find, printer).await,
        Read::Top(top) => {
            let mut target = Target::resolve(server, &top.path, &top.view).await?;
            count::top(&mut target, &top, printer).await
        }
        Read::Who(who) => {
            let mut target = Target::resolve(server, &who.path, &who.view).await?;
            count::who(&mut target, &who, printer).await
        }
        Read::Breakdown(all) => {
            let mut target = Target::resolve(server, &all.path, &all.view).await?;
            count::breakdown(&mut target, &all, printer).await
        }
        Read::Export(export) => {
            let mut target = Target::resolve(server, &export.path, &export.view).await?;
            export::run(&mut target, &export, printer).await
        }
        Read::Compare(compare) => compare::run(server, &compare, printer).await,
    }
}

/// The view argument of a command that takes several, for its first.
fn first_of(views: &[String]) -> ViewArg {
    ViewArg { name: views.first().cloned() }
}
