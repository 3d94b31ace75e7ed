//! Whatever is written, nothing panics and each fault has its place.

use bindery::config::Config;
use proptest::prelude::*;

/// Keys and sections, and one that is none.
const NAMES: &[&str] = &[
    "server",
    "name",
    "listen",
    "tls",
    "key",
    "certificate",
    "database",
    "url",
    "url_file",
    "terms",
    "privacy",
    "en",
    "version",
    "email",
    "smtp",
    "port",
    "host",
    "password",
    "limits",
    "lookup",
    "max_addresses",
    "pepper_rotation",
    "base_url",
    "from",
    "'é'",
];

/// Something between TOML and nonsense, with many keys that exist.
fn near_toml() -> impl Strategy<Value = String> {
    let name = prop::sample::select(NAMES);
    let value = prop_oneof![
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just("['', 1, {}, [true]]".to_owned()),
        Just("'http://a.example'".to_owned()),
        "-?[0-9]{1,25}",
        "'[0-9]{0,22}(ms|s|w| per 1ms|é)?'",
        "\"\\PC{0,6}\"",
        "\\PC{0,6}",
    ];
    let key = prop::collection::vec(name, 1..4).prop_map(|names| names.join("."));
    let line = prop_oneof![
        (key.clone(), value).prop_map(|(key, value)| format!("{key} = {value}")),
        key.prop_map(|key| format!("[{key}]")),
    ];
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

/// Each fault is a line that says where, and an indented one with the remedy.
fn each_fault_has_a_line(text: &str) {
    if let Err(faults) = Config::from_toml(text) {
        let faults = faults.to_string();
        assert!(!faults.is_empty());
        for fault in faults.lines().step_by(2) {
            let line = fault.strip_prefix("config:").and_then(|rest| rest.split(':').next());
            let line: usize = line.unwrap().parse().unwrap();
            assert!((1..=text.lines().count().max(1) + 1).contains(&line), "{fault}");
        }
        assert!(faults.lines().skip(1).step_by(2).all(|remedy| remedy.starts_with("    ")));
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_lines(text in any::<String>()) {
        each_fault_has_a_line(&text);
    }

    #[test]
    fn anything_like_toml_is_read_or_refused_with_lines(text in near_toml()) {
        each_fault_has_a_line(&text);
    }

    #[test]
    fn any_variable_is_read_or_refused(
        name in "(SERVER|EMAIL|TERMS|__){0,2}__(NAME|SMTP|TLS|LISTEN|A){0,2}(__HOST)?",
        value in "\\PC{0,8}|\\{ (host|port) = '?[0-9a]' \\}|\\[\\]",
    ) {
        let name = format!("BINDERY_{name}");
        let variable = [(name, value)];
        if let Err(faults) = Config::load(None, variable.iter().cloned()) {
            prop_assert!(faults.to_string().starts_with(&variable[0].0), "{}", faults);
        }
    }
}
