//! `export`: entries as rows, to a file or standard output, and on after an export that broke off.

#[cfg(feature = "parquet")]
mod parquet;

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

/// How to go on after an export that broke off.
const SAME: &str = "";
#[cfg(feature = "parquet")]
const OTHER: &str = ", another --file";

pub(super) async fn run(
    target: &mut Target,
    asked: &Export,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let file = place(asked)?;
    let columns = asked.columns.iter().map(|name| column(name)).collect::<Result<Vec<_>, _>>()?;
    let request = ExportEntries {
        view: target.view.clone(),
        path: target.path.clone(),
        class: ReadClass::Any,
        format: match asked.format {
            Format::Ndjson | Format::Parquet => ExportFormat::Ndjson,
            Format::Csv => ExportFormat::Csv,
        },
        columns: columns.clone(),
        filter: EntryFilter {
            kinds: asked.kinds.iter().map(|kind| kind_of(*kind)).collect(),
            ..EntryFilter::default()
        },
        resume_token: asked.resume.clone().unwrap_or_default(),
    };
    let exporting = target.client.export(&request).await;
    let exporting = exporting.map_err(|error| target.explain(&error))?;
    match file {
        Place::Standard => write(target, exporting, SAME, &mut |rows| printer.raw(rows)).await?,
        Place::Text(path) => {
            let mut file = BufWriter::with_capacity(1 << 20, open(path, asked.resume.is_some())?);
            let unwritten = |error| Failure::refused(format!("{}: {error}", path.display()));
            let mut take = |rows: &[u8]| file.write_all(rows).map_err(unwritten);
            let done = write(target, exporting, SAME, &mut take).await;
            // What came before it broke off is gone on from: it must be in the file.
            file.flush().map_err(unwritten)?;
            done?;
        }
        #[cfg(feature = "parquet")]
        Place::Parquet(path) => {
            let file = BufWriter::with_capacity(1 << 20, open(path, false)?);
            let columns = if columns.is_empty() { ExportColumn::ALL.to_vec() } else { columns };
            let mut table = parquet::Table::new(file, &columns)?;
            let done = write(target, exporting, OTHER, &mut |rows| table.add(rows)).await;
            // What came before it broke off is a whole file.
            let closed = table.close();
            done.and(closed)?;
        }
    }
    printer.flush()
}

/// Where rows go.
enum Place<'a> {
    Standard,
    Text(&'a Path),
    #[cfg(feature = "parquet")]
    Parquet(&'a Path),
}

fn place(asked: &Export) -> Result<Place<'_>, Failure> {
    let file = asked.file.as_deref();
    if asked.format != Format::Parquet {
        return Ok(file.map_or(Place::Standard, Place::Text));
    }
    #[cfg(feature = "parquet")]
    {
        let needed = || Failure::usage("--format parquet: name a new file with --file");
        file.map(Place::Parquet).ok_or_else(needed)
    }
    #[cfg(not(feature = "parquet"))]
    Err(Failure::usage("--format parquet: fusionctl was built without `--features parquet`"))
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
    again: &str,
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
            format!("go on with the same command{again} and --resume {token}")
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
