//! The part of a text that shows why it was found.

use std::{collections::HashSet, ops::Range};

use crate::{
    limits::SNIPPET_CHARS,
    query::Clause,
    words::{Word, words},
};

/// How many characters stand before the first word that was found.
const BEFORE_CHARS: usize = 60;

/// A part of a text, with the words that were looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snippet {
    /// The part, at most [`SNIPPET_CHARS`] characters.
    pub text: String,
    /// Where in `text` the words are: ascending ranges of bytes, apart from each other.
    pub marked: Vec<Range<usize>>,
    /// There is more text before.
    pub cut_before: bool,
    /// There is more text after.
    pub cut_after: bool,
}

impl Snippet {
    pub(crate) fn new(text: &str, wanted: &[Clause]) -> Self {
        let (whole, begins) = sought(wanted);
        let is_sought = |word: &Word| {
            whole.contains(word.text.as_str()) || begins.iter().any(|begin| word.text.starts_with(begin))
        };
        let first = words(text).find(is_sought).map_or(0, |word| word.range.start);
        let begin = beginning(text, first);
        let rest = text[begin..].char_indices();
        let end = rest.map(|(at, _)| begin + at).nth(SNIPPET_CHARS).unwrap_or(text.len());
        let mut marked: Vec<Range<usize>> = Vec::new();
        let shown = words(&text[begin..end]).filter(is_sought);
        for range in shown.map(|word| word.range) {
            match marked.last_mut().filter(|last| range.start <= last.end) {
                // Pairs of characters overlap.
                Some(last) => last.end = last.end.max(range.end),
                None => marked.push(range),
            }
        }
        Self { text: text[begin..end].to_owned(), marked, cut_before: begin > 0, cut_after: end < text.len() }
    }

    /// Iterates over the text in pieces, each with whether it was looked for: for clients that count differently.
    pub fn pieces(&self) -> impl Iterator<Item = (&str, bool)> {
        let mut at = 0;
        let ends = self.marked.iter().flat_map(|range| [(range.start, false), (range.end, true)]);
        let pieces = ends.chain([(self.text.len(), false)]).map(move |(end, marked)| {
            let begin = std::mem::replace(&mut at, end);
            (&self.text[begin..end], marked)
        });
        pieces.filter(|(piece, _)| !piece.is_empty())
    }
}

/// The words that are looked for, and the beginnings of words.
fn sought(wanted: &[Clause]) -> (HashSet<&str>, Vec<&str>) {
    let mut whole = HashSet::new();
    let mut begins = Vec::new();
    for clause in wanted {
        match clause {
            Clause::Words(words) => whole.extend(words.iter().map(|(_, word)| word.as_str())),
            Clause::Beginning(word) => begins.push(word.as_str()),
        }
    }
    (whole, begins)
}

/// Where a snippet begins whose first sought word is at `first`: behind a space, where there is one near.
fn beginning(text: &str, first: usize) -> usize {
    let mut before = text[..first].char_indices().rev().map(|(at, _)| at);
    let Some(begin) = before.nth(BEFORE_CHARS - 1).filter(|begin| *begin > 0) else { return 0 };
    let space = text[begin..first].find(char::is_whitespace).map(|space| begin + space);
    space.map_or(begin, |space| first - text[space..first].trim_start().len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Parsed;

    fn snippet(text: &str, query: &str) -> Snippet {
        Snippet::new(text, &Parsed::new(query).expect("a query").wanted)
    }

    fn marked(text: &str, query: &str) -> Vec<String> {
        let snippet = snippet(text, query);
        let pieces: Vec<(&str, bool)> = snippet.pieces().collect();
        assert_eq!(pieces.iter().map(|(piece, _)| *piece).collect::<String>(), snippet.text);
        pieces.iter().filter(|(_, marked)| *marked).map(|(piece, _)| (*piece).to_owned()).collect()
    }

    #[test]
    fn words_are_marked_as_they_were_written() {
        assert_eq!(marked("Crème BRÛLÉE and cream", "brulee cre"), ["Crème", "BRÛLÉE", "cream"]);
        assert_eq!(marked("私は東京都に住む", "東京都"), ["東京都"]);
        assert_eq!(marked("no such word", "other"), [""; 0]);
        assert_eq!(marked("", "a"), [""; 0]);
    }

    #[test]
    fn a_long_text_is_cut_around_the_first_word() {
        let text = "lorem ipsum ".repeat(500) + "nadel " + &"dolor sit ".repeat(500);
        let cut = snippet(&text, "nadel ");
        assert!(cut.cut_before && cut.cut_after);
        assert!(cut.text.chars().count() <= SNIPPET_CHARS);
        assert!(cut.text.starts_with("lorem") || cut.text.starts_with("ipsum"), "{}", cut.text);
        assert_eq!(&cut.text[cut.marked[0].clone()], "nadel");
    }

    #[test]
    fn any_text_can_be_cut() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..500 {
            let mut text: String = (0..400).map(|_| random.char(..)).collect();
            text.insert_str(text.floor_char_boundary(random.usize(..text.len())), " nadel ");
            let cut = snippet(&text, "nadel ");
            assert!(cut.marked.iter().any(|range| &cut.text[range.clone()] == "nadel"), "{text:?}");
        }
    }
}
