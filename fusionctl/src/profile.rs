//! The profile: where the server is, which view is meant, and which mounts are which views.
//!
//! Owns the file's form and the mapping of local paths. A key that is not known is refused, so that a
//! misspelt one is not silently without effect. Tested below.

use std::path::{Path, PathBuf};

use fusion_core::id::{CorrelationId, ViewName};
use fusion_core::path::TreePath;
use fusion_proto::client::ClientTls;
use serde::Deserialize;

use crate::cli::AccessArgs;
use crate::exit::Failure;

/// Where the server is if nobody says so.
const SERVER: &str = "http://127.0.0.1:7700";

/// What stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: Option<String>,
    ca: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_key: Option<PathBuf>,
    token_file: Option<PathBuf>,
    view: Option<String>,
    #[serde(default)]
    mounts: Vec<RawMount>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMount {
    mount: String,
    view: String,
    #[serde(default = "root")]
    path: String,
}

fn root() -> String {
    "/".to_owned()
}

/// A place at which a part of a view is mounted here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// Without a `/` at its end.
    mount: String,
    view: ViewName,
    path: TreePath,
}

/// Where to ask, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    /// The server's URL.
    pub(crate) server: String,
    /// The files that `https://` needs.
    pub(crate) tls: ClientTls,
    /// The file of the token.
    pub(crate) token_file: Option<PathBuf>,
    /// The view where none is named.
    pub(crate) view: Option<ViewName>,
    /// The chain of cause and effect that all calls belong to.
    pub(crate) correlation: Option<CorrelationId>,
    mounts: Vec<Mount>,
}

impl Profile {
    /// Reads the profile: the file that is named, else the usual one if it is there. `server` goes
    /// before what it says.
    ///
    /// # Errors
    /// The named file cannot be read, or one that is read is wrong.
    pub(crate) fn load(
        server: Option<String>,
        access: AccessArgs,
        named: Option<&Path>,
    ) -> Result<Self, Failure> {
        let file = match named {
            Some(file) => read(file)?.ok_or_else(|| {
                Failure::usage(format!("profile {}: there is no such file", file.display()))
            })?,
            None => usual().as_deref().map(read).transpose()?.flatten().unwrap_or_default(),
        };
        Self::of(server, access, file)
    }

    fn of(
        server: Option<String>,
        access: AccessArgs,
        (name, file): (String, File),
    ) -> Result<Self, Failure> {
        let File { server: default, ca, client_certificate, client_key, token_file, view, mounts } =
            file;
        // Credentials and trust belong to the server that the file names, and go to no other one.
        let own = |path: Option<PathBuf>| path.filter(|_| server.is_none());
        let tls = ClientTls {
            ca: access.ca.or_else(|| own(ca)),
            certificate: access.client_certificate.or_else(|| own(client_certificate)),
            key: access.client_key.or_else(|| own(client_key)),
        };
        let token_file = access.token_file.or_else(|| own(token_file));
        let wrong =
            |key: &str, why: String| Failure::usage(format!("profile {name}: {key}: {why}"));
        let view_name = |key: &str, view: &str| {
            ViewName::new(view).map_err(|error| wrong(key, error.to_string()))
        };
        let mut read = Vec::new();
        for (number, RawMount { mount, view, path }) in mounts.into_iter().enumerate() {
            let key = |field: &str| format!("mounts[{number}].{field}");
            if !mount.starts_with('/') {
                return Err(wrong(&key("mount"), format!("`{mount}` does not begin with `/`")));
            }
            let path = TreePath::new(path.as_bytes())
                .map_err(|error| wrong(&key("path"), error.to_string()))?;
            let mount = mount.trim_end_matches('/').to_owned();
            read.push(Mount { mount, view: view_name(&key("view"), &view)?, path });
        }
        // A mount within another one is the nearer one.
        read.sort_by_key(|mount| std::cmp::Reverse(mount.mount.len()));
        Ok(Self {
            server: server.or(default).unwrap_or_else(|| SERVER.to_owned()),
            tls,
            token_file,
            view: view.map(|view| view_name("view", &view)).transpose()?,
            correlation: None,
            mounts: read,
        })
    }

    /// The view's path of a path of this machine, if it lies in a mount of the profile: of any view, or
    /// of the one that is meant.
    ///
    /// # Errors
    /// It lies in one, and is no path of a view: it has `..` in it, say.
    pub(crate) fn map(
        &self,
        text: &str,
        meant: Option<&ViewName>,
    ) -> Result<Option<(ViewName, TreePath)>, Failure> {
        let found = self.mounts.iter().find_map(|mount| {
            let rest = text.strip_prefix(&mount.mount)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((mount, rest))
        });
        let Some((mount, rest)) = found else { return Ok(None) };
        if meant.is_some_and(|meant| *meant != mount.view) {
            return Ok(None);
        }
        let mut path = mount.path.clone();
        for name in rest.trim_matches('/').split('/').filter(|_| !rest.trim_matches('/').is_empty())
        {
            let joined = path.join(name.as_bytes());
            path = joined.map_err(|error| Failure::usage(format!("path `{text}`: {error}")))?;
        }
        Ok(Some((mount.view.clone(), path)))
    }
}

