//! What commands print on standard output.

use std::io::{self, Write};

use super::Failure;
use vmlab_events::clean;
use vmlab_report::stdio;

/// Prints a text at once. A reader that has gone, as `head`, is no failure: there is nobody left to tell.
///
/// # Errors
/// Standard output cannot be written for another reason.
pub fn print(text: &str) -> Result<(), Failure> {
    if stdio::stdout_was_closed() {
        return Err(Failure::lab("cannot write to standard output: it is closed; open it, or send it to a file"));
    }
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::lab(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Tells what the user should know besides, on standard error.
pub fn notes(notes: &[String]) {
    for note in notes {
        // Where standard error is closed nobody wants to know.
        writeln!(io::stderr(), "vmlab: note: {}", clean::line(note)).unwrap_or_default();
    }
}

/// Prints a value as JSON.
///
/// # Errors
/// As [`print`].
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::lab(format!("cannot write the result as JSON: {error}")))?;
    print(&format!("{text}\n"))
}

/// Lays rows out in columns that are as wide as their widest cell; the last column is not padded.
#[must_use]
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a", "", "long"], ["wíde", "b", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "a        long\nwíde  b\n");
    }
}
