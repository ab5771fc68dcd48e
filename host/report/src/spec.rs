//! Which reports the user wants, and where they go: `FORMAT[=FILE]`. [`FORMATS`] is the one list of formats.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

use super::human::Human;
use super::json::Json;
use super::junit::{Deliver, Junit};
use super::ktap::Ktap;
use super::{Reporter, Setup};

/// A form of report. Its row in [`FORMATS`] says all about it.
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

/// Writes what the reporter renders as the run goes on.
pub(super) type Stream = Box<dyn Write + Send>;

/// How a format's reporter is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Make {
    /// It writes while the run goes on.
    Streaming(fn(Stream, Setup) -> Box<dyn Reporter>),
    /// It delivers one document at the end, or none.
    Whole(fn(Deliver) -> Box<dyn Reporter>),
}

/// One row of [`FORMATS`].
#[derive(Debug, Clone, Copy)]
pub struct FormatSpec {
    pub(super) format: Format,
    /// As the user writes it.
    pub name: &'static str,
    /// A description for help texts, one line.
    help: &'static str,
    pub(super) make: Make,
}

/// All formats, in the order of the variants of [`Format`]. The parser, its errors, the help texts and the reporters are fed by
/// this table.
pub const FORMATS: [FormatSpec; 4] = [
    FormatSpec {
        format: Format::Human,
        name: "human",
        help: "for people: lines, a table, and what is not good",
        make: Make::Streaming(|out, setup| Box::new(Human::new(out, setup))),
    },
    FormatSpec {
        format: Format::Ktap,
        name: "ktap",
        help: "Kernel Test Anything Protocol, version 1",
        make: Make::Streaming(|out, _| Box::new(Ktap::new(out))),
    },
    FormatSpec {
        format: Format::Junit,
        name: "junit",
        help: "JUnit XML, written at the end",
        make: Make::Whole(|deliver| Box::new(Junit::new(deliver))),
    },
    FormatSpec {
        format: Format::Json,
        name: "json",
        help: "JSON Lines of the events",
        make: Make::Streaming(|out, _| Box::new(Json::new(out))),
    },
];

impl Format {
    /// Its row in the table.
    #[must_use]
    pub const fn spec(self) -> &'static FormatSpec {
        &FORMATS[self as usize]
    }

    /// As the user writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// The names of all formats, for help texts and errors: `human, ktap, junit or json`.
    #[must_use]
    pub fn list() -> String {
        let [first @ .., last] = FORMATS.map(|row| row.name);
        format!("{} or {last}", first.join(", "))
    }

    /// A line for each format, for long help texts: `- junit: JUnit XML, written at the end`.
    #[must_use]
    pub fn described() -> String {
        FORMATS.map(|row| format!("- {}: {}", row.name, row.help)).join("\n")
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
        let known = FORMATS.iter().find(|row| row.name == text).map(|row| row.format);
        known.ok_or_else(|| BadReportSpec(format!("`{text}` is not a report format: choose {}", Self::list())))
    }
}

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Destination {
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
    pub destination: Destination,
}

/// Not a report. The text says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadReportSpec(String);

impl FromStr for ReportSpec {
    type Err = BadReportSpec;

    /// Reads `FORMAT` or `FORMAT=FILE`; without a file, or where it is `-`, the report goes to standard output.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (format, file) = text.split_once('=').map_or((text, None), |(format, file)| (format, Some(file)));
        let format = format.parse()?;
        let destination = match file {
            None | Some("-") => Destination::Stdout,
            Some("") => {
                return Err(BadReportSpec(format!(
                    "`{text}` names no file: write `{format}=FILE`, or `{format}` alone for standard output"
                )));
            }
            Some(file) => Destination::File(file.into()),
        };
        Ok(Self { format, destination })
    }
}

impl fmt::Display for ReportSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.destination {
            Destination::Stdout => write!(f, "{}", self.format),
            Destination::File(path) => write!(f, "{}={}", self.format, path.display()),
        }
    }
}

impl ReportSpec {
    /// The reports that the user asked for. The human report on standard output is added, unless another report goes there
    /// or a human report goes elsewhere.
    #[must_use]
    pub fn with_default(asked: &[Self]) -> Vec<Self> {
        let mut all = asked.to_vec();
        if !asked.iter().any(|spec| spec.format == Format::Human || spec.destination == Destination::Stdout) {
            all.insert(0, Self { format: Format::Human, destination: Destination::Stdout });
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
    fn every_format_has_its_row() {
        for (at, row) in FORMATS.iter().enumerate() {
            assert_eq!(row.format as usize, at);
            assert_eq!(row.format.spec().name, row.name);
            assert_eq!(row.name.parse::<Format>().unwrap(), row.format);
            assert!(!row.help.is_empty() && !row.help.contains('\n'));
        }
    }

    #[test]
    fn formats_and_files() {
        assert_eq!(spec("json"), ReportSpec { format: Format::Json, destination: Destination::Stdout });
        assert_eq!(spec("ktap=-"), ReportSpec { format: Format::Ktap, destination: Destination::Stdout });
        assert_eq!(spec("junit=a=b.xml").destination, Destination::File("a=b.xml".into()));
        assert_eq!(spec("junit=out.xml").to_string(), "junit=out.xml");
    }

    #[test]
    fn an_error_says_what_to_write_instead() {
        for (text, start) in [
            ("xml", "`xml` is not a report format: choose human, ktap, junit or json"),
            ("", "`` is not a report format"),
            ("JUNIT=x", "`JUNIT` is not a report format"),
            ("junit=", "`junit=` names no file: write `junit=FILE`"),
        ] {
            let error = text.parse::<ReportSpec>().unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn the_human_report_is_the_default() {
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
