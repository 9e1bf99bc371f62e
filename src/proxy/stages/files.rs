//! The stage "connect" of a route that serves files: nothing is dialled, and the directory is
//! looked at on a thread that may wait for the disk.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderName, LAST_MODIFIED, LOCATION, RANGE, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use smallvec::SmallVec;
use tokio::task::spawn_blocking;

use crate::base::clock;
use crate::base::file_path::FilePath;
use crate::config::snapshot::StaticFiles;
use crate::core::http::representation::byte_range::Part;
use crate::core::http::representation::content_coding::{Coding, accepted};
use crate::core::http::representation::media_type::media_type;
use crate::core::http::representation::navigation::is_navigation;
use crate::core::http::representation::preconditions::{Validators, Verdict};
use crate::io::below::{Directory, Entry};
use crate::proxy::client::progress::Answering;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::passing::Passing;
use crate::proxy::request::placed::Placed;
use crate::proxy::request::record::AnswerState;
use crate::proxy::stages::answer::Reply;
use crate::proxy::streams::body::Outgoing;
use crate::proxy::streams::file::FileBody;
use crate::proxy::streams::watch::Watch as _;

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// What is looked for.
struct Wanted {
    files: Arc<StaticFiles>,
    path: FilePath,
    codings: SmallVec<[Coding; 3]>,
    navigates: bool,
}

/// What was found.
enum Found {
    File(Box<FoundFile>),
    /// A directory, of a path without its slash: relative links in its page would lead elsewhere.
    Directory,
    Nothing,
}

/// An open file.
struct FoundFile {
    file: File,
    about: Metadata,
    name: String,
    coding: Option<Coding>,
}

/// Answers with the file that the target names.
///
/// # Errors
/// When there is none, or it is not to be sent.
pub(crate) async fn serve(
    placed: &Placed<'_>,
    files: &Arc<StaticFiles>,
    head: &Parts,
) -> Result<Reply, Refusal> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Err(Refusal::NotGet);
    }
    let (path, query) = match placed.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*placed.target, None),
    };
    let wanted = Wanted {
        files: Arc::clone(files),
        path: FilePath::of(path).ok_or(Refusal::NoFile)?,
        codings: match files.precompressed {
            true => accepted(&head.headers),
            false => SmallVec::new(),
        },
        navigates: is_navigation(&head.method, &head.headers),
    };
    let found = spawn_blocking(move || wanted.find()).await;
    let found = found.unwrap_or_else(|error| Err(io::Error::other(error)));
    match found.map_err(Refusal::FileUnreadable)? {
        Found::File(found) => send(placed, files, head, *found),
        Found::Directory => Ok(with_slash(placed, path, query)),
        Found::Nothing => Err(Refusal::NoFile),
    }
}

impl Wanted {
    /// Blocks.
    fn find(&self) -> io::Result<Found> {
        let directory = Directory::open(&self.files.directory)?;
        match directory.find(&self.path.name)? {
            Some(Entry::File(file, about)) if !self.path.slash => {
                let name = self.path.name.clone();
                return self.best(&directory, (name, file, about));
            }
            Some(Entry::Directory) => {
                let index = self.path.inside(&self.files.index);
                if let Some(Entry::File(file, about)) = directory.find(&index)? {
                    return match self.path.slash {
                        true => self.best(&directory, (index, file, about)),
                        false => Ok(Found::Directory),
                    };
                }
            }
            _ => {}
        }
        let fallback = self.files.fallback.as_ref().filter(|_| self.navigates);
        match fallback {
            Some(name) => match directory.find(name)? {
                Some(Entry::File(file, about)) => {
                    self.best(&directory, (name.clone(), file, about))
                }
                _ => Ok(Found::Nothing),
            },
            None => Ok(Found::Nothing),
        }
    }

    /// The file itself, or the compressed one beside it that the client likes best.
    fn best(
        &self,
        directory: &Directory,
        (name, file, about): (String, File, Metadata),
    ) -> io::Result<Found> {
        for coding in self.codings.iter().copied() {
            let beside = format!("{name}.{}", coding.extension());
            if let Some(Entry::File(file, about)) = directory.find(&beside)? {
                let coding = Some(coding);
                return Ok(found(name, file, about, coding));
            }
        }
        Ok(found(name, file, about, None))
    }
}

fn found(name: String, file: File, about: Metadata, coding: Option<Coding>) -> Found {
    Found::File(Box::new(FoundFile {
        file,
        about,
        name,
        coding,
    }))
}

