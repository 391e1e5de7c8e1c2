//! When the books of documents with a meaning are looked into: at every commit, whenever somebody sees something, and once
//! all is quiet.

use syncline_document::{Replica, fold, schema::preferences};
use syncline_store::{MemoryStore, Store};
use yrs::{Doc, Transact};

use crate::{
    books::wrong,
    checks::{Check, Checks},
    model::{Model, Place, places},
    page::Page,
};

impl Checks {
    /// A device shows a conversation: the places that it has from the server are durable, and stay.
    pub(crate) fn saw(&mut self, store: &MemoryStore, document: usize, doc: &Doc, who: &str) {
        if self.books[document].page != Page::Conversation {
            return;
        }
        self.refresh(store);
        let books = &self.books[document];
        let seen = places(&doc.transact());
        let told = seen.iter().filter(|(id, _)| !books.claimed.contains(*id));
        let found = told.map(|(id, place)| books.seen(id, place)).find(Result::is_err);
        if let Some(Err((check, text))) = found {
            self.fail(check, format!("{who}: {text}"));
        }
    }

    /// Somebody looked at a conversation as the HTTP API does.
    pub(crate) fn looked(&mut self, store: &MemoryStore, document: usize, seen: &[(String, Place)]) {
        self.refresh(store);
        let found = seen.iter().map(|(id, place)| self.books[document].seen(id, place)).find(Result::is_err);
        if let Some(Err((check, text))) = found {
            self.fail(check, format!("a look: {text}"));
        }
    }

    /// Holds what became durable to the books, and the last turn's row to it.
    pub(crate) fn meant(&mut self, image: &MemoryStore, document: usize, doc: &Doc) {
        let page = self.books[document].page;
        if page == Page::Free {
            return;
        }
        let model = Model::read(doc, page);
        let found = self.books[document].durable(&model, self.now_ms);
        let found = found.and_then(|()| {
            let last = self.books[document].placed().max_by_key(|(_, seq)| *seq);
            let last = last.map(|(id, seq)| format!("{seq} {id}"));
            match image.row(&crate::judged::key(&self.names[document])) {
                Ok(row) if row.as_deref() == last.as_deref().map(str::as_bytes) => Ok(()),
                Ok(_) if self.torn => {
                    self.behind.insert(document, last);
                    Ok(())
                }
                Ok(_) if self.behind.get(&document) == Some(&last) => Ok(()),
                Ok(row) => wrong(Check::Row, format!("the last turn is {last:?}, its row says {row:?}")),
                Err(error) => wrong(Check::Store, error.to_string()),
            }
        });
        if let Err((check, text)) = found {
            self.fail(check, format!("document {document}: {text}"));
        }
    }

    /// Once all is quiet: nothing that was written is missing, and what was set by hand counts.
    pub(crate) fn whole(&mut self, store: &MemoryStore) {
        for document in 0..self.books.len() {
            let books = &self.books[document];
            let Some(facts) = self.facts.get(&document).filter(|_| books.page != Page::Free) else {
                continue;
            };
            let mut found = books.whole(&Model::read(&facts.doc, books.page));
            if books.page == Page::Profile
                && let Ok(Some(stored)) = store.read(&self.names[document])
                && let Ok(mut replica) = Replica::load(fold::parts(&stored))
                && let Ok(preferences) = preferences::read(&mut replica, self.now_ms)
            {
                found = found.and_then(|()| books.explicit(&preferences));
            }
            if let Err((check, text)) = found {
                self.fail(check, format!("document {document}: {text}"));
            }
        }
    }

    /// Returns the places of all messages: what the order came to.
    pub(crate) fn order(&self) -> Vec<(usize, String, u64)> {
        let books = self.books.iter().enumerate();
        books
            .flat_map(|(document, books)| books.placed().map(move |(id, seq)| (document, id.clone(), seq)))
            .collect()
    }
}
