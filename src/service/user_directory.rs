//! Searches for people: what the homeserver found, and what the directories know beside it.

use std::collections::HashSet;

use serde_json::Value;

use crate::{app::App, directory::Person, matrix::json::Object};

/// How many people a search finds at most where it doesn't say
/// ([spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3user_directorysearch)).
const DEFAULT_LIMIT: usize = 10;

/// The most people that directories are asked for.
const MOST: usize = 50;

/// A search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// What is searched for.
    pub term: String,
    /// How many people are found at most.
    pub limit: usize,
}

impl Search {
    /// The search that a body asks for; `None` where it asks for none.
    #[must_use]
    pub fn of(body: &[u8]) -> Option<Self> {
        let body: Object = serde_json::from_slice(body).ok()?;
        let limit = match body.get("limit") {
            None | Some(Value::Null) => DEFAULT_LIMIT,
            Some(limit) => usize::try_from(limit.as_u64()?).ok()?,
        };
        Some(Self { term: body.get("search_term")?.as_str()?.to_owned(), limit })
    }
}

/// Completes `found`, the homeserver's answer to a search, by whom the directories know.
pub async fn complete(app: &App, search: &Search, found: &mut Object) {
    // Nothing tells of everybody.
    if search.term.trim().is_empty() {
        return;
    }
    let matches = app.directories.search(&search.term, search.limit.min(MOST)).await;
    let people = matches.people.into_iter().map(as_found).collect();
    merge(found, people, matches.limited, search.limit);
}

/// A person as homeservers tell of them.
fn as_found(person: Person) -> Object {
    let optional = |name: &str, value: Option<String>| Some((name.to_owned(), value?.into()));
    let id = ("user_id".to_owned(), Value::from(person.mxid.as_str()));
    let name = optional("display_name", person.display_name);
    [Some(id), name, optional("avatar_url", person.avatar_url)].into_iter().flatten().collect()
}

/// Adds to `found`, the homeserver's answer, who isn't in it yet, up to the limit.
fn merge(found: &mut Object, more: Vec<Object>, is_more_limited: bool, limit: usize) {
    let mut results = match found.remove("results") {
        Some(Value::Array(results)) => results,
        _ => Vec::new(),
    };
    let mut known: HashSet<String> = results.iter().filter_map(user_id).collect();
    let more = more.into_iter().map(Value::Object);
    results.extend(more.filter(|person| user_id(person).is_some_and(|id| known.insert(id))));
    let is_limited = found.get("limited").and_then(Value::as_bool).unwrap_or_default();
    let is_cut = results.len() > limit;
    results.truncate(limit);
    found.insert("results".to_owned(), Value::Array(results));
    found.insert("limited".to_owned(), Value::Bool(is_limited || is_more_limited || is_cut));
}

fn user_id(person: &Value) -> Option<String> {
    person.get("user_id").and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        match value {
            Value::Object(object) => object,
            other => panic!("{other} is no object"),
        }
    }

    fn merged(found: Value, more: &[&str], is_more_limited: bool, limit: usize) -> Value {
        let mut found = object(found);
        let more = more.iter().map(|id| object(json!({ "user_id": id }))).collect();
        merge(&mut found, more, is_more_limited, limit);
        Value::Object(found)
    }

    #[test]
    fn the_homeservers_people_come_first_and_nobody_twice() {
        let found = json!({
            "results": [{ "user_id": "@b:hs", "display_name": "B", "x": 1 }, { "user_id": "@a:hs" }],
            "limited": false, "org.example": 1,
        });
        assert_eq!(
            merged(found, &["@c:hs", "@a:hs", "@c:hs", "@0:hs"], false, 10),
            json!({
                "results": [
                    { "user_id": "@b:hs", "display_name": "B", "x": 1 }, { "user_id": "@a:hs" },
                    { "user_id": "@c:hs" }, { "user_id": "@0:hs" },
                ],
                "limited": false, "org.example": 1,
            })
        );
    }

    #[test]
    fn what_is_cut_is_said_to_be() {
        let found = json!({ "results": [{ "user_id": "@a:hs" }], "limited": false });
        let ids = |merged: &Value| merged["results"].as_array().unwrap().len();
        let cut = merged(found.clone(), &["@b:hs", "@c:hs"], false, 2);
        assert_eq!((ids(&cut), &cut["limited"]), (2, &json!(true)));
        let fits = merged(found.clone(), &["@b:hs"], false, 2);
        assert_eq!((ids(&fits), &fits["limited"]), (2, &json!(false)));
        let twice = merged(found.clone(), &["@a:hs"], false, 1);
        assert_eq!((ids(&twice), &twice["limited"]), (1, &json!(false)));
        assert_eq!(merged(found, &[], true, 10)["limited"], json!(true));
        let limited = json!({ "results": [], "limited": true });
        assert_eq!(merged(limited, &["@b:hs"], false, 2)["limited"], json!(true));
    }

    #[test]
    fn a_search_has_a_term_and_a_limit() {
        let search = |body: Value| Search::of(body.to_string().as_bytes());
        let of = |limit| Some(Search { term: "al".to_owned(), limit });
        assert_eq!(search(json!({ "search_term": "al" })), of(10));
        assert_eq!(search(json!({ "search_term": "al", "limit": 3 })), of(3));
        for body in [
            json!({}),
            json!([]),
            json!({ "search_term": 1 }),
            json!({ "search_term": "a", "limit": -1 }),
        ] {
            assert_eq!(search(body), None);
        }
    }
}
