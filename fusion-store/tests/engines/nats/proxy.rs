//! A connection that can be cut, held, or made deaf, between a client and a server.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(2);

/// What becomes of what the two say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// It goes through.
    Open = 0,
    /// What the client says goes through, the server's answers are lost.
    Deaf = 1,
    /// Nothing goes through now; it does when the line is open again.
    Held = 2,
}

/// Stands between a client and one server.
#[derive(Debug)]
pub struct Proxy {
    pub port: u16,
    line: Arc<AtomicU8>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// Begins to listen. Its threads end with the test's process.
    pub fn new(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (line, open) = (Arc::new(AtomicU8::new(0)), Arc::<Mutex<Vec<TcpStream>>>::default());
        let (of_line, kept) = (Arc::clone(&line), Arc::clone(&open));
        let thread = std::thread::Builder::new().name("proxy".to_owned());
        let accept = move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let halves = [(&client, &server, false), (&server, &client, true)];
                for (from, to, is_answer) in halves {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let line = Arc::clone(&of_line);
                    let thread = std::thread::Builder::new().name("proxy".to_owned());
                    thread.spawn(move || pump(from, to, &line, is_answer)).unwrap();
                }
                kept.lock().unwrap().extend([client, server]);
            }
        };
        thread.spawn(accept).unwrap();
        Self { port, line, open }
    }

    /// The address of a client's connection.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What becomes of what is said from now on.
    pub fn set(&self, line: Line) {
        self.line.store(line as u8, Ordering::SeqCst);
    }

    /// Breaks all connections; new ones can be made.
    pub fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            // It may be broken already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, line: &AtomicU8, is_answer: bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        while line.load(Ordering::SeqCst) == Line::Held as u8 {
            std::thread::sleep(STEP);
        }
        let is_lost = is_answer && line.load(Ordering::SeqCst) == Line::Deaf as u8;
        if count == 0 || (!is_lost && to.write_all(&buffer[..count]).is_err()) {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
