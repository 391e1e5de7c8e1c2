//! Makes words that people take for the same equal: case, accents, width, ligatures.

use unicode_normalization::UnicodeNormalization;

use crate::limits::WORD_CHARS;

/// Folds one word: compatibility forms, lower case, without accents, cut at [`WORD_CHARS`].
pub(crate) fn fold(word: &str) -> String {
    if word.is_ascii() {
        return word.chars().take(WORD_CHARS).map(|c| c.to_ascii_lowercase()).collect();
    }
    // Four times as many characters as are kept: composing takes three at most to one.
    let parts = word.nfkd().flat_map(char::to_lowercase).filter(|c| !is_accent(*c));
    let mut plain = String::with_capacity(word.len());
    parts.take(4 * WORD_CHARS).for_each(|c| push_plain(c, &mut plain));
    // Composed again: kana keep their voicing marks and Hangul its syllables.
    plain.nfc().take(WORD_CHARS).collect()
}

/// Marks that people leave out when they search: Latin, Greek and Cyrillic accents, Hebrew and Arabic points. Not
/// the vowel signs of Indic scripts nor the voicing marks of kana, which make another word.
fn is_accent(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036f}' | '\u{0483}'..='\u{0487}' | '\u{0591}'..='\u{05c7}' | '\u{0610}'..='\u{061a}'
        | '\u{0640}' | '\u{064b}'..='\u{065f}' | '\u{0670}' | '\u{06d6}'..='\u{06ed}' | '\u{200c}' | '\u{200d}')
}

/// Letters that Unicode does not take apart, but people do.
fn push_plain(c: char, into: &mut String) {
    match c {
        'ß' => into.push_str("ss"),
        'æ' => into.push_str("ae"),
        'œ' => into.push_str("oe"),
        'þ' => into.push_str("th"),
        'ø' => into.push('o'),
        'đ' | 'ð' => into.push('d'),
        'ł' => into.push('l'),
        'ħ' => into.push('h'),
        'ı' => into.push('i'),
        'ς' => into.push('σ'),
        _ => into.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_to_a_reader_is_equal_here() {
        let same = [
            ("Crème", "creme"),
            ("ÅNGSTRÖM", "angstrom"),
            ("Straße", "STRASSE"),
            ("smørrebrød", "smorrebrod"),
            ("Łódź", "lodz"),
            ("İstanbul", "istanbul"),
            ("ＦＵＬＬ", "full"),
            ("ﬁn", "fin"),
            ("ΣΊΣΥΦΟΣ", "σισυφος"),
            ("ёлка", "елка"),
            ("كِتَاب", "كتاب"),
            ("ｶﾞ", "ガ"),
            ("e\u{301}te\u{301}", "été"),
            ("\u{1112}\u{1161}\u{11ab}", "한"),
        ];
        for (one, other) in same {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
    }

    #[test]
    fn other_words_stay_other_words() {
        for (one, other) in [("か", "が"), ("की", "का"), ("हिन्दी", "हन्द"), ("o", "0")]
        {
            assert_ne!(fold(one), fold(other), "{one} {other}");
        }
    }

    #[test]
    fn a_word_has_a_greatest_length() {
        for c in ["a", "é", "\u{fdfa}", "字", "\u{301}", "\u{1d160}"] {
            let folded = fold(&c.repeat(100_000));
            assert!(folded.chars().count() <= WORD_CHARS, "{c}");
        }
    }
}
