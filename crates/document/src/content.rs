//! A document as JSON, for people to look at (`syncline inspect`). A bounded walk of our own: what a client
//! shaped may be deep, huge or of a kind that yrs' own `to_json` never ends on.

use serde_json::{Map, Value, json};
use yrs::{
    Any, Array, ArrayRef, Doc, GetString, Map as _, MapRef, Number, Out, ReadTxn, Text, TextRef, Transact,
    Transaction, Xml, XmlElementRef, XmlFragmentRef, XmlTextRef,
    branch::{Branch, BranchPtr},
    types::text::YChange,
};

use crate::{Broken, Replica};

/// How deep the walk goes; below that a value shows as `"..."`.
const DEPTH: usize = 64;
/// How many values it shows; after them every value shows as `"..."`.
const VALUES: usize = 1_000_000;

/// Renders every root of a document: text as a string (or as a delta where it is formatted), maps as objects,
/// arrays as arrays, XML as `{"tag", "attributes", "children"}`.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn content(replica: &mut Replica) -> Result<Value, Broken> {
    replica.read(|doc| {
        let names = root_names(doc);
        let txn = doc.transact();
        let mut walk = Walk { txn: &txn, left: VALUES };
        let roots = names.into_iter().filter_map(|name| {
            let root = txn.get(&name)?;
            let value = walk.out(root, DEPTH);
            Some((name, value))
        });
        Value::Object(roots.collect())
    })
}

fn branch(shared: &impl AsRef<Branch>) -> BranchPtr {
    let branch: &Branch = shared.as_ref();
    BranchPtr::from(branch)
}

fn root_names(doc: &Doc) -> Vec<String> {
    let mut names: Vec<String> = doc.transact().root_refs().map(|(name, _)| name.to_owned()).collect();
    names.sort();
    names
}

struct Walk<'a> {
    txn: &'a Transaction<'a>,
    left: usize,
}

