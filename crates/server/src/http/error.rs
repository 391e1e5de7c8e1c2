//! How requests are refused: a status, a stable code, and words that say what to do.

use axum::{
    Json,
    extract::rejection::{PathRejection, QueryRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use syncline_protocol::names::NameError;
use syncline_store::StoreError;

use crate::{edits::SubmitError, handshake::Rejection};

/// An answer that is not what was asked for: `{"error":{"code","message"}}`.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn not_ready(reason: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reason)
    }

    /// A bound was met that time mends.
    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            StoreError::Full(_) | StoreError::Poisoned(_) | StoreError::Closed => {
                (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
            }
            StoreError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "store_failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        let (status, code) = match error {
            SubmitError::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "update_refused"),
            SubmitError::Erased(_) => (StatusCode::GONE, "gone"),
            SubmitError::Busy | SubmitError::Crowded => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            SubmitError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            SubmitError::NotSaved(_) | SubmitError::Gone => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_name", error.to_string())
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::new(rejection.status, rejection.code, rejection.reason)
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), "bad_query", rejection.body_text())
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), "bad_name", rejection.body_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_time_mends_asks_to_come_back_and_what_it_does_not_does_not() {
        let why = || "why".to_owned();
        for (error, code) in [
            (SubmitError::Unavailable(why()), "unavailable"),
            (SubmitError::NotSaved(why()), "not_ready"),
            (SubmitError::Busy, "busy"),
            (SubmitError::Crowded, "busy"),
            (SubmitError::Gone, "not_ready"),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!(refusal.code, code);
            let response = refusal.into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{code}");
            assert!(response.headers().contains_key(header::RETRY_AFTER), "{code}");
        }
        let refused = Refusal::from(SubmitError::Refused(why())).into_response();
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert!(!refused.headers().contains_key(header::RETRY_AFTER));
    }
}
