//! The command line of the binary: flags, and what becomes of them.

use std::path::PathBuf;

use clap::Parser;

use crate::config::{Raw, RawTree, Value};

/// Watches and scans trees, and tells a Fusion server.
#[derive(Debug, Parser)]
#[command(name = "agent-client", version = fusion_proto::version::version(), about)]
pub struct Cli {
    /// Reads settings from a TOML file; the environment (FUSION_AGENT__…) and flags go over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the server is: http://HOST:PORT or https://HOST:PORT; again for each of several that share
    /// the views.
    #[arg(long, value_name = "URL")]
    server: Vec<String>,
    /// Certificates (PEM) of who may sign the server's; needed with https.
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// The agent's own certificate (PEM), if the server wants one.
    #[arg(long, value_name = "FILE")]
    client_certificate: Option<String>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE")]
    client_key: Option<String>,
    /// The file of the agent's token, if the server wants one.
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
    /// The view to serve: a-z, 0-9 and `-`.
    #[arg(long, value_name = "NAME")]
    view: Option<String>,
    /// The directory that is the root of the view.
    #[arg(long, value_name = "DIR")]
    root: Option<String>,
    /// A view and the directory that is its root; again for each tree, in place of --view and --root.
    #[arg(long, value_name = "VIEW=ROOT", value_parser = RawTree::of_flag)]
    tree: Vec<RawTree>,
    /// The agent's name; default: HOSTNAME-XXXXXXXX, drawn once and kept in the spool.
    #[arg(long, value_name = "ID")]
    agent_id: Option<String>,
    /// Where evidence is kept until the server has it; default: $STATE_DIRECTORY, else
    /// $XDG_STATE_HOME/fusion/agent/VIEW, else ~/.local/state/fusion/agent/VIEW. With --tree: the
    /// directory of the spools, one for each view in it.
    #[arg(long, value_name = "DIR")]
    spool: Option<String>,
    /// Serves /metrics, /livez and /readyz there; port 0 picks a free one.
    #[arg(long, value_name = "ADDR")]
    http_listen: Option<String>,
    /// Gets a line http=HOST:PORT once that is served.
    #[arg(long, value_name = "FILE")]
    address_file: Option<String>,
    /// Watches at most so many directories, in all trees together.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    max_watches: Option<String>,
    /// Reads directories on so many threads, shared by the trees that are being scanned.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    scan_workers: Option<String>,
    /// Looks at most at so many entries per second, all scans together.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    scan_rate: Option<String>,
    /// Scans pause in proportion where a call of the storage takes longer than this (such as 5ms).
    #[arg(long, value_name = "TIME")]
    scan_yield_above: Option<String>,
    /// Checks the configuration and does nothing else.
    #[arg(long)]
    pub check_config: bool,
    /// Prints what would be in force and does nothing else.
    #[arg(long)]
    pub print_config: bool,
}

impl Cli {
    /// The flags as raw settings.
    #[must_use]
    pub fn raw(&self) -> Raw {
        let value = |flag: &Option<String>| flag.as_deref().map(Value::from);
        Raw {
            server: (!self.server.is_empty()).then(|| self.server.join(",").as_str().into()),
            ca: value(&self.ca),
            client_certificate: value(&self.client_certificate),
            client_key: value(&self.client_key),
            token_file: value(&self.token_file),
            view: value(&self.view),
            root: value(&self.root),
            agent_id: value(&self.agent_id),
            spool: value(&self.spool),
            http_listen: value(&self.http_listen),
            address_file: value(&self.address_file),
            max_watches: value(&self.max_watches),
            scan_workers: value(&self.scan_workers),
            scan_rate: value(&self.scan_rate),
            scan_yield_above: value(&self.scan_yield_above),
            tree: (!self.tree.is_empty()).then(|| self.tree.clone()),
            ..Raw::default()
        }
    }
}
