//! Reads the Kconfig files of a tree, one at a time.
//!
//! nom-kconfig would follow `source` statements itself, by recursion and without a bound: a file that sources itself would
//! overflow the stack. So each `source` line is replaced by a comment entry with a number before the file is parsed, and the
//! caller reads the file that the number stands for.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use nom_kconfig::{Entry, KconfigFile, KconfigInput, parse_kconfig};

use super::error::KconfigError;

/// What `$(NAME)` stands for. `make` on x86-64 sets ARCH to `x86` as well (scripts/subarch.include of 6.12).
const VARIABLES: [(&str, &str); 4] =
    [("$(SRCARCH)", "x86"), ("$(SUBARCH)", "x86"), ("$(ARCH)", "x86"), ("$(srctree)", ".")];
/// The comment that stands for a `source` statement.
const MARKER: &str = "vmlab-file-";
/// Kernel 7.3 reads 1,715 files for x86, at most 6 deep; its largest file has 122 kB.
const FILES_MAX: usize = 20_000;
pub(super) const DEPTH_MAX: usize = 50;
const FILE_BYTES_MAX: u64 = 4 << 20;
/// How many blocks and parentheses can begin in a file: the parser needs stack for each level. Kernel 7.3
/// has at most 553, counted as here: words of help texts, too.
const OPENERS_MAX: usize = 5_000;

/// A file that a `source` statement names.
#[derive(Debug, Clone)]
pub(super) struct Sourced {
    /// Relative to the tree.
    pub(super) file: PathBuf,
    /// File and line of the statement.
    pub(super) by: String,
    pub(super) depth: usize,
}

impl Sourced {
    pub(super) fn top() -> Self {
        Self { file: PathBuf::from("Kconfig"), by: "vmlab".to_owned(), depth: 0 }
    }

    fn limit(&self, limit: &'static str) -> KconfigError {
        KconfigError::Limit { file: self.file.clone(), sourced_by: self.by.clone(), limit }
    }
}

/// The statements of one file.
pub(super) struct Parsed {
    pub(super) entries: Vec<Entry>,
    sources: Vec<Sourced>,
}

impl Parsed {
    /// The file that a comment entry stands for.
    pub(super) fn source(&self, comment: &str) -> Option<&Sourced> {
        self.sources.get(comment.strip_prefix(MARKER)?.parse::<usize>().ok()?)
    }
}

pub(super) struct Reader<'a> {
    tree: &'a Path,
    files: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(tree: &'a Path) -> Self {
        Self { tree, files: 0 }
    }

    pub(super) fn parse(&mut self, sourced: &Sourced) -> Result<Parsed, KconfigError> {
        self.files += 1;
        if sourced.depth > DEPTH_MAX {
            return Err(sourced.limit("files source each other more than 50 deep, perhaps in a circle"));
        }
        if self.files > FILES_MAX {
            return Err(sourced.limit("more than 20,000 files are sourced"));
        }
        let original = self.read(sourced)?;
        if ["if", "menu", "choice", "("].map(|opener| original.matches(opener).count()).iter().sum::<usize>()
            > OPENERS_MAX
        {
            return Err(sourced.limit("more than 5,000 blocks and parentheses begin in it"));
        }
        let mut sources = Vec::new();
        let text = without_sources(&original, sourced, &mut sources);
        let input = KconfigInput::new_extra(&text, KconfigFile::default());
        match parse_kconfig(input) {
            Ok((_, kconfig)) => Ok(Parsed { entries: kconfig.entries, sources }),
            Err(error) => Err(syntax_error(&original, sourced, &error)),
        }
    }

    fn read(&self, sourced: &Sourced) -> Result<String, KconfigError> {
        let failed = |error| KconfigError::Read { file: sourced.file.clone(), sourced_by: sourced.by.clone(), error };
        let path = self.tree.join(&sourced.file);
        let metadata = fs::metadata(&path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::new(ErrorKind::InvalidInput, "it is no regular file")));
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(sourced.limit("it has more than 4 MiB"));
        }
        let bytes = fs::read(&path).map_err(failed)?;
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        for (variable, value) in VARIABLES {
            if text.contains(variable) {
                text = text.replace(variable, value);
            }
        }
        Ok(text)
    }
}

/// The text with each `source` statement replaced by a numbered comment entry. The number of lines stays as it is.
///
/// A help text can have such lines, too: they stay part of the help text, and nobody asks for their numbers. `source` in any
/// other place is spelled differently, so that nom-kconfig opens no file.
fn without_sources(text: &str, sourced: &Sourced, sources: &mut Vec<Sourced>) -> String {
    let mut result = String::with_capacity(text.len());
    for (index, line) in text.lines().enumerate() {
        match source_path(line) {
            Some(path) => {
                let indent = line.len() - line.trim_start().len();
                result.push_str(&line[..indent]);
                result.push_str(&format!("comment \"{MARKER}{}\"", sources.len()));
                sources.push(Sourced {
                    file: PathBuf::from(path),
                    by: format!("{}:{}", sourced.file.display(), index + 1),
                    depth: sourced.depth + 1,
                });
            }
            None if line.contains("source") => result.push_str(&line.replace("source", "Source")),
            None => result.push_str(line),
        }
        result.push('\n');
    }
    result
}

/// The path in a line `source "PATH"` or `source PATH`.
fn source_path(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("source")?;
    let argument = rest.trim_start();
    let (path, after) = match argument.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None if argument.len() == rest.len() => return None,
        None => argument.split_once(char::is_whitespace).unwrap_or((argument, "")),
    };
    let after = after.trim_start();
    (!path.is_empty() && (after.is_empty() || after.starts_with('#'))).then_some(path)
}

/// The parser stops before the spaces and comments that precede what it cannot read.
fn syntax_error(original: &str, sourced: &Sourced, error: &nom_kconfig::error::Error) -> KconfigError {
    let stopped = usize::try_from(error.line).unwrap_or(usize::MAX).max(1);
    let line = error
        .input
        .lines()
        .position(|line| !matches!(line.trim_start().chars().next(), None | Some('#')))
        .map_or(stopped, |skipped| stopped + skipped);
    let text = match original.lines().nth(line - 1) {
        Some(text) => format!("{:?}", text.trim().chars().take(100).collect::<String>()),
        None => "the end of the file".to_owned(),
    };
    KconfigError::Syntax { file: sourced.file.clone(), line, text }
}
