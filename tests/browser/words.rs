//! What pages say, in each of their languages.

/// What pages are written in.
pub(crate) const LANGUAGES: [&str; 4] = ["en", "de", "fr", "es"];

/// A text of a language's catalogue.
pub(crate) fn words(language: &str, section: &str, key: &str) -> String {
    let found = catalogue(language)[section][key].as_str().unwrap().to_owned();
    if language != "en" {
        assert_ne!(found, words("en", section, key), "{key} is in English in {language}");
    }
    found
}

fn catalogue(language: &str) -> toml::Table {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/locales");
    std::fs::read_to_string(format!("{folder}/{language}.toml")).unwrap().parse().unwrap()
}
