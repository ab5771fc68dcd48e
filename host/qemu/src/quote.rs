//! Quotes another program's output within a sentence.

/// The maximum number of quoted characters.
const LIMIT_CHARS: usize = 300;

/// The maximum number of quoted characters of output that may be binary.
const STRANGE_CHARS: usize = 60;

/// The beginning of output that may be binary: its first line, at most 60 characters. Unprintable parts are replaced by
/// `…`; `nothing readable` if nothing is printable.
pub(super) fn beginning_of(output: &[u8]) -> String {
    let line = output.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or_default();
    // A character that is cut at the end counts as unprintable.
    let text = String::from_utf8_lossy(&line[..line.len().min(STRANGE_CHARS * 4)]);
    let mut shown = String::new();
    for c in text.trim_end().chars().map(|c| if is_strange(c) { '…' } else { c }) {
        if c != '…' || !shown.ends_with('…') {
            shown.push(c);
        }
    }
    if shown.chars().all(|c| c == '…' || c.is_whitespace()) {
        return "nothing readable".to_owned();
    }
    match shown.char_indices().nth(STRANGE_CHARS) {
        None => shown,
        Some((at, _)) => format!("{}…", shown[..at].trim_end_matches('…')),
    }
}

/// The output of an unknown program: [`end_of`] for text, else [`beginning_of`].
pub(super) fn of_stranger(output: &[u8]) -> String {
    let is_text = std::str::from_utf8(output).is_ok_and(|text| !text.contains('\0'));
    if is_text { end_of(output) } else { beginning_of(output) }
}

fn is_strange(c: char) -> bool {
    // Binary data decodes to letters of all scripts.
    !c.is_ascii_graphic() && c != ' '
}

/// The end of a program's output on one line: the last non-empty lines that fit, joined by ` / `, without control
/// characters; `nothing` for empty output.
pub(super) fn end_of(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut kept: Vec<String> = Vec::new();
    let mut chars = 0;
    for line in text.lines().rev() {
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let room = LIMIT_CHARS - chars;
        let length = line.chars().count();
        if length > room {
            if kept.is_empty() {
                kept.push(line.chars().take(room).chain(['…']).collect());
            }
            break;
        }
        chars += length;
        kept.push(line.to_owned());
    }
    kept.reverse();
    if kept.is_empty() { "nothing".to_owned() } else { kept.join(" / ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_quoted_without_control_characters() {
        assert_eq!(end_of(b""), "nothing");
        assert_eq!(end_of(b"\r\n \n"), "nothing");
        assert_eq!(end_of(b"one\r\n\x1b[31mtwo\n"), "one / [31mtwo");
        assert_eq!(end_of(b"\xff\n"), "\u{fffd}");
    }

    #[test]
    fn binary_output_is_quoted_in_a_few_characters() {
        assert_eq!(beginning_of(b"GNU bash, version 5.2\nmore\n"), "GNU bash, version 5.2");
        assert_eq!(beginning_of(b""), "nothing readable");
        assert_eq!(beginning_of(b"\x80\xff\0\x1b"), "nothing readable");
        assert_eq!(beginning_of(b"\x7fEL\xc3\xa4F\x02\x01\0\0\x80\xff>x\x1b[2J\n"), "…EL…F…>x…[2J");
        let noise: Vec<u8> = (0..=255).cycle().take(5000).collect();
        assert!(beginning_of(&noise).chars().count() <= 61);
        assert!(beginning_of(&b"x".repeat(1000)).chars().count() <= 61);
    }

    #[test]
    fn text_of_an_unknown_program_is_quoted() {
        let text = "error while loading shared libraries: libfoo.so.1: cannot open shared object file: No such file";
        assert_eq!(of_stranger(text.as_bytes()), text);
        assert_eq!(of_stranger(b"/x/garbage: 1: \x80\x81\x82: not found\n\x99\n"), "/x/garbage: 1: …: not found");
    }

    #[test]
    fn quotes_are_bounded() {
        let long = "x".repeat(1000);
        assert_eq!(end_of(long.as_bytes()).chars().count(), LIMIT_CHARS + 1);
        let many = "0123456789\n".repeat(1000);
        assert_eq!(end_of(many.as_bytes()).matches("0123456789").count(), 30);
        let mixed = format!("{long}\nthe last");
        assert_eq!(end_of(mixed.as_bytes()), "the last");
    }
}
