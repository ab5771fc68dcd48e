//! What another program said, made fit to stand within a sentence.

/// The most characters that are quoted.
const LIMIT_CHARS: usize = 300;

/// The end of a program's output on one line: its last non-empty lines as far as they fit, joined by ` / `, without
/// control characters; `nothing` where there is none.
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
    fn the_end_is_kept_and_harmless() {
        assert_eq!(end_of(b""), "nothing");
        assert_eq!(end_of(b"\r\n \n"), "nothing");
        assert_eq!(end_of(b"one\r\n\x1b[31mtwo\n"), "one / [31mtwo");
        assert_eq!(end_of(b"\xff\n"), "\u{fffd}");
    }

    #[test]
    fn it_is_bounded() {
        let long = "x".repeat(1000);
        assert_eq!(end_of(long.as_bytes()).chars().count(), LIMIT_CHARS + 1);
        let many = "0123456789\n".repeat(1000);
        assert_eq!(end_of(many.as_bytes()).matches("0123456789").count(), 30);
        let mixed = format!("{long}\nthe last");
        assert_eq!(end_of(mixed.as_bytes()), "the last");
    }
}
