//! Writes the table of features. The same table gives the same bytes.

mod html;
mod markdown;
mod text;

use std::fmt;
use std::str::FromStr;

use super::findings::Finding;
use super::table::Report;
use super::versions::{Judgement, Value};

pub use text::paragraph;

/// The forms of the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// For a terminal.
    #[default]
    Text,
    /// For a page that renders Markdown (GitHub's form, which has tables).
    Markdown,
    /// For programs: one object.
    Json,
    /// For a browser: one file.
    Html,
}

/// Name and description of each form.
const FORMS: [(Form, &str, &str); 4] = [
    (Form::Text, "text", "for people: the table, then each feature with its results"),
    (Form::Markdown, "markdown", "tables in Markdown"),
    (Form::Json, "json", "one JSON object"),
    (Form::Html, "html", "one HTML page that needs nothing else"),
];

impl Form {
    /// The names of all forms.
    #[must_use]
    pub fn names() -> [&'static str; 4] {
        FORMS.map(|(_, name, _)| name)
    }

    /// The names in a sentence: `text, markdown, json or html`.
    #[must_use]
    pub fn list() -> String {
        let [first @ .., last] = Self::names();
        format!("{} or {last}", first.join(", "))
    }

    /// A line for each form, for help texts.
    #[must_use]
    pub fn described() -> String {
        FORMS.map(|(_, name, about)| format!("- {name}: {about}")).join("\n")
    }
}

/// The text names no form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a form of the table of features: choose {known}")]
pub struct BadForm {
    name: String,
    known: String,
}

impl FromStr for Form {
    type Err = BadForm;

    fn from_str(text: &str) -> Result<Self, BadForm> {
        let known = FORMS.iter().find(|(_, name, _)| *name == text).map(|(form, ..)| *form);
        known.ok_or_else(|| BadForm { name: text.to_owned(), known: Self::list() })
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::names()[*self as usize])
    }
}

/// The table in this form. `columns` is the width of the terminal, for [`Form::Text`].
///
/// # Errors
/// None that is known: serde_json fails for maps with keys that are no strings, which the table does not have.
pub fn render(report: &Report, form: Form, columns: Option<usize>) -> serde_json::Result<String> {
    Ok(match form {
        Form::Text => text::render(report, columns),
        Form::Markdown => markdown::render(report),
        Form::Json => serde_json::to_string_pretty(report)? + "\n",
        Form::Html => html::render(report),
    })
}

/// A value of the table of versions: `EPERM`, or `EPERM, expected ok`.
fn value(value: &Value) -> String {
    let Value { value: text, expected, judgement, .. } = value;
    match (judgement, expected) {
        (Judgement::Different | Judgement::Unclear, Some(expected)) => format!("{text}, expected {expected}"),
        _ => text.clone(),
    }
}

/// The findings about kernels of the table, and the names of the others.
fn findings(report: &Report) -> (Vec<&Finding>, Vec<&str>) {
    let (of_these, others): (Vec<_>, Vec<_>) = report.findings.iter().partition(|row| row.of_these_kernels);
    let names = others.into_iter().map(|row| row.finding.name.as_str());
    (of_these.into_iter().map(|row| &row.finding).collect(), names.collect())
}

/// What precedes the names of the other findings.
const OTHER_FINDINGS: &str = "About other kernels: ";

#[cfg(test)]
mod tests {
    use vmlab_events::clean;

    use super::*;
    use crate::table::tests::report;

    fn rendered(form: Form) -> String {
        render(&report(), form, None).unwrap()
    }

    #[test]
    fn each_form_has_a_name_that_is_its_own() {
        for form in FORMS.map(|(form, ..)| form) {
            assert_eq!(form.to_string().parse(), Ok(form));
        }
        let error = "xml".parse::<Form>().unwrap_err().to_string();
        assert_eq!(error, "`xml` is not a form of the table of features: choose text, markdown, json or html");
    }

