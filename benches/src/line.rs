//! A line with latency and bandwidth on loopback: a TCP proxy that holds bytes back and never fewer connections.
//!
//! Every byte arrives half a round trip after it was sent, however many others are under way (a delay line), and all
//! connections share one bandwidth for each direction. A new connection waits one round trip before its first byte.
//! Not modelled: TLS handshakes, slow start, losses, and the limit that a receive window puts on one connection.
//! Threads, not tasks: they wake within some 0.1 ms, and tokio's timer only ticks every millisecond.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the line carries in this time is handed on at once...
const PART_TIME: Duration = Duration::from_micros(500);
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
}

impl Direction {
    fn new(bits_per_s: u64) -> Self {
        Direction { bits_per_s, free_at: Mutex::new(Instant::now()), bytes: AtomicU64::new(0) }
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

/// Carries one direction of a connection to its end, bytes and end both late.
fn carry(from: &TcpStream, to: &TcpStream, direction: &Direction, line: Line, mut saw: impl FnMut(&[u8])) {
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || deliver(to, &receiver));
        let mut part = vec![0; line.part_len()];
        while let Ok(len @ 1..) = (&mut &*from).read(&mut part) {
            let Some(bytes) = part.get(..len) else { break };
            saw(bytes);
            let left_at = direction.send(len, Instant::now());
            if sender.send((left_at + line.round_trip / 2, bytes.to_vec())).is_err() {
                break;
            }
            // a full queue holds the sender back, as a socket does
            sleep_until(left_at.checked_sub(QUEUE_TIME).unwrap_or(left_at));
        }
        let _ = sender.send((Instant::now() + line.round_trip / 2, Vec::new()));
        drop(sender);
    });
}

/// Hands on what has arrived; no bytes are the end.
fn deliver(mut to: &TcpStream, parts: &Receiver<(Instant, Vec<u8>)>) {
    for (arrives_at, bytes) in parts {
        sleep_until(arrives_at);
        if bytes.is_empty() || to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn sleep_until(time: Instant) {
    std::thread::sleep(time.saturating_duration_since(Instant::now()));
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
