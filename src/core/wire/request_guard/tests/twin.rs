//! The guard's obvious twin: the whole stream in memory, split and compared as text. Beside it,
//! sound requests to try both with, and hyper's own reading.

use std::collections::HashMap;
use std::convert::Infallible;

use http_body_util::{BodyExt, Empty};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

/// A request with a sound head; the body is `None` if it is broken or its end is missing.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) target: String,
    pub(super) body: Option<Vec<u8>>,
}

/// The requests up to the first fault.
pub(super) fn read(mut stream: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    loop {
        while let Some(rest) = stream.strip_prefix(b"\r\n") {
            stream = rest;
        }
        let Some((head, rest)) = split_once(stream, b"\r\n\r\n") else {
            return requests;
        };
        let Some((target, framing)) = read_head(head) else {
            return requests;
        };
        let body = match framing {
            Some(length) => rest.split_at_checked(length).map(|(b, r)| (b.to_vec(), r)),
            None => read_chunks(rest),
        };
        requests.push(Request {
            target,
            body: body.as_ref().map(|(body, _)| body.clone()),
        });
        let Some((_, rest)) = body else {
            return requests;
        };
        stream = rest;
    }
}

fn split_once<'a>(text: &'a [u8], by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(by.len()).position(|window| window == by)?;
    Some((&text[..at], &text[at + by.len()..]))
}

/// Target and length of the body, which is `None` for chunks.
fn read_head(head: &[u8]) -> Option<(String, Option<usize>)> {
    // Latin 1, so that every byte is a character.
    let head: String = head.iter().map(|byte| char::from(*byte)).collect();
    let bare = head.replace("\r\n", "");
    if bare.contains(['\r', '\n', '\0']) {
        return None;
    }
    let mut lines = head.split("\r\n");
    let request_line: Vec<&str> = lines.next()?.split(' ').collect();
    let [method, target, version] = request_line[..] else {
        return None;
    };
    let sound_target = !target.is_empty() && !target.contains(['\t', '\x7f', '#', '"', '<', '>']);
    if !is_token(method) || !sound_target || !["HTTP/1.0", "HTTP/1.1"].contains(&version) {
        return None;
    }
    let mut fields: HashMap<String, Vec<&str>> = HashMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if !is_token(name) {
            return None;
        }
        let values = fields.entry(name.to_lowercase()).or_default();
        values.push(value.trim_matches([' ', '\t']));
    }
    let hosts = fields.remove("host").unwrap_or_default();
    let sound_host = match hosts[..] {
        [] => version == "HTTP/1.0",
        [host] => names_host(method, target, host),
        _ => false,
    };
    let codings = fields.remove("transfer-encoding").unwrap_or_default();
    let lengths = fields.remove("content-length").unwrap_or_default();
    let framing = match (&codings[..], &lengths[..]) {
        ([], []) => Some(0),
        ([], [length]) if !length.starts_with('+') => Some(length.parse().ok()?),
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") && version == "HTTP/1.1" => None,
        _ => return None,
    };
    sound_host.then(|| (target.to_owned(), framing))
}

/// Whether `host` is one, and the one that the target names, if it names one. Targets without host
/// must be paths here.
fn names_host(method: &str, target: &str, host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        (1..=63).contains(&label.len()) && label.chars().all(letter)
    };
    let digits = port.chars().all(|c| c.is_ascii_digit()) && port.len() <= 5;
    let sound_port = digits && (port.is_empty() || port.parse::<u16>().is_ok());
    let sound = host.is_empty() || name.split('.').all(label) && name.len() <= 253 && sound_port;
    let absolute = target
        .get(..7)
        .filter(|start| start.eq_ignore_ascii_case("http://"));
    let named = match absolute {
        Some(_) => target[7..].split(['/', '?', '#']).next(),
        None if method == "CONNECT" && !target.starts_with('/') && target != "*" => Some(target),
        None => None,
    };
    sound
        && match named {
            Some(named) => !named.is_empty() && named.eq_ignore_ascii_case(host),
            None => target.starts_with('/') || target == "*",
        }
}

