//! Writes differences. The same differences give the same bytes.

mod json;
mod markdown;
mod text;

use std::fmt;
use std::str::FromStr;

use vmlab_events::text::count;

use crate::change::Kind;
use crate::difference::Difference;
use crate::side::About;

/// All differences between two runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// One for each pair of kernels.
    pub pairs: Vec<Difference>,
    /// The kernels that only the first run has.
    pub only_old: Vec<String>,
    /// The kernels that only the second run has.
    pub only_new: Vec<String>,
}

impl Comparison {
    /// Whether a pair has a regression ([`Difference::is_regression`]).
    #[must_use]
    pub fn is_regression(&self) -> bool {
        self.pairs.iter().any(Difference::is_regression)
    }
}

/// The forms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// For a terminal, and for a mail.
    #[default]
    Text,
    /// For a page that renders Markdown (GitHub's form, which has tables).
    Markdown,
    /// For programs: one object.
    Json,
}

/// Name and description of each form.
const FORMS: [(Form, &str, &str); 3] = [
    (Form::Text, "text", "for people, and for a mail"),
    (Form::Markdown, "markdown", "tables in Markdown, for a cover letter or a pull request"),
    (Form::Json, "json", "one JSON object"),
];

impl Form {
    /// The names of all forms.
    #[must_use]
    pub fn names() -> [&'static str; 3] {
        FORMS.map(|(_, name, _)| name)
    }

    /// Name and description of each form.
    pub fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
        FORMS.iter().map(|(_, name, about)| (*name, *about))
    }
}

/// The text names no form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a form of differences: choose {}", Form::names().join(", "))]
pub struct BadForm {
    name: String,
}

impl FromStr for Form {
    type Err = BadForm;

    fn from_str(text: &str) -> Result<Self, BadForm> {
        let known = FORMS.iter().find(|(_, name, _)| *name == text).map(|(form, ..)| *form);
        known.ok_or_else(|| BadForm { name: text.to_owned() })
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::names()[*self as usize])
    }
}

/// Writes a comparison.
#[must_use]
pub fn render(comparison: &Comparison, form: Form) -> String {
    match form {
        Form::Text => text::render(comparison),
        Form::Markdown => markdown::render(comparison),
        Form::Json => json::render(comparison),
    }
}

/// `296 jobs compared: 1 broken, 2 fixed, 3 new kernel reports`
fn summary(difference: &Difference) -> String {
    let Difference { compared, new_reports, gone_reports, costs, .. } = difference;
    let kinds = Kind::ALL.map(|kind| (difference.of_kind(kind).count(), kind.name().to_owned()));
    let dearer = costs.iter().filter(|cost| cost.is_regression()).count();
    let others = [
        (new_reports.len(), "new on the kernel's console".to_owned()),
        (gone_reports.len(), "gone from the kernel's console".to_owned()),
        (dearer, "dearer".to_owned()),
        (costs.len() - dearer, "cheaper".to_owned()),
    ];
    let counts: Vec<_> =
        kinds.into_iter().chain(others).filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let rest = if counts.is_empty() { "no difference".to_owned() } else { counts.join(", ") };
    format!("{} compared: {rest}", count(*compared, "job"))
}

/// `debian:trixie  6.12.117+deb13-cloud-amd64  run 20261129-063409-5750`, in parts.
fn about(about: &About) -> [String; 3] {
    let release = about.release.clone().unwrap_or_else(|| "its kernel was never ready".to_owned());
    [about.target.as_str().to_owned(), release, about.run.clone()].map(|text| vmlab_events::clean::line(&text))
}

/// `+2.1 %`
fn change(permille: i64) -> String {
    let sign = if permille < 0 { '-' } else { '+' };
    let size = permille.unsigned_abs();
    format!("{sign}{}.{} %", size / 10, size % 10)
}

#[cfg(test)]
mod tests;
