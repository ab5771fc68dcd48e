//! Options on the kernel's command line. The kernel leaves words with a point in them alone.

use std::fs;
use std::time::Duration;

/// What the host asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// How long to wait for the control port: `vmlab.port_timeout_ms=`.
    pub(crate) port_timeout: Duration,
}

impl Options {
    /// Reads `/proc/cmdline`. What cannot be read keeps its default and becomes a problem.
    pub(crate) fn read(problems: &mut Vec<String>) -> Self {
        let text = fs::read_to_string("/proc/cmdline").unwrap_or_else(|error| {
            problems.push(format!("cannot read /proc/cmdline: {error}"));
            String::new()
        });
        Self::parse(&text, problems)
    }

    fn parse(text: &str, problems: &mut Vec<String>) -> Self {
        let mut options = Self { port_timeout: Duration::from_secs(10) };
        for word in text.split_ascii_whitespace() {
            if let Some(value) = word.strip_prefix("vmlab.port_timeout_ms=") {
                match value.parse() {
                    Ok(ms) => options.port_timeout = Duration::from_millis(ms),
                    Err(error) => problems.push(format!("command line: {word}: {error}")),
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
    fn reads_what_it_knows_and_reports_what_it_cannot_read() {
        let mut problems = Vec::new();
        let options = Options::parse("console=ttyS0 vmlab.port_timeout_ms=250 quiet\n", &mut problems);
        assert_eq!(options.port_timeout, Duration::from_millis(250));
        assert!(problems.is_empty());
        let options = Options::parse("vmlab.port_timeout_ms=soon", &mut problems);
        assert_eq!(options.port_timeout, Duration::from_secs(10));
        assert_eq!(problems.len(), 1);
    }
}
