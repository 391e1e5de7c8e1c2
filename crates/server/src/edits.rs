//! Updates that came over HTTP and wait until they are durable, or refused: who is to be told what.

use std::collections::HashMap;

use syncline_sync::Edit;
use tokio::sync::oneshot;

/// Why a call over HTTP did not go through.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The update itself is refused: offering it again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// The document cannot be opened for now.
    #[error("{0}")]
    Unavailable(String),
    /// The store takes nothing more.
    #[error("{0}")]
    NotSaved(String),
    /// Too many updates wait for this document.
    #[error("too many updates wait for this document: try again in a moment")]
    Busy,
    /// Too many reads wait for this document.
    #[error("too many reads wait for this document: try again in a moment")]
    Crowded,
    /// The document was erased for good.
    #[error("{0}")]
    Erased(&'static str),
    /// The server is going down, or the document's session was ended.
    #[error("the server is restarting: try again")]
    Gone,
}

impl SubmitError {
    /// Reads the session's refusal. `code` is its stable word.
    fn of(code: &'static str, reason: String) -> Self {
        match code {
            "unavailable" => Self::Unavailable(reason),
            "store" => Self::NotSaved(reason),
            _ => Self::Refused(reason),
        }
    }
}

/// What became of an edit, once that is known.
pub(crate) type Told = oneshot::Receiver<Result<(), SubmitError>>;

/// The edits of one document that wait.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    waiting: HashMap<Edit, oneshot::Sender<Result<(), SubmitError>>>,
    next: u64,
}

impl Edits {
    /// Names one more edit, unless `limit` of them wait.
    pub(crate) fn begin(&mut self, limit: usize) -> Result<(Edit, Told), SubmitError> {
        if self.waiting.len() >= limit {
            return Err(SubmitError::Busy);
        }
        let edit = Edit(self.next);
        self.next += 1;
        let (told, tell) = oneshot::channel();
        self.waiting.insert(edit, told);
        Ok((edit, tell))
    }

    pub(crate) fn saved(&mut self, edit: Edit) {
        self.answer(edit, Ok(()));
    }

    pub(crate) fn refused(&mut self, edit: Edit, code: &'static str, reason: String) {
        self.answer(edit, Err(SubmitError::of(code, reason)));
    }

    fn answer(&mut self, edit: Edit, outcome: Result<(), SubmitError>) {
        if let Some(told) = self.waiting.remove(&edit) {
            // Whoever asked may be gone; what is saved is saved all the same.
            let _ = told.send(outcome);
        }
    }

    /// Refuses all of them: the document was erased.
    pub(crate) fn erased(&mut self, reason: &'static str) {
        for (_, told) in self.waiting.drain() {
            // Whoever asked may be gone.
            let _ = told.send(Err(SubmitError::Erased(reason)));
        }
    }

    /// Forgets all of them: those who wait are told to try again.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_edits_wait_for_a_document() {
        let mut edits = Edits::default();
        let (first, mut told) = edits.begin(2).expect("room");
        let (_second, _waits) = edits.begin(2).expect("room");
        assert_eq!(edits.begin(2).err(), Some(SubmitError::Busy));
        edits.saved(first);
        assert_eq!(told.try_recv(), Ok(Ok(())));
        assert!(edits.begin(2).is_ok());
    }

    #[test]
    fn what_time_mends_is_kept_apart_from_what_is_refused_for_good() {
        let mut edits = Edits::default();
        let mut answer = |code| {
            let (edit, mut told) = edits.begin(1).expect("room");
            edits.refused(edit, code, "why".to_owned());
            told.try_recv().expect("told").expect_err("refused")
        };
        assert_eq!(answer("unavailable"), SubmitError::Unavailable("why".to_owned()));
        assert_eq!(answer("store"), SubmitError::NotSaved("why".to_owned()));
        for code in ["gap", "document_full", "set_aside"] {
            assert_eq!(answer(code), SubmitError::Refused("why".to_owned()));
        }
    }
}
