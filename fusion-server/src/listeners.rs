//! The sockets that a server listens on: handed over by the service manager, else its own.
//!
//! A socket that the manager holds stays open while one server ends and the next begins: who connects meanwhile waits
//! in its queue and is refused nothing. It comes by the protocol of systemd (`LISTEN_PID`, `LISTEN_FDS`,
//! `LISTEN_FDNAMES`), and its name says what it is for. Called by the program before anything else opens a file. Must
//! never: let a socket pass by what is checked of an address: where one listens is told as a setting
//! ([`HandedOver::settings`]), above all others. Tested here and, with programs, by `fusion-tests: activated`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use sd_listen_fds as manager;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket};

use crate::app::ServerError;

/// Connections that wait to be taken, at most; the system has a limit of its own beside it (`net.core.somaxconn`).
/// The usual 128 overflow when a crowd comes at once, as after a restart: then a client waits for seconds.
const BACKLOG: u32 = 4_096;

/// What a socket can be for: its name, and the setting that it stands for.
const NAMES: [(&str, &str); 3] =
    [("grpc", "listen.grpc"), ("http", "listen.http"), ("health", "listen.health")];

/// Sockets that listen already, by the settings that they stand for.
#[derive(Debug, Default)]
pub struct HandedOver(BTreeMap<&'static str, (SocketAddr, std::net::TcpListener)>);

/// What is wrong with what was handed over.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HandedOverFault {
    /// The variables of the protocol.
    #[error(
        "LISTEN_PID and LISTEN_FDS are set, and not to numbers: they are for the service manager to set"
    )]
    Variables,
    /// A socket whose use cannot be known.
    #[error(
        "the service manager hands over a socket named {0:?}: FileDescriptorName= must be grpc, http or health"
    )]
    Name(String),
    /// Two sockets for one use.
    #[error(
        "the service manager hands over two sockets named {0}: one is served; leave one ListenStream= of it"
    )]
    Twice(&'static str),
    /// Nothing that can be served.
    #[error(
        "what the service manager hands over as {name} {problem}: it must be a socket of TCP that listens (ListenStream=ADDRESS:PORT)"
    )]
    Kind {
        /// Its name.
        name: &'static str,
        /// What it is instead.
        problem: String,
    },
}

impl HandedOver {
    /// What the service manager hands over to this process; nothing, if there is none that does. Takes the sockets: a
    /// second call would take what somebody else has by then.
    ///
    /// # Errors
    /// All that is handed over must be of use.
    pub fn take() -> Result<Self, HandedOverFault> {
        let given = manager::get().map_err(|_| HandedOverFault::Variables)?;
        Self::sorted(given.into_iter().map(|(name, socket)| (name, socket.into_std())))
    }

    fn sorted(
        given: impl Iterator<Item = (Option<String>, OwnedFd)>,
    ) -> Result<Self, HandedOverFault> {
        let mut sockets = BTreeMap::new();
        for (name, socket) in given {
            let name = name.unwrap_or_default();
            let known = NAMES.into_iter().find(|(known, _)| *known == name);
            let (name, key) = known.ok_or(HandedOverFault::Name(name))?;
            let kind = |problem| HandedOverFault::Kind { name, problem };
            if sockets.insert(key, listening(socket.into()).map_err(kind)?).is_some() {
                return Err(HandedOverFault::Twice(name));
            }
        }
        Ok(Self(sockets))
    }