impl Walk<'_> {
    fn out(&mut self, value: Out, depth: usize) -> Value {
        if depth == 0 || self.left == 0 {
            return json!("...");
        }
        self.left -= 1;
        match value {
            Out::Any(any) => self.any(&any, depth),
            Out::YText(text) => self.text(&text, depth),
            Out::YXmlText(text) => self.xml_text(&text, depth),
            Out::YMap(map) => self.map(&map, depth),
            Out::YArray(array) => self.sequence(branch(&array), depth),
            Out::YXmlElement(element) => self.element(&element, depth),
            Out::YXmlFragment(fragment) => self.fragment(&fragment, depth),
            Out::YDoc(_) => json!("<subdocument>"),
            Out::UndefinedRef(branch) => self.root(branch, depth),
            #[allow(unreachable_patterns, reason = "yrs has one more variant under another feature")]
            _ => json!("<unknown>"),
        }
    }

    /// A root has no kind of its own: it is a map if it has keys, else whatever its sequence looks like.
    fn root(&mut self, branch: BranchPtr, depth: usize) -> Value {
        let map = MapRef::from(branch);
        let keyed = map.len(self.txn) > 0;
        let sequence = self.sequence(branch, depth);
        let bare = matches!(&sequence, Value::Array(items) if items.is_empty());
        match (keyed, bare) {
            (true, true) => self.map(&map, depth),
            (true, false) => json!({ "keys": self.map(&map, depth), "items": sequence }),
            (false, true) => json!(""),
            (false, false) => sequence,
        }
    }

    fn map(&mut self, map: &MapRef, depth: usize) -> Value {
        let mut entries: Vec<(String, Out)> =
            map.iter(self.txn).map(|(key, out)| (key.to_owned(), out)).collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Value::Object(entries.into_iter().map(|(key, out)| (key, self.out(out, depth - 1))).collect())
    }

    /// Text where any of it is text (array iteration never ends on a string with an astral character), else
    /// an array.
    fn sequence(&mut self, branch: BranchPtr, depth: usize) -> Value {
        let text = TextRef::from(branch);
        if !text.get_string(self.txn).is_empty() {
            return self.text(&text, depth);
        }
        let array = ArrayRef::from(branch);
        let items: Vec<Out> = array.iter(self.txn).take(self.left).collect();
        Value::Array(items.into_iter().map(|item| self.out(item, depth - 1)).collect())
    }

    fn text(&mut self, text: &TextRef, depth: usize) -> Value {
        let delta = text.diff(self.txn, YChange::identity);
        let plain =
            delta.iter().all(|op| op.attributes.is_none() && matches!(op.insert, Out::Any(Any::String(_))));
        if plain {
            return Value::String(text.get_string(self.txn));
        }
        let ops = delta.into_iter().map(|op| {
            let mut object = Map::new();
            object.insert("insert".to_owned(), self.out(op.insert, depth - 1));
            if let Some(attributes) = op.attributes {
                let mut pairs: Vec<_> = attributes.into_iter().collect();
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                let pairs = pairs.into_iter().map(|(key, any)| (key.to_string(), self.any(&any, depth - 1)));
                object.insert("attributes".to_owned(), Value::Object(pairs.collect()));
            }
            Value::Object(object)
        });
        Value::Array(ops.collect())
    }

    fn xml_text(&mut self, text: &XmlTextRef, depth: usize) -> Value {
        self.text(&TextRef::from(branch(text)), depth)
    }

    fn element(&mut self, element: &XmlElementRef, depth: usize) -> Value {
        let mut attributes: Vec<(String, Out)> =
            element.attributes(self.txn).map(|(key, value)| (key.to_owned(), value)).collect();
        attributes.sort_by(|a, b| a.0.cmp(&b.0));
        let attributes: Map<String, Value> =
            attributes.into_iter().map(|(key, value)| (key, self.out(value, depth - 1))).collect();
        let children = self.sequence(branch(element), depth);
        json!({ "tag": element.tag().to_string(), "attributes": attributes, "children": children })
    }

    fn fragment(&mut self, fragment: &XmlFragmentRef, depth: usize) -> Value {
        self.sequence(branch(fragment), depth)
    }

    fn any(&mut self, any: &Any, depth: usize) -> Value {
        if depth == 0 || self.left == 0 {
            return json!("...");
        }
        self.left -= 1;
        match any {
            Any::Null | Any::Undefined => Value::Null,
            Any::Bool(value) => json!(value),
            Any::Number(Number::Float(value)) => json!(value),
            Any::Number(Number::Int(value)) => json!(value),
            Any::String(value) => json!(&**value),
            Any::Buffer(bytes) => json!({ "bytes": bytes.len() }),
            Any::Array(items) => Value::Array(items.iter().map(|item| self.any(item, depth - 1)).collect()),
            Any::Map(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by(|a, b| a.0.cmp(b.0));
                let entries =
                    entries.into_iter().map(|(key, value)| (key.clone(), self.any(value, depth - 1)));
                Value::Object(entries.collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncline_protocol::limits::Limits;
    use yrs::{MapPrelim, StateVector, XmlElementPrelim, XmlFragment};

    #[test]
    fn every_kind_of_root_is_shown() {
        let doc = Doc::with_client_id(1);
        let (text, map, array) =
            (doc.get_or_insert_text("text"), doc.get_or_insert_map("map"), doc.get_or_insert_array("array"));
        let xml = doc.get_or_insert_xml_fragment("xml");
        {
            let mut txn = doc.transact_mut();
            text.push(&mut txn, "hi 😀");
            map.insert(&mut txn, "k", 1);
            map.insert(&mut txn, "nested", MapPrelim::from([("a", true)]));
            array.push_back(&mut txn, "x");
            array.push_back(&mut txn, MapPrelim::from([("b", 2)]));
            let p = xml.push_back(&mut txn, XmlElementPrelim::empty("p"));
            p.insert_attribute(&mut txn, "class", "big");
        }
        let update = doc.transact().encode_diff_v1(&StateVector::default());
        let mut replica = Replica::new();
        replica.absorb(&update, &Limits::default());
        assert_eq!(
            content(&mut replica).expect("reads"),
            json!({
                "array": ["x", { "b": 2 }],
                "map": { "k": 1, "nested": { "a": true } },
                "text": "hi 😀",
                "xml": [{ "tag": "p", "attributes": { "class": "big" }, "children": [] }],
            })
        );
    }

    #[test]
    fn a_string_with_an_emoji_inside_an_array_ends() {
        let hostile = [1, 1, 1, 0, 4, 1, 1, 0x61, 4, 0xf0, 0x9f, 0x98, 0x82, 0];
        let mut replica = Replica::new();
        replica.absorb(&hostile, &Limits::default());
        assert_eq!(content(&mut replica).expect("reads"), json!({ "a": "😂" }));
    }
}
