//! Hands words to the library, each behind the key of its user.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use crate::{
    key,
    words::{Words, words},
};

/// Takes a user's key with a text behind it, as [`crate::schema::Schema`] writes it.
#[derive(Clone)]
pub(crate) struct UserWords;

/// The words of one text.
pub(crate) struct UserWordStream<'a> {
    head: &'a str,
    words: Words<'a>,
    token: Token,
}

impl Tokenizer for UserWords {
    type TokenStream<'a> = UserWordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> UserWordStream<'a> {
        // A text without a user is nobody's: it has no words.
        let (head, text) = key::split(text).unwrap_or_default();
        UserWordStream { head, words: words(text), token: Token::default() }
    }
}

impl TokenStream for UserWordStream<'_> {
    fn advance(&mut self) -> bool {
        let Some(word) = self.words.next() else { return false };
        self.token.text.clear();
        self.token.text.push_str(self.head);
        self.token.text.push_str(&word.text);
        self.token.position = word.position;
        self.token.offset_from = word.range.start;
        self.token.offset_to = word.range.end;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}
