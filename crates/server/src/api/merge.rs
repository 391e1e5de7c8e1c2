//! Preferences merged three ways: what the caller last saw, what stands there, what the caller wants.
//!
//! What the caller saw is kept under its tag for 30 days, as rows `etag/{user}/{tag}` and `etag/{user}/{tag}-{part}`: short
//! values as they are, long ones by their hash.

use std::collections::BTreeMap;

use axum::{Json, extract::rejection::JsonRejection};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use syncline_document::{
    register::{Source, Stamp},
    schema::{
        Kind,
        preferences::{self, Preference, Provenance},
    },
};
use utoipa::ToSchema;

use super::{
    home::{Desk, Home, Stop},
    kept,
    preferences::{Item, Tagged, header_of, if_match, items, personal, tag_of_all, tagged},
    problem::Problem,
};
use crate::clock::now_ms;

const TABLE: &str = "etag";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How long a merge may build on what was handed out. It is kept a day longer, and not anew each time.
const BASE_MS: u64 = 30 * DAY_MS;
/// Preferences that one call merges.
const NAMES: usize = 1_000;
/// A value whose JSON is longer is kept by its hash.
const VALUE_KEPT_BYTES: usize = 1 << 10;

/// What the caller saw of a preference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    #[serde(rename = "v", default, skip_serializing_if = "Value::is_null")]
    value: Value,
    #[serde(rename = "b", default, skip_serializing_if = "std::ops::Not::not")]
    blocked: bool,
    /// Stands for a long value.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
}

impl State {
    fn of(value: Value, blocked: bool) -> Self {
        Self { value, blocked, hash: None }
    }

    /// Returns it as it is kept.
    fn kept(&self) -> Self {
        let text = self.value.to_string();
        if text.len() <= VALUE_KEPT_BYTES {
            return self.clone();
        }
        Self { value: Value::Null, hash: Some(kept::hash([text.as_bytes()])), ..self.clone() }
    }
}

type States = BTreeMap<String, State>;

/// A preference that is not as the caller wants it: others changed it meanwhile to something else, or what the person set
/// beats what an agent wrote below it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct Conflict {
    name: String,
    /// What the caller had seen; left out where that was over 1 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<Value>,
    /// What stands there, and stays.
    theirs: Value,
    /// What the caller wants.
    yours: Value,
}

/// What became of a merge.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Merged {
    /// The names that stand as the caller wants them.
    applied: Vec<String>,
    conflicts: Vec<Conflict>,
    /// All preferences as they stand now.
    items: Vec<Item>,
}

fn states(seen: &[Preference]) -> States {
    let state = |seen: &Preference| State::of(seen.value.clone(), seen.blocked);
    seen.iter().map(|seen| (seen.name.clone(), state(seen))).collect()
}

/// Says which wishes can be fulfilled: where nobody else changed anything, or all want the same.
fn judge(
    base: &States,
    theirs: &States,
    wishes: Map<String, Value>,
) -> (Vec<(String, Value)>, Vec<Conflict>) {
    let (mut granted, mut conflicts) = (Vec::new(), Vec::new());
    for (name, yours) in wishes {
        let (before, now) = (base.get(&name), theirs.get(&name));
        let wanted = (!yours.is_null()).then(|| State::of(yours.clone(), false));
        if now.map(State::kept) == before.map(State::kept) || now == wanted.as_ref() {
            granted.push((name, yours));
        } else {
            conflicts.push(conflict(before, now, name, yours));
        }
    }
    (granted, conflicts)
}

fn conflict(base: Option<&State>, theirs: Option<&State>, name: String, yours: Value) -> Conflict {
    let base = match base {
        Some(State { hash: Some(_), .. }) => None,
        base => Some(base.map_or(Value::Null, |base| base.value.clone())),
    };
    Conflict { name, base, theirs: theirs.map_or(Value::Null, |theirs| theirs.value.clone()), yours }
}

/// Tells which of the wishes that were written stand, and puts the others among the conflicts.
fn settle(
    base: &States,
    after: &States,
    written: Vec<(String, Value)>,
    conflicts: &mut Vec<Conflict>,
) -> Vec<String> {
    let mut applied = Vec::with_capacity(written.len());
    for (name, yours) in written {
        let now = after.get(&name);
        // What is cleared may leave a default.
        if yours.is_null() || now.is_some_and(|now| now.value == yours) {
            applied.push(name);
        } else {
            conflicts.push(conflict(base.get(&name), now, name, yours));
        }
    }
    conflicts.sort_by(|one, other| one.name.cmp(&other.name));
    applied
}

