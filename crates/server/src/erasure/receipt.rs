//! The receipt of an erasure: what went, when and by whose word, sealed with the data folder's secret. Nothing of what
//! was erased is in it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::Target;
use crate::auth::Secret;

/// Documents that a receipt names; of more their number is told.
pub(crate) const NAMES: usize = 100;
/// What is sealed begins with it, so that no token is taken for a receipt or the other way round.
const CONTEXT: &[u8] = b"syncline erasure 1\n";
const BLOCK: usize = 64;

/// The receipt of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    /// Its id.
    pub(crate) id: String,
    /// `message`, `conversation` or `user`.
    pub(crate) what: String,
    /// Whose it was.
    pub(crate) user: String,
    /// The conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) conversation: Option<String>,
    /// The message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// When it was asked for: unix milliseconds. From then on nobody could bring it back.
    pub(crate) at: u64,
    /// Who asked.
    pub(crate) by: By,
    /// When it was done; none while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) done: Option<u64>,
    /// What went.
    pub(crate) removed: Removed,
    /// HMAC-SHA256 under the data folder's secret, in hex, over the line `syncline erasure 1` and this receipt as JSON,
    /// with this field empty. Empty until it is done.
    pub(crate) mac: String,
}

/// Who asked for an erasure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct By {
    /// The token's user; none on an open server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// The token's device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    /// The token's role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Removed {
    /// Documents that went whole, or were written anew without it: the first hundred.
    pub(crate) documents: Vec<String>,
    /// Their number.
    pub(crate) document_count: u64,
    /// The message and those that repeated it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) messages: Vec<String>,
    /// Journal entries that went.
    pub(crate) updates: u64,
    /// Rows of the server's tables that went or were cut.
    pub(crate) rows: u64,
    /// Blobs to which nothing else referred. Left out where there was none: receipts from before it was told check as
    /// they did.
    #[serde(skip_serializing_if = "is_none", default)]
    pub(crate) blobs: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde asks with")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Receipt {
    /// Begins the receipt of what is asked for now.
    pub(crate) fn begin(id: String, target: &Target, at: u64, by: By) -> Self {
        let what = match (&target.conversation, &target.message) {
            (None, _) => "user",
            (_, None) => "conversation",
            _ => "message",
        };
        Self {
            id,
            what: what.to_owned(),
            user: target.user.clone(),
            conversation: target.conversation.clone(),
            message: target.message.clone(),
            at,
            by,
            done: None,
            removed: Removed::default(),
            mac: String::new(),
        }
    }

    /// Returns the receipt as it was when it was asked for: all of it is to be done again.
    pub(crate) fn reopened(self) -> Self {
        Self { done: None, removed: Removed::default(), mac: String::new(), ..self }
    }

    /// Returns what was erased.
    pub(crate) fn target(&self) -> Target {
        let (conversation, message) = (self.conversation.clone(), self.message.clone());
        Target { user: self.user.clone(), conversation, message }
    }
}

/// Seals receipts.
pub(crate) struct Seal(Vec<u8>);

impl Seal {
    /// Takes the data folder's secret for it.
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(secret.as_bytes().to_vec())
    }

    /// Returns the seal of a receipt.
    pub(crate) fn of(&self, receipt: &Receipt) -> String {
        let bare = Receipt { mac: String::new(), ..receipt.clone() };
        let text = serde_json::to_vec(&bare).unwrap_or_default();
        hmac_sha256(&self.0, &[CONTEXT, &text].concat()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Says whether a receipt was sealed here and is as it was.
    pub(crate) fn holds(&self, receipt: &Receipt) -> bool {
        !receipt.mac.is_empty() && self.of(receipt) == receipt.mac
    }
}

/// RFC 2104.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_is_that_of_the_standard() {
        let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // RFC 4231, cases 2 and 6.
        assert_eq!(
            hex(hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let long = hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn a_receipt_that_was_changed_does_not_hold() {
        let seal = Seal(vec![7; 32]);
        let target = Target { user: "ada".to_owned(), conversation: None, message: None };
        let mut receipt = Receipt::begin("r".to_owned(), &target, 5, By::default());
        assert!(!seal.holds(&receipt), "it is not done");
        receipt.mac = seal.of(&receipt);
        assert!(seal.holds(&receipt) && !Seal(vec![8; 32]).holds(&receipt));
        receipt.at = 6;
        assert!(!seal.holds(&receipt));
    }
}
