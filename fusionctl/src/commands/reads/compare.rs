//! `compare`: one path on several views side by side.

use fusion_proto::views::ViewRank;

use super::{connect, explain, parse_path, view_name};
use crate::cli::reads::{Compare, Rank};
use crate::exit::Failure;
use crate::output::Printer;
use crate::profile::Profile;

pub(super) async fn run(
    server: &Profile,
    asked: &Compare,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let path = match server.map(&asked.path, None)? {
        Some((_, path)) => path,
        None => parse_path(&asked.path)?,
    };
    let views =
        asked.views.iter().map(|name| view_name("--view", name)).collect::<Result<Vec<_>, _>>()?;
    let rank = match asked.rank {
        Rank::Completeness => ViewRank::Completeness,
        Rank::Files => ViewRank::Files,
        Rank::Bytes => ViewRank::Bytes,
        Rank::Newest => ViewRank::Newest,
    };
    let compared = connect(server)?.compare(&views, &path, rank).await;
    let compared = compared.map_err(|error| explain(&error, &server.server))?;
    printer.compared(&compared)?;
    printer.flush()?;
    // That a path is not on some view of the server is an answer; that a view that was named has none
    // is not.
    let failed = compared.iter().filter(|view| view.answer.is_err()).count();
    if failed == compared.len() || (failed > 0 && !views.is_empty()) {
        let of = compared.len();
        return Err(Failure::refused(format!("{failed} of {of} views have no answer; see there")));
    }
    Ok(())
}
