//! Text from strangers, made fit for the eyes of others.

/// The signs between the words of links and addresses; the full stops are all that IDNA takes for
/// the dot of a domain ([RFC 3490](https://www.rfc-editor.org/rfc/rfc3490#section-3.1), section 3.1).
const JOINTS: [char; 7] = ['.', '\u{3002}', '\u{ff0e}', '\u{ff61}', ':', '/', '@'];

/// Shows nothing and takes no room.
const WORD_JOINER: char = '\u{2060}';

/// Whether nobody can see `c`, or it changes how others are seen: soft hyphens, fillers,
/// variation selectors, zero widths, bidirectional controls and tags (`Default_Ignorable_Code_Point`
/// of Unicode), and what stands in for something that isn't there (U+FFF9 to U+FFFD).
#[must_use]
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}'
        | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// A name as one line of at most `most` characters, the last of them `…` where it was cut; `None`
/// when nothing of it can be seen.
///
/// White space becomes single spaces; control and invisible characters go. Joiners and the emoji
/// selector stay behind a character that isn't ASCII, since Persian, Indic scripts and emoji are
/// spelt with them.
#[must_use]
pub fn one_line(name: &str, most: usize) -> Option<String> {
    let mut line = String::new();
    let mut last = ' ';
    for c in name.chars().map(|c| if c.is_whitespace() { ' ' } else { c }) {
        let is_kept = match c {
            ' ' => last != ' ',
            '\u{200d}' if last == '\u{fe0f}' => true,
            '\u{200c}' | '\u{200d}' | '\u{fe0f}' => !last.is_ascii() && !is_invisible(last),
            _ => !c.is_control() && !is_invisible(c),
        };
        if is_kept {
            line.push(c);
            last = c;
        }
    }
    let line = line.trim_end();
    if line.chars().count() > most {
        let kept: String = line.chars().take(most.saturating_sub(1)).collect();
        return Some(kept.trim_end().to_owned() + "…");
    }
    (!line.is_empty()).then(|| line.to_owned())
}

/// The text as it is to the eye, but with nothing in it that a mail program makes a link of.
///
/// Word joiners come between the signs that links and addresses are made with and their
/// neighbours: where a program looks for `www.`, `://`, a word on both sides of an `@`, or two
/// labels of a domain, it finds none. Spaces would do that too, but would disfigure an id or a
/// name such as `Node.js`.
#[must_use]
pub fn without_links(text: &str) -> String {
    let mut unlinked = String::with_capacity(text.len());
    let mut last = ' ';
    for c in text.chars() {
        let meet = last != ' ' && c != ' ';
        if meet && (JOINTS.contains(&c) || JOINTS.contains(&last)) {
            unlinked.push(WORD_JOINER);
        }
        unlinked.push(c);
        last = c;
    }
    unlinked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_becomes_one_line_without_what_nobody_sees() {
        for (name, line) in [
            ("Garden club", Some("Garden club")),
            ("  Garden \r\n\t\u{3000}club\u{2028}", Some("Garden club")),
            ("\u{202e}Gar\u{ad}den\u{0}\u{e0041}\u{1d173}", Some("Garden")),
            ("a\u{200d}b\u{fe0f}c \u{200c}d", Some("abc d")),
            ("می\u{200c}\u{200c}خواهم", Some("می\u{200c}خواهم")),
            ("❤\u{fe0f}\u{200d}🔥", Some("❤\u{fe0f}\u{200d}🔥")),
            ("\u{200d}\u{feff} \u{3164}", None),
            ("", None),
        ] {
            assert_eq!(one_line(name, 64).as_deref(), line, "{name:?}");
        }
    }

    #[test]
    fn a_name_is_cut_between_characters_and_only_where_it_is_too_long() {
        assert_eq!(one_line("дверь ", 5).as_deref(), Some("дверь"));
        assert_eq!(one_line("дверь сад", 7).as_deref(), Some("дверь…"));
        assert_eq!(one_line("дверь сад", 8).as_deref(), Some("дверь с…"));
    }

    proptest! {
        #[test]
        fn any_name_becomes_at_most_so_many_visible_characters(name in any::<String>(), most in 1_usize..20) {
            if let Some(line) = one_line(&name, most) {
                prop_assert!((1..=most).contains(&line.chars().count()));
                prop_assert!(!line.chars().any(char::is_control));
                prop_assert_eq!(line.trim(), &line);
                prop_assert_eq!(one_line(&line, most), Some(line));
            }
        }

        #[test]
        fn a_text_without_links_looks_as_it_did(name in "[ -~。é]{0,40}") {
            let unlinked = without_links(&name);
            prop_assert_eq!(unlinked.replace(WORD_JOINER, ""), name);
            let signs: Vec<_> = unlinked.chars().filter(|c| *c != ' ').collect();
            for pair in signs.windows(2) {
                let word_and_joint = pair[0].is_alphanumeric() && JOINTS.contains(&pair[1]);
                prop_assert!(!word_and_joint || !unlinked.contains(&pair.iter().collect::<String>()));
            }
        }
    }
}
