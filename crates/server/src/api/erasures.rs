//! Erasing for good: a message, a conversation, a user. Answered once it is gone, with a receipt; the same again gives the
//! same receipt.
//!
//! The person erases, and who operates the server does where the law or the person asks for it; an agent never does.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{FromRequestParts, Query, rejection::QueryRejection},
    http::request::Parts,
};

use super::{
    at::{names, parse_id},
    home::Home,
    paging::{Page, Paging},
    problem::Problem,
};
use crate::{
    app::App,
    erasure::{ErasureError, Receipt, Target, ledger},
};

/// Who asks, and what the path names, whether or not it is still there.
pub(super) struct Asked {
    home: Home,
    names: HashMap<String, String>,
}

impl FromRequestParts<Arc<App>> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let home = Home::of(parts, app).await?;
        Ok(Self { names: names(parts, app).await?, home })
    }
}

impl From<ErasureError> for Problem {
    fn from(error: ErasureError) -> Self {
        match error {
            ErasureError::Missing => Self::missing("message or conversation"),
            ErasureError::Store(error) => error.into(),
            ErasureError::Submit(error) => error.into(),
            ErasureError::Restarting => Self::unavailable("restarting", error.to_string()),
            ErasureError::Engine(_) | ErasureError::Derived(_) => {
                tracing::error!(event = "erasure_failed", %error);
                let detail = format!("not all of it is erased yet ({error}): the server goes on, ask again");
                Self::unavailable("erasing", detail)
            }
        }
    }
}

impl Asked {
    /// Erases; goes on where the caller leaves.
    async fn erase(self, target: Target) -> Result<Json<Receipt>, Problem> {
        let Home { open, tasks, .. } = self.home.clone();
        let by = self.home.by();
        let running = tasks.spawn(async move { open.erasures.erase(&open, &target, by).await });
        let receipt = running.await.map_err(|error| {
            tracing::error!(event = "request_panicked", %error);
            Problem::unavailable("bug", "the request failed inside the server; its log says more")
        })?;
        Ok(Json(receipt?))
    }

    fn target(&self) -> Result<Target, Problem> {
        self.home.may_erase()?;
        let conversation = self.names.get("conversation").map(|id| parse_id(id)).transpose()?;
        Ok(Target {
            user: self.home.user.to_string(),
            conversation: conversation.map(|id| id.to_string()),
            message: self.names.get("message").cloned(),
        })
    }
}

/// Erases what a turn says, for good: it stays in its place as erased, on every device, and nobody brings it back. Role
/// owner, for oneself, or admin.
#[utoipa::path(post, path = "/v1/users/{user}/conversations/{conversation}/messages/{message}/erase",
    tag = "erasures",
    params(("user" = String, Path), ("conversation" = String, Path), ("message" = String, Path)),
    responses((status = 200, body = Receipt), (status = "default", body = Problem)))]
pub(super) async fn message(asked: Asked) -> Result<Json<Receipt>, Problem> {
    let target = asked.target()?;
    asked.erase(target).await
}

/// Erases a conversation for good and burns its name: nobody opens or writes it any more. Role owner, for oneself, or
/// admin.
#[utoipa::path(post, path = "/v1/users/{user}/conversations/{conversation}/erase", tag = "erasures",
    params(("user" = String, Path), ("conversation" = String, Path)),
    responses((status = 200, body = Receipt), (status = "default", body = Problem)))]
pub(super) async fn conversation(asked: Asked) -> Result<Json<Receipt>, Problem> {
    let target = asked.target()?;
    asked.erase(target).await
}

/// Erases everything of a user for good and burns all names of that user. Role owner, for oneself, or admin.
#[utoipa::path(post, path = "/v1/users/{user}/erase", tag = "erasures",
    params(("user" = String, Path)),
    responses((status = 200, body = Receipt), (status = "default", body = Problem)))]
pub(super) async fn user(asked: Asked) -> Result<Json<Receipt>, Problem> {
    let target = asked.target()?;
    asked.erase(target).await
}

/// Lists the receipts of a user's erasures, the oldest first; one that has no `done` is under way.
#[utoipa::path(get, path = "/v1/users/{user}/erasures", tag = "erasures",
    params(("user" = String, Path), Paging),
    responses((status = 200, body = Page<Receipt>), (status = "default", body = Problem)))]
pub(super) async fn list(
    asked: Asked,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page<Receipt>>, Problem> {
    let Query(paging) = paging?;
    let (limit, after) = paging.bounds(|id| uuid::Uuid::parse_str(id).is_ok())?;
    let mut items = ledger::list(&*asked.home.open.store, &asked.home.user, after, limit + 1)?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|receipt| receipt.id.clone());
    Ok(Json(Page { items, next }))
}
