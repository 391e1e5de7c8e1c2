//! Preferences: all of them with where they come from, set under a condition, merged on what the caller last saw.
//!
//! The `ETag` names what stands there: a hash of the winning (name, time, writer, value). For 30 days after it was given
//! out, a `PATCH` may build on it ([`merge`](super::merge)).

use axum::{
    Json,
    extract::{FromRequestParts, rejection::JsonRejection},
    http::request::Parts,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use syncline_document::{
    register::{Source, Stamp},
    schema::{
        Kind,
        preferences::{self, Preference, Provenance},
    },
};
use utoipa::ToSchema;

use super::{
    at,
    home::{Desk, Home, Stop},
    kept,
    paging::Page,
    problem::Problem,
};
use crate::{app::App, clock::now_ms};

/// A preference as it stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Preference)]
pub(super) struct Item {
    name: String,
    /// Null while it is blocked.
    value: Value,
    /// `explicit`, `imported`, `inferred` or `default`.
    source: &'static str,
    /// The person stopped inference.
    blocked: bool,
    /// How sure its source is, 0 to 1.
    confidence: Option<f64>,
    /// What it was concluded from.
    evidence: Option<Value>,
    /// For how many seconds it holds.
    ttl: Option<u64>,
    /// It still holds.
    fresh: bool,
    writer: String,
    /// When it was set, in hybrid logical time.
    hlc: String,
    /// Values that lost: `[{value, writer, hlc}]`.
    #[schema(value_type = Vec<Object>)]
    conflicts: Value,
    /// The tag of this one alone; `If-Match` takes it as it takes that of all.
    etag: String,
}

/// A value to set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewValue {
    value: Value,
    /// `explicit` (what the person set; the default for tokens of the person), `imported`, `inferred` (the default for
    /// agents) or `default`.
    #[schema(value_type = Option<String>)]
    source: Option<Source>,
    /// How sure its source is, 0 to 1.
    confidence: Option<f64>,
    /// What it was concluded from.
    evidence: Option<Value>,
    /// For how many seconds it holds.
    ttl: Option<u64>,
}

/// Which preference: `{name}`.
pub(super) struct AtName(String);

impl FromRequestParts<Arc<App>> for AtName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        Ok(Self(at::names(parts, app).await?.remove("name").unwrap_or_default()))
    }
}

/// An answer with the tag of all preferences.
pub(super) type Tagged<T> = ([(HeaderName, HeaderValue); 1], Json<T>);

pub(super) fn tagged<T>(etag: HeaderValue, body: T) -> Tagged<T> {
    ([(header::ETAG, etag)], Json(body))
}

fn identity(seen: &Preference) -> Vec<u8> {
    json!([seen.name, seen.hlc, seen.writer, seen.value, seen.blocked]).to_string().into_bytes()
}

fn tag_of_one(seen: &Preference) -> String {
    kept::hash([&*identity(seen)])
}

/// Returns the hash that is the tag of all preferences, without its quotes.
pub(super) fn tag_of_all(seen: &[Preference]) -> String {
    let all: Vec<Vec<u8>> = seen.iter().map(identity).collect();
    kept::hash(all.iter().map(Vec::as_slice))
}

