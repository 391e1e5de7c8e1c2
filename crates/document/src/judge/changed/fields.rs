//! Says what it means that a field of registers turned.

use yrs::{Any, Number};

use super::{Changed, note::Turned};
use crate::{
    ids::{ConversationId, is_id},
    json,
    order::{SELECTED, TOP},
    register::Field,
    schema::{
        Kind,
        preferences::{Standing, standing},
    },
    tree::{FEEDBACK, HIDDEN},
};

/// Says what it means that a field turned; nothing where what holds is the same.
pub(super) fn tell(kind: &Kind, root: &str, field: &str, turned: &Turned) -> Option<Changed> {
    let Turned { before, now } = turned;
    if root == "preferences" {
        return preference(field, before, now);
    }
    let holds = |field: &Field| field.winner().map(|entry| (entry.value.clone(), entry.meta.clone()));
    if holds(before) == holds(now) {
        return None;
    }
    match kind {
        Kind::Conversation(id) => of_conversation(id, root, field, before, now),
        Kind::Index(_) => of_index(field, before, now),
        Kind::Marks => {
            let conversation = ConversationId::parse(field.strip_suffix("|read")?)?.to_string();
            let seq = now.entries().iter().find_map(|entry| json::whole(&entry.value))?;
            Some(Changed::ConversationRead { conversation, seq })
        }
        Kind::Profile => {
            let (id, what) = field.split_once('|')?;
            let id = id.to_owned();
            match (root, what) {
                ("devices", "revoked") => Some(Changed::DeviceRevoked { device: id, revoked: now.is_true() }),
                ("devices", _) => Some(Changed::DeviceChanged { device: id }),
                ("folders", _) => Some(Changed::FolderChanged { folder: id }),
                _ => None,
            }
        }
        Kind::Drafts | Kind::FreeForm => None,
    }
}

fn preference(field: &str, before: &Field, now: &Field) -> Option<Changed> {
    let (was, is) = (standing(before), standing(now));
    let name = field.to_owned();
    if was == is {
        return None;
    }
    Some(match is {
        (_, true) if !was.1 => Changed::PreferenceBlocked { name },
        (Standing::Set(..), _) => Changed::PreferenceSet { name },
        (Standing::Blocked, _) => Changed::PreferenceBlocked { name },
        (Standing::Cleared, _) => Changed::PreferenceCleared { name },
    })
}

fn of_index(field: &str, before: &Field, now: &Field) -> Option<Changed> {
    let (id, what) = field.split_once('|')?;
    let conversation = ConversationId::parse(id)?.to_string();
    Some(match what {
        "made" if before.winner().is_none() => Changed::ConversationMade { conversation },
        "title" | "autotitle" => Changed::ConversationRenamed { conversation, auto: what == "autotitle" },
        "pinned" => Changed::ConversationPinned { conversation, pinned: now.is_true() },
        "archived" => Changed::ConversationArchived { conversation, archived: now.is_true() },
        "folder" => Changed::ConversationMoved { conversation, folder: now.text().map(clipped) },
        "deleted" if now.is_true() => Changed::ConversationDeleted { conversation },
        // One that never was deleted is not restored.
        "deleted" if before.is_true() => Changed::ConversationRestored { conversation },
        _ if what.starts_with("tag:") => Changed::ConversationTagged { conversation },
        _ => return None,
    })
}

fn of_conversation(
    id: &ConversationId,
    root: &str,
    field: &str,
    before: &Field,
    now: &Field,
) -> Option<Changed> {
    let conversation = id.to_string();
    let message = || Some(field).filter(|field| is_id(field)).map(str::to_owned);
    match root {
        FEEDBACK => {
            let v = now.winner().and_then(|entry| match json::field(&entry.value, "v")? {
                Any::Number(Number::Int(v)) => i8::try_from(*v).ok(),
                _ => None,
            });
            Some(Changed::MessageFeedback { conversation, message: message()?, v })
        }
        HIDDEN => {
            let changed = Changed::MessageHidden { conversation, message: message()?, hidden: now.is_true() };
            Some(changed).filter(|_| before.is_true() != now.is_true())
        }
        SELECTED => {
            let parent = message()?;
            let parent = Some(parent).filter(|parent| parent != TOP);
            let child = now.text().filter(|child| is_id(child)).map(str::to_owned);
            Some(Changed::ConversationSelected { conversation, parent, child })
        }
        _ => None,
    }
}

/// Cuts an id that a client chose: what is longer is none.
fn clipped(id: &str) -> String {
    id[..id.floor_char_boundary(64)].to_owned()
}