/// Where the profile lies unless it is named.
fn usual() -> Option<PathBuf> {
    let config = match std::env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".config"),
    };
    Some(config.join("fusion/profile.toml"))
}

/// A file's name and what stands in it; `None` if it is not there.
fn read(file: &Path) -> Result<Option<(String, File)>, Failure> {
    let name = file.display().to_string();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::usage(format!("profile {name}: {error}"))),
    };
    match toml::from_str(&text) {
        Ok(file) => Ok(Some((name, file))),
        Err(error) => Err(Failure::usage(format!("profile {name}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(text: &str) -> Result<Profile, Failure> {
        let file = toml::from_str(text).map_err(|error| Failure::usage(error.to_string()))?;
        Profile::of(None, AccessArgs::default(), ("p".to_owned(), file))
    }

    fn name(text: &str) -> ViewName {
        ViewName::new(text).unwrap()
    }

    const MOUNTS: &str = r#"
        server = "http://far:1"
        view = "main"
        mounts = [
            { mount = "/mnt/share", view = "share" },
            { mount = "/mnt/share/in/", view = "incoming", path = "/new" },
        ]
    "#;

    #[test]
    fn local_paths_are_mapped_by_the_nearest_mount() {
        let profile = profile(MOUNTS).unwrap();
        assert_eq!((profile.server.as_str(), &profile.view), ("http://far:1", &Some(name("main"))));
        let mapped = |text: &str| {
            let (view, path) = profile.map(text, None).unwrap()?;
            Some(format!("{view}:{}", String::from_utf8_lossy(path.as_bytes())))
        };
        assert_eq!(mapped("/mnt/share").as_deref(), Some("share:/"));
        assert_eq!(mapped("/mnt/share/").as_deref(), Some("share:/"));
        assert_eq!(mapped("/mnt/share/x/y/").as_deref(), Some("share:/x/y"));
        assert_eq!(mapped("/mnt/share/in/z").as_deref(), Some("incoming:/new/z"));
        assert_eq!(mapped(r"/mnt/share/a\b").as_deref(), Some(r"share:/a\b"), "bytes as on disk");
        assert_eq!(mapped("/mnt/shared"), None);
        assert_eq!(mapped("/x"), None);
        assert_eq!(profile.map("/mnt/share/x", Some(&name("other"))).unwrap(), None);
        assert!(profile.map("/mnt/share/x", Some(&name("share"))).unwrap().is_some());
        assert!(profile.map("/mnt/share/../x", None).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = [
            ("sever = \"x\"", "sever"),
            ("view = \"Bad Name\"", "view"),
            ("mounts = [{ mount = \"mnt\", view = \"v\" }]", "mounts[0].mount"),
            ("mounts = [{ mount = \"/m\", view = \"v\", path = \"x\" }]", "mounts[0].path"),
            ("mounts = [{ mount = \"/m\", view = \"V\" }]", "mounts[0].view"),
            ("mounts = [{ mount = \"/m\", view = \"v\", paths = \"/\" }]", "paths"),
        ];
        for (text, says) in wrong {
            match profile(text) {
                Err(Failure::Usage(why)) => assert!(why.contains(says), "{text}: {why}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        let none = Profile::of(None, AccessArgs::default(), Default::default()).unwrap();
        assert_eq!(none.server, SERVER);
        let said = Profile::of(
            Some("http://said:1".to_owned()),
            AccessArgs::default(),
            Default::default(),
        )
        .unwrap();
        assert_eq!(said.server, "http://said:1");
    }

    #[test]
    fn what_a_server_is_trusted_by_goes_with_it() {
        let text = "server = \"https://far:1\"\nca = \"/ca\"\nclient_key = \"/key\"\ntoken_file = \"/token\"";
        let tls = |server: Option<&str>, access| {
            let file = ("p".to_owned(), toml::from_str(text).unwrap());
            let Profile { tls, token_file, .. } =
                Profile::of(server.map(str::to_owned), access, file).unwrap();
            assert_eq!(token_file.is_some(), server.is_none());
            tls
        };
        let given = || AccessArgs { ca: Some("/other".into()), ..AccessArgs::default() };
        let own = tls(None, AccessArgs::default());
        assert_eq!((own.ca, own.key), (Some("/ca".into()), Some("/key".into())));
        let over = tls(None, given());
        assert_eq!((over.ca, over.key), (Some("/other".into()), Some("/key".into())));
        assert_eq!(tls(Some("http://said:1"), AccessArgs::default()), ClientTls::default());
        assert_eq!(tls(Some("https://said:1"), given()).ca, Some("/other".into()));
    }
}