pub(super) fn header_of(tag: &str) -> HeaderValue {
    // Hex in quotes is a header's value.
    HeaderValue::from_str(&format!("\"{tag}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

impl From<&Preference> for Item {
    fn from(seen: &Preference) -> Self {
        Self {
            etag: format!("\"{}\"", tag_of_one(seen)),
            name: seen.name.clone(),
            value: seen.value.clone(),
            source: seen.source.as_str(),
            blocked: seen.blocked,
            confidence: seen.confidence,
            evidence: seen.evidence.clone(),
            ttl: seen.ttl,
            fresh: seen.fresh,
            writer: seen.writer.clone(),
            hlc: seen.hlc.to_string(),
            conflicts: serde_json::to_value(&seen.conflicts).unwrap_or_default(),
        }
    }
}

pub(super) fn items(seen: &[Preference]) -> Vec<Item> {
    seen.iter().map(Item::from).collect()
}

fn one(seen: &[Preference], name: &str) -> Option<Item> {
    seen.iter().find(|seen| seen.name == name).map(Item::from)
}

/// Returns the tags of an `If-Match`, without their quotes. `*` stands for itself.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<Vec<String>>, Problem> {
    // A weak tag, or none in quotes, is never equal to one of ours.
    tags(headers, &header::IF_MATCH, |tag| tag)
}

/// Returns the tags of an `If-None-Match`, as [`if_match`]; weak ones are compared like others.
fn if_none_match(headers: &HeaderMap) -> Result<Option<Vec<String>>, Problem> {
    tags(headers, &header::IF_NONE_MATCH, |tag| tag.trim_start_matches("W/"))
}

fn tags(
    headers: &HeaderMap,
    name: &HeaderName,
    bare: impl Fn(&str) -> &str,
) -> Result<Option<Vec<String>>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Problem::bad(format!("{name} holds tags in quotes, or *")))?;
    let tags = text.split(',').map(|tag| bare(tag.trim()).trim_matches('"').to_owned());
    Ok(Some(tags.collect()))
}

fn is_met(tags: Option<&[String]>, seen: &[Preference], name: &str) -> bool {
    let Some(tags) = tags else { return true };
    let this = seen.iter().find(|seen| seen.name == name);
    let all = tag_of_all(seen);
    let meets = |tag: &String| match tag.as_str() {
        "*" => this.is_some(),
        tag => tag == all || this.is_some_and(|this| tag == tag_of_one(this)),
    };
    tags.iter().any(meets)
}

/// Refuses agents what only the person says.
pub(super) fn personal(home: &Home) -> Result<(), Problem> {
    if home.is_agent() {
        return Err(Problem::forbidden(
            "an agent does not speak for the user: it sets inferred, imported or default values of preferences",
        ));
    }
    Ok(())
}

impl Home {
    /// Changes one preference where the caller's condition holds; returns it as it stands then.
    async fn change(
        &self,
        headers: &HeaderMap,
        name: String,
        write: impl FnOnce(&mut Desk<'_>, &str) -> Result<(), Stop> + Send + 'static,
    ) -> Result<Tagged<Option<Item>>, Problem> {
        let (tags, unless) = (if_match(headers)?, if_none_match(headers)?);
        let (wanted, now) = (name.clone(), now_ms());
        let changed = self.write(&Kind::Profile, move |desk| {
            let before = preferences::read(desk.replica(), now)?;
            if !is_met(tags.as_deref(), &before, &wanted) {
                return Ok((Err("changed_meanwhile"), before));
            }
            if unless.is_some_and(|unless| is_met(Some(&unless), &before, &wanted)) {
                return Ok((Err("already_set"), before));
            }
            write(desk, &wanted)?;
            Ok((Ok(()), preferences::read(desk.replica(), now)?))
        });
        let (met, seen) = changed.await?;
        let etag = self.hand_out(&seen).await;
        let item = one(&seen, &name);
        let Err(code) = met else { return Ok(tagged(etag, item)) };
        let detail = match code {
            "already_set" => {
                "this preference is set, and If-None-Match asked for it not to be: see `current`"
            }
            _ => "this preference was changed meanwhile: `current` is what stands there",
        };
        let problem = Problem::new(StatusCode::PRECONDITION_FAILED, code, detail);
        Err(problem.with_current(json!(item), etag))
    }
}

/// Lists all preferences that have a value or are blocked, by name.
#[utoipa::path(get, path = "/v1/users/{user}/preferences", tag = "preferences",
    params(("user" = String, Path)),
    responses((status = 200, body = Page<Item>), (status = "default", body = Problem)))]
