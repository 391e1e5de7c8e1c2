//! What a person typed, made into what the library looks for.

use std::ops::Bound;

use tantivy::{
    Term,
    query::{BooleanQuery, ConstScoreQuery, InvertedIndexRangeQuery, PhraseQuery, Query, TermQuery},
    schema::IndexRecordOption,
};

use crate::{
    error::SearchError,
    limits::{COMPLETIONS, QUERY_BYTES, QUERY_WORDS},
    schema::Schema,
    words::{Kind, Word, words},
};

/// A query taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// All of these have to be there.
    pub(crate) wanted: Vec<Clause>,
    /// None of these may be.
    pub(crate) unwanted: Vec<Clause>,
}

/// One thing to look for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Clause {
    /// Neighbouring words with their distances from the first; often a single word.
    Words(Vec<(usize, String)>),
    /// A word that begins so.
    Beginning(String),
}

/// One piece of a query between spaces or quotes.
struct Piece<'a> {
    text: &'a str,
    unwanted: bool,
    quoted: bool,
    /// Nothing follows it, not even a space.
    last: bool,
}

impl Parsed {
    pub(crate) fn new(query: &str) -> Result<Self, SearchError> {
        if query.len() > QUERY_BYTES {
            return Err(SearchError::Query);
        }
        let mut parsed = Self::default();
        let mut count = 0;
        for piece in pieces(query) {
            let found: Vec<Word> = words(piece.text).filter(|word| word.kind != Kind::End).collect();
            count += found.len();
            if count > QUERY_WORDS {
                return Err(SearchError::Query);
            }
            let into = if piece.unwanted { &mut parsed.unwanted } else { &mut parsed.wanted };
            into.extend(clauses(found, piece.last && !piece.quoted && !piece.unwanted));
        }
        Ok(parsed)
    }

    /// What has to be there in one user's texts, or nothing where nothing is looked for.
    pub(crate) fn query(&self, schema: &Schema, user: &str, filters: Vec<Term>) -> Option<BooleanQuery> {
        if self.wanted.is_empty() {
            return None;
        }
        let filter = |term| TermQuery::new(term, IndexRecordOption::Basic);
        let filter = |term| Box::new(ConstScoreQuery::new(Box::new(filter(term)), 0.0)) as Box<dyn Query>;
        let wanted = self.wanted.iter().map(|clause| clause.query(schema, user));
        Some(BooleanQuery::intersection(wanted.chain(filters.into_iter().map(filter)).collect()))
    }

    /// What must not be there. Not a part of [`Parsed::query`]: the library's own exclusion moves a phrase
    /// backwards (tantivy 0.27), against its rules.
    pub(crate) fn exclusions(&self, schema: &Schema, user: &str) -> Vec<Box<dyn Query>> {
        self.unwanted.iter().map(|clause| clause.query(schema, user)).collect()
    }
}

impl Clause {
    fn query(&self, schema: &Schema, user: &str) -> Box<dyn Query> {
        let exact = |word: &str| TermQuery::new(schema.of_word(user, word), IndexRecordOption::WithFreqs);
        match self {
            Self::Words(words) => match words.as_slice() {
                [(_, word)] => Box::new(exact(word)),
                several => {
                    let term = |(at, word): &(usize, String)| (*at, schema.of_word(user, word));
                    Box::new(PhraseQuery::new_with_offset(several.iter().map(term).collect()))
                }
            },
            Self::Beginning(word) => {
                let from = Bound::Included(schema.of_word(user, word));
                let mut range =
                    InvertedIndexRangeQuery::new(from, Bound::Included(schema.behind_word(user, word)));
                range.limit(COMPLETIONS);
                // The word as it stands counts for more than one that goes on.
                Box::new(BooleanQuery::union(vec![Box::new(range), Box::new(exact(word))]))
            }
        }
    }
}

/// Cuts at spaces and quotes. A quote that does not end reaches to the end of the query.
fn pieces(query: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = query;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let unwanted = rest.starts_with('-');
        let begin = rest.trim_start_matches('-');
        let quoted = begin.starts_with('"');
        let begin = begin.strip_prefix('"').unwrap_or(begin);
        if rest.is_empty() {
            return None;
        }
        let ends = |c: char| if quoted { c == '"' } else { c == '"' || c.is_whitespace() };
        let end = begin.find(ends);
        let text = &begin[..end.unwrap_or(begin.len())];
        rest = &begin[text.len()..];
        if quoted {
            rest = rest.strip_prefix('"').unwrap_or(rest);
        }
        Some(Piece { text, unwanted, quoted, last: end.is_none() })
    })
}

/// What one piece asks for. What looks like one word and is several (`don't`, `3.14`, 東京都) is a phrase; its end
/// may be unfinished.
fn clauses(mut found: Vec<Word>, unfinished: bool) -> Vec<Clause> {
    let mut clauses = Vec::new();
    let begins = |word: &Word| match word.kind {
        Kind::Whole => unfinished,
        // The texts have it as the beginning of a pair, too.
        Kind::Single => true,
        Kind::Pair | Kind::End => false,
    };
    let beginning = found.pop_if(|word| begins(word)).map(|word| Clause::Beginning(word.text));
    if let Some(first) = found.first().map(|word| word.position) {
        clauses
            .push(Clause::Words(found.into_iter().map(|word| (word.position - first, word.text)).collect()));
    }
    clauses.extend(beginning);
    clauses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(query: &str) -> String {
        let parsed = Parsed::new(query).expect("a query");
        let clause = |sign: &str, clause: &Clause| match clause {
            Clause::Words(words) => {
                let words: Vec<&str> = words.iter().map(|(_, word)| word.as_str()).collect();
                format!("{sign}{}", words.join("+"))
            }
            Clause::Beginning(word) => format!("{sign}{word}*"),
        };
        let wanted = parsed.wanted.iter().map(|each| clause("", each));
        let all: Vec<String> = wanted.chain(parsed.unwanted.iter().map(|each| clause("-", each))).collect();
        all.join(" ")
    }

    #[test]
    fn a_query_is_taken_apart() {
        for (query, parts) in [
            ("two words", "two words*"),
            ("two words ", "two words"),
            ("\"two words\"", "two+words"),
            ("a -b \"c d\" -\"e f\" g", "a c+d g* -b -e+f"),
            ("a -b", "a -b"),
            ("don't", "don t*"),
            ("don't ", "don+t"),
            ("\"open ended", "open+ended"),
            ("a\"b c\"d", "a b+c d*"),
            ("東京都", "東京+京都"),
            ("猫 a", "猫* a*"),
            ("\"猫\"", "猫*"),
            ("iPhone手机", "iphone+手机"),
            ("", ""),
            (" - -- \" \"\" -\"\" … 🙂", ""),
            ("-only", "-only"),
        ] {
            assert_eq!(shown(query), parts, "{query}");
        }
    }

    #[test]
    fn a_query_has_a_greatest_size() {
        assert_eq!(Parsed::new(&"a".repeat(QUERY_BYTES + 1)), Err(SearchError::Query));
        assert!(Parsed::new(&"a ".repeat(QUERY_WORDS)).is_ok());
        assert_eq!(Parsed::new(&"a ".repeat(QUERY_WORDS + 1)), Err(SearchError::Query));
        assert_eq!(Parsed::new(&"字".repeat(QUERY_WORDS + 2)), Err(SearchError::Query));
    }
}
