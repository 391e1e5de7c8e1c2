//! What the server remembers of a conversation's messages: order, and each as it was when it was accepted.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use yrs::{Any, BranchID, Map as _, MapRef, ReadTxn, Transact as _};

use super::tips::Tips;
use crate::{
    Broken, Replica,
    order::{Acceptance, Order},
    pen::plain,
    schema::{
        message::{Head, State},
        parts::{self, Parts},
    },
    tree::{self, MESSAGES, STATE},
    watch::Place,
};

/// An accepted message as it stands for ever. The values are shared with the document, not copied, where the content
/// was frozen when it came.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) head: Any,
    pub(super) parts: Any,
    /// The container it stands in.
    pub(super) place: Place,
    /// A run is writing it: its content is not final.
    pub(super) is_live: bool,
}

/// The messages of a conversation.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) order: Order,
    pub(super) tips: Tips,
    images: HashMap<Arc<str>, Image>,
    /// The message of each container, accepted or not.
    places: HashMap<Place, Arc<str>>,
    /// Messages by role and request.
    requests: HashMap<(String, String), Arc<str>>,
    /// Messages to look at with the next judgement, whatever changes.
    waiting: BTreeSet<Arc<str>>,
}

/// Returns the identity of a message's container.
pub(super) fn place_of(container: &MapRef) -> Place {
    let branch: &yrs::branch::Branch = container.as_ref();
    match branch.id() {
        BranchID::Nested(id) => (id.client.get(), id.clock),
        // A message's container is never a root.
        BranchID::Root(_) => (0, 0),
    }
}

impl Messages {
    /// Reads the committed state.
    pub(super) fn of(replica: &mut Replica) -> Result<Self, Broken> {
        replica.read(|doc| {
            let txn = doc.transact();
            let order = Order::read(&txn);
            let mut messages = Self { tips: Tips::of(&txn, &order), order, ..Self::default() };
            let Some(map) = txn.get_map(MESSAGES) else { return messages };
            let ids: Vec<Arc<str>> = map.keys(&txn).map(Arc::from).collect();
            for id in ids {
                if messages.order.acceptance(&id).is_none() || !messages.remember(&txn, &id) {
                    messages.waiting.insert(id);
                }
            }
            messages
        })
    }

    /// Takes an accepted message as it stands now for what it is. Answers false where it is no message.
    pub(super) fn remember<T: ReadTxn>(&mut self, txn: &T, id: &Arc<str>) -> bool {
        let Some(container) = tree::container(txn, id) else { return false };
        let Some(head) = tree::head_in(txn, &container) else { return false };
        let (Ok(parsed), Some(parts)) = (Head::parse(&head), Parts::of(txn, &container)) else {
            return false;
        };
        let state = plain(txn.get_map(STATE).and_then(|map| map.get(txn, id)));
        let runs = state.as_ref().and_then(State::read).is_some_and(|(state, _)| !state.is_final());
        let is_live = runs && matches!(parts, Parts::Live(_));
        let place = place_of(&container);
        let image = Image { head, parts: parts.freeze(txn), place, is_live };
        if let Some(old) = self.images.insert(id.clone(), image).filter(|old| old.place != place) {
            self.places.remove(&old.place);
        }
        self.places.insert(place, id.clone());
        if let Some(req) = parsed.req
            && !matches!(self.order.acceptance(id), Some(Acceptance::Same(_)))
        {
            self.requests.entry((parsed.role, req)).or_insert_with(|| id.clone());
        }
        true
    }

    /// Notes where a message that is not accepted stands.
    pub(super) fn locate(&mut self, id: &Arc<str>, container: &MapRef) {
        self.places.insert(place_of(container), id.clone());
    }

    pub(super) fn image(&self, id: &str) -> Option<&Image> {
        self.images.get(id)
    }

    /// Says whether a message was erased.
    pub(super) fn is_erased(&self, id: &str) -> bool {
        self.image(id).is_some_and(|image| parts::is_erased(&image.parts))
    }

    pub(super) fn moved(&mut self, id: &Arc<str>, place: Place) {
        if let Some(image) = self.images.get_mut(id) {
            self.places.remove(&image.place);
            image.place = place;
        }
        self.places.insert(place, id.clone());
    }

    pub(super) fn at(&self, place: Place) -> Option<&Arc<str>> {
        self.places.get(&place)
    }

    /// Returns the message that a role already answered a request with.
    pub(super) fn answered(&self, role: &str, req: &str) -> Option<&Arc<str>> {
        self.requests.get(&(role.to_owned(), req.to_owned()))
    }

    /// Says whether something is to be looked at though nothing changed.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Hands out what waits.
    pub(super) fn take_waiting(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.waiting)
    }
}
