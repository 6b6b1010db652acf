//! Lists a directory of a view, as a program of others would: `list URL VIEW [PATH]`.
//!
//! `cargo run -p fusion-proto --example list -- http://127.0.0.1:7700 home /src`

use std::error::Error;
use std::io::Write as _;

use fusion_core::id::ViewName;
use fusion_proto::client::{CallError, CallHook, connect};
use fusion_proto::convert::stat::path_from_text;
use fusion_proto::limits::CORRELATION_ID_KEY;
use fusion_proto::status::Refusal;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(view)) = (arguments.next(), arguments.next()) else {
        return Err("usage: list URL VIEW [PATH]".into());
    };
    let view = ViewName::new(&view)?;
    let path = path_from_text("PATH", arguments.next().as_deref().unwrap_or("/"))?;

    // Every call carries a correlation id, which the server writes on its log lines and spans.
    let hook = CallHook::new(|metadata| {
        metadata.set(CORRELATION_ID_KEY, "example:list");
    });
    let mut views = connect(&url, hook)?.views;

    let mut out = std::io::stdout().lock();
    let mut page_token = String::new();
    loop {
        // A refusal is a type: what to do about it is a match, not a search in a message.
        let page = match views.list(&view, &path, &page_token).await {
            Ok(page) => page,
            Err(CallError::Refused(Refusal::PathNotFound { path, .. })) => {
                return Err(format!("nothing is known at {path}").into());
            }
            Err(error) => return Err(error.into()),
        };
        for entry in &page.entries {
            writeln!(out, "{:>12} {}", entry.stat.size, entry.path)?;
        }
        if page.next_page_token.is_empty() {
            writeln!(out, "as of revision {}", page.freshness.revision)?;
            return Ok(());
        }
        page_token = page.next_page_token;
    }
}
