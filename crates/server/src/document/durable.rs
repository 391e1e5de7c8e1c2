//! Tells what may be told once an edit is durable, and not before: acks to the session, devices that were revoked, events
//! to those who listen, texts to the search index.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use parking_lot::MutexGuard;
use syncline_document::{DeviceStanding, record::Sequence};

use super::{Document, Inner};
use crate::{events::Feed, finder::Noted};

impl Document {
    /// Takes note of a durable sequence; [`Document::tell_durable`] passes the newest on, once.
    pub fn note_durable(&self, sequence: Sequence) {
        self.durable.fetch_max(sequence, Ordering::SeqCst);
    }

    /// Tells the session what [`Document::note_durable`] noted since the last time. Does not wait: where somebody is in
    /// the document it is told once they leave, so that a document at work holds up nobody else's acks.
    pub fn tell_durable(&self) {
        if let Some(inner) = self.inner.try_lock() {
            return self.tell(inner);
        }
        let Some(me) = self.me.upgrade() else { return };
        if !self.telling.swap(true, Ordering::SeqCst) {
            self.engine.tells.spawn_blocking_on(
                move || {
                    // Before it looks what to tell: what is noted from now on may be left to this.
                    me.telling.store(false, Ordering::SeqCst);
                    me.tell(me.inner.lock());
                },
                &self.engine.runtime,
            );
        }
    }

    fn tell(&self, mut inner: MutexGuard<'_, Inner>) {
        let sequence = self.durable.swap(0, Ordering::SeqCst);
        if sequence == 0 {
            return;
        }
        let standings: Vec<DeviceStanding> = {
            let mut waiting = self.standings.lock();
            let due: Vec<_> = waiting.extract_if(.., |(due, _)| *due <= sequence).collect();
            due.into_iter().flat_map(|(_, standings)| standings).collect()
        };
        let user = self.name.owner().unwrap_or_default();
        // Before anybody hears that it is saved: who is told so may try at once.
        if !standings.is_empty() {
            self.engine.revoked.changed(user, &standings);
        }
        self.carry_out(&mut inner, |session, now, fx| session.durable(sequence, now, fx));
        while inner.untold.front().is_some_and(|untold| untold.sequence <= sequence) {
            let Some(untold) = inner.untold.pop_front() else { break };
            if let Some((feed, number)) = untold.event {
                feed.tell(number);
            }
            // What was erased meanwhile has left the index already: nothing is to be read of it again.
            if let Some(texts) = untold.texts.filter(|_| inner.erased.is_none()) {
                self.engine.finder.note(&self.name, texts);
            }
        }
        drop(inner);
        // After the acks: a device that signs itself out hears that this is saved.
        self.engine.revoked.close(user, &newest(standings));
    }
}

/// Leaves of every device how it stands last.
fn newest(standings: Vec<DeviceStanding>) -> Vec<DeviceStanding> {
    let by_device: HashMap<String, bool> =
        standings.into_iter().map(|standing| (standing.device, standing.is_revoked)).collect();
    by_device.into_iter().map(|(device, is_revoked)| DeviceStanding { device, is_revoked }).collect()
}

/// What is told of an edit once it is durable: to those who listen for events, and to the search index.
#[derive(Debug)]
pub(super) struct Untold {
    pub(super) sequence: Sequence,
    pub(super) event: Option<(Arc<Feed>, u64)>,
    pub(super) texts: Option<Noted>,
}
