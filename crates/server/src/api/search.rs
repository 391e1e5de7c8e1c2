//! Words in titles and turns.
//!
//! The index knows texts; whether a conversation is deleted, and what it is called, is looked up in the documents for
//! what was found. So what counts is how they stand now.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::{
    Json,
    extract::{Query, rejection::QueryRejection},
};
use serde::{Deserialize, Serialize};
use syncline_document::{
    ids::{ConversationId, Quarter},
    schema::{
        Kind,
        index::{self, Conversation},
    },
};
use syncline_search::{self as search, Cursor, Hit, SearchError, Snippet, limits::PAGE_HITS};
use utoipa::{IntoParams, ToSchema};

use super::{at::parse_id, home::Home, problem::Problem};
use crate::erasure::ledger;

/// Hits of a page where nothing else is asked for.
const USUAL: usize = 20;
/// How often the index is asked for one page: hits in deleted conversations leave room on it.
const ROUNDS: usize = 5;

/// What to look for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Words, all of them: `"side by side"`, `-without`. The last may be unfinished unless a space follows it.
    q: String,
    /// Hits of the page: 20 if not given, at most 100.
    limit: Option<usize>,
    /// The `next` of the page before, of the same search.
    cursor: Option<String>,
    /// Only in this conversation.
    conversation: Option<String>,
    /// Only what this role wrote: `user`, `assistant`, ...
    role: Option<String>,
    /// Not older than this: unix milliseconds.
    from: Option<i64>,
    /// Older than this: unix milliseconds.
    to: Option<i64>,
    /// Deleted conversations too; without it they are left out.
    #[serde(default)]
    deleted: bool,
}

/// Something that was found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FoundText {
    conversation: String,
    /// The conversation's title.
    title: Option<String>,
    /// The conversation is deleted.
    deleted: bool,
    /// The turn; null where the title itself was found.
    message: Option<String>,
    /// Who wrote it; null for a title.
    role: Option<String>,
    /// When, by the writer's clock: unix milliseconds.
    at: i64,
    /// It stands beside an earlier turn: an edited question, another answer.
    alternative: bool,
    snippet: Cutting,
}

/// The part of a text that shows why it was found.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cutting {
    /// At most 200 characters.
    text: String,
    /// Where the words are, in UTF-16 code units as strings are counted in JavaScript, Java and Swift.
    ranges: Vec<Marked>,
    /// There is more text before.
    cut_before: bool,
    /// There is more text after.
    cut_after: bool,
}

/// A part of a snippet.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Marked {
    start: usize,
    /// Not part of it any more.
    end: usize,
}

/// A page of what was found, the best first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FoundPage {
    items: Vec<FoundText>,
    /// Where the next page begins; null at the end. A page may be shorter than asked for and not be the last.
    next: Option<String>,
    /// The index is still catching up with what is stored: something may be missing.
    indexing: bool,
    /// The search took too long and was cut: there may be better hits.
    partial: bool,
}

impl From<&Snippet> for Cutting {
    fn from(snippet: &Snippet) -> Self {
        let mut ranges = Vec::new();
        let mut start = 0;
        for (piece, marked) in snippet.pieces() {
            let end = start + piece.encode_utf16().count();
            if marked {
                ranges.push(Marked { start, end });
            }
            start = end;
        }
        let (cut_before, cut_after) = (snippet.cut_before, snippet.cut_after);
        Self { text: snippet.text.clone(), ranges, cut_before, cut_after }
    }
}

impl From<SearchError> for Problem {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Query | SearchError::Cursor | SearchError::Name => Self::bad(error.to_string()),
            _ => unavailable(&error.to_string()),
        }
    }
}

fn unavailable(reason: &str) -> Problem {
    Problem::unavailable("search_unavailable", format!("{reason}; nothing else is affected, try again later"))
}

impl Home {
    /// Asks the index.
    async fn ask(
        &self,
        q: &str,
        page: search::Page,
        filter: &search::Filter,
    ) -> Result<search::Found, Problem> {
        let engine = self.open.registry.engine();
        let going = || Problem::unavailable("restarting", "the server is going down");
        let index = engine.finder.index().map_err(|reason| unavailable(&reason))?;
        let _place = engine.finder.places.acquire().await.map_err(|_| going())?;
        let (user, q, filter) = (self.user.clone(), q.to_owned(), filter.clone());
        let asked = tokio::task::spawn_blocking(move || index.search(&user, &q, &page, &filter));
        let found = asked.await.map_err(|_| going())?;
        engine.metrics.searched(found.is_ok());
        Ok(found?)
    }

