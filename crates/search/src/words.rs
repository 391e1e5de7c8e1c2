//! Splits a text into words, lazily, the same way for what is indexed and for what is asked.
//!
//! A word is a run of letters, digits and marks. Scripts that put no spaces between words (Han, kana, Hangul, Thai,
//! Lao, Khmer, Myanmar) are cut into overlapping pairs of characters, with the last character of a run alone at its
//! end: no dictionary is needed, two or more characters are found anywhere as neighbouring pairs, a single one as the
//! beginning of a pair or of an end. Emoji and signs are no words.

use std::ops::Range;

use unicode_normalization::char::is_combining_mark;

use crate::fold::fold;

/// What a [`Word`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word between other signs.
    Whole,
    /// Two characters of a script without spaces.
    Pair,
    /// A character of such a script with no other beside it.
    Single,
    /// The last character of a run of such characters; it is in a pair already.
    End,
}

/// A folded word and where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// Folded.
    pub(crate) text: String,
    /// Bytes of the original.
    pub(crate) range: Range<usize>,
    /// The number of the word in the text; neighbours differ by one.
    pub(crate) position: usize,
    pub(crate) kind: Kind,
}

/// Iterates over the words of a text.
pub(crate) struct Words<'a> {
    text: &'a str,
    at: usize,
    position: usize,
    /// A character of a script without spaces that waits for its neighbour, and whether it had one before.
    open: Option<(Range<usize>, bool)>,
}

/// Splits a text.
pub(crate) fn words(text: &str) -> Words<'_> {
    Words { text, at: 0, position: 0, open: None }
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        loop {
            let (range, kind) = match self.open.take() {
                Some((one, paired)) => self.pair(one, paired),
                None => {
                    self.skip();
                    match self.peek()? {
                        c if is_unspaced(c) => {
                            self.open = Some((self.cluster(), false));
                            continue;
                        }
                        _ => (self.run(|c| is_word(c) && !is_unspaced(c)), Kind::Whole),
                    }
                }
            };
            let text = fold(&self.text[range.clone()]);
            // A run of mere accents leaves nothing.
            if !text.is_empty() {
                let position = self.position;
                self.position += 1;
                return Some(Word { text, range, position, kind });
            }
        }
    }
}

impl Words<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip(&mut self) {
        self.run(|c| !is_word(c));
    }

    fn run(&mut self, belongs: impl Fn(char) -> bool) -> Range<usize> {
        let rest = &self.text[self.at..];
        let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at += length;
        self.at - length..self.at
    }

    /// A character and the marks on it.
    fn cluster(&mut self) -> Range<usize> {
        let begin = self.at;
        self.at += self.peek().map_or(0, char::len_utf8);
        self.run(is_attached);
        begin..self.at
    }

    /// The pair of a character and the one after it, or the character alone at the end of a run.
    fn pair(&mut self, one: Range<usize>, paired: bool) -> (Range<usize>, Kind) {
        if self.peek().is_some_and(is_unspaced) {
            let other = self.cluster();
            let both = one.start..other.end;
            self.open = Some((other, true));
            return (both, Kind::Pair);
        }
        (one, if paired { Kind::End } else { Kind::Single })
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || is_attached(c)
}

/// Marks, joiners, half-width voicing marks, and the later letters of a Hangul syllable that was taken apart.
fn is_attached(c: char) -> bool {
    !c.is_ascii()
        && (is_combining_mark(c)
            || matches!(c, '\u{200c}' | '\u{200d}' | '\u{ff9e}' | '\u{ff9f}' | '\u{1160}'..='\u{11ff}'))
}

fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0e01}'..='\u{0e4e}' | '\u{0e81}'..='\u{0ece}' | '\u{1000}'..='\u{103f}' | '\u{1780}'..='\u{17d3}'
        | '\u{1100}'..='\u{115f}' | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30fa}' | '\u{30fc}'..='\u{318e}'
        | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9d}' | '\u{20000}'..='\u{3ffff}')
        && is_word(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        words(text).map(|word| word.text).collect()
    }

    #[test]
    fn words_lie_between_other_signs() {
        assert_eq!(split("Hello, wörld! foo_bar C++ 3.14"), ["hello", "world", "foo", "bar", "c", "3", "14"]);
        assert_eq!(split(" \n🙂 — "), [""; 0]);
        assert_eq!(split("हिन्दी में"), ["हिन्दी", "में"]);
    }

    #[test]
    fn scripts_without_spaces_become_pairs() {
        assert_eq!(split("東京都"), ["東京", "京都", "都"]);
        assert_eq!(split("iPhone手机x"), ["iphone", "手机", "机", "x"]);
        assert_eq!(split("猫"), ["猫"]);
        assert_eq!(split("ｶﾞｷﾞ"), ["ガギ", "ギ"]);
        assert_eq!(split("ที่นี่"), ["ที่นี่", "นี่"]);
        let kinds: Vec<Kind> = words("東京 猫 a").map(|word| word.kind).collect();
        assert_eq!(kinds, [Kind::Pair, Kind::End, Kind::Single, Kind::Whole]);
    }

    #[test]
    fn ranges_are_those_of_the_original_and_positions_have_no_holes() {
        let text = "Ünï 東京\u{301}都 \u{301}\u{301} x́y e\u{301}";
        for (number, word) in words(text).enumerate() {
            assert_eq!(word.position, number);
            assert_eq!(fold(&text[word.range.clone()]), word.text);
        }
    }

    #[test]
    fn any_text_ends() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let text: String = (0..40).map(|_| random.char(..)).collect();
            assert!(words(&text).count() <= 40, "{text:?}");
        }
    }
}
