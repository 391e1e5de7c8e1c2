//! Ids that follow from what is imported, so that importing twice makes the same ones.

use sha2::{Digest as _, Sha256};
use syncline_document::ids::ConversationId;

/// The time of conversations that have none, the first day of 2023: always the same one, so that importing again makes the
/// same ids, and not so long ago that nobody looks there.
pub(super) const UNDATED_MS: u64 = 1_672_531_200_000;
/// The last millisecond that a hybrid logical time can say.
const LAST_MS: u64 = 9_999_999_999_999;

/// Returns a time in seconds as milliseconds, if it is one.
pub(super) fn ms(seconds: f64) -> Option<u64> {
    let ms = (seconds * 1000.0).round();
    (ms >= 1.0 && ms <= LAST_MS as f64).then_some(ms as u64)
}

/// Makes a UUIDv7 of a time and of names. Each name is hashed with its length, so that no two lists are alike.
pub(super) fn uuid(ms: u64, names: &[&str]) -> String {
    let mut hash = Sha256::new();
    for name in names {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name.as_bytes());
    }
    let hash: [u8; 32] = hash.finalize().into();
    let low = |at: usize| u128::from(hash[at]);
    let random = (0..10).fold(0_u128, |bits, at| bits << 8 | low(at));
    let bits = u128::from(ms.min(LAST_MS)) << 80
        | 0x7 << 76
        | (random >> 64 & 0x0fff) << 64
        | 0b10 << 62
        | (random & (u128::MAX >> 66));
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Makes the id of a conversation.
pub(super) fn conversation(ms: u64, user: &str, source: &str) -> Option<ConversationId> {
    ConversationId::parse(&uuid(ms, &[user, "conversation", source]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_of_their_time_and_differ_with_every_name() {
        let id = conversation(1_700_000_000_123, "ada", "c1").expect("an id");
        assert_eq!(id.ms(), 1_700_000_000_123);
        assert_eq!(Some(&id), conversation(1_700_000_000_123, "ada", "c1").as_ref());
        assert_ne!(Some(&id), conversation(1_700_000_000_123, "ben", "c1").as_ref());
        assert_ne!(uuid(1, &["ab", "c"]), uuid(1, &["a", "bc"]));
        for n in 0..500 {
            assert!(conversation(n, "ada", &n.to_string()).is_some());
        }
    }

    #[test]
    fn only_times_are_times() {
        assert_eq!(ms(1_700_000_000.123_4), Some(1_700_000_000_123));
        for odd in [0.0, -5.0, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(ms(odd), None);
        }
    }
}
