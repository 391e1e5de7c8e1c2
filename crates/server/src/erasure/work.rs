//! The steps of an erasure. Each may be done again: a crash leaves off anywhere.

use std::collections::BTreeSet;

use syncline_document::{
    Broken, Pen,
    ids::ConversationId,
    record::Origin,
    schema::{
        self, Kind, conversation,
        drafts::{self, Draft},
    },
};
use syncline_protocol::names::DocumentName;
use syncline_store::StoreError;
use syncline_sync::Room;

use super::{
    ErasureError, Erasures, Receipt, Target, ledger,
    receipt::{By, NAMES, Removed},
    scrub::{self, How, blocking, scrub},
    sweep,
};
use crate::{
    app::Open,
    blobs::{
        Name,
        erased::{self, Doomed},
        mentions,
    },
    clock::now_ms,
    edits::SubmitError,
};

/// Documents listed at a time.
const PAGE: usize = 256;

impl Erasures {
    /// Erases; returns the receipt once all of it is durable and gone. The same again gives the same receipt.
    ///
    /// # Errors
    /// [`ErasureError::Missing`] where there is nothing to erase. After any other error it may have begun: then it goes on
    /// by itself, and asking again waits for it.
    pub(crate) async fn erase(&self, open: &Open, target: &Target, by: By) -> Result<Receipt, ErasureError> {
        let _turn = self.turn.lock().await;
        let receipt = match ledger::find(&*open.store, target)? {
            Some(receipt) => receipt,
            None => {
                exists(open, target).await?;
                let receipt = Receipt::begin(uuid::Uuid::now_v7().to_string(), target, now_ms(), by);
                ledger::write(&open.registry.engine().journal, ledger::begin(&receipt)).await?;
                tracing::info!(event = "erasure_begun", id = receipt.id, what = receipt.what);
                receipt
            }
        };
        self.complete(open, receipt).await
    }

    /// Does what is left of the erasures that a crash, or a fault, left undone.
    pub(super) async fn resume(&self, open: &Open) -> Result<(), ErasureError> {
        let _turn = self.turn.lock().await;
        let mut outcome = Ok(());
        for receipt in ledger::undone(&*open.store)? {
            tracing::info!(event = "erasure_resumed", id = receipt.id, what = receipt.what);
            // One that fails keeps none of the others waiting.
            outcome = self.complete(open, receipt).await.map(|_| ()).and(outcome);
        }
        scrub::revived(&open.registry.engine().journal).await.and(outcome)
    }

    async fn complete(&self, open: &Open, mut receipt: Receipt) -> Result<Receipt, ErasureError> {
        if receipt.done.is_some() {
            return Ok(receipt);
        }
        let target = receipt.target();
        receipt.removed = match self.work(open, &target).await {
            // What it stood in was erased as a whole meanwhile.
            Err(ErasureError::Submit(SubmitError::Erased(_))) => Removed::default(),
            // Asked for in a later life of a store that was restored: it is not here yet.
            Err(ErasureError::Missing) => Removed::default(),
            removed => removed?,
        };
        receipt.done = Some(now_ms());
        receipt.mac = self.seal.of(&receipt);
        ledger::write(&open.registry.engine().journal, ledger::finish(&receipt)).await?;
        tracing::info!(event = "erased", id = receipt.id, what = receipt.what);
        Ok(receipt)
    }

    async fn work(&self, open: &Open, target: &Target) -> Result<Removed, ErasureError> {
        let Some(conversation) = &target.conversation else { return self.user(open, target).await };
        let id = ConversationId::parse(conversation).ok_or(ErasureError::Missing)?;
        match &target.message {
            Some(message) => self.message(open, target, &id, message).await,
            None => self.conversation(open, target, &id).await,
        }
    }

