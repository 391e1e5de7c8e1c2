//! An index in a folder that goes away, and short words for what tests do with it.

use syncline_search::{Batch, Filter, Found, Index, Item, Opened, Options, Page};

pub(crate) struct Kit {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) index: Index,
}

impl Kit {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (index, opened) = Index::open(folder.path(), options).expect("opens");
        assert_eq!(opened, Opened::Fresh { damage: None });
        Self { folder, index }
    }

    /// Ends without a commit and opens again, as after a crash.
    pub(crate) fn crash(self) -> (Self, Opened) {
        self.crash_after(|_folder| ())
    }

    pub(crate) fn crash_after(self, harm: impl FnOnce(&std::path::Path)) -> (Self, Opened) {
        drop(self.index);
        harm(self.folder.path());
        let (index, opened) = Index::open(self.folder.path(), Options::default()).expect("opens");
        (Self { folder: self.folder, index }, opened)
    }

    pub(crate) fn apply(&self, batch: Batch) {
        self.index.apply(batch).expect("room");
    }

    /// Applies and waits until it is found.
    pub(crate) fn put(&self, user: &str, texts: &[(&str, &str)]) {
        let put = |batch: Batch, (id, text): &(&str, &str)| batch.put(message("c", id, text));
        self.apply(texts.iter().fold(Batch::new(user), put));
        self.index.flush().expect("flushes");
    }

    pub(crate) fn find(&self, user: &str, query: &str) -> Found {
        self.index.search(user, query, &Page::default(), &Filter::default()).expect("finds")
    }

    /// The ids that are found, in the order of their names.
    pub(crate) fn ids(&self, user: &str, query: &str) -> Vec<String> {
        let hits = self.find(user, query).hits.into_iter();
        let mut ids: Vec<String> = hits.map(|hit| hit.message.unwrap_or_else(|| "title".into())).collect();
        ids.sort();
        ids
    }
}

pub(crate) fn message(conversation: &str, id: &str, text: &str) -> Item {
    Item {
        conversation: conversation.into(),
        message: Some(id.into()),
        role: "user".into(),
        at_ms: 1_000,
        alternative: false,
        text: text.into(),
    }
}

pub(crate) fn title(conversation: &str, text: &str) -> Item {
    Item { message: None, role: String::new(), ..message(conversation, "", text) }
}