    #[test]
    fn each_form_has_every_feature_and_scenario_and_nothing_hostile() {
        let report = report();
        for form in FORMS.map(|(form, ..)| form) {
            let text = rendered(form);
            for row in report.groups.iter().flat_map(|group| &group.features) {
                assert!(text.contains(&row.feature.code), "{form}: {}", row.feature.code);
                assert!(row.scenarios.iter().all(|id| text.contains(id.as_str())), "{form}: {:?}", row.scenarios);
            }
            for finding in &report.findings {
                assert!(text.contains(&finding.finding.name), "{form}: {}", finding.finding.name);
            }
            assert!(!text.chars().any(|c| c != '\n' && clean::is_hostile(c)), "{form}");
            assert!(text.ends_with('\n') && !text.lines().any(|line| line.ends_with(' ')), "{form}");
        }
    }

    #[test]
    fn the_forms_of_the_fixture_are_as_reviewed() {
        insta::assert_snapshot!("text", rendered(Form::Text));
        insta::assert_snapshot!("markdown", rendered(Form::Markdown));
        insta::assert_snapshot!("html", rendered(Form::Html));
    }

    #[test]
    fn each_form_says_that_a_run_was_interrupted_and_what_a_kernel_was_started_with() {
        let mut report = report();
        report.kernels[1].machine = "--cpus 3".to_owned();
        for form in FORMS.map(|(form, ..)| form) {
            let text = render(&report, form, None).unwrap();
            let sentence = report.unfinished[0].sentence();
            let said = if form == Form::Json { "\"without_result\": 1" } else { &sentence };
            assert!(text.contains(said) && text.contains("--cpus 3"), "{form}");
        }
    }

    #[test]
    fn each_form_uses_the_same_words() {
        let report = report();
        for (form, cell) in report
            .groups
            .iter()
            .flat_map(|group| &group.features)
            .flat_map(|row| &row.cells)
            .flat_map(|cell| FORMS.map(|(form, ..)| (form, cell)))
        {
            assert!(rendered_contains(form, &cell.text), "{form}: {}", cell.text);
        }
        assert!(!rendered_contains(Form::Text, "6.14 (before"));
    }

    fn rendered_contains(form: Form, word: &str) -> bool {
        static TEXTS: std::sync::OnceLock<[String; 4]> = std::sync::OnceLock::new();
        TEXTS.get_or_init(|| FORMS.map(|(form, ..)| rendered(form)))[form as usize].contains(word)
    }

    #[test]
    fn the_json_form_can_be_read() {
        let json: serde_json::Value = serde_json::from_str(&rendered(Form::Json)).unwrap();
        let first = &json["groups"][0]["features"][0];
        assert_eq!(first["code"], "0a");
        assert_eq!(first["asked"][0]["who"], "Sam Vilain");
        assert_eq!(first["cells"].as_array().unwrap().len(), 4);
        assert_eq!(first["cells"][0]["summary"], "no-scenario");
        let all: Vec<_> =
            json["groups"].as_array().unwrap().iter().flat_map(|group| group["features"].as_array().unwrap()).collect();
        let hostname = all.iter().find(|feature| feature["code"] == "3a").unwrap();
        let outcome = &hostname["cells"][2]["outcomes"][0];
        assert_eq!((&outcome["scenario"], &outcome["state"]), (&"uts.hostname".into(), &"not-run".into()));
        assert_eq!(hostname["cells"][0]["text"], "works");
        let mut outcomes = all.iter().flat_map(|feature| feature["cells"].as_array().unwrap());
        assert!(
            outcomes.all(|cell| cell["outcomes"].as_array().unwrap().iter().all(|outcome| outcome["verdict"] != ""))
        );
        assert_eq!(json["findings"][0]["of_these_kernels"], true);
        assert_eq!(json["versions"][4]["values"][0]["judgement"], "not-run");
    }
}
