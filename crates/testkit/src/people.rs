//! What people do: now and then somebody edits, and the other tab of the device hears of it beside the server.

use crate::{
    author::{Deed, Scene},
    device::{Link, Made},
    event::{Copied, Event},
    ids::Ids,
    page::Page,
    world::World,
};

impl World {
    pub(crate) fn person_edits(&mut self, device: usize) {
        if self.calm {
            return;
        }
        for _ in 0..if self.rng.chance(80) { 6 } else { 1 } {
            let made = match self.pages[self.devices[device].document] {
                Page::Free => self.devices[device].edit(&mut self.rng),
                page => self.person_acts(device, page),
            };
            if let Some(made) = made {
                self.edits += 1;
                self.made(device, made);
            }
        }
        let every = self.plan.edit_every_ms;
        let next = self.rng.between(every / 2, every * 2);
        self.after(next, Event::Edit(device));
    }

    /// Somebody does something in a document with a meaning, for the books.
    fn person_acts(&mut self, device: usize, page: Page) -> Option<Made> {
        let it = &mut self.devices[device];
        let (document, writes) = (it.document, it.writes);
        let accepted = self.checks.books[document].targets();
        let scene = Scene { page, document, now_ms: self.now_ms, accepted: &accepted };
        let offends = self.rng.chance(self.plan.rates.offend_permille);
        let (made, deeds) = it.act(&scene, offends, &mut self.rng);
        self.checks.books[document].note(device, writes, &deeds);
        for deed in deeds {
            if let Deed::Message { id, content, .. } = deed
                && self.rng.chance(60)
            {
                self.retry_by_http(document, &id, &content);
            }
        }
        made
    }

    pub(crate) fn made(&mut self, device: usize, made: Made) {
        if let Link::Open(conn) = self.devices[device].link {
            for frame in made.frames {
                self.push_up(conn, frame);
            }
        }
        let plan = &self.plan.devices[device];
        if let Some(to) = plan.tab
            && Ids::of_update(&made.update)
                .is_ok_and(|ids| ids.missing_from(&Ids::of_doc(&self.devices[to].doc)).is_some())
            && !(plan.lossy_tab && self.rng.chance(250))
        {
            let delay = self.rng.between(0, 40);
            self.after(delay, Event::Beside { to, update: Copied(made.update) });
        }
        self.check(device);
    }
}