    async fn message(
        &self,
        open: &Open,
        target: &Target,
        id: &ConversationId,
        message: &str,
    ) -> Result<Removed, ErasureError> {
        let journal = &open.registry.engine().journal;
        let (name, drafts) = (document(target, &format!("c/{id}"))?, document(target, "drafts")?);
        let wanted = message.to_owned();
        let erasure = write(open, &name, move |pen, _| conversation::erase_repeats(pen, &wanted)).await??;
        let requests = erasure.requests.clone();
        let drafted = drafted(open, &drafts, id, move |draft| requests.contains(&draft.req)).await?;
        let (requests, of) = (erasure.requests, id.clone());
        write(open, &drafts, move |pen, _| {
            requests.iter().map(|request| drafts::remove_sent(pen, &of, request)).sum::<usize>()
        })
        .await?;
        let messages = erasure.messages;
        let is_of = |key: &str| {
            let key = key.split_once('/').map_or(key, |(_, key)| key);
            messages.iter().any(|id| {
                key.strip_prefix(id.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '@']))
            })
        };
        let mut rows = sweep::cut_audit(journal, &name, is_of).await?;
        let mut says: Vec<&str> = messages.iter().map(String::as_str).collect();
        says.push(id.as_str());
        rows += sweep::cut_answers(journal, &target.user, &says).await?;
        open.registry.forget_pending(&name);
        let erased = scrub(journal, &[(name.clone(), How::Bare), (drafts.clone(), How::Cleansed)]).await?;
        self.tell(target).await?;
        let blobs = blobs(open, target, Doomed { document: name.clone(), drafts, drafted }).await?;
        Ok(Removed {
            documents: vec![name.to_string()],
            document_count: 1,
            messages,
            updates: erased.entries,
            rows,
            blobs,
        })
    }

    async fn conversation(
        &self,
        open: &Open,
        target: &Target,
        id: &ConversationId,
    ) -> Result<Removed, ErasureError> {
        let journal = &open.registry.engine().journal;
        let name = document(target, &format!("c/{id}"))?;
        open.registry.burn(ledger::reason(target), |open| *open == name);
        let drafts = document(target, "drafts")?;
        let index = Kind::Index(id.quarter());
        let shared = [
            (index.clone(), document(target, &format!("index/{}", id.quarter()))?),
            (Kind::Marks, document(target, "marks")?),
            (Kind::Drafts, drafts.clone()),
        ];
        let drafted = drafted(open, &drafts, id, |_| true).await?;
        let mut rows = 0;
        let mut doomed = vec![(name.clone(), How::Whole)];
        for (kind, shared) in shared {
            let of = id.clone();
            write(open, &shared, move |pen, hlc| schema::erase_conversation(pen, &kind, &of, hlc)).await?;
            let of = id.as_str();
            let is_of = |key: &str| key.split_once('/').is_some_and(|(_, key)| key.starts_with(of));
            rows += sweep::cut_audit(journal, &shared, is_of).await?;
            doomed.push((shared, How::Cleansed));
        }
        rows += sweep::remove_all(journal, name.as_str()).await?;
        rows += sweep::cut_answers(journal, &target.user, &[]).await?;
        let erased = scrub(journal, &doomed).await?;
        self.tell(target).await?;
        // What was on its way to the tables when the name was burned.
        rows += sweep::remove_all(journal, name.as_str()).await?;
        let blobs = blobs(open, target, Doomed { document: name.clone(), drafts, drafted }).await?;
        Ok(Removed {
            documents: vec![name.to_string()],
            document_count: 1,
            updates: erased.entries,
            rows,
            blobs,
            ..Removed::default()
        })
    }

    async fn user(&self, open: &Open, target: &Target) -> Result<Removed, ErasureError> {
        let journal = &open.registry.engine().journal;
        let user = target.user.clone();
        let owned = move |name: &DocumentName| name.owner() == Some(user.as_str());
        open.registry.burn(ledger::reason(target), &owned);
        // All that was appended before is durable, and listed.
        match scrub::load(journal, &document(target, "profile")?).await {
            // What cannot be read is removed all the same.
            Ok(_) | Err(ErasureError::Store(StoreError::Damaged(_))) => {}
            Err(error) => return Err(error),
        }
        let names = names(open, &target.user).await?;
        let mut rows = sweep::remove_all(journal, &target.user).await?;
        let doomed: Vec<_> = names.iter().map(|name| (name.clone(), How::Whole)).collect();
        let erased = scrub(journal, &doomed).await?;
        self.tell(target).await?;
        rows += sweep::remove_all(journal, &target.user).await?;
        Ok(Removed {
            documents: names.iter().take(NAMES).map(DocumentName::to_string).collect(),
            document_count: names.len() as u64,
            updates: erased.entries,
            rows,
            ..Removed::default()
        })
    }

    /// Tells those that derive something from documents. Only once the documents are scrubbed: they read them again at
    /// any time, and what they forgot while it still stood there would be back for good. Where one of them cannot forget,
    /// the receipt waits, and nothing else does.
    async fn tell(&self, target: &Target) -> Result<(), ErasureError> {
        let followers = self.forgets.read().clone();
        for forgets in followers {
            let target = target.clone();
            blocking(move || forgets.forget(&target)).await?.map_err(ErasureError::Derived)?;
        }
        Ok(())
    }
}

