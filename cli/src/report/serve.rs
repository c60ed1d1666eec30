//! The page and its frames over HTTP/1.1, to browsers on this machine alone.
//!
//! Other users of the machine and pages of other sites reach the port too. So every address begins with a
//! secret, and a request for another host is refused: a site whose name was made to lead here does not know
//! the secret, and sends its own name.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use vldepot::{Depot, Raw};

use super::page;
use super::scene::Scenes;

/// The longest head of a request.
const HEAD: usize = 16 << 10;

/// Requests at a time.
const AT_ONCE: usize = 16;

/// How long a browser may take for a head, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server of one depot.
pub(crate) struct Server {
    listener: TcpListener,
    port: u16,
    secret: String,
}

/// What is served.
struct Served {
    depot: Depot<Raw>,
    page: String,
    policy: String,
    /// The start of every path.
    root: String,
    port: u16,
    /// Requests that are answered now.
    busy: AtomicUsize,
    /// One frame is made at a time, however many are asked for.
    turn: Mutex<()>,
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn refused(status: &'static str, why: &str) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: format!("{why}\n") }
    }
}

impl Server {
    /// Takes a port of this machine, any free one for 0.
    pub(crate) fn new(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port, secret: page::secret() })
    }

    /// The path of the page.
    pub(crate) fn root(&self) -> String {
        format!("/{}/", self.secret)
    }

    /// The address for a browser.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.root())
    }

    /// Answers until the process ends.
    pub(crate) fn run(self, depot: Depot<Raw>, page: String, policy: String) -> io::Result<()> {
        let root = self.root();
        let served = Arc::new(Served {
            depot,
            page,
            policy,
            root,
            port: self.port,
            busy: AtomicUsize::new(0),
            turn: Mutex::new(()),
        });
        for stream in self.listener.incoming() {
            let mut stream = match stream {
                Ok(stream) => stream,
                // The browser went away before it was heard.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            if served.busy.fetch_add(1, Ordering::AcqRel) >= AT_ONCE {
                served.busy.fetch_sub(1, Ordering::AcqRel);
                let _ = served.send(
                    &mut stream,
                    &Answer::refused("503 Service Unavailable", "too many requests at a time"),
                    false,
                );
                continue;
            }
            let of_thread = Arc::clone(&served);
            let started = std::thread::Builder::new().spawn(move || {
                // A browser that goes away is no failure of the server.
                let _ = of_thread.answer(&mut stream);
                of_thread.busy.fetch_sub(1, Ordering::AcqRel);
            });
            if started.is_err() {
                served.busy.fetch_sub(1, Ordering::AcqRel);
            }
        }
        Ok(())
    }
}

/// The head of a request, as far as it matters here.
#[derive(Debug, PartialEq)]
struct Head {
    without_body: bool,
    path: String,
    hosts: Vec<String>,
}

/// Parses a head. The error is what is wrong with it.
fn parse(bytes: &[u8]) -> Result<Head, (&'static str, &'static str)> {
    let bad = ("400 Bad Request", "this is no request of HTTP/1.1");
    let text = std::str::from_utf8(bytes).map_err(|_| bad)?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path, version) = (words.next(), words.next(), words.next());
    if !version.is_some_and(|version| version.starts_with("HTTP/1.")) || words.next().is_some() {
        return Err(bad);
    }
    let without_body = match method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(("405 Method Not Allowed", "only GET and HEAD are answered")),
    };
    let host = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim().to_ascii_lowercase())
    };
    Ok(Head {
        without_body,
        path: path.unwrap_or_default().to_owned(),
        hosts: lines.filter_map(host).collect(),
    })
}

fn read_head(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut part = [0; 2048];
    loop {
        let n = stream.read(&mut part)?;
        if n == 0 || bytes.len() + n > HEAD {
            return Ok(None);
        }
        bytes.extend_from_slice(&part[..n]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            bytes.truncate(end);
            return Ok(Some(bytes));
        }
    }
}

impl Served {
    fn answer(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let Some(head) = read_head(stream)? else {
            return self.send(
                stream,
                &Answer::refused("400 Bad Request", "the head of the request is too long, or ends too early"),
                false,
            );
        };
        match parse(&head) {
            Ok(head) => self.send(stream, &self.find(&head), head.without_body),
            Err((status, why)) => self.send(stream, &Answer::refused(status, why), false),
        }
    }

