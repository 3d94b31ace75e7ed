//! Every dependency, those of the tests included, is what `deny.toml` allows it to be.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

#[test]
fn every_dependency_has_a_licence_that_deny_toml_allows() {
    let rules = rules();
    let allowed = strings(&rules["licenses"]["allow"]);
    let refused: Vec<_> = packages()
        .into_iter()
        .filter(|package| {
            let mut allowed = allowed.clone();
            let exception = entry_of(&rules["licenses"]["exceptions"], package);
            allowed.extend(exception.iter().flat_map(|exception| strings(&exception["allow"])));
            !satisfied(&licence(&rules, package), &allowed)
        })
        .map(|package| format!("{}: {}", package["name"], licence(&rules, &package)))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn no_dependency_is_banned_and_all_come_from_the_registry() {
    let rules = rules();
    let banned = rules["bans"]["deny"].as_array().unwrap();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let ban = banned.iter().any(|ban| ban["crate"] == name);
        assert!(!ban, "{name} is banned");
        let source = package["source"].as_str();
        assert!(
            name == "bindery"
                || source == Some("registry+https://github.com/rust-lang/crates.io-index"),
            "{name} comes from {source:?}"
        );
    }
}

#[test]
fn an_expression_is_satisfied_only_as_its_words_say() {
    let allowed =
        BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned));
    for expression in [
        "MIT",
        "GPL-3.0-only OR MIT",
        "GPL-3.0-only/MIT",
        "GPL-3.0-only OR MIT AND ISC",
        "(GPL-3.0-only OR MIT) AND ISC",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(satisfied(expression, &allowed), "{expression}");
    }
    for expression in [
        "",
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "(GPL-3.0-only OR MIT) AND GPL-2.0-only",
        "Apache-2.0",
        "MIT WITH LLVM-exception",
        "MIT AND",
        "(MIT",
        "MIT ISC",
    ] {
        assert!(!satisfied(expression, &allowed), "{expression}");
    }
}

fn rules() -> Value {
    toml::from_str(include_str!("../deny.toml")).unwrap()
}

/// The licence of a package, in its own words or in those of `clarify`.
fn licence(rules: &Value, package: &Value) -> String {
    let clarified = entry_of(&rules["licenses"]["clarify"], package);
    let expression = clarified.as_ref().map_or(&package["license"], |entry| &entry["expression"]);
    expression.as_str().unwrap_or_default().to_owned()
}

/// The entry of a list of rules that is for this package: `name@` and the beginning of a version.
fn entry_of(list: &Value, package: &Value) -> Option<Value> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, version) = (text(&package["name"]), text(&package["version"]));
    let is_for = |entry: &&Value| {
        text(&entry["crate"]).split_once('@').is_some_and(|(of, since)| {
            of == name && format!("{version}.").starts_with(&format!("{since}."))
        })
    };
    list.as_array()?.iter().find(is_for).cloned()
}

fn strings(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// All packages that a build for this machine takes part in, as `cargo metadata` lists them.
fn packages() -> Vec<Value> {
    let host = run(Command::new("rustc").arg("-vV"));
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = run(Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--all-features"])
        .args(["--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR")));
    let mut metadata: Value = serde_json::from_str(&metadata).unwrap();
    let used: BTreeSet<_> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["id"].as_str().unwrap().to_owned())
        .collect();
    let Value::Array(mut packages) = metadata["packages"].take() else { panic!("no packages") };
    packages.retain(|package| used.contains(package["id"].as_str().unwrap()));
    assert!(packages.len() > 100, "only {} packages were found", packages.len());
    packages
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a licence expression (SPDX 2.3, annex D; and the older `A/B`) can be met with `allowed`.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    matches!(any_of(&words, allowed), Some((true, [])))
}

/// The rest of a licence expression after the part that was judged.
type Judged<'a, 'w> = Option<(bool, &'a [&'w str])>;

fn any_of<'a, 'w>(words: &'a [&'w str], allowed: &BTreeSet<String>) -> Judged<'a, 'w> {
    let (mut met, mut rest) = all_of(words, allowed)?;
    while let ["OR", after @ ..] = rest {
        let (also, after) = all_of(after, allowed)?;
        (met, rest) = (met || also, after);
    }
    Some((met, rest))
}

fn all_of<'a, 'w>(words: &'a [&'w str], allowed: &BTreeSet<String>) -> Judged<'a, 'w> {
    let (mut met, mut rest) = one(words, allowed)?;
    while let ["AND", after @ ..] = rest {
        let (also, after) = one(after, allowed)?;
        (met, rest) = (met && also, after);
    }
    Some((met, rest))
}

fn one<'a, 'w>(words: &'a [&'w str], allowed: &BTreeSet<String>) -> Judged<'a, 'w> {
    match words {
        ["(", rest @ ..] => match any_of(rest, allowed)? {
            (met, [")", rest @ ..]) => Some((met, rest)),
            _ => None,
        },
        [licence, "WITH", exception, rest @ ..] => {
            Some((allowed.contains(&format!("{licence} WITH {exception}")), rest))
        }
        [licence, rest @ ..] => Some((allowed.contains(*licence), rest)),
        [] => None,
    }
}
