//! Sockets that outlive the server, as a service manager holds them: systemd's protocol of socket activation.
//!
//! Given to each life of the server, which is started by a shell: only the process itself knows the `LISTEN_PID` that it
//! is to have.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use socket2::SockRef;

/// The sockets come as standard input and output, and become descriptors 3 and 4.
const HAND_OVER: &str = r#"export LISTEN_PID=$$ && exec "$0" "$@" 3<&0 4<&1 0</dev/null 1>&2"#;
/// Connections that wait between two lives, as systemd has it: as many as the system allows.
const BACKLOG: i32 = i32::MAX;

/// Where a server listens, for gRPC and for HTTP.
#[derive(Debug)]
pub struct Sockets {
    grpc: TcpListener,
    http: TcpListener,
}

impl Sockets {
    /// Listens on two free ports of loopback.
    ///
    /// # Panics
    /// There are none.
    #[must_use]
    pub fn hold() -> Self {
        let held = || {
            let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
            SockRef::from(&socket).listen(BACKLOG).expect("a longer queue");
            socket
        };
        Self { grpc: held(), http: held() }
    }

    /// A command that becomes this program and has the sockets. Its standard output is where its errors go.
    ///
    /// # Panics
    /// There is no descriptor left.
    #[must_use]
    pub fn hand_over(&self, program: &Path) -> Command {
        let given = |socket: &TcpListener| {
            Stdio::from(std::os::fd::OwnedFd::from(socket.try_clone().expect("a descriptor")))
        };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", HAND_OVER]).arg(program);
        command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "grpc:http");
        command.stdin(given(&self.grpc)).stdout(given(&self.http));
        command
    }
}
