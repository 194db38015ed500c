//! A line with latency and bandwidth on loopback: a TCP proxy that holds bytes back and never fewer connections.
//!
//! Every byte arrives half a round trip after it was sent, however many others are under way (a delay line), and all
//! connections share one bandwidth for each direction. A new connection waits one round trip before its first byte.
//! Not modelled: TLS handshakes, slow start, losses, and the limit that a receive window puts on one connection.
//! Threads, not tasks: they wake within some 0.1 ms, and tokio's timer only ticks every millisecond.
//! Bytes under way lie in pipes (splice): the proxy never copies them, as it shares the processors with what it times.
//! So they have a limit, far above these lines': some 128 MiB of a direction; then the sender waits for the receiver.

mod pipes;

use anyhow::{Context, Result, ensure};
use pipes::{Count, Part, Pipe, Pipes};
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the line carries in this time is handed on at once...
const PART_TIME: Duration = Duration::from_millis(1);
/// ...within these bounds: each part costs the machine two wakes, whatever its length.
const PART_LEN_MIN: usize = 16 << 10;
const PART_LEN_MAX: usize = 256 << 10;
/// How long the queue before the line may be: more than a thread oversleeps.
const QUEUE_TIME: Duration = Duration::from_millis(4);

/// What a line is like.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// There and back.
    pub round_trip: Duration,
    /// Of each direction, in bits a second.
    pub bits_per_s: u64,
}

impl Line {
    fn part_len(&self) -> usize {
        let len = self.bits_per_s as f64 / 8.0 * PART_TIME.as_secs_f64();
        (len as usize).clamp(PART_LEN_MIN, PART_LEN_MAX)
    }
}

/// What went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes to the server, HTTP heads included.
    pub up: u64,
    /// Bytes to the client.
    pub down: u64,
    /// Requests: times that a client spoke after the server had, or first.
    pub requests: u64,
    /// Connections.
    pub connections: u64,
}

impl Traffic {
    /// The shortest time in which the busier direction carries its bytes.
    pub fn shortest(&self, line: Line) -> Duration {
        Duration::from_secs_f64(self.up.max(self.down) as f64 * 8.0 / line.bits_per_s as f64)
    }
}

/// One direction, shared by all connections.
struct Direction {
    bits_per_s: u64,
    /// When the line has sent all that was handed to it.
    free_at: Mutex<Instant>,
    bytes: AtomicU64,
    /// Of all connections.
    pipes: AtomicUsize,
}

impl Direction {
    fn new(bits_per_s: u64) -> Self {
        Direction {
            bits_per_s,
            free_at: Mutex::new(Instant::now()),
            bytes: AtomicU64::new(0),
            pipes: AtomicUsize::new(0),
        }
    }

    /// Takes the line for `len` bytes: when the last of them has left.
    fn send(&self, len: usize, now: Instant) -> Instant {
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
        let took = Duration::from_nanos(len as u64 * 8_000_000_000 / self.bits_per_s.max(1));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(now) + took;
        *free_at
    }
}

struct Shared {
    upstream: SocketAddr,
    line: Line,
    up: Direction,
    down: Direction,
    requests: AtomicU64,
    connections: AtomicU64,
    stop: AtomicBool,
    trace: Option<Instant>,
}

/// The running proxy; it stops listening when dropped.
pub struct LineProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl LineProxy {
    /// Listens on a free loopback port before `upstream` (`127.0.0.1:PORT`). With `trace`, each request and the
    /// begin of each answer are printed with the time at which the proxy saw them.
    pub fn start(upstream: &str, line: Line, trace: bool) -> Result<Self> {
        let upstream = upstream.parse().with_context(|| format!("{upstream}: no socket address"))?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        probe(&listener, address).context("the line needs splice(2) between sockets and pipes")?;
        let shared = Arc::new(Shared {
            upstream,
            line,
            up: Direction::new(line.bits_per_s),
            down: Direction::new(line.bits_per_s),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            trace: trace.then(Instant::now),
        });
        let accepting = Arc::clone(&shared);
        let handle = std::thread::spawn(move || accept(&listener, &accepting));
        Ok(LineProxy { address, shared, listener: Some(handle) })
    }