fn read_chunks(mut stream: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let (line, rest) = split_line(stream)?;
        let (digits, extension) = match line.find([';', ' ', '\t']) {
            Some(at) => line.split_at(at),
            None => (line.as_str(), ""),
        };
        let sound = digits.chars().all(|c| c.is_ascii_hexdigit())
            && digits.len() <= 16
            && (extension.is_empty() || extension.trim_matches([' ', '\t']).starts_with(';'))
            && line.len() <= 254;
        let size = usize::from_str_radix(digits, 16).ok().filter(|_| sound)?;
        if size == 0 {
            stream = rest;
            break;
        }
        let (chunk, rest) = rest.split_at_checked(size)?;
        body.extend_from_slice(chunk);
        stream = rest.strip_prefix(b"\r\n")?;
    }
    loop {
        let (line, rest) = split_line(stream)?;
        stream = rest;
        if line.is_empty() {
            return Some((body, stream));
        }
        let (name, _) = line.split_once(':')?;
        let framing = ["host", "content-length", "transfer-encoding"];
        if !is_token(name) || framing.contains(&name.to_lowercase().as_str()) {
            return None;
        }
    }
}

fn split_line(stream: &[u8]) -> Option<(String, &[u8])> {
    let (line, rest) = split_once(stream, b"\r\n")?;
    let line: String = line.iter().map(|byte| char::from(*byte)).collect();
    (!line.contains(['\r', '\n', '\0'])).then_some((line, rest))
}

fn is_token(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(letter)
}

/// A sound request.
pub(super) fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        Just("Accept: */*\r\n".to_owned()),
        Just("Transfer-Encodings: chunked\r\n".to_owned()),
        "[!#-'*+.^_`|~A-Za-z]{1,12}-x:[ \t]?[ -~]{0,20}\r\n",
        "x:[a-z]{500,560}\r\n",
    ];
    let target = prop_oneof![
        "/[a-z/?=&%:@]{0,9}",
        Just("/index.html".to_owned()),
        "/[a-z]{490,530}",
        Just("http://a.example/x".to_owned()),
    ];
    let body = prop_oneof![
        Just(b"\r\n".to_vec()),
        vec(any::<u8>(), 0..40).prop_map(|body| {
            let head = format!("Content-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), &body].concat()
        }),
        any_chunks(),
    ];
    (target, vec(field, 0..4), body).prop_map(|(target, fields, body)| {
        let fields = fields.concat();
        let head = format!("POST {target} HTTP/1.1\r\nHost: a.example\r\n{fields}");
        [head.as_bytes(), &body].concat()
    })
}

fn any_chunks() -> impl Strategy<Value = Vec<u8>> {
    let chunk = (
        vec(any::<u8>(), 1..20),
        "(;[a-z]{0,4}(=\"?[a-z]{0,4}\"?)?)?",
    );
    (vec(chunk, 0..4), "(Sum: [a-z]{0,9}\r\n){0,2}").prop_map(|(chunks, trailers)| {
        let mut bytes = b"Transfer-Encoding: chunked\r\n\r\n".to_vec();
        for (data, extension) in chunks {
            bytes.extend(format!("{:x}{extension}\r\n", data.len()).as_bytes());
            bytes.extend(data);
            bytes.extend(b"\r\n");
        }
        bytes.extend(format!("0\r\n{trailers}\r\n").as_bytes());
        bytes
    })
}

/// Target and body of each request that hyper finds; the body is `None` if hyper found it broken.
pub(super) fn read_with_hyper(stream: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let found = std::cell::RefCell::new(Vec::new());
    let serve = async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(stream).await.expect("the pipe is larger");
        client.shutdown().await.expect("the pipe is open");
        let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| async {
            let (head, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .ok()
                .map(|body| body.to_bytes().to_vec());
            found.borrow_mut().push((head.uri.to_string(), body));
            Ok::<_, Infallible>(hyper::Response::new(Empty::<&[u8]>::new()))
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(server), service);
        // What hyper refuses ends the connection with an error; what it found before counts.
        drop(connection.await);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime starts").block_on(serve);
    found.into_inner()
}
