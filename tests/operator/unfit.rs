//! A server that takes the condition of a put and ignores it, and does not list what it has.

use crate::orlop::Lab;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

const DATE: &str = "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nETag: \"1\"\r\n";

/// Just enough of S3 for `init`: no signatures, no ranges, no conditions. Ends with the test's process.
fn careless_server() -> (String, Objects) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let objects = Objects::default();
    let shared = Arc::clone(&objects);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || serve(&client, &shared));
        }
    });
    (endpoint, objects)
}

fn serve(mut client: &TcpStream, objects: &Objects) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let (mut line, mut len) = (String::new(), 0);
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                len = value.parse().unwrap_or(0)
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body)?;
    let target = target.replace("prefix=", "prefix=nothing");
    let (status, headers, answer) = act(method, &target, body, objects);
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n",
        answer.len()
    );
    client.write_all(head.as_bytes())?;
    client.write_all(&answer)
}

fn act(
    method: &str,
    target: &str,
    body: Vec<u8>,
    objects: &Objects,
) -> (&'static str, &'static str, Vec<u8>) {
    let mut objects = objects.lock().unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let name = path.trim_start_matches("/careless").trim_start_matches('/');
    match method {
        "PUT" => {
            objects.insert(name.to_owned(), body);
            ("200 OK", DATE, Vec::new())
        }
        "POST" => {
            // DeleteObjects
            let body = String::from_utf8_lossy(&body);
            let mut answer = String::from("<DeleteResult>");
            for name in body.split("<Key>").skip(1).filter_map(|rest| rest.split('<').next()) {
                objects.remove(name);
                let _ = write!(answer, "<Deleted><Key>{name}</Key></Deleted>");
            }
            answer += "</DeleteResult>";
            ("200 OK", "Content-Type: application/xml\r\n", answer.into_bytes())
        }
        _ if query.contains("list-type") => {
            let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap_or_default();
            let prefix = prefix.replace("%2F", "/");
            ("200 OK", "Content-Type: application/xml\r\n", listing(&objects, &prefix).into_bytes())
        }
        _ => match objects.get(name) {
            Some(bytes) => ("200 OK", DATE, bytes.clone()),
            None => ("404 Not Found", "", Vec::new()),
        },
    }
}

fn listing(objects: &BTreeMap<String, Vec<u8>>, prefix: &str) -> String {
    let mut xml = String::from("<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>");
    for (name, bytes) in objects.iter().filter(|(name, _)| name.starts_with(prefix)) {
        let _ = write!(
            xml,
            "<Contents><Key>{name}</Key><Size>{}</Size><ETag>1</ETag>\
             <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>",
            bytes.len()
        );
    }
    xml + "</ListBucketResult>"
}

fn lab(endpoint: &str) -> Lab {
    let mut lab = Lab::bare().at("s3://careless/x");
    lab.set("AWS_ENDPOINT_URL", endpoint);
    lab.set("AWS_ACCESS_KEY_ID", "key");
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    lab.set("AWS_REGION", "us-east-1");
    lab
}

#[test]
fn a_store_that_does_not_list_what_was_written_gets_no_repository() {
    let (endpoint, objects) = careless_server();
    let lab = lab(&endpoint);
    let init = lab.bare_run(["init", "--key-file-out", "owner.key"]);
    init.refused(1, &["s3://careless/x", "probe read-after-write failed"]);
    assert!(!lab.key().exists());
    assert!(objects.lock().unwrap().is_empty(), "nothing is left behind");
}
