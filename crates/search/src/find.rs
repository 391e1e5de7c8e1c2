//! Runs a query: the best texts of one user, a page at a time.
//!
//! The order is by rank, then time, then a number made of the names. A rank depends on the query and the text
//! alone, so a cursor stays good while others write and segments merge: the next page begins behind it.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use tantivy::{
    DocAddress, DocId, DocSet, Searcher, SegmentReader, TERMINATED, TantivyDocument, Term,
    query::{Bm25StatisticsProvider, EnableScoring, Query, Scorer, Weight},
    schema::Field,
};

use crate::{
    error::SearchError,
    limits::{NAME_BYTES, PAGE_HITS},
    options::Options,
    query::Parsed,
    schema::{AT, Schema, TIE},
    snippet::Snippet,
};

/// Which of the hits to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How many, at most [`crate::limits::PAGE_HITS`].
    pub limit: usize,
    /// Behind which: [`Found::next`] of the page before, of the same query and filter.
    pub after: Option<Cursor>,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: 20, after: None }
    }
}

/// What a hit has to be beside its words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// In this conversation.
    pub conversation: Option<String>,
    /// Written by this role; titles have none.
    pub role: Option<String>,
    /// Not older than this, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Older than this, in milliseconds since 1970.
    pub until_ms: Option<i64>,
}

/// The place of a hit in the order of all. As text it is opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    rank: u32,
    at_ms: i64,
    tie: u64,
}

/// One page of hits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The best first.
    pub hits: Vec<Hit>,
    /// Where the next page begins, if there is more.
    pub next: Option<Cursor>,
    /// The search met [`Options::search_ms`] or [`Options::search_texts`]: there may be better hits than these.
    pub partial: bool,
}

/// A title or a message that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Its conversation.
    pub conversation: String,
    /// The message; `None` is the title.
    pub message: Option<String>,
    /// Who wrote it; empty for a title.
    pub role: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// It stands beside another message.
    pub alternative: bool,
    /// How well it fits: comparable within one query.
    pub score: f32,
    /// The place that was found.
    pub snippet: Snippet,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}{:016x}{:016x}", self.rank, self.at_ms.cast_unsigned(), self.tie)
    }
}

impl std::str::FromStr for Cursor {
    type Err = SearchError;

    fn from_str(text: &str) -> Result<Self, SearchError> {
        let digits = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let part = |from: usize, to: usize| {
            let part = text.get(from..to).filter(|_| digits);
            part.and_then(|part| u64::from_str_radix(part, 16).ok()).ok_or(SearchError::Cursor)
        };
        let rank = u32::try_from(part(0, 8)?).map_err(|_| SearchError::Cursor)?;
        Ok(Self { rank, at_ms: part(8, 24)?.cast_signed(), tie: part(24, 40)? })
    }
}

/// How many ranks a score of one has: close scores are equal, so that time decides, and so that the order in which
/// a segment adds up floating point numbers does not.
const RANKS: f32 = 10.0;

/// Stands in for the counts of all users' texts, which would tell a user what others write: every word is taken
/// for as rare as any, every text is compared with a length of a hundred words.
struct NoStatistics;

impl Bm25StatisticsProvider for NoStatistics {
    fn total_num_tokens(&self, _field: Field) -> tantivy::Result<u64> {
        Ok(10_000)
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(100)
    }

    fn doc_freq(&self, _term: &Term) -> tantivy::Result<u64> {
        Ok(1)
    }
}

/// A search that can be answered.
pub(crate) struct Search<'a> {
    user: &'a str,
    parsed: Parsed,
    page: &'a Page,
    filter: &'a Filter,
}

/// What is looked for, as the library has it.
struct Weights {
    wanted: Box<dyn Weight>,
    unwanted: Vec<Box<dyn Weight>>,
}

/// What a search has come to.
struct Progress {
    /// The best so far, the worst of them on top; one more than the page has.
    best: BinaryHeap<Reverse<(Cursor, DocAddress)>>,
    looked_at: usize,
    end: Instant,
    partial: bool,
}

impl<'a> Search<'a> {
    pub(crate) fn new(
        user: &'a str,
        query: &str,
        page: &'a Page,
        filter: &'a Filter,
    ) -> Result<Self, SearchError> {
        let names = [Some(user), filter.conversation.as_deref(), filter.role.as_deref()];
        if names.into_iter().flatten().any(|name| name.len() > NAME_BYTES) {
            return Err(SearchError::Name);
        }
        Ok(Self { user, parsed: Parsed::new(query)?, page, filter })
    }

