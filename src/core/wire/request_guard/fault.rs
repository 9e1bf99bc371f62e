//! What the guard refuses, and the bounds that it states.

/// Bytes of a chunk's size line, extensions and CRLF included.
pub(super) const CHUNK_LINE_MAX: usize = 256;
/// Bytes of all trailers of a message, hyper's own bound.
pub(super) const TRAILERS_MAX: usize = 16 * 1024;

/// Why a request is condemned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Smuggling {
    /// LF without CR.
    #[error("a line ends with LF alone")]
    BareLf,
    /// CR without LF.
    #[error("a CR is not followed by an LF")]
    BareCr,
    /// A zero byte.
    #[error("the message holds a NUL")]
    Nul,
    /// Not `method target HTTP/1.x`, or a target of no form (RFC 9112 section 3.2).
    #[error("the request line is malformed")]
    RequestLine,
    /// A fragment, or a character that no URI has.
    #[error("the request target holds `#`, `\"`, `<` or `>`")]
    Target,
    /// A line that begins with white space.
    #[error("a header line is folded or begins with white space")]
    Folded,
    /// RFC 9112 section 5.1.
    #[error("there is white space before a header's colon")]
    SpaceBeforeColon,
    /// Not a token, or no colon.
    #[error("a header's name is malformed")]
    FieldName,
    /// HTTP/1.1 requires one.
    #[error("`host` is missing")]
    NoHost,
    /// More than one.
    #[error("`host` is in the request more than once")]
    RepeatedHost,
    /// Not a host with or without port.
    #[error("`host` is malformed")]
    Host,
    /// The target names another host than the header.
    #[error("`host` is not the host of the request line")]
    HostMismatch,
    /// More than one, equal or not.
    #[error("`content-length` is in the request more than once")]
    RepeatedLength,
    /// Not digits alone, or more than 63 bits hold.
    #[error("`content-length` is not a number, or too large")]
    Length,
    /// Not `chunked` alone, or more than one.
    #[error("`transfer-encoding` is not `chunked` alone")]
    TransferEncoding,
    /// The classic.
    #[error("`content-length` and `transfer-encoding` are both present")]
    LengthAndChunked,
    /// HTTP/1.0 has no chunks.
    #[error("`transfer-encoding` in a request of HTTP/1.0")]
    ChunkedInHttp10,
    /// Not hexadecimal, too large, or followed by something else than an extension.
    #[error("a chunk's size is malformed")]
    ChunkSize,
    /// No end within the bound.
    #[error("a chunk's size line is longer than {CHUNK_LINE_MAX} bytes")]
    ChunkLineTooLong,
    /// More data than the size.
    #[error("a chunk does not end with CRLF")]
    ChunkEnd,
    /// No end within the bound.
    #[error("trailers are longer than {TRAILERS_MAX} bytes")]
    TrailersTooLong,
    /// `Host`, `Content-Length` or `Transfer-Encoding` behind the body.
    #[error("a trailer tells how to read the message")]
    Trailer,
    /// The parser sees a request where the guard sees none.
    #[error("the parser and the guard disagree about the request")]
    OutOfStep,
}