impl Home {
    /// Returns the tag of what the caller is shown, and keeps that for a later merge.
    pub(super) async fn hand_out(&self, seen: &[Preference]) -> HeaderValue {
        let tag = tag_of_all(seen);
        let kept: States = states(seen).iter().map(|(name, state)| (name.clone(), state.kept())).collect();
        let content = json!(kept).to_string();
        let kept_until = now_ms() + BASE_MS;
        let is_kept = matches!(self.kept(TABLE, &tag), Ok(Some((until, _))) if until >= kept_until);
        if !is_kept {
            // Where the store takes nothing the answer is still good; a merge on it then says `base_unknown`.
            if let Err(problem) = self.keep_long(TABLE, &tag, kept_until + DAY_MS, content.as_bytes()).await {
                tracing::warn!(event = "base_not_kept", ?problem);
            }
        }
        header_of(&tag)
    }

    async fn base_unknown(&self) -> Result<Problem, Problem> {
        let now = now_ms();
        let seen = self.look(&Kind::Profile, move |replica| preferences::read(replica, now)).await?;
        let etag = self.hand_out(&seen).await;
        let detail = "what this builds on is not known any more: build on `current`";
        let problem = Problem::new(StatusCode::PRECONDITION_FAILED, "base_unknown", detail);
        Ok(problem.with_current(json!(items(&seen)), etag))
    }

    /// Returns what the caller last saw.
    async fn base(&self, headers: &HeaderMap) -> Result<States, Problem> {
        let Some(tags) = if_match(headers)? else {
            let detail = "a merge builds on what was seen: send its ETag in If-Match";
            return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, "base_required", detail));
        };
        let tag = tags.first().filter(|tag| tag.len() == 64 && tag.bytes().all(|b| b.is_ascii_hexdigit()));
        let kept = tag.map(|tag| self.kept_long(TABLE, tag)).transpose()?.flatten();
        match kept.and_then(|(_, content)| serde_json::from_slice(&content).ok()) {
            Some(base) => Ok(base),
            None => Err(self.base_unknown().await?),
        }
    }
}

/// Writes all wishes or none.
fn write(
    desk: &mut Desk<'_>,
    wishes: &[(String, Value)],
    stamp_of: impl Fn(&Stamp) -> Stamp,
    from: &Provenance,
) -> Result<(), Stop> {
    let seen = preferences::read(desk.replica(), now_ms())?;
    for (name, value) in wishes {
        preferences::check(name, value, from)?;
        let blocked = seen.iter().any(|seen| seen.name == *name && seen.blocked);
        if blocked && from.source == Source::Inferred {
            return Err(syncline_document::schema::Unfit::Blocked.into());
        }
    }
    if wishes.is_empty() {
        return Ok(());
    }
    desk.edit(|pen, stamp| {
        let stamp = stamp_of(stamp);
        wishes.iter().try_for_each(|(name, value)| match value {
            Value::Null => preferences::clear(pen, name, &stamp),
            value => preferences::set(pen, name, &stamp, value, from),
        })
    })
}

/// Sets (or, by null, clears) several preferences on the base of what the caller last saw: its ETag, of the last 30 days,
/// in `If-Match`. What others changed meanwhile to something else stays, and is told as a conflict; so is what an agent
/// sets and the person has set otherwise.
#[utoipa::path(patch, path = "/v1/users/{user}/preferences", tag = "preferences",
    params(("user" = String, Path), ("If-Match" = String, Header, description = "the `ETag` of what was seen, of the last 30 days")), request_body = Object,
    responses((status = 200, body = Merged), (status = "default", body = Problem)))]
pub(super) async fn merge(
    home: Home,
    headers: HeaderMap,
    body: Result<Json<Map<String, Value>>, JsonRejection>,
) -> Result<Tagged<Merged>, Problem> {
    home.writable()?;
    let Json(wishes) = body?;
    if wishes.len() > NAMES {
        return Err(Problem::bad(format!("a call merges at most {NAMES} preferences")));
    }
    if wishes.values().any(Value::is_null) {
        personal(&home)?;
    }
    let base = home.base(&headers).await?;
    let source = if home.is_agent() { Source::Inferred } else { Source::Explicit };
    let (writer, from) = (home.writer_of(source), Provenance { source, ..Provenance::explicit() });
    let merged = home.write(&Kind::Profile, move |desk| {
        let theirs = states(&preferences::read(desk.replica(), now_ms())?);
        let (granted, mut conflicts) = judge(&base, &theirs, wishes);
        write(desk, &granted, |stamp| Stamp { writer: writer.clone(), hlc: stamp.hlc }, &from)?;
        let seen = preferences::read(desk.replica(), now_ms())?;
        let applied = settle(&base, &states(&seen), granted, &mut conflicts);
        Ok((applied, conflicts, seen))
    });
    let (applied, conflicts, seen) = merged.await?;
    let etag = home.hand_out(&seen).await;
    Ok(tagged(etag, Merged { applied, conflicts, items: items(&seen) }))
}