pub(super) async fn list(home: Home) -> Result<Tagged<Page<Item>>, Problem> {
    let now = now_ms();
    let seen = home.look(&Kind::Profile, move |replica| preferences::read(replica, now)).await?;
    let etag = home.hand_out(&seen).await;
    Ok(tagged(etag, Page { items: items(&seen), next: None }))
}

/// Sets a preference. What the person set beats what is inferred, whenever that comes.
#[utoipa::path(put, path = "/v1/users/{user}/preferences/{name}", tag = "preferences",
    params(("user" = String, Path), ("name" = String, Path),
        ("If-Match" = Option<String>, Header,
            description = "tags of this preference or of all, or `*` for one that is set: otherwise 412"),
        ("If-None-Match" = Option<String>, Header,
            description = "`*`: only where it is not set, or tags that it must not have; otherwise 412")), request_body = NewValue,
    responses((status = 200, body = Item),
        (status = 412, description = "a condition does not hold: `current` is what stands there", body = Problem),
        (status = "default", body = Problem)))]
pub(super) async fn set(
    home: Home,
    AtName(name): AtName,
    headers: HeaderMap,
    body: Result<Json<NewValue>, JsonRejection>,
) -> Result<Tagged<Option<Item>>, Problem> {
    home.writable()?;
    let Json(new) = body?;
    let usual = if home.is_agent() { Source::Inferred } else { Source::Explicit };
    let source = new.source.unwrap_or(usual);
    if source == Source::Explicit {
        personal(&home)?;
    }
    let writer = home.writer_of(source);
    let provenance = Provenance { source, confidence: new.confidence, evidence: new.evidence, ttl: new.ttl };
    home.change(&headers, name, move |desk, name| {
        desk.edit(|pen, stamp| {
            let stamp = Stamp { writer, hlc: stamp.hlc };
            preferences::set(pen, name, &stamp, &new.value, &provenance)
        })
    })
    .await
}

/// Takes a preference back, whoever set it; what comes later counts again. It also ends a block.
#[utoipa::path(delete, path = "/v1/users/{user}/preferences/{name}", tag = "preferences",
    params(("user" = String, Path), ("name" = String, Path),
        ("If-Match" = Option<String>, Header,
            description = "tags of this preference or of all, or `*` for one that is set: otherwise 412"),
        ("If-None-Match" = Option<String>, Header,
            description = "`*`: only where it is not set, or tags that it must not have; otherwise 412")),
    responses((status = 200, description = "null, or the default that is left", body = Option<Item>),
        (status = 412, description = "a condition does not hold: `current` is what stands there", body = Problem),
        (status = "default", body = Problem)))]
pub(super) async fn clear(
    home: Home,
    AtName(name): AtName,
    headers: HeaderMap,
) -> Result<Tagged<Option<Item>>, Problem> {
    home.writable()?;
    personal(&home)?;
    let clear =
        |desk: &mut Desk<'_>, name: &str| desk.edit(|pen, stamp| preferences::clear(pen, name, stamp));
    home.change(&headers, name, clear).await
}

/// Takes a preference back and stops inference until it is set by hand or cleared.
#[utoipa::path(post, path = "/v1/users/{user}/preferences/{name}/block", tag = "preferences",
    params(("user" = String, Path), ("name" = String, Path),
        ("If-Match" = Option<String>, Header,
            description = "tags of this preference or of all, or `*` for one that is set: otherwise 412"),
        ("If-None-Match" = Option<String>, Header,
            description = "`*`: only where it is not set, or tags that it must not have; otherwise 412")),
    responses((status = 200, body = Item),
        (status = 412, description = "a condition does not hold: `current` is what stands there", body = Problem),
        (status = "default", body = Problem)))]
pub(super) async fn block(
    home: Home,
    AtName(name): AtName,
    headers: HeaderMap,
) -> Result<Tagged<Option<Item>>, Problem> {
    home.writable()?;
    personal(&home)?;
    let block =
        |desk: &mut Desk<'_>, name: &str| desk.edit(|pen, stamp| preferences::block(pen, name, stamp));
    home.change(&headers, name, block).await
}
