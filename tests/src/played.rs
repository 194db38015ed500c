//! Servers that a test plays itself: one answer for each request, plain or behind TLS.

use crate::servers::Skipped;
use crate::tools;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// Requests as they came: the first line, the headers, the body.
pub type Seen = Arc<Mutex<Vec<String>>>;

/// Answers each request as `answer` says, given its whole text: status and body. Ends with the test's process.
///
/// # Panics
/// Without a port on loopback.
pub fn serve(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> (String, Seen) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let (shared, answer) = (seen.clone(), Arc::new(answer));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (seen, answer) = (shared.clone(), answer.clone());
            std::thread::spawn(move || one(&client, &seen, &*answer));
        }
    });
    (endpoint, seen)
}

fn one(mut client: &TcpStream, seen: &Seen, answer: &dyn Fn(&str) -> (u16, String)) -> std::io::Result<()> {
    let mut reader = BufReader::new(client);
    let (mut text, mut len) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().unwrap_or(0);
        }
        text += &line;
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body)?;
    text += &String::from_utf8_lossy(&body);
    let (status, body) = answer(&text);
    seen.lock().unwrap().push(text);
    let head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())
}

/// HTTPS in front of a plain server. Ends with this value, or with the test's process.
pub struct Tls {
    front: Child,
    address: String,
}

impl Tls {
    /// Makes a certificate, whose authority is written to `authority` (PEM), and answers in front of `target`.
    ///
    /// # Errors
    /// The program is not on this machine; it is already reported.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(target: &str, authority: &Path) -> Result<Tls, Skipped> {
        let program = tools::find("tlsfront")?;
        let mut command = Command::new(program);
        command.arg(target).arg(authority).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut front = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(front.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("https://"), "{address:?}");
        Ok(Tls { front, address: address.trim().to_owned() })
    }

    /// `https://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.front.kill();
        let _ = self.front.wait();
    }
}
