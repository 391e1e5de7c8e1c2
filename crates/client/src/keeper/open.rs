//! Which documents are open: those that every screen needs, those that wait to be saved, those that were asked for.

use syncline_document::{ids::Quarter, schema::Kind};
use syncline_protocol::names::DocumentName;

use super::Keeper;
use crate::{
    ClientError,
    copy::{Joining, LocalCopy, Phase},
};

/// Quarters that are looked for in the store: ten years.
const QUARTERS: u32 = 40;

impl Keeper {
    /// Opens what stands open from the start.
    pub(super) fn open_standing(&mut self) -> Result<(), ClientError> {
        for part in ["profile", "marks", "drafts"] {
            let name = self.config.document(part)?;
            self.open_or_note(&name);
        }
        let mut quarter = Quarter::at(self.now_ms());
        for age in 0..QUARTERS {
            let name = self.config.document(&format!("index/{quarter}"))?;
            if age < self.config.limits.index_quarters || self.folder.has(&name) {
                self.open_or_note(&name);
            }
            quarter = before(quarter);
        }
        for name in self.folder.unsaved()? {
            self.open_or_note(&name);
        }
        Ok(())
    }

    /// Opens a document; one that is damaged does not keep the others closed.
    fn open_or_note(&mut self, name: &DocumentName) {
        if let Err(error) = self.opened(name) {
            tracing::error!(document = %name, %error, "a document cannot be opened");
        }
    }

    /// Opens the quarter before the oldest that is open; returns it.
    pub(crate) fn open_older(&mut self) -> Result<String, ClientError> {
        let open = self.copies.values().filter_map(|copy| match copy.kind {
            Kind::Index(quarter) => Some(quarter),
            _ => None,
        });
        let oldest = open.min().unwrap_or_else(|| Quarter::at(self.now_ms()));
        let older = before(oldest);
        let name = self.config.document(&format!("index/{older}"))?;
        self.opened(&name)?;
        Ok(older.to_string())
    }

    /// Makes sure that a document is open.
    pub(super) fn opened(&mut self, name: &DocumentName) -> Result<(), ClientError> {
        self.uses += 1;
        let uses = self.uses;
        if let Some(copy) = self.copies.get_mut(name) {
            copy.used = uses;
            return Ok(());
        }
        self.make_room()?;
        let opened = LocalCopy::open(&self.folder, name, self.config.limits.log_bytes);
        let (mut copy, damage) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.damaged.insert(name.clone(), error.to_string());
                return Err(error);
            }
        };
        self.damaged.remove(name);
        copy.used = uses;
        if let Some(path) = damage {
            self.note_damage(name, &path);
        }
        match self.pieces(name, &copy.kind) {
            Ok(pieces) => copy.waiting = pieces,
            Err(error) => {
                tracing::error!(document = %name, %error, "a copy that was set aside cannot be read");
            }
        }
        self.copies.insert(name.clone(), copy);
        // It is joined once what stands in it is on the disk.
        self.touched.insert(name.clone());
        Ok(())
    }

    /// A file had a damaged record with others behind it: it is kept as it was, for a person to look at.
    fn note_damage(&mut self, name: &DocumentName, path: &std::path::Path) {
        let reason = "the file was damaged: what stands behind the damage is in this copy only";
        let kept = std::fs::read(path).and_then(|bytes| {
            self.asides.keep(name.as_str(), super::local_ms(), reason, true, &bytes)?;
            std::fs::remove_file(path)
        });
        if let Err(error) = kept {
            tracing::error!(document = %name, %error, "a damaged file stays where it is");
        }
    }

    /// Closes the document that was unused for longest, where there are too many.
    fn make_room(&mut self) -> Result<(), ClientError> {
        if self.copies.len() < self.config.limits.open_documents as usize {
            return Ok(());
        }
        let idle = self.copies.values().filter(|copy| {
            matches!(copy.kind, Kind::Conversation(_))
                && copy.unsaved() == 0
                && !self.touched.contains(&copy.name)
        });
        let oldest = idle.min_by_key(|copy| copy.used).map(|copy| copy.name.clone());
        self.close(&oldest.ok_or(ClientError::TooManyOpen)?);
        Ok(())
    }

    /// Closes a document; it stays in the store.
    pub(crate) fn close(&mut self, name: &DocumentName) {
        if let Some(mut copy) = self.copies.remove(name) {
            if copy.joint.phase != Phase::Apart {
                self.leave(name);
            }
            // What came from elsewhere comes again if this fails.
            let _ = copy.sync();
            self.boards.forget(name.as_str());
        }
    }

    /// Opens a document anew from what is stored, after what is in memory cannot be trusted any more.
    pub(super) fn reopen(&mut self, name: &DocumentName) {
        let Some(copy) = self.copies.remove(name) else { return };
        if copy.joint.phase != Phase::Apart {
            self.leave(name);
        }
        self.frames.retain(|(of, _)| of != name);
        self.open_or_note(name);
    }

    /// Joins a document to the server.
    pub(super) fn join(&mut self, name: &DocumentName) {
        let Some(copy) = self.copies.get_mut(name) else { return };
        if copy.joint.refusal.as_ref().is_some_and(|refusal| refusal.stays) {
            return;
        }
        self.show_token(name);
        let Some(copy) = self.copies.get_mut(name) else { return };
        let mut out = Vec::new();
        copy.begin(Joining::Afresh, &mut out);
        self.carry_out(name, out);
        self.touched.insert(name.clone());
    }
}

fn before(quarter: Quarter) -> Quarter {
    match quarter.quarter {
        0 | 1 => Quarter { year: quarter.year.saturating_sub(1), quarter: 4 },
        later => Quarter { quarter: later - 1, ..quarter },
    }
}