impl FoundFile {
    /// Another one after each change: it has the time of the change to the nanosecond.
    fn tag(&self) -> String {
        let (seconds, nanos) = (self.about.mtime(), self.about.mtime_nsec());
        let coding = self.coding.map_or("", Coding::extension);
        format!("\"{seconds:x}.{nanos:x}-{:x}{coding}\"", self.about.len())
    }

    /// In whole seconds, as HTTP has it; none before 1970.
    fn modified(&self) -> Option<SystemTime> {
        let seconds = u64::try_from(self.about.mtime()).ok()?;
        let modified = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
        // `httpdate` panics beyond the year 9999.
        (seconds < 253_402_300_800).then_some(modified)
    }
}

fn send(
    placed: &Placed<'_>,
    files: &StaticFiles,
    head: &Parts,
    found: FoundFile,
) -> Result<Reply, Refusal> {
    let (tag, modified, length) = (found.tag(), found.modified(), found.about.len());
    let validators = Validators {
        tag: Some(tag.as_bytes()),
        modified,
    };
    let verdict = validators.evaluate(&head.method, &head.headers);
    if verdict == Verdict::Failed {
        return Err(Refusal::Precondition);
    }
    let mut fields = HeaderMap::new();
    let own = |text: String| HeaderValue::from_str(&text).expect("plain text");
    fields.insert(ETAG, own(tag.clone()));
    if let Some(modified) = modified {
        fields.insert(LAST_MODIFIED, own(httpdate::fmt_http_date(modified)));
    }
    let kept = files.cache_control(&found.name).clone();
    fields.insert(CACHE_CONTROL, kept);
    if files.precompressed {
        fields.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    if verdict == Verdict::NotModified {
        return Ok(reply(placed, StatusCode::NOT_MODIFIED, fields, None));
    }
    let range = head
        .headers
        .get(RANGE)
        .and_then(|range| range.to_str().ok());
    let whole = head.method != Method::GET || !validators.allow_part(&head.headers, clock::wall());
    let part = Part::of(range.filter(|_| !whole), length);
    let (status, range) = match part {
        Part::Whole => (StatusCode::OK, 0..length),
        Part::Bytes(bytes) => {
            let (start, end) = bytes.into_inner();
            fields.insert(CONTENT_RANGE, own(format!("bytes {start}-{end}/{length}")));
            (StatusCode::PARTIAL_CONTENT, start..end + 1)
        }
        Part::Unsatisfiable => {
            fields.insert(CONTENT_RANGE, own(format!("bytes */{length}")));
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            return Ok(reply(placed, status, fields, None));
        }
    };
    fields.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    let media_type = media_type(&found.name);
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    fields.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(coding) = found.coding {
        let coding = HeaderValue::from_static(coding.as_str());
        fields.insert(CONTENT_ENCODING, coding);
    }
    let body = (head.method == Method::GET).then_some((found.file, range));
    Ok(reply(placed, status, fields, body))
}

/// Sends the client of `/a` to `/a/`.
fn with_slash(placed: &Placed<'_>, path: &str, query: Option<&str>) -> Reply {
    let mut fields = HeaderMap::new();
    // Relative to the path that the client asked for, which a rewrite may have changed.
    let name = path.rsplit('/').next().unwrap_or_default();
    let location = match query {
        Some(query) => format!("./{name}/?{query}"),
        None => format!("./{name}/"),
    };
    if let Ok(location) = HeaderValue::from_str(&location) {
        fields.insert(LOCATION, location);
    }
    reply(placed, StatusCode::PERMANENT_REDIRECT, fields, None)
}

fn reply(
    placed: &Placed<'_>,
    status: StatusCode,
    fields: HeaderMap,
    body: Option<(File, Range<u64>)>,
) -> Reply {
    let received = placed.received;
    let route = Some(placed.route.config.name.clone());
    let upstream = Some(placed.upstream.config.name.clone());
    let mut report = received.report(route, upstream, None);
    report.status = status.as_u16();
    report.state = AnswerState::Passing;
    let mut passing = Passing {
        report,
        keep: None,
        filling: None,
        progress: Rc::clone(&received.progress),
    };
    let body = match body.filter(|(_, range)| !range.is_empty()) {
        Some((file, range)) => {
            let answering = Answering {
                backend: None,
                idle: placed.route.config.timeouts.idle,
            };
            received.progress.answer(answering, false);
            Outgoing::File(Box::new(FileBody::new(file, range, passing)))
        }
        None => {
            passing.ended();
            Outgoing::Empty
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}
