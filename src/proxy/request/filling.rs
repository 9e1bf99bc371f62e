//! A response that is stored while it passes.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::base::names::RouteName;
use crate::live::{Flight, Live, StoredResponse};

/// A response that is stored while it passes. If it is dropped before its end, nothing is stored.
pub(crate) struct Filling {
    pub(crate) live: Arc<Live>,
    pub(crate) uri: String,
    pub(crate) route: RouteName,
    /// The fields of the request.
    pub(crate) request: HeaderMap,
    pub(crate) head: (StatusCode, HeaderMap),
    /// When it was asked for, and when its head arrived.
    pub(crate) times: (SystemTime, SystemTime),
    pub(crate) body: Vec<u8>,
    /// Bytes of the body that are stored at most.
    pub(crate) most: usize,
    /// Others wait for it.
    pub(crate) _flight: Option<Flight>,
}

impl Filling {
    /// A piece of the body. Returns whether it can still be stored.
    pub(crate) fn add(&mut self, piece: &Bytes) -> bool {
        let fits = self.body.len() + piece.len() <= self.most;
        if fits {
            self.body.extend_from_slice(piece);
        }
        fits
    }

    /// The body is whole.
    pub(crate) fn finish(mut self) {
        self.body.shrink_to_fit();
        let body = Bytes::from(self.body);
        let response = StoredResponse::new(self.route, &self.request, self.head, body, self.times);
        if let Some(response) = response {
            self.live.responses.store(&self.uri, response);
        }
    }
}
