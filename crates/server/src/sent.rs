//! Drafts that are done: once a message is saved, the drafts that it came of go, on whatever device they stand.
//!
//! Which drafts are done is read from the documents themselves, never remembered: a draft goes where its conversation
//! holds the person's message of the same request, durably. It is asked when such a message is accepted, when a draft
//! is written (a device may offer one late), and for all drafts of a user when they are loaded: so a server that died
//! between the message and this does it when the drafts are next opened.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use syncline_document::{
    Judgement,
    ids::ConversationId,
    record::Origin,
    schema::{Kind, conversation, drafts},
};
use syncline_protocol::names::DocumentName;
use syncline_sync::Room;
use tokio::sync::Notify;

use crate::{app::App, clock::now_ms, edits::SubmitError, registry::Registry};

/// Requests of one user that are remembered by name; of more than these, all drafts are looked at.
const REQUESTS: usize = 64;
/// Drafts of one user that are looked at in one go: the newest.
const LOOKS: usize = 256;
/// Users whose drafts are looked at at a time.
const AT_ONCE: usize = 8;

/// What is to be looked at, by the document of the drafts: at most an entry for each document that is open.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    due: Mutex<HashMap<DocumentName, Due>>,
    news: Notify,
}

/// Which drafts of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    /// Those of these requests.
    Of(BTreeSet<(ConversationId, String)>),
    All,
}

impl Sent {
    /// Notes what follows from a judgement: messages that were accepted, drafts that were written.
    pub(crate) fn judged(&self, name: &DocumentName, judgement: &Judgement) {
        if !judgement.drafts.is_empty() {
            self.note(name.clone(), judgement.drafts.iter().cloned());
        }
        let Kind::Conversation(id) = Kind::of(name) else { return };
        let own = judgement.accepted.iter().filter(|message| message.role == "user");
        let mut requests = own.filter_map(|message| Some((id.clone(), message.req.clone()?))).peekable();
        let drafts = name.owner().and_then(|user| DocumentName::parse(&format!("{user}/drafts")).ok());
        if let (Some(drafts), Some(_)) = (drafts, requests.peek()) {
            self.note(drafts, requests);
        }
    }

    /// Notes that a document was loaded.
    pub(crate) fn loaded(&self, name: &DocumentName) {
        if Kind::of(name) == Kind::Drafts {
            self.due.lock().insert(name.clone(), Due::All);
            self.news.notify_one();
        }
    }

    fn note(&self, drafts: DocumentName, requests: impl Iterator<Item = (ConversationId, String)>) {
        let mut all = self.due.lock();
        let due = all.entry(drafts).or_insert_with(|| Due::Of(BTreeSet::new()));
        for request in requests {
            match due {
                Due::Of(named) if named.len() < REQUESTS => {
                    named.insert(request);
                }
                Due::Of(_) => *due = Due::All,
                Due::All => break,
            }
        }
        drop(all);
        self.news.notify_one();
    }

    fn take(&self) -> HashMap<DocumentName, Due> {
        std::mem::take(&mut *self.due.lock())
    }
}

/// Removes drafts that are done, until the server goes down.
pub(crate) async fn clear_up(app: Arc<App>) {
    let Some(open) = app.engine() else { return };
    let registry = &open.registry;
    loop {
        tokio::select! {
            biased;
            () = app.draining.cancelled() => return,
            () = registry.engine().sent.news.notified() => {}
        }
        let due = stream::iter(registry.engine().sent.take());
        let clearing = due.for_each_concurrent(AT_ONCE, |(name, due)| async move {
            if let Err(error) = clear(registry, &name, &due).await {
                // They are looked at again when they are next loaded.
                tracing::debug!(event = "drafts_not_cleared", document = %name, %error);
            }
        });
        tokio::select! {
            biased;
            () = app.draining.cancelled() => return,
            () = clearing => {}
        }
    }
}

async fn clear(registry: &Registry, name: &DocumentName, due: &Due) -> Result<(), SubmitError> {
    let broken = |error: syncline_document::Broken| SubmitError::Unavailable(error.to_string());
    let standing = registry.look(name, drafts::read).await?.map_err(broken)?;
    let mut done = Vec::new();
    for (conversation, req) in candidates(standing, due) {
        let Some(chat) =
            name.owner().and_then(|user| DocumentName::parse(&format!("{user}/c/{conversation}")).ok())
        else {
            continue;
        };
        let wanted = req.clone();
        // What a look shows is durable: the message is saved before its drafts go.
        let sent = registry.look(&chat, move |replica| conversation::is_sent(replica, &wanted)).await?;
        if sent.map_err(broken)? {
            done.push((conversation, req));
        }
    }
    if done.is_empty() {
        return Ok(());
    }
    let origin = Origin { user: None, device: None, at_ms: now_ms() };
    let removing = registry.compose(name, Room::Made, origin, move |draft| {
        let edited = draft.replica.edit(|pen| {
            for (conversation, req) in &done {
                drafts::remove_sent(pen, conversation, req);
            }
        })?;
        Ok(((), edited.update))
    });
    removing.await
}

/// Lists the requests to ask about, each once.
fn candidates(mut standing: Vec<drafts::Draft>, due: &Due) -> BTreeSet<(ConversationId, String)> {
    standing.sort_by_key(|draft| std::cmp::Reverse(draft.hlc));
    let requests = standing.into_iter().filter_map(|draft| {
        let id = ConversationId::parse(&draft.conversation)?;
        Some((id, draft.req))
    });
    let due_ones = requests.filter(|request| match due {
        Due::Of(named) => named.contains(request),
        Due::All => true,
    });
    due_ones.take(LOOKS).collect()
}