    /// Leaves out what stands in conversations that were erased: the index may hear of that a little later.
    fn standing(&self, hits: Vec<Hit>) -> Result<Vec<Hit>, Problem> {
        let mut burned: BTreeMap<String, bool> = BTreeMap::new();
        for hit in &hits {
            if let (None, Some(id)) =
                (burned.get(&hit.conversation), ConversationId::parse(&hit.conversation))
            {
                let reason = ledger::conversation_burned(&*self.open.store, &self.user, &id)?;
                burned.insert(hit.conversation.clone(), reason.is_some());
            }
        }
        Ok(hits.into_iter().filter(|hit| burned.get(&hit.conversation) == Some(&false)).collect())
    }

    /// Reads the conversations of some hits, as the sidebar shows them; those that no index has are left out.
    async fn conversations_of(&self, hits: &[Hit]) -> Result<HashMap<String, Conversation>, Problem> {
        let mut quarters: BTreeMap<Quarter, BTreeSet<String>> = BTreeMap::new();
        for id in hits.iter().filter_map(|hit| ConversationId::parse(&hit.conversation)) {
            quarters.entry(id.quarter()).or_default().insert(id.to_string());
        }
        let mut seen = HashMap::new();
        for (quarter, ids) in quarters {
            let index = Kind::Index(quarter);
            let found = self.look(&index, move |replica| index::read_some(replica, &ids)).await?;
            seen.extend(found.into_iter().map(|conversation| (conversation.id.clone(), conversation)));
        }
        Ok(seen)
    }

    /// Says what a hit is; nothing where the caller may not see it.
    fn shown(&self, hit: Hit, seen: &HashMap<String, Conversation>, deleted_too: bool) -> Option<FoundText> {
        let id = ConversationId::parse(&hit.conversation)?;
        let name = self.name(&Kind::Conversation(id.clone())).ok()?;
        let conversation = seen.get(&hit.conversation);
        let deleted = conversation.is_some_and(|seen| seen.deleted);
        if !self.may_read(&name) || (deleted && !deleted_too) {
            return None;
        }
        Some(FoundText {
            title: conversation.and_then(|seen| seen.title.clone()),
            deleted,
            role: hit.message.is_some().then_some(hit.role),
            message: hit.message,
            at: hit.at_ms,
            alternative: hit.alternative,
            snippet: Cutting::from(&hit.snippet),
            conversation: hit.conversation,
        })
    }
}

/// Finds words in titles and in turns of all branches, the best and then the newest first. What was written is found
/// about a second later; erased texts and drafts are not.
#[utoipa::path(get, path = "/v1/users/{user}/search", tag = "search",
    params(("user" = String, Path), Wanted),
    responses((status = 200, body = FoundPage), (status = "default", body = Problem)))]
pub(super) async fn search(
    home: Home,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<FoundPage>, Problem> {
    let Query(wanted) = wanted?;
    let conversation = wanted.conversation.as_deref().map(parse_id).transpose()?;
    let filter = search::Filter {
        conversation: conversation.map(|id| id.to_string()),
        role: wanted.role,
        since_ms: wanted.from,
        until_ms: wanted.to,
    };
    let mut after: Option<Cursor> = wanted.cursor.as_deref().map(str::parse).transpose()?;
    let limit = wanted.limit.unwrap_or(USUAL).clamp(1, PAGE_HITS);
    // Asked before: what is indexed meanwhile may be missing.
    let indexing = home.open.registry.engine().finder.standing().indexing;
    let mut page = FoundPage { items: Vec::new(), next: None, indexing, partial: false };
    for _ in 0..ROUNDS {
        let ask = search::Page { limit: limit - page.items.len(), after };
        let found = home.ask(&wanted.q, ask, &filter).await?;
        let hits = home.standing(found.hits)?;
        let seen = home.conversations_of(&hits).await?;
        page.items.extend(hits.into_iter().filter_map(|hit| home.shown(hit, &seen, wanted.deleted)));
        page.partial |= found.partial;
        after = found.next;
        page.next = after.map(|next| next.to_string());
        if after.is_none() || page.items.len() >= limit {
            break;
        }
    }
    Ok(Json(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_counted_as_javascript_counts() {
        let text = "😀 brûlée é brûlée".to_owned();
        let first = text.find("brûlée").expect("there");
        let last = text.rfind("brûlée").expect("there");
        let marked = vec![first..first + "brûlée".len(), last..last + "brûlée".len()];
        let snippet = Snippet { text: text.clone(), marked, cut_before: false, cut_after: true };
        let cutting = Cutting::from(&snippet);
        let units: Vec<u16> = text.encode_utf16().collect();
        assert_eq!(cutting.ranges.len(), 2);
        for range in &cutting.ranges {
            assert_eq!(String::from_utf16(&units[range.start..range.end]).expect("text"), "brûlée");
        }
        assert!(cutting.cut_after && !cutting.cut_before);
    }
}
