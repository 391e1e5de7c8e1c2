//! Terms made of several names. Every part says its length first, so no choice of names makes two keys meet.

use crate::limits::NAME_BYTES;

/// The digits of a part's length: enough for [`NAME_BYTES`].
const LENGTH_DIGITS: usize = 3;
const _: () = assert!(NAME_BYTES < 1 << (4 * LENGTH_DIGITS));

/// Joins names into one key.
pub(crate) fn join(names: &[&str]) -> String {
    use std::fmt::Write;
    let mut key = String::with_capacity(names.iter().map(|name| name.len() + LENGTH_DIGITS).sum());
    for name in names {
        // Writing to a string cannot fail.
        let _ = write!(key, "{:0LENGTH_DIGITS$x}{name}", name.len());
    }
    key
}

/// The key of a message, or of the title where there is none.
pub(crate) fn message(user: &str, conversation: &str, message: Option<&str>) -> String {
    match message {
        Some(message) => join(&[user, conversation, message]),
        None => join(&[user, conversation]),
    }
}

/// Parts what [`join`] made of one name, followed by a text, into that name's key and the text.
pub(crate) fn split(joined: &str) -> Option<(&str, &str)> {
    let length = usize::from_str_radix(joined.get(..LENGTH_DIGITS)?, 16).ok()?;
    joined.split_at_checked(LENGTH_DIGITS + length)
}

/// A number for a key that is the same on every machine and in every version (FNV-1a): it breaks ties between
/// hits of one user, nothing more.
pub(crate) fn number(key: &str) -> u64 {
    key.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_imitate_the_layout_do_not_meet() {
        let names = ["", "0", "000", "a", "001a", "a001", "001a001b", "ü\0", "\u{10ffff}"];
        let mut keys = std::collections::BTreeMap::new();
        for user in names {
            for conversation in names {
                for id in names.iter().copied().map(Some).chain([None]) {
                    let before = keys.insert(message(user, conversation, id), (user, conversation, id));
                    assert_eq!(before, None, "{user:?} {conversation:?} {id:?}");
                }
            }
        }
    }

    #[test]
    fn a_head_comes_off_again() {
        for user in ["", "zoë", "003abc"] {
            let joined = join(&[user]) + "text 004";
            assert_eq!(split(&joined), Some((join(&[user]).as_str(), "text 004")));
        }
        for broken in ["", "00", "ffff", "zzz", "002é"] {
            assert!(split(broken).is_none_or(|(head, _)| head.len() <= broken.len()), "{broken}");
        }
    }
}
