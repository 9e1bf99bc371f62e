//! Decisions about a representation that the gateway itself has, a file or a stored response:
//! which coding a client takes, whether it has the content already, and which part it asks for
//! (RFC 9110, sections 8.8, 12.5.3, 13 and 14).

pub mod byte_range;
pub mod content_coding;
pub mod entity_tag;
pub mod media_type;
pub mod navigation;
pub mod preconditions;
