//! vmlab's options on the kernel's command line. The kernel ignores unknown parameters that have a dot in their name.

use std::fs;
use std::time::Duration;

/// The options that the host set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// `vmlab.port_timeout_ms=`: the time limit for the control port to appear.
    pub(crate) port_timeout: Duration,
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
        let mut options = Self { port_timeout: Duration::from_secs(10) };
        for parameter in text.split_ascii_whitespace() {
            if let Some(value) = parameter.strip_prefix("vmlab.port_timeout_ms=") {
                match value.parse() {
                    Ok(ms) => options.port_timeout = Duration::from_millis(ms),
                    Err(error) => problems.push(format!("kernel command line: {parameter}: {error}")),
                }
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
    }
}