/// Lists the blobs in the drafts that an erasure removes. One that was interrupted finds none any more: the collector has
/// those in a day.
async fn drafted(
    open: &Open,
    name: &DocumentName,
    id: &ConversationId,
    is_removed: impl Fn(&Draft) -> bool + Send + 'static,
) -> Result<BTreeSet<Name>, ErasureError> {
    let id = id.clone();
    let seen = open.registry.look(name, move |replica| {
        let drafts = drafts::read(replica)?;
        let removed = drafts.iter().filter(|draft| draft.conversation == id.as_str() && is_removed(draft));
        let attached = removed.flat_map(|draft| &draft.attachments);
        let texts: Vec<String> = attached.map(ToString::to_string).collect();
        Ok::<_, Broken>(texts.iter().flat_map(|text| mentions::names_in(text.as_bytes())).collect())
    });
    seen.await?.map_err(|broken| ErasureError::Engine(broken.to_string()))
}

/// Removes the blobs to which only what was erased referred.
async fn blobs(open: &Open, target: &Target, doomed: Doomed) -> Result<u64, ErasureError> {
    let removed = erased::remove(open, &target.user, doomed).await;
    removed.map_err(|error| ErasureError::Derived(format!("the files of what was erased: {error}")))
}

/// Says whether there is anything to erase.
async fn exists(open: &Open, target: &Target) -> Result<(), ErasureError> {
    let Some(conversation) = &target.conversation else { return Ok(()) };
    let id = ConversationId::parse(conversation).ok_or(ErasureError::Missing)?;
    let name = document(target, &format!("c/{id}"))?;
    let there = match target.message.clone() {
        Some(message) => {
            let seen =
                open.registry.look(&name, move |replica| conversation::message_exists(replica, &message));
            seen.await?.map_err(|broken| ErasureError::Engine(broken.to_string()))?
        }
        None => match scrub::load(&open.registry.engine().journal, &name).await {
            Ok(Some(_)) => true,
            Ok(None) => listed(open, target, &id).await?,
            // Nobody can read it, and it may hold anything: it can go.
            Err(ErasureError::Store(StoreError::Damaged(_))) => true,
            Err(error) => return Err(error),
        },
    };
    if there { Ok(()) } else { Err(ErasureError::Missing) }
}

/// Says whether a conversation that has no document stands in its index.
async fn listed(open: &Open, target: &Target, id: &ConversationId) -> Result<bool, ErasureError> {
    let index = document(target, &format!("index/{}", id.quarter()))?;
    let wanted = id.clone();
    let seen = open.registry.look(&index, move |replica| schema::index::read_one(replica, &wanted)).await?;
    Ok(seen.map_err(|broken| ErasureError::Engine(broken.to_string()))?.is_some())
}

/// Writes to a document as the server itself; returns once it is durable.
async fn write<R: Send + 'static>(
    open: &Open,
    name: &DocumentName,
    write: impl FnOnce(&mut Pen<'_, '_>, syncline_document::hlc::Hlc) -> R + Send + 'static,
) -> Result<R, ErasureError> {
    let origin = Origin { user: None, device: None, at_ms: now_ms() };
    let written = open.registry.compose(name, Room::Made, origin, move |draft| {
        let hlc = draft.clock.tick(draft.now_ms);
        let edited = draft.replica.edit(|pen| write(pen, hlc))?;
        Ok((edited.value, edited.update))
    });
    Ok(written.await?)
}

/// Lists the stored documents of a user.
async fn names(open: &Open, user: &str) -> Result<Vec<DocumentName>, ErasureError> {
    let (store, user) = (open.store.clone(), user.to_owned());
    let listed = blocking(move || {
        let (mut names, mut after) = (Vec::new(), DocumentName::parse(&user).ok());
        let (start, end) = (format!("{user}/"), format!("{user}0"));
        loop {
            let page = store.documents(after.as_ref(), PAGE)?;
            after = page.last().map(|summary| summary.name.clone());
            let is_last = after.as_ref().is_none_or(|last| last.as_str() >= end.as_str());
            let mine = page.into_iter().map(|summary| summary.name);
            names.extend(mine.filter(|name| name.as_str().starts_with(&start)));
            if is_last {
                return Ok::<_, StoreError>(names);
            }
        }
    });
    Ok(listed.await??)
}

fn document(target: &Target, rest: &str) -> Result<DocumentName, ErasureError> {
    DocumentName::parse(&format!("{}/{rest}", target.user))
        .map_err(|error| ErasureError::Engine(error.to_string()))
}
