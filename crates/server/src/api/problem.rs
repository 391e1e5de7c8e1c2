//! What the API answers where it does not do what was asked: RFC 9457 problem details, with a stable code.

use axum::{
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};
use syncline_document::schema::Unfit;
use syncline_store::StoreError;
use utoipa::ToSchema;

use crate::edits::SubmitError;

/// Why a call did not go through.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Names the kind of problem: `urn:syncline:problem:{code}`.
    r#type: String,
    /// The kind of problem, for people.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened and what to do.
    detail: String,
    /// The stable word of the kind.
    code: &'static str,
    /// What stands there now, where the call was built on something older.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    current: Option<Box<Value>>,
    /// What else there is to tell, by name.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    more: Option<Box<Map<String, Value>>>,
    /// The tag of what stands there now.
    #[serde(skip)]
    etag: Option<Box<HeaderValue>>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            r#type: format!("urn:syncline:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            current: None,
            more: None,
            etag: None,
        }
    }

    /// Shows what stands there now, with its tag.
    pub(super) fn with_current(mut self, current: Value, etag: HeaderValue) -> Self {
        (self.current, self.etag) = (Some(Box::new(current)), Some(Box::new(etag)));
        self
    }

    /// Tells one thing more.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.more.get_or_insert_default().insert(name.to_owned(), value);
        self
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(super) fn missing(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"))
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub(super) fn gone(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "gone", detail)
    }

    pub(super) fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }
}

impl Problem {
    /// Returns the stable word of the kind.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// Says whether the same would meet whatever else is offered now: the server goes down, or saves nothing more.
    pub(super) fn is_general(&self) -> bool {
        matches!(self.code, "restarting" | "not_saved" | "store_failed" | "not_ready" | "forbidden")
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

/// Answers with a problem that is written out already.
pub(super) fn told_before(problem: &Value) -> Response {
    let status = problem["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let mut response =
        (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), axum::Json(problem)).into_response();
    adorn(&mut response);
    response
}

/// Answers a request that a rate limit turned away.
pub(crate) fn too_many(detail: String) -> Response {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail).into_response()
}

/// Says whether a path is below those of the API.
pub(crate) fn is_api(path: &str) -> bool {
    path.strip_prefix("/v1/users").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a request for a path of the API that is none.
pub(crate) fn no_such_path() -> Response {
    Problem::missing("path: /openapi.json tells which there are").into_response()
}

/// Answers a request with a method that a path of the API does not take.
pub(crate) fn wrong_method() -> Response {
    let detail = "this path takes another method: `Allow` says which";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", detail).into_response()
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let etag = self.etag.take();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        adorn(&mut response);
        if let Some(etag) = etag {
            response.headers_mut().insert(header::ETAG, *etag);
        }
        response
    }
}

/// Sets the headers that problems have.
fn adorn(response: &mut Response) {
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
}

impl From<Unfit> for Problem {
    fn from(unfit: Unfit) -> Self {
        let (status, code) = match unfit {
            Unfit::Missing => (StatusCode::NOT_FOUND, "not_found"),
            Unfit::Blocked => (StatusCode::CONFLICT, "blocked"),
            Unfit::Name | Unfit::TooLong | Unfit::Form => (StatusCode::UNPROCESSABLE_ENTITY, "unfit"),
        };
        Self::new(status, code, unfit.to_string())
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        let code = match error {
            SubmitError::Refused(_) => {
                return Self::new(StatusCode::UNPROCESSABLE_ENTITY, "update_refused", error.to_string());
            }
            SubmitError::Erased(reason) => return Self::gone(reason),
            SubmitError::Busy | SubmitError::Crowded => "busy",
            SubmitError::Unavailable(_) => "unavailable",
            SubmitError::NotSaved(_) => "not_saved",
            SubmitError::Gone => "restarting",
        };
        Self::unavailable(code, error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(event = "api_store_failed", %error);
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store_failed", error.to_string())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let code = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            _ => "bad_request",
        };
        Self::new(rejection.status(), code, rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}