    /// `http://127.0.0.1:PORT`: what the client takes for the server.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What went through so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            up: self.shared.up.bytes.load(Ordering::Relaxed),
            down: self.shared.down.bytes.load(Ordering::Relaxed),
            requests: self.shared.requests.load(Ordering::Relaxed),
            connections: self.shared.connections.load(Ordering::Relaxed),
        }
    }
}

impl Drop for LineProxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // a connection of our own wakes the listener
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
        // an error is a side that hung up: the other one sees the end of its connection
        std::thread::spawn(move || connection(&client, &shared));
    }
}

fn connection(client: &TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let accepted = Instant::now();
    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
    let server = TcpStream::connect(shared.upstream)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    // whether the server spoke last: what the client says then is a new request
    let answered = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // the handshake: the kernel has done it in no time
            sleep_until(accepted + shared.line.round_trip);
            carry(client, &server, &shared.up, shared.line, |bytes| {
                if answered.swap(false, Ordering::SeqCst) {
                    shared.requests.fetch_add(1, Ordering::Relaxed);
                    trace(shared, number, ">", bytes);
                }
            });
        });
        carry(&server, client, &shared.down, shared.line, |bytes| {
            if !answered.swap(true, Ordering::SeqCst) {
                trace(shared, number, "<", bytes);
            }
        });
    });
    Ok(())
}

/// The first line of a request or an answer, without the query of a signed URL.
fn trace(shared: &Shared, number: u64, mark: &str, bytes: &[u8]) {
    let Some(start) = shared.trace else { return };
    let first = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    println!("  {:8.1} ms #{number} {mark} {}", start.elapsed().as_secs_f64() * 1e3, first.escape_ascii());
}

/// Fails where the kernel cannot splice.
fn probe(listener: &TcpListener, address: SocketAddr) -> Result<()> {
    let mut near = TcpStream::connect(address)?;
    let (far, _) = listener.accept()?;
    near.write_all(b"?")?;
    let pipe = Pipe::new()?;
    far.peek(&mut [0])?;
    ensure!(pipe.fill(&far, 1)? == Some(1), "no byte came");
    Ok(pipe.drain(&far, 1)?)
}

/// Carries one direction of a connection to its end, bytes and end both late.
fn carry(from: &TcpStream, to: &TcpStream, direction: &Direction, line: Line, mut saw: impl FnMut(&[u8])) {
    let (sender, receiver) = channel();
    let (done, drained) = channel();
    let count = &Count::new(&direction.pipes);
    let mut pipes = Pipes::new(count, drained);
    std::thread::scope(|scope| {
        scope.spawn(move || deliver(to, &receiver, |pipe| count.give_back(pipe, &done)));
        // waits for bytes, for a pipe is locked while it waits itself; and shows enough of them for a trace
        let mut first = [0; 256];
        while let Ok(seen @ 1..) = from.peek(&mut first) {
            saw(first.get(..seen).unwrap_or_default());
            let part = match pipes.take(from, line) {
                Ok(part) => part,
                Err(error) => {
                    report(&error);
                    break;
                }
            };
            let left_at = direction.send(part.1, Instant::now());
            if sender.send((left_at + line.round_trip / 2, Some(part))).is_err() {
                break;
            }
            // a full queue holds the sender back, as a socket does
            sleep_until(left_at.checked_sub(QUEUE_TIME).unwrap_or(left_at));
        }
        let _ = sender.send((Instant::now() + line.round_trip / 2, None));
        drop(sender);
    });
}

