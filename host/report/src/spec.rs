//! Which reports the user wants, and where: `FORMAT[=FILE]`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A form of report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people: lines, a table, and what is not good.
    Human,
    /// Kernel Test Anything Protocol, version 1.
    Ktap,
    /// JUnit XML.
    Junit,
    /// JSON Lines of the events.
    Json,
}

impl Format {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Human, Self::Ktap, Self::Junit, Self::Json];

    /// As the user writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Ktap => "ktap",
            Self::Junit => "junit",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = BadReportSpec;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| BadReportSpec(format!("`{text}` is not a report format: choose human, ktap, junit or json")))
    }
}

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// One report that the user wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSpec {
    /// Its form.
    pub format: Format,
    /// Where it goes.
    pub target: Target,
}

/// Not a report. The text names the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadReportSpec(String);

impl FromStr for ReportSpec {
    type Err = BadReportSpec;

    /// Reads `FORMAT` or `FORMAT=FILE`; without a file, or where it is `-`, the report goes to standard output.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (format, file) = text.split_once('=').map_or((text, None), |(format, file)| (format, Some(file)));
        let format = format.parse()?;
        let target = match file {
            None | Some("-") => Target::Stdout,
            Some("") => {
                return Err(BadReportSpec(format!(
                    "`{text}` names no file: write `{format}=FILE`, or `{format}` alone for standard output"
                )));
            }
            Some(file) => Target::File(file.into()),
        };
        Ok(Self { format, target })
    }
}

impl fmt::Display for ReportSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Stdout => write!(f, "{}", self.format),
            Target::File(path) => write!(f, "{}={}", self.format, path.display()),
        }
    }
}

impl ReportSpec {
    /// What the user asked for, and the human report on standard output where nothing else is asked for there and no
    /// human report is asked for elsewhere.
    #[must_use]
    pub fn with_default(asked: &[Self]) -> Vec<Self> {
        let mut all = asked.to_vec();
        if !asked.iter().any(|spec| spec.format == Format::Human || spec.target == Target::Stdout) {
            all.insert(0, Self { format: Format::Human, target: Target::Stdout });
        }
        all
    }

    /// Whether one of them is for people.
    #[must_use]
    pub fn any_human(specs: &[Self]) -> bool {
        specs.iter().any(|spec| spec.format == Format::Human)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> ReportSpec {
        text.parse().unwrap()
    }

    #[test]
    fn formats_and_files() {
        assert_eq!(spec("json"), ReportSpec { format: Format::Json, target: Target::Stdout });
        assert_eq!(spec("ktap=-"), ReportSpec { format: Format::Ktap, target: Target::Stdout });
        assert_eq!(spec("junit=a=b.xml").target, Target::File("a=b.xml".into()));
        assert_eq!(spec("junit=out.xml").to_string(), "junit=out.xml");
    }

    #[test]
    fn what_is_wrong_is_said_with_the_remedy() {
        for (text, words) in [
            ("xml", "`xml` is not a report format: choose human, ktap, junit or json"),
            ("", "`` is not a report format"),
            ("JUNIT=x", "`JUNIT` is not a report format"),
            ("junit=", "`junit=` names no file: write `junit=FILE`"),
        ] {
            let error = text.parse::<ReportSpec>().unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }

    #[test]
    fn the_human_report_comes_of_itself() {
        let all = |asked: &[&str]| {
            let asked: Vec<_> = asked.iter().map(|text| spec(text)).collect();
            ReportSpec::with_default(&asked).iter().map(ReportSpec::to_string).collect::<Vec<_>>()
        };
        assert_eq!(all(&[]), ["human"]);
        assert_eq!(all(&["junit=f"]), ["human", "junit=f"]);
        assert_eq!(all(&["json"]), ["json"]);
        assert_eq!(all(&["human=f"]), ["human=f"]);
    }
}
