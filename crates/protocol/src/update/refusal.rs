//! Why an update is refused.

use crate::lib0::ReadError;

/// Why an update must not reach yrs. The sender's edits to that document stay refused; the text says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More bytes than allowed.
    #[error("the update is too big; send large content in parts")]
    TooBig,
    /// More client sections than allowed.
    #[error("the update has too many clients; split it")]
    TooManySections,
    /// More blocks than allowed.
    #[error("the update has too many blocks; split it")]
    TooManyBlocks,
    /// More delete ranges than allowed.
    #[error("the update has too many delete ranges; split it")]
    TooManyDeleteRanges,
    /// More any-values than allowed.
    #[error("the update has too many values; split it")]
    TooManyValues,
    /// Applying it would keep a core busy for seconds.
    #[error("applying the update would take too long; send scattered edits in parts")]
    TooMuchWork,
    /// A value nested deeper than allowed.
    #[error("a value is nested too deep; flatten it")]
    AnyTooDeep,
    /// A shared type nested deeper than allowed.
    #[error("shared types are nested too deep; flatten them")]
    TypeTooDeep,
    /// Not lib0.
    #[error("malformed update: {0}")]
    Read(#[from] ReadError),
    /// Not an update.
    #[error("malformed update: {0}")]
    Malformed(&'static str),
    /// Bytes after the delete set; also what an update in v2 encoding looks like.
    #[error("malformed update: bytes left over; updates are in v1 encoding")]
    TrailingBytes,
    /// A client with two sections, or twice in the delete set.
    #[error("malformed update: a client occurs twice")]
    DuplicateClient,
    /// A section without blocks.
    #[error("malformed update: a client without blocks")]
    EmptySection,
    /// A block without length.
    #[error("malformed update: a block without length")]
    EmptyBlock,
    /// A clock of 2^31 or more.
    #[error("malformed update: a clock is out of range")]
    ClockTooLarge,
    /// Delete ranges empty, overlapping or not ascending.
    #[error("malformed update: delete ranges are out of order")]
    DeleteOrder,
    /// A JSON text that yrs cannot read.
    #[error("malformed update: an embed or a format is not valid json")]
    BadJson,
    /// A content that Yjs 13 does not write, or that yrs cannot hold: subdocuments, moves, legacy JSON.
    #[error("content of kind {0} is not supported; subdocuments are documents of their own here")]
    Content(u8),
    /// A shared type that Yjs 13 does not write, or that yrs reads wrongly: weak links, XML hooks.
    #[error("shared types of kind {0} are not supported")]
    TypeKind(u8),
    /// A parent that is no shared type.
    #[error("unsafe update: a parent is not a shared type")]
    BadParent,
    /// A block between neighbours that are not in one list, or one entry of a map.
    #[error("unsafe update: a block's neighbours are in different places")]
    Misplaced,
    /// Several live values in one block of a map entry.
    #[error("unsafe update: a map entry holds a live block of several values")]
    LongEntry,
}

impl Refusal {
    /// Returns a short, stable name for metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooBig => "too_big",
            Self::TooManySections => "too_many_sections",
            Self::TooManyBlocks => "too_many_blocks",
            Self::TooManyDeleteRanges => "too_many_delete_ranges",
            Self::TooManyValues => "too_many_values",
            Self::TooMuchWork => "too_much_work",
            Self::AnyTooDeep => "any_too_deep",
            Self::TypeTooDeep => "type_too_deep",
            Self::Read(_)
            | Self::Malformed(_)
            | Self::TrailingBytes
            | Self::DuplicateClient
            | Self::EmptySection
            | Self::EmptyBlock
            | Self::ClockTooLarge
            | Self::DeleteOrder
            | Self::BadJson => "malformed",
            Self::Content(_) | Self::TypeKind(_) => "unsupported",
            Self::BadParent | Self::Misplaced | Self::LongEntry => "unsafe",
        }
    }
}