    fn find(&self, head: &Head) -> Answer {
        let own = [format!("127.0.0.1:{}", self.port), format!("localhost:{}", self.port)];
        if !matches!(head.hosts.as_slice(), [host] if own.contains(host)) {
            return Answer::refused("403 Forbidden", "this is not the host that was asked for");
        }
        let Some(rest) = head.path.strip_prefix(&self.root) else {
            return Answer::refused(
                "404 Not Found",
                "there is nothing at this address: use the one that vldepot printed",
            );
        };
        if rest.is_empty() {
            return Answer { status: "200 OK", kind: "text/html; charset=utf-8", body: self.page.clone() };
        }
        match rest.strip_prefix("frames/").and_then(|number| number.parse::<u64>().ok()) {
            Some(number) if number < self.depot.len() => self.frame(number),
            _ => Answer::refused("404 Not Found", "there is no such frame"),
        }
    }

    fn frame(&self, number: u64) -> Answer {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let name = self.depot.key_at(number).map_or_else(|_| String::new(), |key| crate::text::name(&key));
        let nothing = |why: &str| json!({ "record": number, "name": name, "nothing": why });
        let frame = match Scenes::new(&self.depot).at(number) {
            Ok(Some(scene)) => scene.to_json(None),
            Ok(None) => nothing("no positions"),
            Err(error) => nothing(&crate::text::without_controls(&error)),
        };
        Answer { status: "200 OK", kind: "application/json", body: frame.to_string() }
    }

    fn send(&self, stream: &mut TcpStream, answer: &Answer, without_body: bool) -> io::Result<()> {
        let Answer { status, kind, body } = answer;
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Content-Security-Policy: {}; frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n\r\n",
            body.len(),
            self.policy
        )?;
        if !without_body {
            stream.write_all(body.as_bytes())?;
        }
        stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served() -> Served {
        let depot = Depot::memory(Raw).unwrap();
        depot.put("a", b"1").unwrap();
        Served {
            depot,
            page: "page".into(),
            policy: String::new(),
            root: "/secret/".into(),
            port: 4000,
            busy: AtomicUsize::new(0),
            turn: Mutex::new(()),
        }
    }

    fn status(request: &str) -> &'static str {
        match parse(request.as_bytes()) {
            Ok(head) => served().find(&head).status,
            Err((status, _)) => status,
        }
    }

    #[test]
    fn only_those_who_know_the_address_are_answered() {
        for (request, expected) in [
            ("GET /secret/ HTTP/1.1\r\nHost: 127.0.0.1:4000", "200 OK"),
            ("HEAD /secret/ HTTP/1.1\r\nhost:  LOCALHOST:4000", "200 OK"),
            ("GET /secret/frames/0 HTTP/1.1\r\nHost: localhost:4000", "200 OK"),
            ("GET /secret/frames/1 HTTP/1.1\r\nHost: localhost:4000", "404 Not Found"),
            ("GET /secret/frames/-1 HTTP/1.1\r\nHost: localhost:4000", "404 Not Found"),
            ("GET /secret/../etc/passwd HTTP/1.1\r\nHost: localhost:4000", "404 Not Found"),
            ("GET / HTTP/1.1\r\nHost: localhost:4000", "404 Not Found"),
            // Another site's name that leads here, and hosts that cannot be told.
            ("GET /secret/ HTTP/1.1\r\nHost: evil.example:4000", "403 Forbidden"),
            ("GET /secret/ HTTP/1.1\r\nHost: 127.0.0.1:4000.evil.example", "403 Forbidden"),
            ("GET /secret/ HTTP/1.1\r\nHost: localhost", "403 Forbidden"),
            ("GET /secret/ HTTP/1.1", "403 Forbidden"),
            ("GET /secret/ HTTP/1.1\r\nHost: localhost:4000\r\nHost: evil.example", "403 Forbidden"),
            ("POST /secret/ HTTP/1.1\r\nHost: localhost:4000", "405 Method Not Allowed"),
            ("GET /secret/", "400 Bad Request"),
            ("", "400 Bad Request"),
            ("GET /secret/ HTTP/1.1 more\r\nHost: localhost:4000", "400 Bad Request"),
        ] {
            assert_eq!(status(request), expected, "{request}");
        }
        assert_eq!(parse(b"GET /\xff HTTP/1.1").unwrap_err().0, "400 Bad Request");
    }

    #[test]
    fn a_head_without_end_is_refused() {
        assert_eq!(read_head(&mut &vec![b'a'; 2 * HEAD][..]).unwrap(), None);
        assert_eq!(read_head(&mut &b"GET / HTTP/1.1\r\n"[..]).unwrap(), None);
        assert_eq!(read_head(&mut &b"GET /\r\n\r\nbody"[..]).unwrap().unwrap(), b"GET /");
    }
}
