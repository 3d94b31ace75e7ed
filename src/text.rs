//! Text from strangers, made fit for the eyes of others.

/// What a link or address needs between its words, as programs that look for them see it: the
/// full stops are those that IDNA takes for dots (UTS #46).
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
/// spelt with them; nowhere else do they change anything that a person sees.
#[must_use]
pub fn one_line(name: &str, most: usize) -> Option<String> {
    let mut line = String::new();
    let mut left = most;
    let mut last = ' ';
    for c in name.chars().map(|c| if c.is_whitespace() { ' ' } else { c }) {
        let is_kept = match c {
            ' ' => last != ' ',
            '\u{200c}' | '\u{200d}' | '\u{fe0f}' => !last.is_ascii() && !is_invisible(last),
            _ => !c.is_control() && !is_invisible(c),
        };
        if !is_kept {
            continue;
        }
        if left == 0 {
            line.pop();
            return Some(line.trim_end().to_owned() + "…");
        }
        line.push(c);
        last = c;
        left -= 1;
    }
    let line = line.trim_end();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The text as it is to the eye, but with nothing in it that a mail program would make a link of.
///
/// Word joiners come between the signs that links and addresses are made with and their
/// neighbours: in `example.org` no program sees two labels of a domain, in `https://` no scheme, in
/// `www.` and `a@b` nothing it knows.
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
