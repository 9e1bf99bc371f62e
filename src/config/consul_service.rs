//! A service of Consul whose instances are the members of an upstream.

use std::fmt;
use std::str::FromStr;

/// Bytes of a name.
const NAME_LEN_MAX: usize = 128;
/// Bytes of a tag.
const TAG_LEN_MAX: usize = 128;
/// Tags that an instance can be asked to have.
const TAGS_MAX: usize = 8;

/// A service, such as `chat` or `chat?tag=v2&dc=east`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsulService {
    /// Its name in the catalog.
    pub name: Box<str>,
    /// Tags that an instance has to have, all of them; sorted.
    pub tags: Vec<Box<str>>,
    /// The datacenter; `None` is the agent's own.
    pub datacenter: Option<Box<str>>,
}

/// Why a text is no such service.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConsulServiceError {
    /// No name of a service.
    #[error("`{0}` is no name of a service")]
    Name(String),
    /// Neither `tag=` nor `dc=`.
    #[error("`{0}` is no condition on a service")]
    Condition(String),
    /// Too many tags.
    #[error("more than {TAGS_MAX} tags")]
    Tags,
}

impl ConsulService {
    /// How one is written.
    pub const HELP: &str =
        "write `chat`, or `chat?tag=v2&dc=east` for its instances with a tag in a datacenter";
}

impl FromStr for ConsulService {
    type Err = ConsulServiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let clipped = |text: &str| text.chars().take(NAME_LEN_MAX).collect();
        let (name, conditions) = match text.split_once('?') {
            Some((name, conditions)) => (name, Some(conditions)),
            None => (text, None),
        };
        if !is_word(name, NAME_LEN_MAX) {
            return Err(ConsulServiceError::Name(clipped(name)));
        }
        let (mut tags, mut datacenter) = (Vec::new(), None);
        for condition in conditions.into_iter().flat_map(|text| text.split('&')) {
            match condition.split_once('=') {
                Some(("tag", tag)) if is_tag(tag) => tags.push(Box::from(tag)),
                Some(("dc", dc)) if is_word(dc, NAME_LEN_MAX) && datacenter.is_none() => {
                    datacenter = Some(dc.to_ascii_lowercase().into());
                }
                _ => return Err(ConsulServiceError::Condition(clipped(condition))),
            }
        }
        tags.sort_unstable();
        tags.dedup();
        if tags.len() > TAGS_MAX {
            return Err(ConsulServiceError::Tags);
        }
        Ok(Self {
            name: name.into(),
            tags,
            datacenter,
        })
    }
}

impl fmt::Display for ConsulService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let tags = self.tags.iter().map(|tag| ("tag", tag));
        let datacenter = self.datacenter.iter().map(|dc| ("dc", dc));
        for (place, (key, value)) in tags.chain(datacenter).enumerate() {
            let sign = if place == 0 { '?' } else { '&' };
            write!(f, "{sign}{key}={value}")?;
        }
        Ok(())
    }
}

/// Letters, digits, `-`, `_` and `.`: what a path of a URL holds as it is.
pub fn is_word(text: &str, max: usize) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let dots = text.bytes().all(|byte| byte == b'.');
    !dots && text.len() <= max && text.bytes().all(letter)
}

fn is_tag(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_graphic() && byte != b'&';
    (1..=TAG_LEN_MAX).contains(&text.len()) && text.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read_in_one_form() {
        let check = |text: &str, expected: &str| {
            let service: ConsulService = text.parse().expect(text);
            assert_eq!(service.to_string(), expected);
            assert_eq!(expected.parse(), Ok(service));
        };
        check("chat", "chat");
        check("Chat_2.web-a", "Chat_2.web-a");
        check("chat?tag=v2", "chat?tag=v2");
        check("chat?dc=East&tag=b&tag=a&tag=b", "chat?tag=a&tag=b&dc=east");
        check("chat?tag=version=1.4", "chat?tag=version=1.4");
    }

    #[test]
    fn what_is_no_service_is_refused() {
        let long = "a".repeat(129);
        let many = (0..9).map(|tag| format!("tag={tag}"));
        let many = format!("chat?{}", many.collect::<Vec<_>>().join("&"));
        for text in [
            "",
            "?",
            "..",
            "a/b",
            "a b",
            "../kv/secret",
            "chat%2f",
            "chat?",
            "chat?tag=",
            "chat?tag",
            "chat?near=_agent",
            "chat?dc=a&dc=b",
            "chat?dc=a/b",
            "chat?tag=ö",
            "chat?tag=a\r\nb",
            &long,
            &many,
        ] {
            assert!(text.parse::<ConsulService>().is_err(), "{text}");
        }
    }
}