    pub(crate) fn run(
        &self,
        searcher: &Searcher,
        schema: &Schema,
        options: &Options,
    ) -> Result<Found, SearchError> {
        let conversation = self.filter.conversation.as_ref();
        let conversation = conversation.map(|name| schema.of_conversation(self.user, name));
        let role = self.filter.role.as_ref().map(|role| schema.of_role(role));
        let filters = conversation.into_iter().chain(role).collect();
        let Some(query) = self.parsed.query(schema, self.user, filters) else { return Ok(Found::default()) };
        let scoring = EnableScoring::enabled_from_statistics_provider(&NoStatistics, searcher);
        let unwanted = self.parsed.exclusions(schema, self.user);
        let unscored = EnableScoring::disabled_from_searcher(searcher);
        let weights = Weights {
            wanted: query.weight(scoring)?,
            unwanted: unwanted.iter().map(|query| query.weight(unscored)).collect::<Result<_, _>>()?,
        };
        let mut progress = Progress {
            best: BinaryHeap::new(),
            looked_at: 0,
            end: Instant::now() + Duration::from_millis(options.search_ms),
            partial: false,
        };
        for (number, segment) in (0..).zip(searcher.segment_readers()) {
            self.look(number, segment, &weights, options, &mut progress)?;
            if progress.partial {
                break;
            }
        }
        self.found(searcher, schema, progress)
    }

    fn limit(&self) -> usize {
        self.page.limit.clamp(1, PAGE_HITS)
    }

    /// Looks at the texts of one segment.
    fn look(
        &self,
        number: u32,
        segment: &SegmentReader,
        weights: &Weights,
        options: &Options,
        progress: &mut Progress,
    ) -> Result<(), SearchError> {
        let times = segment.fast_fields().i64(AT)?;
        let ties = segment.fast_fields().u64(TIE)?;
        let mut texts = weights.wanted.scorer(segment, 1.0)?;
        let unwanted = weights.unwanted.iter().map(|weight| weight.scorer(segment, 1.0));
        let mut unwanted = unwanted.collect::<Result<Vec<_>, _>>()?;
        while texts.doc() != TERMINATED {
            let text = texts.doc();
            // The clock is asked now and then only.
            let late = progress.looked_at.is_multiple_of(64) && Instant::now() >= progress.end;
            if late || progress.looked_at >= options.search_texts {
                progress.partial = true;
                break;
            }
            progress.looked_at += 1;
            let at_ms = times.first(text).unwrap_or(0);
            let fits = self.filter.since_ms.is_none_or(|since| at_ms >= since)
                && self.filter.until_ms.is_none_or(|until| at_ms < until)
                && !segment.is_deleted(text);
            if fits && !unwanted.iter_mut().any(|each| holds(each.as_mut(), text)) {
                let rank = (texts.score() * RANKS).round() as u32;
                let place = Cursor { rank, at_ms, tie: ties.first(text).unwrap_or(0) };
                if self.page.after.is_none_or(|after| place < after) {
                    progress.best.push(Reverse((place, DocAddress::new(number, text))));
                }
            }
            if progress.best.len() > self.limit() + 1 {
                progress.best.pop();
            }
            texts.advance();
        }
        Ok(())
    }

    /// Fetches what is on the page.
    fn found(&self, searcher: &Searcher, schema: &Schema, progress: Progress) -> Result<Found, SearchError> {
        let mut places = progress.best.into_sorted_vec();
        let more = places.len() > self.limit();
        places.truncate(self.limit());
        let next = places.last().filter(|_| more).map(|Reverse((place, _))| *place);
        let mut hits = Vec::with_capacity(places.len());
        for Reverse((place, address)) in places {
            let shown = schema.shown(&searcher.doc::<TantivyDocument>(address)?);
            hits.push(Hit {
                conversation: shown.conversation,
                message: shown.message,
                role: shown.role,
                at_ms: place.at_ms,
                alternative: shown.alternative,
                score: place.rank as f32 / RANKS,
                snippet: Snippet::new(&shown.text, &self.parsed.wanted),
            });
        }
        Ok(Found { hits, next, partial: progress.partial })
    }
}

/// Whether a text is among those of a scorer, which is asked for ascending texts.
fn holds(scorer: &mut dyn Scorer, text: DocId) -> bool {
    if scorer.doc() < text {
        scorer.seek(text);
    }
    scorer.doc() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_text_and_back() {
        for (rank, at_ms, tie) in [(0, 0, 0), (7, -1, u64::MAX), (u32::MAX, i64::MIN, 1)] {
            let cursor = Cursor { rank, at_ms, tie };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn another_text_is_no_cursor() {
        let long = "0".repeat(41);
        for text in ["", "0", long.as_str(), &"+".repeat(40), &"é".repeat(20), &"g".repeat(40)] {
            assert_eq!(text.parse::<Cursor>(), Err(SearchError::Cursor), "{text}");
        }
    }
}
