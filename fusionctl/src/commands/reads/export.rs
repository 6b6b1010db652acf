//! `export`: entries as rows of text, to a file or standard output, and on after an export that broke off.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::Path;

use fusion_proto::views::{
    EntryFilter, ExportColumn, ExportEntries, ExportFormat, Exporting, ReadClass,
};

use super::find::kind_of;
use super::{Target, warn_unless_ready};
use crate::cli::reads::{Export, Format};
use crate::exit::Failure;
use crate::output::Printer;

pub(super) async fn run(
    target: &mut Target,
    asked: &Export,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let columns = asked.columns.iter().map(|name| column(name)).collect::<Result<Vec<_>, _>>()?;
    let request = ExportEntries {
        view: target.view.clone(),
        path: target.path.clone(),
        class: ReadClass::Any,
        format: match asked.format {
            Format::Ndjson => ExportFormat::Ndjson,
            Format::Csv => ExportFormat::Csv,
        },
        columns,
        filter: EntryFilter {
            kinds: asked.kinds.iter().map(|kind| kind_of(*kind)).collect(),
            ..EntryFilter::default()
        },
        resume_token: asked.resume.clone().unwrap_or_default(),
    };
    let exporting = target.client.export(&request).await;
    let exporting = exporting.map_err(|error| target.explain(&error))?;
    match &asked.file {
        None => write(target, exporting, &mut |rows| printer.raw(rows)).await?,
        Some(path) => {
            let mut file = BufWriter::with_capacity(1 << 20, open(path, asked.resume.is_some())?);
            let unwritten = |error| Failure::refused(format!("{}: {error}", path.display()));
            let done =
                write(target, exporting, &mut |rows| file.write_all(rows).map_err(unwritten)).await;
            // What came before it broke off is gone on from: it must be in the file.
            file.flush().map_err(unwritten)?;
            done?;
        }
    }
    printer.flush()
}

/// A new file, or the end of the one that is gone on with.
fn open(path: &Path, resumed: bool) -> Result<std::fs::File, Failure> {
    let mut options = OpenOptions::new();
    if resumed {
        options.append(true);
    } else {
        options.write(true).create_new(true);
    }
    options.open(path).map_err(|error| Failure::refused(format!("{}: {error}", path.display())))
}

async fn write(
    target: &Target,
    mut exporting: Exporting,
    out: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut token = String::new();
    loop {
        let why = match exporting.next().await {
            Ok(Some(part)) => {
                out(&part.rows)?;
                if let Some(freshness) = part.freshness {
                    warn_unless_ready(&target.view, &freshness);
                    return Ok(());
                }
                if !part.resume_token.is_empty() {
                    token = part.resume_token;
                }
                continue;
            }
            Ok(None) => "the server broke off".to_owned(),
            Err(error) => error.to_string(),
        };
        let next = if token.is_empty() {
            "begin again".to_owned()
        } else {
            format!("go on with the same command and --resume {token}")
        };
        return Err(Failure::refused(format!("{why}: these rows are not all\n  {next}")));
    }
}

fn column(name: &str) -> Result<ExportColumn, Failure> {
    ExportColumn::parse(name).ok_or_else(|| {
        let names: Vec<&str> = ExportColumn::ALL.iter().map(|column| column.name()).collect();
        Failure::usage(format!("--columns: `{name}` is none of {}", names.join(", ")))
    })
}
