//! What commands print on standard output.

use std::io::{self, Write};

use super::Failure;
use vmlab_events::clean;
use vmlab_report::{Destination, document, stdio};

/// Prints a text and flushes it. A broken pipe is no error: `vmlab list | head -1` is common.
///
/// # Errors
/// Standard output is closed, or cannot be written for a reason other than a broken pipe.
pub fn print(text: &str) -> Result<(), Failure> {
    if stdio::stdout_was_closed() {
        return Err(Failure::lab("cannot write to standard output: it is closed; open it, or redirect it to a file"));
    }
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::lab(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints notes on standard error.
pub fn notes(notes: &[String]) {
    for note in notes {
        // If standard error is closed, nobody reads notes.
        writeln!(io::stderr(), "vmlab: note: {}", clean::line(note)).unwrap_or_default();
    }
}

/// Writes a text to a file, whole or not at all, or prints it. `what` is the text's name in errors.
///
/// # Errors
/// As [`print`]; or the file cannot be made or written.
pub fn write(text: &str, what: &str, destination: &Destination) -> Result<(), Failure> {
    if *destination == Destination::Stdout {
        return print(text);
    }
    let deliver = document(destination).map_err(|error| {
        let remedy = "name a file in a directory that can be written";
        Failure::usage(format!("cannot write {what} to {destination}: {error}; {remedy}"))
    })?;
    deliver(text.as_bytes()).map_err(|error| Failure::lab(format!("cannot write {what} to {destination}: {error}")))
}

/// Prints a value as JSON.
///
/// # Errors
/// As [`print`].
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(&format!("{}\n", json(value, serde_json::to_string_pretty)?))
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// As [`print`].
pub fn print_json_line(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(&format!("{}\n", json(value, serde_json::to_string)?))
}

fn json<T: serde::Serialize>(value: &T, write: impl Fn(&T) -> serde_json::Result<String>) -> Result<String, Failure> {
    write(value).map_err(|error| Failure::lab(format!("cannot write the result as JSON: {error}")))
}

/// Lays out rows in columns, each as wide as its widest cell. Lines have no trailing spaces.
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