    /// Where they listen, as settings that override all others: what is allowed of an address is checked of these.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        self.0.iter().map(|(key, (address, _))| (*key, address.to_string())).collect()
    }

    /// Listens on an address: with the socket that was handed over for it, else with a new one.
    pub(crate) async fn listen(
        &mut self,
        key: &'static str,
        what: &'static str,
        address: SocketAddr,
    ) -> Result<TcpListener, ServerError> {
        let unheard = |source| ServerError::Listen { what, address, source };
        let Some((real, socket)) = self.0.remove(key) else {
            return bind(address).map_err(unheard);
        };
        if real != address {
            let elsewhere = format!("{what}: the socket that was handed over listens on {real}");
            return Err(ServerError::Start(format!("{elsewhere}, {key} is {address}")));
        }
        tracing::info!(%address, "{what}: listening on the socket of the service manager");
        TcpListener::from_std(socket).map_err(unheard)
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As every server does it: connections of its last life that are not forgotten yet are in nobody's way.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A socket as the runtime takes it, and where it listens; else what it is instead.
fn listening(socket: Socket) -> Result<(SocketAddr, std::net::TcpListener), String> {
    let unread = |error: std::io::Error| format!("is of no use ({error})");
    let domain = socket.domain().map_err(unread)?;
    let is_tcp = [Domain::IPV4, Domain::IPV6].contains(&domain)
        && socket.r#type().map_err(unread)? == Type::STREAM
        && socket.protocol().map_err(unread)? == Some(Protocol::TCP);
    if !is_tcp {
        return Err("is a socket of another kind".to_owned());
    }
    if !socket.is_listener().map_err(unread)? {
        return Err("does not listen".to_owned());
    }
    socket.set_nonblocking(true).and_then(|()| socket.set_cloexec(true)).map_err(unread)?;
    let listener = std::net::TcpListener::from(socket);
    Ok((listener.local_addr().map_err(unread)?, listener))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn named(name: &str, socket: impl Into<OwnedFd>) -> (Option<String>, OwnedFd) {
        (Some(name.to_owned()), socket.into())
    }

    fn sorted<const N: usize>(
        given: [(Option<String>, OwnedFd); N],
    ) -> Result<HandedOver, HandedOverFault> {
        HandedOver::sorted(given.into_iter())
    }

    fn loopback() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn a_socket_stands_for_its_setting_and_says_where_it_is() {
        let (grpc, http) = (loopback(), TcpListener::bind("[::]:0").unwrap());
        let at = [&grpc, &http].map(|it| it.local_addr().unwrap().to_string());
        let taken = sorted([named("http", http), named("grpc", grpc)]).unwrap();
        let [grpc, http] = at;
        assert_eq!(taken.settings(), [("listen.grpc", grpc), ("listen.http", http)]);
    }

    #[test]
    fn what_is_no_listener_of_tcp_is_refused() {
        let problem = |socket: OwnedFd| match sorted([named("grpc", socket)]) {
            Err(HandedOverFault::Kind { name: "grpc", problem }) => problem,
            other => panic!("{other:?}"),
        };
        let listener = loopback();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(problem(stream.into()), "does not listen");
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(problem(udp.into()), "is a socket of another kind");
        let folder = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(folder.path().join("socket")).unwrap();
        assert_eq!(problem(unix.into()), "is a socket of another kind");
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(problem(file.into()).starts_with("is of no use (Socket operation on non-socket"));
    }

    #[test]
    fn each_use_has_one_socket_and_each_socket_a_use() {
        let twice = sorted([named("grpc", loopback()), named("grpc", loopback())]);
        assert_eq!(twice.unwrap_err(), HandedOverFault::Twice("grpc"));
        let other = sorted([named("fusion-server.socket", loopback())]);
        assert_eq!(other.unwrap_err(), HandedOverFault::Name("fusion-server.socket".to_owned()));
        let unnamed = sorted([(None, loopback().into())]);
        assert_eq!(unnamed.unwrap_err(), HandedOverFault::Name(String::new()));
    }

    #[tokio::test]
    async fn a_socket_is_served_where_the_configuration_was_checked_for_it_only() {
        let socket = loopback();
        let address = socket.local_addr().unwrap();
        let mut taken = sorted([named("grpc", socket)]).unwrap();
        let listener = taken.listen("listen.grpc", "gRPC", address).await.unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);

        let mut taken = sorted([named("grpc", loopback())]).unwrap();
        let elsewhere = ([127, 0, 0, 1], 1).into();
        let refused = taken.listen("listen.grpc", "gRPC", elsewhere).await;
        assert!(matches!(refused, Err(ServerError::Start(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn a_crowd_finds_room_in_the_queue_of_an_own_socket() {
        let any = ([127, 0, 0, 1], 0).into();
        let listener = HandedOver::default().listen("listen.grpc", "gRPC", any).await.unwrap();
        let address = listener.local_addr().unwrap();
        // Nobody takes them: the queue holds them all. One too many would wait for a second and more.
        let limit = std::time::Duration::from_millis(900);
        let crowd: Vec<_> = (0..500).map(|_| TcpStream::connect_timeout(&address, limit)).collect();
        let refused = crowd.iter().filter(|connected| connected.is_err()).count();
        assert_eq!(refused, 0);
    }
}
