//! The limits that are no option: changing them changes what is found, or what memory a caller can make us take.

/// The longest name of a user, a conversation, a message, a role or a document, in bytes. A document's full name has
/// at most as many, so no name that exists is longer.
pub const NAME_BYTES: usize = 512;

/// How much of one text is indexed and kept for snippets, in bytes. The rest is not found.
pub const TEXT_BYTES: usize = 256 << 10;

/// How much of one word is compared, in characters: a longer one is found by its beginning.
pub const WORD_CHARS: usize = 64;

/// The longest query, in bytes.
pub const QUERY_BYTES: usize = 1_024;

/// The most words in a query; a pair of characters of a script without spaces counts as one.
pub const QUERY_WORDS: usize = 64;

/// To how many different words of the user the unfinished last word of a query is completed, in each segment.
pub const COMPLETIONS: u64 = 4_096;

/// The most hits on one page.
pub const PAGE_HITS: usize = 100;

/// The length of a snippet, in characters.
pub const SNIPPET_CHARS: usize = 200;
