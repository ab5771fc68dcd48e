//! Markdown with GitHub's tables, from texts that may be anybody's.

/// Text that Markdown and HTML leave alone.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '>' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// A name in the type of code, if it can be.
#[must_use]
pub fn code(text: &str) -> String {
    if text.contains(['`', '|']) { escape(text) } else { format!("`{text}`") }
}

/// A table. The cells are Markdown.
#[must_use]
pub fn table(heads: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut out = line(heads);
    out.push_str(&format!("|{}\n", "---|".repeat(heads.len())));
    rows.for_each(|row| out.push_str(&line(&row)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_break_out_of_a_cell() {
        assert_eq!(escape("a|b <i> `x` [y](z)"), "a\\|b &lt;i\\> \\`x\\` \\[y\\](z)");
        assert_eq!(code("a|b"), "a\\|b");
        assert_eq!(code("pid.init"), "`pid.init`");
    }
}
