//! `vmlab console`: finds kernel reports in a console log, from a guest or from elsewhere.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use serde::Serialize;
use vmlab_console::{ConsoleReader, Finding, Located};
use vmlab_events::{clean, exit};

use super::{Failure, output};

const EXAMPLES: &str = "\
Examples:
  vmlab console serial.log             all reports in a file
  dmesg | vmlab console                the reports of this machine's kernel
  journalctl -k -b -1 | vmlab console  those of the boot before
  cat a.log b.log | vmlab console      several files, as one log
  vmlab console --json serial.log | jq -r .fingerprint
  vmlab console --json serial.log | jq -se 'length == 0'   fails if there is any report

A line may begin with a level, a time stamp and a caller, or with what syslog, journald, dmesg or /dev/kmsg put before it.

Severities: `note` and `warned` (a WARN(), lockdep, an OOM kill, a hung task, an RCU stall): the kernel goes on.
`broken` and `fatal`: a crash; the kernel cannot be trusted, or has stopped.

JSON fields: line (the number of the title's line in the log, from 1), crash, place (the function with the fault), kind,
severity, title, trace, task (comm, pid), cgroup, frames, fingerprint, more_alike (later reports with the same title that
were only counted).

Exit codes:
  0  no crash
  1  a crash
  2  the file cannot be opened, or is compressed
 69  the file cannot be read, or the result cannot be written";

/// The size of a read, in bytes.
const CHUNK: usize = 64 << 10;

/// Find kernel reports (crashes, warnings) in a console log
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ConsoleArgs {
    /// Log to read; `-`, or none, for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,

    /// Print one JSON object a line and report
    #[arg(long)]
    json: bool,
}

/// A report, as printed.
#[derive(Debug, Serialize)]
struct Reported<'a> {
    /// The number of the title's line in the log, from 1; none if nothing is kept of the report.
    line: Option<u64>,
    /// Whether the kernel cannot be trusted after it, or has stopped.
    crash: bool,
    /// The function in which the fault is.
    place: Option<&'a str>,
    #[serde(flatten)]
    finding: &'a Finding,
}

pub(super) fn run(args: &ConsoleArgs) -> Result<u8, Failure> {
    let mut reader = ConsoleReader::counting_lines();
    match args.file.as_deref().filter(|file| *file != Path::new("-")) {
        Some(path) => {
            let named =
                |error: &io::Error| format!("cannot read {}: {error}", clean::line(&path.display().to_string()));
            let file = File::open(path).map_err(|error| Failure::usage(named(&error)))?;
            let read = feed(&mut reader, file);
            check(&read.map_err(|error| Failure::lab(named(&error)))?, &path.display().to_string())?;
        }
        None => {
            if io::stdin().is_terminal() {
                output::notes(&["reading a console log from standard input, up to its end (Ctrl-D)".to_owned()]);
            }
            let failed = |error| Failure::lab(format!("cannot read standard input: {error}"));
            check(&feed(&mut reader, io::stdin().lock()).map_err(failed)?, "standard input")?;
        }
    }
    let findings = reader.take_all();
    let reported: Vec<Reported<'_>> = findings.iter().map(Reported::new).collect();
    for report in &reported {
        if args.json {
            output::print_json_line(report)?;
        } else {
            output::print(&report.text())?;
        }
    }
    let crashes = reported.iter().filter(|report| report.crash).count();
    if !args.json {
        output::print(&summary(reported.len(), crashes))?;
    }
    Ok(if crashes > 0 { exit::FAILED } else { exit::OK })
}

/// The first bytes of compressed files, and the program that prints their contents.
const COMPRESSED: &[(&[u8], &str)] =
    &[(b"\x1f\x8b", "zcat"), (b"\xfd7zXZ\0", "xzcat"), (b"\x28\xb5\x2f\xfd", "zstdcat"), (b"BZh", "bzcat")];

