//! Where the keeper shows what is true, and whoever wants to know looks.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use syncline_protocol::names::DocumentName;
use tokio::sync::watch;

use crate::{
    copy::Line,
    status::{DocumentView, Overview, RefusalCode, Status},
};

/// What is shown: the newest view of each document, and of all together.
#[derive(Debug)]
pub(crate) struct Boards {
    /// `None` once the client is closed.
    documents: Mutex<Option<HashMap<String, watch::Sender<DocumentView>>>>,
    all: Mutex<Option<watch::Sender<Overview>>>,
    last: Mutex<Overview>,
}

impl Boards {
    pub(crate) fn new() -> Self {
        let nothing = Overview { status: Status::Offline { unsaved: 0 }, revision: 0, set_aside: 0 };
        Self {
            documents: Mutex::new(Some(HashMap::new())),
            all: Mutex::new(Some(watch::Sender::new(nothing.clone()))),
            last: Mutex::new(nothing),
        }
    }

    /// Shows a document.
    pub(crate) fn show(&self, view: DocumentView) {
        let mut documents = self.documents.lock();
        let Some(documents) = documents.as_mut() else { return };
        match documents.get(&view.document) {
            Some(board) => {
                board.send_if_modified(|shown| {
                    let differs = *shown != view;
                    *shown = view;
                    differs
                });
            }
            None => {
                documents.insert(view.document.clone(), watch::Sender::new(view));
            }
        }
    }

    /// Shows all documents together.
    pub(crate) fn show_all(
        &self,
        statuses: &[Status],
        damaged: &BTreeMap<DocumentName, String>,
        line: Line,
        revision: u64,
        set_aside: usize,
    ) {
        let nothing = match line {
            Line::Down => Status::Offline { unsaved: 0 },
            Line::Dialing => Status::Connecting { unsaved: 0 },
            Line::Up => Status::Saved,
        };
        let broken = damaged.iter().map(|(name, reason)| Status::Refused {
            code: RefusalCode::Damaged,
            reason: format!("{name}: {reason}"),
            unsaved: 0,
        });
        let every: Vec<Status> = broken.chain(statuses.iter().cloned()).chain([nothing]).collect();
        let set_aside = u32::try_from(set_aside).unwrap_or(u32::MAX);
        let overview = Overview { status: Status::worst(every.iter()), revision, set_aside };
        self.last.lock().clone_from(&overview);
        if let Some(board) = self.all.lock().as_ref() {
            board.send_if_modified(|shown| {
                let differs = *shown != overview;
                *shown = overview;
                differs
            });
        }
    }

    /// Returns what is shown of all documents together.
    pub(crate) fn overview(&self) -> Overview {
        self.last.lock().clone()
    }

    /// Lets somebody watch all documents together; nothing once the client is closed.
    pub(crate) fn watch_all(&self) -> Option<watch::Receiver<Overview>> {
        self.all.lock().as_ref().map(watch::Sender::subscribe)
    }

    /// Lets somebody watch a document that is open.
    pub(crate) fn watch(&self, document: &str) -> Option<watch::Receiver<DocumentView>> {
        self.documents.lock().as_ref()?.get(document).map(watch::Sender::subscribe)
    }

    /// A document was closed: who watches it is told that nothing more comes.
    pub(crate) fn forget(&self, document: &str) {
        if let Some(documents) = self.documents.lock().as_mut() {
            documents.remove(document);
        }
    }

    /// Nothing more is shown.
    pub(crate) fn close(&self) {
        self.documents.lock().take();
        self.all.lock().take();
    }
}
