//! Reads Debian's control format: stanzas of `Field: value`, separated by empty lines (deb822(5)).

/// The fields of a stanza. Names are case-insensitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stanza(Vec<(String, String)>);

impl Stanza {
    /// A field's value. Continuation lines are separated by newlines, without their leading space.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(field)).map(|(_, value)| value.as_str())
    }
}

/// Reads all stanzas of a text. Lines that are neither fields nor continuation lines are ignored.
#[must_use]
pub fn parse(text: &str) -> Vec<Stanza> {
    let mut stanzas = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.trim().is_empty() {
            if !fields.is_empty() {
                stanzas.push(Stanza(std::mem::take(&mut fields)));
            }
        } else if let Some(more) = line.strip_prefix([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(more.trim_end());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    if !fields.is_empty() {
        stanzas.push(Stanza(fields));
    }
    stanzas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_continuation_lines_are_read() {
        let stanzas = parse("\nPackage: a\nDescription: one\n two\n .\nodd line\n\n\n  \nPackage: b\n");
        assert_eq!(stanzas.len(), 2);
        assert_eq!(stanzas[0].get("package"), Some("a"));
        assert_eq!(stanzas[0].get("Description"), Some("one\ntwo\n."));
        assert_eq!(stanzas[1].get("Package"), Some("b"));
        assert_eq!(stanzas[1].get("Description"), None);
    }
}
