//! What the server says in JSON, and what a device confirms.

use serde::{Deserialize, Serialize};

use crate::status::DeviceProgress;

/// The longest text that is looked at: bytes.
const JSON_BYTES: usize = 1 << 20;
/// Devices that are kept of a report.
const DEVICES: usize = 1024;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    online: bool,
    #[serde(default)]
    last_seen: u64,
    #[serde(default)]
    behind: u64,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Text {
    Status { document: String, saved: u64, devices: Vec<Line> },
    Refused { document: String, code: String, reason: String },
}

/// How far the document and its devices are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// The document's durable sequence.
    pub(crate) saved: u64,
    pub(crate) devices: Vec<DeviceProgress>,
}

/// Something that the server said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Report(Report),
    Refused { code: String, reason: String },
}

impl Told {
    /// Reads a text about a document; nothing where it is about something else, or of a later version.
    pub(crate) fn read(text: &str, about: &str) -> Option<Self> {
        if text.len() > JSON_BYTES {
            return None;
        }
        match serde_json::from_str(text).ok()? {
            Text::Status { document, saved, devices } if document == about => {
                let devices = devices.into_iter().take(DEVICES).map(|line| DeviceProgress {
                    id: line.id,
                    name: line.name,
                    kind: line.kind,
                    online: line.online,
                    last_seen_ms: line.last_seen,
                    behind: line.behind,
                });
                Some(Self::Report(Report { saved, devices: devices.collect() }))
            }
            Text::Refused { document, code, reason } if document == about => {
                Some(Self::Refused { code, reason })
            }
            _ => None,
        }
    }
}

#[derive(Debug, Serialize)]
struct Received<'a> {
    r#type: &'a str,
    document: &'a str,
    saved: u64,
}

/// Writes that so much of a document is in this device's own store.
pub(crate) fn received(document: &str, saved: u64) -> String {
    serde_json::to_string(&Received { r#type: "received", document, saved }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood_is_about_this_document() {
        let text = r#"{"type":"status","document":"d","saved":3,"devices":[{"id":"p","name":null,"kind":"phone","online":true,"lastSeen":5,"behind":2,"later":1}]}"#;
        let Some(Told::Report(report)) = Told::read(text, "d") else { panic!("a report") };
        assert_eq!((report.saved, report.devices[0].behind, report.devices[0].last_seen_ms), (3, 2, 5));
        assert_eq!(Told::read(text, "e"), None);
        let refused = r#"{"type":"refused","document":"d","code":"gap","reason":"no"}"#;
        let expected = Told::Refused { code: "gap".to_owned(), reason: "no".to_owned() };
        assert_eq!(Told::read(refused, "d"), Some(expected));
        for odd in
            ["", "[]", r#"{"type":"later"}"#, r#"{"type":"status","document":"d","saved":-1,"devices":[]}"#]
        {
            assert_eq!(Told::read(odd, "d"), None, "{odd}");
        }
        assert_eq!(received("d\"", 7), r#"{"type":"received","document":"d\"","saved":7}"#);
    }
}