/// Hands on what has arrived; no part is the end. Pipes go back when the next one begins.
fn deliver(to: &TcpStream, parts: &Receiver<(Instant, Option<Part>)>, give_back: impl Fn(Arc<Pipe>)) {
    let mut last: Option<Arc<Pipe>> = None;
    for (arrives_at, part) in parts {
        sleep_until(arrives_at);
        let Some((pipe, len)) = part else { break };
        if let Err(error) = pipe.drain(to, len) {
            report(&error);
            break;
        }
        if let Some(before) = last.replace(Arc::clone(&pipe))
            && !Arc::ptr_eq(&before, &pipe)
        {
            give_back(before);
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Says why a connection ends, unless a side hung up.
fn report(error: &std::io::Error) {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    if !matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected) {
        eprintln!("line: a connection ends: {error}");
    }
}

fn sleep_until(time: Instant) {
    std::thread::sleep(time.saturating_duration_since(Instant::now()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn bytes_share_the_bandwidth_one_after_the_other() {
        let direction = Direction::new(8_000_000);
        let start = Instant::now();
        let first = direction.send(1000, start);
        let second = direction.send(2000, start);
        assert_eq!(second - first, Duration::from_millis(2));
        assert!(first - start >= Duration::from_millis(1));
    }

    #[test]
    fn requests_and_bytes_are_counted_and_both_ways_take_a_round_trip() {
        let upstream = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = upstream.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = upstream.accept().unwrap();
            let mut asked = [0; 4];
            for _ in 0..2 {
                stream.read_exact(&mut asked).unwrap();
                stream.write_all(b"answer").unwrap();
            }
        });
        let line = Line { round_trip: Duration::from_millis(20), bits_per_s: 1_000_000_000 };
        let proxy = LineProxy::start(&address, line, false).unwrap();
        let start = Instant::now();
        let mut client = TcpStream::connect(proxy.address).unwrap();
        let mut answer = [0; 6];
        for _ in 0..2 {
            client.write_all(b"GET ").unwrap();
            client.read_exact(&mut answer).unwrap();
        }
        // a lower bound only: one to connect, two to ask
        assert!(start.elapsed() >= 3 * line.round_trip);
        assert_eq!(proxy.traffic(), Traffic { up: 8, down: 12, requests: 2, connections: 1 });
        assert_eq!(client.read(&mut answer).unwrap(), 0);
        server.join().unwrap();
    }

    /// `len` bytes, of which none is like its neighbours at other pages' ends.
    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8 ^ (at >> 12) as u8).collect()
    }

    /// The line to a server that reads nothing before `held` of the bytes are written.
    fn bytes_arrive_as_sent(line: Line, len: usize, held: usize) {
        let upstream = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = LineProxy::start(&upstream.local_addr().unwrap().to_string(), line, false).unwrap();
        let mut client = TcpStream::connect(proxy.address).unwrap();
        let (mut server, _) = upstream.accept().unwrap();
        let sent = bytes(len);
        let (go, ready) = channel();
        let reading = std::thread::spawn(move || {
            ready.recv().unwrap();
            let mut all = Vec::new();
            server.read_to_end(&mut all).unwrap();
            all
        });
        let (first, rest) = sent.split_at(held);
        // 1001 bytes: many parts are short
        first.chunks(1001).for_each(|chunk| client.write_all(chunk).unwrap());
        go.send(()).unwrap();
        client.write_all(rest).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(reading.join().unwrap() == sent, "other bytes");
        assert_eq!(proxy.traffic(), Traffic { up: len as u64, down: 0, requests: 1, connections: 1 });
    }

    #[test]
    fn bytes_arrive_as_sent_however_late_they_are_read() {
        for round_trip in [Duration::ZERO, Duration::from_millis(20)] {
            // more than all pipes hold
            bytes_arrive_as_sent(Line { round_trip, bits_per_s: 90_000_000_000 }, 80 << 20, 0);
            bytes_arrive_as_sent(Line { round_trip, bits_per_s: 1_000_000_000 }, 4 << 20, 2 << 20);
        }
    }
}
