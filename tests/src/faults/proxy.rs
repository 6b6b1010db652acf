//! A way to the server that can be blocked: packets then vanish, nobody is told, and what was on its
//! way arrives when it is open again, as when a network heals.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a thread that waits looks whether it may go on.
const LOOK: Duration = Duration::from_millis(5);
/// What is forwarded at once.
const BUFFER: usize = 8 * 1024;

/// How long it is tried to reach a server before the next one is.
const REACH: Duration = Duration::from_secs(1);

/// A listener whose connections go on to the server, or the next one that can be reached of several, while it
/// is open.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    blocked: AtomicBool,
    /// How long a buffer's worth waits, in milliseconds.
    delay: AtomicU64,
    /// Whether anything waits so long, and not only what fills a buffer.
    delays_all: AtomicBool,
    ended: AtomicBool,
    /// `HOST:PORT` of each server.
    servers: Mutex<Vec<String>>,
    /// How many connections there were.
    accepted: AtomicUsize,
}

impl Proxy {
    /// Listens, and forwards to `server`, which is `http://HOST:PORT`.
    ///
    /// # Panics
    /// There is no port or no thread.
    #[must_use]
    pub fn to(server: &str) -> Self {
        Self::at("127.0.0.1:0", &[server.trim_start_matches("http://").to_owned()])
    }

    /// Listens there, and forwards to one of these, each `HOST:PORT`: a connection to each in turn, and to the
    /// next one where one cannot be reached.
    ///
    /// # Panics
    /// There is no port or no thread.
    #[must_use]
    pub fn at(listen: &str, servers: &[String]) -> Self {
        let listener = TcpListener::bind(listen).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let state = Arc::new(State { servers: Mutex::new(servers.to_vec()), ..State::default() });
        let shared = Arc::clone(&state);
        thread(move || accept(&listener, &shared));
        Self { url, state }
    }

    /// From now on connections go on to this one.
    ///
    /// # Panics
    /// Never.
    pub fn turn_to(&self, server: String) {
        *self.state.servers.lock().expect("no panic") = vec![server];
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on each 8 KiB take so long; small messages pass as before.
    pub fn slow(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.state.delay.store(millis, Ordering::SeqCst);
    }

    /// From now on all that passes waits so long.
    pub fn slow_each(&self, delay: Duration) {
        self.slow(delay);
        self.state.delays_all.store(true, Ordering::SeqCst);
    }

    /// From now on nothing gets through.
    pub fn block(&self) {
        self.state.blocked.store(true, Ordering::SeqCst);
    }

    /// Everything gets through again, as fast as it can.
    pub fn open(&self) {
        self.slow(Duration::ZERO);
        self.state.delays_all.store(false, Ordering::SeqCst);
        self.state.blocked.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
    }
}

impl State {
    /// Waits while it is blocked; false if it ended.
    fn pass(&self) -> bool {
        while self.blocked.load(Ordering::SeqCst) && !self.ended.load(Ordering::SeqCst) {
            std::thread::sleep(LOOK);
        }
        !self.ended.load(Ordering::SeqCst)
    }

    /// A connection to a server; none if none can be reached.
    fn reach(&self) -> Option<TcpStream> {
        let servers = self.servers.lock().expect("no panic").clone();
        let first = self.accepted.fetch_add(1, Ordering::SeqCst);
        (0..servers.len()).find_map(|more| {
            let server = servers[(first + more) % servers.len()].parse().expect("an address");
            TcpStream::connect_timeout(&server, REACH).ok()
        })
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    listener.set_nonblocking(true).expect("a listener that can be asked");
    while !state.ended.load(Ordering::SeqCst) {
        let Ok((agent, _)) = listener.accept() else {
            std::thread::sleep(LOOK);
            continue;
        };
        agent.set_nonblocking(false).expect("a connection that can be waited for");
        let state = Arc::clone(state);
        thread(move || connect(agent, &state));
    }
}

/// One connection of an agent, forwarded both ways.
fn connect(agent: TcpStream, state: &Arc<State>) {
    // A server that is not there is a connection that breaks.
    let Some(server) = state.pass().then(|| state.reach()).flatten() else {
        return;
    };
    for stream in [&agent, &server] {
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a time-out");
    }
    let back = (server.try_clone().expect("a clone"), agent.try_clone().expect("a clone"));
    let shared = Arc::clone(state);
    thread(move || forward(back.0, back.1, &shared));
    forward(agent, server, state);
}

/// Copies until either side closes or the proxy ends.
fn forward(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = vec![0; BUFFER];
    while state.pass() {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => continue,
            Err(_) => break,
        };
        if read == BUFFER || state.delays_all.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(state.delay.load(Ordering::SeqCst)));
        }
        if !state.pass() || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

fn thread(body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name("proxy".into()).spawn(body).expect("a thread");
}
