//! vmlab's options on the kernel's command line. The kernel ignores unknown parameters that have a dot in their name.

use std::fs;
use std::time::Duration;

use crate::scenarios::Mutation;

/// The options that the host set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// `vmlab.port_timeout_ms=`: the time limit for a port to appear.
    pub(crate) port_timeout: Duration,
    /// `vmlab.files=1`: the guest has a port for the host's files.
    pub(crate) files: bool,
    /// `vmlab.mutation=subject` or `control`: the fault that every scenario gets.
    pub(crate) mutation: Option<Mutation>,
}

impl Options {
    /// Reads `/proc/cmdline`. An unreadable option keeps its default and adds a problem.
    pub(crate) fn read(problems: &mut Vec<String>) -> Self {
        let text = fs::read_to_string("/proc/cmdline").unwrap_or_else(|error| {
            problems.push(format!("cannot read /proc/cmdline: {error}"));
            String::new()
        });
        Self::parse(&text, problems)
    }

    fn parse(text: &str, problems: &mut Vec<String>) -> Self {
        let mut options = Self { port_timeout: Duration::from_secs(10), files: false, mutation: None };
        for parameter in text.split_ascii_whitespace() {
            let read = match parameter.split_once('=') {
                Some(("vmlab.port_timeout_ms", value)) => value
                    .parse()
                    .map(|ms| options.port_timeout = Duration::from_millis(ms))
                    .map_err(|error| error.to_string()),
                Some(("vmlab.files", value)) => match value {
                    "0" | "1" => {
                        options.files = value == "1";
                        Ok(())
                    }
                    _ => Err("expected 0 or 1".to_owned()),
                },
                Some(("vmlab.mutation", value)) => {
                    value.parse().map(|mutation| options.mutation = Some(mutation)).map_err(str::to_owned)
                }
                _ => Ok(()),
            };
            if let Err(error) = read {
                problems.push(format!("kernel command line: {parameter}: {error}"));
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_option_keeps_its_default_and_is_a_problem() {
        let mut problems = Vec::new();
        let options = Options::parse("console=ttyS0 vmlab.port_timeout_ms=250 quiet\n", &mut problems);
        assert_eq!(options.port_timeout, Duration::from_millis(250));
        assert!(problems.is_empty());
        let options = Options::parse("vmlab.port_timeout_ms=soon", &mut problems);
        assert_eq!(options.port_timeout, Duration::from_secs(10));
        assert_eq!(problems.len(), 1);
        assert!(!Options::parse("vmlab.files=yes", &mut problems).files);
        assert_eq!(problems.len(), 2);
    }

    #[test]
    fn scenarios_get_the_fault_that_is_asked_for() {
        let mut problems = Vec::new();
        let mut mutation = |text: &str| Options::parse(text, &mut problems).mutation;
        assert_eq!(mutation("vmlab.mutation=subject"), Some(Mutation::Subject));
        assert_eq!(mutation("a vmlab.mutation=control b"), Some(Mutation::Control));
        assert_eq!(mutation("vmlab.mutation=both"), None);
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn the_files_port_is_asked_for() {
        for (text, files) in [("quiet", false), ("vmlab.files=0", false), ("a=b vmlab.files=1 vmlab.x=y", true)] {
            let mut problems = Vec::new();
            assert_eq!(Options::parse(text, &mut problems).files, files, "{text}");
            assert!(problems.is_empty(), "{problems:?}");
        }
    }
}
