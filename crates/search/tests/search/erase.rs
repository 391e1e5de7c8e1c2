//! What is erased is in no file any more.

use std::{fs, path::Path};

use syncline_search::Batch;

use crate::kit::{Kit, message, title};

/// Whether any file below the folder has these bytes.
fn stands_in(folder: &Path, word: &str) -> bool {
    fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return stands_in(&path, word);
        }
        // Merges go on: a file may go between the list and the look.
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(word.len()).any(|window| window == word.as_bytes())
    })
}

/// Ada's secrets among Bob's harmless texts, in several segments.
fn filled() -> Kit {
    let kit = Kit::new();
    for number in 0..5 {
        let id = number.to_string();
        let secret = message("adasplan", &id, "Plutonium isotope plutoniumx");
        kit.apply(
            Batch::new("adalovelace").put(secret).put(title("adasplan", "Plutonium")).seen("adasdoc", 1),
        );
        // So many that no segment is written anew of itself for the sake of what it hides.
        let filler = |batch: Batch, more: i32| batch.put(message("f", &format!("{id}-{more}"), "filler"));
        let harmless = Batch::new("bob").put(message("c", &id, "harmless"));
        kit.apply((0..20).fold(harmless, filler));
        kit.index.flush().expect("flushes");
    }
    assert!(stands_in(kit.folder.path(), "Plutonium isotope"), "texts can be looked for");
    kit
}

fn nothing_is_left(kit: &Kit) {
    for word in ["Plutonium", "isotope", "adalovelace", "adasplan", "adasdoc"] {
        assert!(!stands_in(kit.folder.path(), word), "{word}");
    }
    assert_eq!(kit.ids("adalovelace", "p"), [""; 0]);
    assert_eq!(kit.ids("bob", "harmless").len(), 5);
}

#[test]
fn a_user_leaves_no_trace() {
    let kit = filled();
    kit.apply(Batch::new("adalovelace").remove_user());
    kit.index.purge().expect("purges");
    nothing_is_left(&kit);
    let (kit, _) = kit.crash();
    nothing_is_left(&kit);
}

#[test]
fn a_conversation_leaves_no_trace() {
    let kit = filled();
    kit.apply(Batch::new("adalovelace").remove_conversation("adasplan").forget("adasdoc"));
    kit.index.purge().expect("purges");
    nothing_is_left(&kit);
}

#[test]
fn a_text_that_was_replaced_leaves_no_trace_and_writing_goes_on() {
    let kit = filled();
    for number in 0..5 {
        let id = number.to_string();
        kit.apply(Batch::new("adalovelace").put(message("adasplan", &id, "tea")));
    }
    kit.apply(Batch::new("adalovelace").put(title("adasplan", "tea")));
    kit.index.purge().expect("purges");
    assert!(!stands_in(kit.folder.path(), "Plutonium") && !stands_in(kit.folder.path(), "isotope"));
    assert_eq!(kit.ids("adalovelace", "tea").len(), 6);
    kit.put("adalovelace", &[("9", "tea later")]);
    assert_eq!(kit.ids("adalovelace", "later"), ["9"]);
}

#[test]
fn what_was_set_aside_and_what_a_crash_left_goes_too() {
    let harm = |folder: &Path| fs::write(folder.join("suspect"), "why").expect("writes");
    let (kit, _) = filled().crash_after(harm);
    for number in 0..5 {
        kit.put("bob", &[(&number.to_string(), "harmless")]);
    }
    let stray = kit.folder.path().join("v3/0123456789abcdef0123456789abcdef.store");
    fs::write(&stray, "Plutonium").expect("writes");
    assert!(stands_in(&kit.folder.path().join("damaged"), "isotope"));
    kit.index.purge().expect("purges");
    assert!(!stray.exists());
    nothing_is_left(&kit);
}
