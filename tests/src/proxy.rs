//! A faulty HTTP/1.1 proxy before a real server: what a network and a busy store do to a client, on demand.
//!
//! One thread per connection, one request per connection (`Connection: close` both ways), so that each request is decided
//! on by itself. Bodies pass unchanged and unbuffered; the `Host` header stays, since it is signed.

mod http;
#[cfg(test)]
mod tests;

use http::{Head, Reader, Rest};
use rustix::net::sockopt::set_socket_linger;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// No exchange of a test is silent for longer; a stuck one ends instead of holding the run.
const IO_TIMEOUT: Duration = Duration::from_secs(60);

/// One request as the plan sees it, before anything is sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Number of requests that came before, over all connections.
    pub index: usize,
    /// `GET`, `PUT`, ...
    pub method: String,
    /// The target as sent: path and query.
    pub path: String,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// The connection is reset; the server never sees the request.
    ResetBeforeRequest,
    /// The server acts on the whole request and answers; the client gets a reset in place of the answer.
    ResetAfterAnswer,
    /// The answer's head, this many bytes of its body, then the end of the connection.
    CutBody(u64),
    /// The body comes in steps with a pause after each.
    SlowBody {
        /// Bytes per step, at least 1.
        step_len: usize,
        /// Pause after a step.
        pause: Duration,
        /// At most this many pauses; the rest comes at full speed.
        pause_count: usize,
    },
    /// 503 `SlowDown`; the server never sees the request.
    SlowDown,
    /// 403 `ExpiredToken`; the server never sees the request.
    ExpiredToken,
    /// 200 with an `<Error>` document: S3 may fail like this after it sent the status. The server never sees the request.
    ErrorInBody,
}

/// A plan that does `fault` to those requests that `matches` accepts, when their number among the accepted is in `times`.
pub fn on(
    matches: impl Fn(&Request) -> bool + Send + Sync + 'static,
    times: Range<usize>,
    fault: Fault,
) -> impl Fn(&Request) -> Fault + Send + Sync + 'static {
    let seen = AtomicUsize::new(0);
    move |request| {
        if matches(request) && times.contains(&seen.fetch_add(1, Ordering::SeqCst)) {
            fault
        } else {
            Fault::Pass
        }
    }
}

type Plan = Box<dyn Fn(&Request) -> Fault + Send + Sync>;

struct Shared {
    upstream: SocketAddr,
    plan: Plan,
    log: Mutex<Vec<(Request, Fault)>>,
    stop: AtomicBool,
}

/// The running proxy; it stops listening when dropped.
pub struct FaultyProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl FaultyProxy {
    /// Listens on a free loopback port before `upstream` (`127.0.0.1:PORT`).
    ///
    /// # Errors
    /// `upstream` is no socket address, or no port can be had.
    pub fn start(
        upstream: &str,
        plan: impl Fn(&Request) -> Fault + Send + Sync + 'static,
    ) -> io::Result<FaultyProxy> {
        let upstream = upstream.parse().map_err(io::Error::other)?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            plan: Box::new(plan),
            log: Mutex::new(Vec::new()),
            stop: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let handle = std::thread::spawn(move || accept(&listener, &accepting));
        Ok(FaultyProxy { address, shared, listener: Some(handle) })
    }

    /// `http://127.0.0.1:PORT`: what the client takes for the server.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far with what was done to it, in the order of `Request::index`.
    pub fn log(&self) -> Vec<(Request, Fault)> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests were hit by a fault.
    pub fn fault_count(&self) -> usize {
        let log = self.log();
        log.iter().filter(|(_, fault)| *fault != Fault::Pass).count()
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // A connection of our own wakes the listener.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        let shared = Arc::clone(shared);
        // An error here is a side that hung up: the other side sees the end of its connection, which is the point.
        std::thread::spawn(move || exchange(&client, &shared));
    }
}

impl Shared {
    fn decide(&self, head: &Head) -> Fault {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let request =
            Request { index: log.len(), method: head.word(0).to_owned(), path: head.word(1).to_owned() };
        let fault = (self.plan)(&request);
        log.push((request, fault));
        fault
    }
}

/// One request and its answer.
fn exchange(client: &TcpStream, shared: &Shared) -> io::Result<()> {
    limit(client)?;
    let mut from_client = Reader::new(client);
    let Some(head) = from_client.head()? else {
        return Ok(());
    };
    let fault = shared.decide(&head);
    if fault == Fault::ResetBeforeRequest {
        return reset(client);
    }
    if head.header("expect").is_some() {
        (&*client).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if let Some(answer) = canned(fault) {
        from_client.copy(head.request_rest()?, &mut io::sink())?;
        (&*client).write_all(answer.as_bytes())?;
        return close(client);
    }
    let server = TcpStream::connect(shared.upstream)?;
    limit(&server)?;
    (&server).write_all(&head.forwarded())?;
    from_client.copy(head.request_rest()?, &mut &server)?;
    let mut from_server = Reader::new(&server);
    let answer = loop {
        match from_server.head()? {
            Some(interim) if interim.word(1).starts_with('1') => {}
            Some(answer) => break answer,
            None => return Ok(()),
        }
    };
    let rest = answer.answer_rest(head.word(0))?;
    if fault == Fault::ResetAfterAnswer {
        from_server.copy(rest, &mut io::sink())?;
        return reset(client);
    }
    (&*client).write_all(&answer.forwarded())?;
    send_body(&mut from_server, rest, client, fault)?;
    close(client)
}

fn send_body(from: &mut Reader<'_>, rest: Rest, mut client: &TcpStream, fault: Fault) -> io::Result<()> {
    match fault {
        Fault::CutBody(len) => from.copy_bytes(len, &mut client).map(drop),
        Fault::SlowBody { step_len, pause, pause_count } => {
            let mut slow = Slow { client, step_len: step_len.max(1), pause, pauses_left: pause_count };
            from.copy(rest, &mut slow)
        }
        _ => from.copy(rest, &mut client),
    }
}

/// Writes in steps with pauses, until it has used them up.
struct Slow<'a> {
    client: &'a TcpStream,
    step_len: usize,
    pause: Duration,
    pauses_left: usize,
}

impl Write for Slow<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pauses_left == 0 {
            return self.client.write(bytes);
        }
        let step = bytes.get(..self.step_len).unwrap_or(bytes);
        let written = self.client.write(step)?;
        self.pauses_left -= 1;
        std::thread::sleep(self.pause);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.client.flush()
    }
}

/// The whole answer of a fault that the server never hears of.
fn canned(fault: Fault) -> Option<String> {
    let (status, code, message) = match fault {
        Fault::SlowDown => ("503 Slow Down", "SlowDown", "Please reduce your request rate."),
        Fault::ExpiredToken => ("403 Forbidden", "ExpiredToken", "The provided token has expired."),
        Fault::ErrorInBody => {
            ("200 OK", "InternalError", "We encountered an internal error. Please try again.")
        }
        _ => return None,
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    Some(format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ))
}

fn limit(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))
}

/// With no time to linger, closing sends a reset in place of an orderly end.
fn reset(stream: &TcpStream) -> io::Result<()> {
    Ok(set_socket_linger(stream, Some(Duration::ZERO))?)
}

fn close(stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)
}
