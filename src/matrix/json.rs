//! Canonical JSON, by the
//! [appendix of the specification](https://spec.matrix.org/v1.19/appendices/#canonical-json).

use serde_json::{Map, Value};

/// A JSON object.
pub type Object = Map<String, Value>;

/// Why a value has no canonical form.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("canonical JSON holds only whole numbers between -(2^53)+1 and (2^53)-1")]
pub struct NotCanonical;

const MAX_INTEGER: u64 = (1 << 53) - 1;

/// The one text of `object` that is signed: keys sorted by code point, no white space, whole
/// numbers only.
///
/// # Errors
/// When a number is no integer of at most 53 bits.
pub fn canonical(object: &Object) -> Result<String, NotCanonical> {
    let mut text = String::new();
    write_object(&mut text, object)?;
    Ok(text)
}

fn write_object(text: &mut String, object: &Object) -> Result<(), NotCanonical> {
    let mut entries: Vec<_> = object.iter().collect();
    // Bytes of UTF-8 sort as their code points do.
    entries.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
    text.push('{');
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&Value::from(key.as_str()).to_string());
        text.push(':');
        write_value(text, value)?;
    }
    text.push('}');
    Ok(())
}

fn write_value(text: &mut String, value: &Value) -> Result<(), NotCanonical> {
    match value {
        Value::Object(object) => write_object(text, object)?,
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_value(text, item)?;
            }
            text.push(']');
        }
        Value::Number(number) => {
            let integer =
                number.as_i64().filter(|n| n.unsigned_abs() <= MAX_INTEGER).ok_or(NotCanonical)?;
            text.push_str(&integer.to_string());
        }
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn canonical_of(value: &Value) -> Result<String, NotCanonical> {
        canonical(value.as_object().unwrap())
    }

    #[test]
    fn the_examples_of_the_specification_come_out_to_the_letter() {
        for (value, text) in [
            (json!({}), "{}"),
            (json!({"one": 1, "two": "Two"}), r#"{"one":1,"two":"Two"}"#),
            (json!({"b": "2", "a": "1"}), r#"{"a":"1","b":"2"}"#),
            (
                json!({"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {
                    "display_name": "John Doe",
                    "three_pids": [{"medium": "email", "address": "john.doe@example.org"}]}}}),
                r#"{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"}]},"success":true}}"#,
            ),
            (json!({"a": "日本語"}), r#"{"a":"日本語"}"#),
            (json!({"本": 2, "日": 1}), r#"{"日":1,"本":2}"#),
            (json!({"a": "\u{65E5}"}), r#"{"a":"日"}"#),
            (json!({"a": null}), r#"{"a":null}"#),
        ] {
            assert_eq!(canonical_of(&value).unwrap(), text);
        }
    }

    #[test]
    fn numbers_that_are_not_integers_of_53_bits_are_refused() {
        for text in [
            r#"{"a":1.0}"#,
            r#"{"a":1e3}"#,
            r#"{"a":-0.0}"#,
            r#"{"a":9007199254740992}"#,
            r#"{"a":-9223372036854775808}"#,
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(canonical_of(&value), Err(NotCanonical), "{text}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-(1_i64 << 53) + 1..1_i64 << 53).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_object_reads_as_ruma_writes_it(value in any_value()) {
            let object = Map::from_iter([("k".to_owned(), value)]);
            let ruma: ruma_common::CanonicalJsonValue =
                Value::Object(object.clone()).try_into().unwrap();
            prop_assert_eq!(canonical(&object).unwrap(), ruma.to_string());
        }
    }
}
