//! Text from a guest, made safe for terminals, XML and line-oriented formats. A guest is not trusted: its text must not move
//! a cursor, set a title, change the direction of a line or break out of an element.
//!
//! Every hostile character becomes a visible escape, so that nothing is lost: `\x1b` below U+0100, `\u{202e}` above.
//! So does the character that makes a line a command of a CI service.
//! Quoting for the format itself (`<` in XML, `"` in JSON) is left to the format's own library.

/// Columns between tab stops.
const TAB: usize = 8;

/// Whether a character may do harm where text is shown or stored.
///
/// These are the control characters (C0, DEL and C1; Unicode category Cc), the characters that change the direction or
/// are invisible (the bidirectional controls of UAX #9, zero-width and tag characters), the line and paragraph separators,
/// and the noncharacters. This includes all characters that XML 1.0 (5th edition, production 2) forbids.
#[must_use]
pub fn is_hostile(c: char) -> bool {
    let code = u32::from(c);
    c.is_control()
        || matches!(code,
            0x00ad | 0x061c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff
            | 0xfff9..=0xfffb | 0xfdd0..=0xfdef | 0xe0000..=0xe007f)
        || code & 0xfffe == 0xfffe
}

/// All of a text on one line: a line end becomes `\n`, a tab `\t`.
#[must_use]
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut out, c);
    }
    disarmed(out)
}

/// A text by its lines, each safe. Tabs are spaces up to the next column of 8, and a carriage return before the line end
/// is part of the line end; an empty text has no lines.
pub fn lines(text: &str) -> impl DoubleEndedIterator<Item = String> {
    text.lines().map(|raw| {
        let mut out = String::with_capacity(raw.len());
        let mut column = 0;
        for c in raw.chars() {
            if c == '\t' {
                let pad = TAB - column % TAB;
                out.extend(std::iter::repeat_n(' ', pad));
                column += pad;
            } else {
                push(&mut out, c);
                column += 1;
            }
        }
        disarmed(out)
    })
}

/// A text with its line ends, safe otherwise.
#[must_use]
pub fn block(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in lines(text) {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// The first `limit` characters of a clean text, and a note of how many were taken away.
#[must_use]
pub fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((at, _)) => {
            let more = text[at..].chars().count();
            format!("{}… ({more} more character{})", &text[..at], if more == 1 { "" } else { "s" })
        }
    }
}

/// A line without the commands of GitHub's runner (src/Runner.Common/ActionCommand.cs of actions/runner): `::NAME::` at
/// its beginning, white space aside, and `##[NAME]` anywhere. A guest could hide the rest of a log with them, or mark
/// lines of the user's sources as faulty.
fn disarmed(line: String) -> String {
    let line = if line.contains("##[") { line.replace("##[", "#\\x23[") } else { line };
    let indent = line.len() - line.trim_start().len();
    match line[indent..].strip_prefix("::") {
        Some(rest) if rest.contains("::") => format!("{}\\x3a:{rest}", &line[..indent]),
        _ => line,
    }
}

fn push(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if !is_hostile(c) => out.push(c),
        c if u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        c => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terminal_commands_become_visible() {
        for (raw, clean) in [
            ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
            ("\u{9b}31m", "\\x9b31m"),
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
            ("two\r\nlines\tand a tab", "two\\r\\nlines\\tand a tab"),
            ("\u{0}\u{7f}\u{fffe}\u{feff}", "\\x00\\x7f\\u{fffe}\\u{feff}"),
            ("Grüße, 世界 – ok", "Grüße, 世界 – ok"),
        ] {
            assert_eq!(line(raw), clean);
        }
    }

    #[test]
    fn ci_commands_become_visible() {
        for (raw, clean) in [
            ("::error file=a::b", "\\x3a:error file=a::b"),
            (" \u{a0}::stop-commands::x", " \u{a0}\\x3a:stop-commands::x"),
            ("a ##[add-mask]b", "a #\\x23[add-mask]b"),
            ("####[error]", "###\\x23[error]"),
            ("::1 and a::b::c", "\\x3a:1 and a::b::c"),
            ("listens on ::1", "listens on ::1"),
        ] {
            assert_eq!(line(raw), clean);
            assert_eq!(lines(raw).next().as_deref(), Some(clean));
        }
        assert_eq!(line("::1"), "::1");
    }

    #[test]
    fn a_block_keeps_its_lines() {
        assert_eq!(block("a\r\nb\tc\n\nd\re"), "a\nb       c\n\nd\\re\n");
        assert_eq!(block(""), "");
        assert_eq!(lines("1\n2\n3").next_back().as_deref(), Some("3"));
    }

    #[test]
    fn a_cut_says_how_much_it_took_away() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äöü… (1 more character)");
    }

    proptest! {
        #[test]
        fn nothing_hostile_is_left(text in any::<String>()) {
            prop_assert!(!line(&text).chars().any(is_hostile));
            prop_assert!(!block(&text).chars().any(|c| c != '\n' && is_hostile(c)));
        }

        #[test]
        fn every_byte_sequence_becomes_allowed_xml_text(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            // Production 2 of XML 1.0, 5th edition.
            let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
            prop_assert!(block(&String::from_utf8_lossy(&bytes)).chars().all(allowed));
        }

        #[test]
        fn harmless_text_is_left_alone(text in "[a-zA-Z0-9 äß世\\\\<>&\\]]{0,80}") {
            prop_assert_eq!(line(&text), text);
        }

        #[test]
        fn a_block_has_the_lines_of_the_text(text in "([a-z\\t]{0,5}\n){0,9}") {
            prop_assert_eq!(block(&text).lines().count(), text.lines().count());
        }
    }
}