/// Reads all of a log. Gives its first bytes.
fn feed(reader: &mut ConsoleReader, mut input: impl Read) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; CHUNK];
    let mut first = Vec::new();
    loop {
        match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                if first.is_empty() {
                    first.extend_from_slice(&chunk[..count.min(8)]);
                }
                reader.push(&chunk[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    reader.end();
    Ok(first)
}

/// Refuses what is no text, by its first bytes. A note about an empty log.
fn check(first: &[u8], name: &str) -> Result<(), Failure> {
    if first.is_empty() {
        output::notes(&[format!("{name} is empty")]);
    }
    match COMPRESSED.iter().find(|(magic, _)| first.starts_with(magic)) {
        Some((_, program)) => Err(Failure::usage(format!(
            "{} is compressed: print it with {program}, and pipe that into `vmlab console`",
            clean::line(name)
        ))),
        None => Ok(()),
    }
}

fn summary(reports: usize, crashes: usize) -> String {
    match (reports, crashes) {
        (0, _) => "no kernel reports\n".to_owned(),
        (1, 0) => "1 report, no crash\n".to_owned(),
        (1, _) => "1 report, a crash\n".to_owned(),
        (_, 0) => format!("{reports} reports, no crash\n"),
        (_, 1) => format!("{reports} reports, 1 crash\n"),
        _ => format!("{reports} reports, {crashes} crashes\n"),
    }
}

impl<'a> Reported<'a> {
    fn new(Located { line, finding }: &'a Located) -> Self {
        Self { line: *line, crash: finding.is_crash(), place: finding.frames.first().map(String::as_str), finding }
    }

    fn text(&self) -> String {
        let Finding { kind, severity, title, trace, task, fingerprint, more_alike, .. } = self.finding;
        let mut text = format!("{}\n", clean::line(title));
        let mut field = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<12} {}", clean::line(value));
        };
        if let Some(line) = self.line {
            field("line", &line.to_string());
        }
        field("kind", kind.label());
        field("severity", severity.label());
        if let Some(task) = task {
            field("task", &task.to_string());
        }
        if let Some(place) = self.place {
            field("place", place);
        }
        field("fingerprint", fingerprint);
        if *more_alike > 0 {
            field("more alike", &more_alike.to_string());
        }
        for line in trace {
            text.push_str("    ");
            text.push_str(&clean::line(line));
            text.push('\n');
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &str) -> ConsoleReader {
        let mut reader = ConsoleReader::counting_lines();
        feed(&mut reader, log.as_bytes()).unwrap();
        reader
    }

    #[test]
    fn a_report_is_printed_with_what_names_it() {
        let log = "Nov 28 01:02:02 host kernel: usb 1-1: new device\n\
                   Nov 28 01:02:03 host kernel: BUG: KASAN: use-after-free in f+0x1/0x2\n\
                   Nov 28 01:02:03 host kernel: Read of size 8 at addr ffff888100000000 by task a\x1b[1mb/100\n";
        let findings = read(log).take_all();
        let report = Reported::new(&findings[0]);
        let text = report.text();
        assert!(
            text.starts_with("BUG: KASAN: use-after-free in f+0x1/0x2\n  line         2\n  kind         kasan\n"),
            "{text}"
        );
        assert!(text.contains("\n  severity     broken\n"), "{text}");
        assert!(text.contains("\n  task         ab[100]\n  place        f\n  fingerprint  kasan:f-"), "{text}");
        assert!(text.contains("\n    Nov 28 01:02:03 host kernel: BUG: KASAN"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        let fields = ["line", "crash", "place", "kind"].map(|field| json[field].to_string());
        assert_eq!(fields, ["2", "true", "\"f\"", "\"kasan\""]);
    }

    #[test]
    fn a_compressed_log_is_refused() {
        let first = feed(&mut ConsoleReader::default(), &b"\x1f\x8b\x08\0abc"[..]).unwrap();
        let failure = check(&first, "a.gz").unwrap_err();
        assert_eq!(
            (failure.code, failure.to_string().contains("a.gz is compressed: print it with zcat")),
            (exit::USAGE, true)
        );
        assert!(check(b"[    1.0", "a.log").is_ok());
    }

    #[test]
    fn the_summary_counts_reports_and_crashes() {
        assert_eq!(summary(0, 0), "no kernel reports\n");
        assert_eq!(summary(3, 1), "3 reports, 1 crash\n");
        assert_eq!(read("[    1.0] usb 1-1: new device\n").take_all(), []);
    }
}
