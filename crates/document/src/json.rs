//! JSON in and out of Yjs values, without loss and without trusting what is there.
//!
//! What Yjs cannot hold as it is goes in as `{"$json": "<text>"}` and comes out restored: values nested deeper than
//! [`DEPTH`], whole numbers that JavaScript would round, and an object that looks like such a wrapper itself.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, Number as JsonNumber, Value};
use yrs::{Any, Number};

/// How deep arrays and objects may be nested in a stored value; below that they are text.
pub(crate) const DEPTH: usize = 12;
/// How deep a value that a client shaped is read. The checker lets no deeper ones in.
const READ_DEPTH: usize = 64;
/// The key of the wrapper.
const WRAPPED: &str = "$json";
/// The largest whole number that a double holds exactly.
const EXACT: i64 = (1 << 53) - 1;

/// Turns JSON into a value to store.
pub(crate) fn store(value: &Value) -> Any {
    store_at(value, DEPTH)
}

fn store_at(value: &Value, depth: usize) -> Any {
    match value {
        Value::Null => Any::Null,
        Value::Bool(value) => Any::Bool(*value),
        Value::String(text) => Any::String(text.as_str().into()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) if (-EXACT..=EXACT).contains(&whole) => Any::Number(Number::Int(whole)),
            (None, Some(float)) if !number.is_u64() => Any::Number(Number::Float(float)),
            _ => wrap(value),
        },
        Value::Array(items) if depth > 0 => {
            Any::Array(items.iter().map(|item| store_at(item, depth - 1)).collect())
        }
        Value::Object(entries) if depth > 0 && !is_wrapper(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.clone(), store_at(value, depth - 1)));
            Any::Map(Arc::new(entries.collect::<HashMap<_, _>>()))
        }
        Value::Array(_) | Value::Object(_) => wrap(value),
    }
}

fn is_wrapper(entries: &Map<String, Value>) -> bool {
    entries.len() == 1 && entries.contains_key(WRAPPED)
}

fn wrap(value: &Value) -> Any {
    Any::Map(Arc::new(HashMap::from([(WRAPPED.to_owned(), Any::String(value.to_string().into()))])))
}

/// Turns a stored value back into JSON. `undefined` becomes null, or is left out of an object, as in JavaScript;
/// bytes, which JSON has not, become null.
pub(crate) fn read(value: &Any) -> Value {
    read_at(value, READ_DEPTH)
}

fn read_at(value: &Any, depth: usize) -> Value {
    match value {
        Any::Null | Any::Undefined | Any::Buffer(_) => Value::Null,
        Any::Bool(value) => Value::Bool(*value),
        Any::String(text) => Value::String(text.to_string()),
        Any::Number(Number::Int(whole)) => Value::from(*whole),
        Any::Number(Number::Float(float)) => read_float(*float),
        Any::Array(_) | Any::Map(_) if depth == 0 => Value::Null,
        Any::Array(items) => Value::Array(items.iter().map(|item| read_at(item, depth - 1)).collect()),
        Any::Map(entries) => {
            if entries.len() == 1
                && let Some(Any::String(text)) = entries.get(WRAPPED)
                && let Ok(value) = serde_json::from_str(text)
            {
                return value;
            }
            let known = entries.iter().filter(|(_, value)| **value != Any::Undefined);
            Value::Object(known.map(|(key, value)| (key.clone(), read_at(value, depth - 1))).collect())
        }
    }
}

/// Yjs writes 3000000000 as a float, and JavaScript knows no difference: whole numbers come out whole.
fn read_float(float: f64) -> Value {
    if float.fract() == 0.0 && float.abs() <= EXACT as f64 {
        return Value::from(float as i64);
    }
    JsonNumber::from_f64(float).map_or(Value::Null, Value::Number)
}

/// Returns an entry of a stored object.
pub(crate) fn field<'a>(value: &'a Any, key: &str) -> Option<&'a Any> {
    match value {
        Any::Map(entries) => entries.get(key),
        _ => None,
    }
}

/// Returns a text entry of a stored object.
pub(crate) fn text_field<'a>(value: &'a Any, key: &str) -> Option<&'a str> {
    field(value, key).and_then(text)
}

/// Returns a stored text.
pub(crate) fn text(value: &Any) -> Option<&str> {
    match value {
        Any::String(text) => Some(text),
        _ => None,
    }
}

/// Returns a stored whole number that is not negative.
pub(crate) fn whole(value: &Any) -> Option<u64> {
    match value {
        Any::Number(Number::Int(whole)) => u64::try_from(*whole).ok(),
        Any::Number(Number::Float(float)) if float.fract() == 0.0 && (0.0..=EXACT as f64).contains(float) => {
            Some(*float as u64)
        }
        _ => None,
    }
}

/// Makes a stored whole number. Counts and times here are far below 2^53.
pub(crate) fn int(value: u64) -> Any {
    Any::Number(Number::Int(i64::try_from(value).unwrap_or(EXACT)))
}

/// Makes a stored object of what is there.
pub(crate) fn object<const N: usize>(entries: [(&str, Option<Any>); N]) -> Any {
    let entries = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Any::Map(Arc::new(entries.collect::<HashMap<_, _>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use yrs::{Doc, Map as _, Out, ReadTxn, StateVector, Transact, Update, updates::decoder::Decode};

    /// What comes out on another device.
    fn shipped(value: &Value) -> Value {
        let (here, there) = (Doc::with_client_id(1), Doc::with_client_id(2));
        let map = here.get_or_insert_map("m");
        map.insert(&mut here.transact_mut(), "k", store(value));
        let update = here.transact().encode_diff_v1(&StateVector::default());
        there.transact_mut().apply_update(Update::decode_v1(&update).expect("valid")).expect("applies");
        let map = there.get_or_insert_map("m");
        let Some(Out::Any(any)) = map.get(&there.transact(), "k") else { panic!("a value") };
        read(&any)
    }

    #[test]
    fn json_goes_in_and_comes_out_unchanged() {
        let mut deep = json!("ground");
        for _ in 0..40 {
            deep = json!({ "d": [deep] });
        }
        for value in [
            json!(null),
            json!([0, -1, 3_000_000_000_i64, 4_503_599_627_370_497_i64, 0.1, 1.5e300, -2.25]),
            json!([u64::MAX, i64::MIN, 9_007_199_254_740_993_i64]),
            json!({ "$json": "[1]" }),
            json!({ "a": { "$json": 5, "b": "😀" } }),
            deep,
        ] {
            assert_eq!(shipped(&value), value);
        }
    }

    #[test]
    fn what_json_has_not_is_left_out() {
        let odd = object([
            ("a", Some(Any::Undefined)),
            ("b", Some(Any::Buffer([1_u8].as_slice().into()))),
            ("c", None),
        ]);
        assert_eq!(read(&odd), json!({ "b": null }));
        assert_eq!(read(&Any::Number(Number::Float(f64::NAN))), json!(null));
        assert_eq!(read(&object([("$json", Some(Any::String("{".into())))])), json!({ "$json": "{" }));
    }
}
