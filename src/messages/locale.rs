//! Which language somebody is spoken to in.

use std::cmp::Reverse;

use icu_locale_core::LanguageIdentifier;

/// How much of an `Accept-Language` is read, in bytes; no browser sends as much.
const LONGEST_WISH: usize = 1000;

/// How many languages of it are looked for.
const MOST_RANGES: usize = 32;

/// Languages that are written from right to left, unless a script is named.
const RIGHT_TO_LEFT: &[&str] = &[
    "ar", "arc", "ckb", "dv", "fa", "glk", "he", "khw", "ks", "lrc", "mzn", "nqo", "pnb", "ps",
    "rhg", "sd", "sdh", "syr", "ug", "ur", "uz-af", "yi",
];

/// Scripts that are.
const RIGHT_TO_LEFT_SCRIPTS: &[&str] =
    &["adlm", "arab", "aran", "hebr", "mand", "mend", "nkoo", "rohg", "samr", "syrc", "thaa"];

/// The tag of a language ([BCP 47](https://www.rfc-editor.org/info/bcp47)) in its usual spelling,
/// such as `de-AT`.
pub(super) fn parse(tag: &str) -> Option<LanguageIdentifier> {
    let known: LanguageIdentifier = tag.parse().ok()?;
    (!known.language.is_unknown()).then_some(known)
}

/// The tag, then that of the language without region, script and so on, if it is another one.
pub(super) fn from_special_to_general(tag: &str) -> Vec<String> {
    let mut found = vec![tag.to_owned()];
    let mut rest = tag;
    while let Some((shorter, _)) = rest.rsplit_once('-') {
        found.push(shorter.to_owned());
        rest = shorter;
    }
    found
}

/// `rtl` for a language that is written from right to left, else `ltr`.
pub(super) fn direction(tag: &str) -> &'static str {
    let tag = tag.to_ascii_lowercase();
    let is_right_to_left = match tag.split('-').find(|part| part.len() == 4) {
        Some(script) => RIGHT_TO_LEFT_SCRIPTS.contains(&script),
        None => RIGHT_TO_LEFT.iter().any(|known| {
            tag.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        }),
    };
    if is_right_to_left { "rtl" } else { "ltr" }
}

/// The one of the locales `on_offer` that fits a wish, by the lookup of
/// [RFC 4647](https://www.rfc-editor.org/rfc/rfc4647#section-3.4), section 3.4: the same one, or
/// else a more general one.
pub(super) fn look_up<'a>(wish: &str, on_offer: &[&'a str]) -> Option<&'a str> {
    // POSIX writes de_AT.UTF-8.
    let wish = wish.split('.').next()?.trim().replace('_', "-");
    let mut wish = cut(&wish);
    loop {
        if let Some(same) = on_offer.iter().find(|locale| locale.eq_ignore_ascii_case(wish)) {
            return Some(same);
        }
        wish = wish.rsplit_once('-')?.0;
        // What is one letter long only announces what comes after it.
        if wish.rsplit_once('-').is_some_and(|(_, last)| last.len() == 1) {
            wish = wish.rsplit_once('-')?.0;
        }
    }
}

/// The best of the locales `on_offer` for an `Accept-Language`
/// ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.4), section 12.5.4); none where
/// nothing fits or anything does.
pub(super) fn accepted<'a>(header: &str, on_offer: &[&'a str]) -> Option<&'a str> {
    let mut wishes: Vec<_> = cut(header).split(',').take(MOST_RANGES).filter_map(wish).collect();
    // Stable: of equals the first one wins.
    wishes.sort_by_key(|(_, weight)| Reverse(*weight));
    for (range, _) in wishes {
        if range == "*" {
            return None;
        }
        if let Some(found) = look_up(range, on_offer) {
            return Some(found);
        }
    }
    None
}

fn cut(header: &str) -> &str {
    let mut end = header.len().min(LONGEST_WISH);
    while !header.is_char_boundary(end) {
        end -= 1;
    }
    header.get(..end).unwrap_or_default()
}

/// A range and its weight in thousandths; none for what is not wanted or not understood.
fn wish(element: &str) -> Option<(&str, u32)> {
    let (range, parameter) = element.split_once(';').unwrap_or((element, "q=1"));
    let (name, weight) = parameter.split_once('=')?;
    let weight = name.trim().eq_ignore_ascii_case("q").then(|| thousandths(weight.trim()))??;
    let range = range.trim();
    (weight > 0 && !range.is_empty()).then_some((range, weight))
}

/// A weight between `0` and `1` with at most three digits behind the point.
fn thousandths(weight: &str) -> Option<u32> {
    let (whole, rest) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = rest.bytes().all(|digit| digit.is_ascii_digit()) && rest.len() <= 3;
    let thousandths: u32 = format!("{rest:0<3}").parse().ok().filter(|_| digits)?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OFFER: [&str; 5] = ["de", "en", "fr", "pt-BR", "zh-Hant"];

    #[test]
    fn the_language_that_is_wanted_most_is_found() {
        for (header, found) in [
            ("de", Some("de")),
            ("DE-at, en;q=0.5", Some("de")),
            ("en;q=0.5, fr;q=0.8", Some("fr")),
            ("it, fr;q=0.1", Some("fr")),
            ("en;q=0, fr;q=0.001", Some("fr")),
            ("de;q=0.5,fr; Q = 0.5", Some("de")),
            ("pt-br", Some("pt-BR")),
            ("pt", None),
            ("zh-hant-tw-x-private", Some("zh-Hant")),
            ("de-x-y", Some("de")),
            ("*", None),
            ("it, *;q=0.5, fr;q=0.4", None),
            ("de;q=1.5", None),
            ("de;q=0.1234", None),
            ("de;level=1", None),
            ("", None),
            (",;=,,q", None),
            ("de_AT.UTF-8", Some("de")),
        ] {
            assert_eq!(accepted(header, &OFFER), found, "{header}");
        }
    }

    #[test]
    fn an_endless_wish_is_cut() {
        let header = "ab,".repeat(100_000) + "de";
        assert_eq!(accepted(&header, &OFFER), None);
        let header = "ä".repeat(100_000);
        assert_eq!(accepted(&header, &OFFER), None);
    }

    #[test]
    fn languages_know_their_direction() {
        for tag in ["ar", "he-IL", "fa", "ur-PK", "az-Arab", "ks"] {
            assert_eq!(direction(tag), "rtl", "{tag}");
        }
        for tag in ["en", "de-AT", "ks-Deva", "arn", "uz", "pa"] {
            assert_eq!(direction(tag), "ltr", "{tag}");
        }
    }

    #[test]
    fn a_tag_is_read_in_any_case() {
        assert_eq!(parse("DE-at").unwrap().to_string(), "de-AT");
        for wrong in ["", "d", "und", "deutsch!", "de_AT.UTF-8"] {
            assert_eq!(parse(wrong).map(|tag| tag.to_string()), None, "{wrong}");
        }
        assert_eq!(from_special_to_general("zh-Hant-TW"), ["zh-Hant-TW", "zh-Hant", "zh"]);
    }

    proptest! {
        #[test]
        fn any_header_is_read(header in any::<String>()) {
            accepted(&header, &OFFER);
            look_up(&header, &OFFER);
        }
    }
}
