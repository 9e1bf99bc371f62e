//! One method of one path of the admin API: its handler, and its description in `openapi.json`.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::admin::Gateway;
use crate::admin::own_scope::has_own_scope;
use crate::admin::role::{Role, role_of};

/// One method of one path.
pub(super) struct Resource {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) handler: MethodRouter<Arc<Gateway>>,
    pub(super) summary: &'static str,
    /// Parameters of the query, as properties of an object.
    pub(super) query: Option<Describe>,
    /// The type of the request's body.
    pub(super) body: Option<Describe>,
    /// The type of the answer, if it is JSON of a fixed shape.
    pub(super) answer: Option<Describe>,
    /// The status of success, then those of problems.
    pub(super) statuses: &'static [u16],
}

/// Returns a reference to a type's schema, and adds the definition to the generator.
pub(super) type Describe = fn(&mut SchemaGenerator) -> Schema;

impl Resource {
    /// The role that it requires.
    pub(super) fn role(&self) -> Role {
        role_of(&self.method, self.path)
    }

    /// Whether `?scope=fleet` asks all gateways.
    pub(super) fn is_scoped(&self) -> bool {
        let answers = self.method == Method::GET && self.answer.is_some();
        answers && self.path.starts_with("/v1/") && !has_own_scope(self.path)
    }

    pub(super) fn new<H: Handler<T, Arc<Gateway>>, T: 'static>(
        (filter, method): (MethodFilter, Method),
        path: &'static str,
        handler: H,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            handler: on(filter, handler),
            summary,
            query: None,
            body: None,
            answer: None,
            statuses: &[200],
        }
    }

    pub(super) fn get<H: Handler<T, Arc<Gateway>>, T: 'static>(
        path: &'static str,
        handler: H,
        summary: &'static str,
    ) -> Self {
        Self::new((MethodFilter::GET, Method::GET), path, handler, summary)
    }

    pub(super) fn post<H: Handler<T, Arc<Gateway>>, T: 'static>(
        path: &'static str,
        handler: H,
        summary: &'static str,
    ) -> Self {
        Self::new((MethodFilter::POST, Method::POST), path, handler, summary)
    }

    /// Accepts bodies of up to so many bytes.
    pub(super) fn takes(self, bytes: usize) -> Self {
        Self {
            handler: self.handler.layer(DefaultBodyLimit::max(bytes)),
            ..self
        }
    }

    pub(super) fn query<T: JsonSchema>(self) -> Self {
        Self {
            query: Some(describe::<T>),
            ..self
        }
    }

    pub(super) fn body<T: JsonSchema>(self) -> Self {
        Self {
            body: Some(describe::<T>),
            ..self
        }
    }

    pub(super) fn answers<T: JsonSchema>(self) -> Self {
        Self {
            answer: Some(describe::<T>),
            ..self
        }
    }

    pub(super) fn statuses(self, statuses: &'static [u16]) -> Self {
        Self { statuses, ..self }
    }
}

fn describe<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
