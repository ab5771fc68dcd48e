//! What follows the table: a paragraph for everything that is not good, the skips with their reasons, and what the labels
//! mean.

use std::path::Path;

use super::paint::Paint;
use super::suite_tests;
use crate::excerpt::{self, Excerpt};
use crate::loss;
use crate::run::Run;
use crate::style::Verbosity;
use vmlab_events::event::JobReport;
use vmlab_events::loss::LossReport;
use vmlab_events::verdict::{Class, Verdict};
use vmlab_events::{clean, text};

/// The most lines of an output or a trace.
const MAX_LINES: usize = 20;
/// The most attempts.
const MAX_ATTEMPTS: usize = 10;
/// The most lines of registers: those of the first CPU that show where it was.
const MAX_REGISTERS: usize = 6;
/// The most characters of a line.
const MAX_CHARS: usize = 300;
/// The most characters of a verdict's detail.
const MAX_DETAIL: usize = 2000;
/// The widest line of a list of names, in columns.
const MAX_LIST_COLUMNS: usize = 100;
/// Before every line of a paragraph but its first.
const INDENT: &str = "      ";

/// Writes the details of one run.
#[derive(Debug, Clone, Copy)]
pub struct Details<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its record.
    pub record: Option<&'a Path>,
    /// How much is shown.
    pub verbosity: Verbosity,
    /// With or without colours.
    pub paint: Paint,
}

impl Details<'_> {
    /// A paragraph for each report that needs one, each with an empty line before it.
    #[must_use]
    pub fn paragraphs(&self) -> String {
        let mut out = String::new();
        for kernel in 0..self.run.targets.len() {
            let reports: Vec<_> = self
                .run
                .reports(kernel)
                .map(|(_, report)| report)
                .filter(|report| self.needs_paragraph(report))
                .collect();
            let mut done = vec![false; reports.len()];
            for (at, report) in reports.iter().enumerate() {
                if done[at] {
                    continue;
                }
                // The loss of a guest happened to all that it was to run: one paragraph for all of them.
                let same: Vec<_> = (at..reports.len()).filter(|&other| alike(report, &reports[other])).collect();
                let names: Vec<_> = same.iter().map(|&other| reports[other].job.name()).collect();
                same.iter().for_each(|&other| done[other] = true);
                out.push('\n');
                out.push_str(&self.paragraph(report, &names));
            }
        }
        out
    }

    fn needs_paragraph(&self, report: &JobReport) -> bool {
        let class = report.verdict.class();
        if self.verbosity == Verbosity::Quiet {
            // The table says what failed; it does not say what to mend in the lab.
            return class == Class::Lab;
        }
        match class {
            Class::Good => self.verbosity == Verbosity::Verbose || !report.warnings.is_empty(),
            Class::Skipped => false,
            Class::Flaky | Class::Bad | Class::TimedOut | Class::Crashed | Class::Lab | Class::NotRun => true,
        }
    }

    /// A paragraph for a report, or for several that say the same: `names` are their jobs.
    fn paragraph(&self, report: &JobReport, names: &[&str]) -> String {
        let mut out = self.heading(report, names);
        let mut line = |text: &str| out.push_str(&format!("{INDENT}{text}\n"));
        let quiet = self.verbosity == Verbosity::Quiet;
        if let Some(spec) = self.run.jobs.iter().find(|spec| spec.is(&report.job) && names.len() < 2 && !quiet) {
            line(&self.paint.dim(&clean::line(&spec.summary())));
        }
        let detail = clean::cut(&clean::line(&report.verdict.detail()), MAX_DETAIL);
        if !detail.is_empty() {
            line(&detail);
        }
        if quiet {
            return out;
        }
        self.attempts(report, &mut line);
        self.guest(report, &mut line);
        if let Some(peer) = &report.peer {
            line(&clean::cut(&text::second_guest(peer), MAX_DETAIL));
            self.guest(peer, &mut |text| line(&format!("  {text}")));
        }
        out
    }

    /// What is known of the guest in which a job ran.
    fn guest(&self, report: &JobReport, line: &mut impl FnMut(&str)) {
        self.evidence(report, line);
        if let Some(loss) = self.run.loss(report) {
            self.loss(loss, &report.verdict, line);
        }
        if let Some(console) = self.console(report) {
            line(&format!("the guest's console: {console}"));
        }
    }

    /// `FAIL  uts.hostname on debian:trixie (12 ms)`, `NO-BOOT  all 6 scenarios on debian:trixie`
    fn heading(&self, report: &JobReport, names: &[&str]) -> String {
        let verdict = &report.verdict;
        let label = self.paint.verdict(verdict, verdict.label());
        let target = clean::line(report.target.as_str());
        let same = names.len();
        if same > 1 {
            let count = text::count(same, text::kind_of_jobs(&self.run.jobs));
            return if same == self.run.jobs.len() {
                format!("{label}  all {count} on {target}\n")
            } else {
                wrapped(&format!("{label}  {count} on {target}:"), names)
            };
        }
        let name = self.paint.bold(report.job.name());
        let took = match verdict {
            Verdict::NotRun { .. } | Verdict::LaunchFailed { .. } => String::new(),
            _ => format!(" ({})", text::duration(report.duration_ms)),
        };
        format!("{label}  {name} on {target}{took}\n")
    }

    fn attempts(&self, report: &JobReport, line: &mut impl FnMut(&str)) {
        let Some(attempts) = &report.attempts else { return };
        let most = if self.verbosity == Verbosity::Verbose { usize::MAX } else { MAX_ATTEMPTS };
        for attempt in text::attempts(attempts, self.run.repetition, most) {
            line(&clean::cut(&attempt, MAX_DETAIL));
        }
        if !report.legs.is_empty() {
            line(&format!("attempt {} in full:", report.attempt));
        }
    }

    /// What the legs found, which tests failed, what the kernel reported, and what the scenario printed.
    fn evidence(&self, report: &JobReport, line: &mut impl FnMut(&str)) {
        let most = if self.verbosity == Verbosity::Verbose { usize::MAX } else { MAX_LINES };
        for leg in &report.legs {
            let finding = clean::cut(&text::leg(leg), MAX_DETAIL);
            line(&format!("{:<8} {finding}", leg.leg.name()));
        }
        let all = self.verbosity == Verbosity::Verbose;
        report.tests.iter().for_each(|test| suite_tests::paragraph(test, all, most, line));
        if let Some(identity) = report.verdict.crash_identity() {
            line(&format!("crash: {}", clean::cut(&clean::line(&identity), MAX_CHARS)));
        }
        for warning in &report.warnings {
            line(&format!("{}: {}", text::warning(warning), clean::cut(&clean::line(&warning.to_string()), MAX_CHARS)));
            // The title alone does not say where it came from.
            if report.verdict.class() == Class::Bad && warning.trace.len() > 1 {
                self.excerpt("report", &excerpt::head(&warning.trace, most, MAX_CHARS), line);
            }
        }
        if let Verdict::KernelCrashed { trace, .. } = &report.verdict {
            self.excerpt("console", &excerpt::head(trace, most, MAX_CHARS), line);
        }
        for (name, output) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
            self.excerpt(name, &excerpt::tail(output, most, MAX_CHARS), line);
        }
        if report.output_dropped > 0 {
            line(&format!("{} bytes of output were beyond the limit and are not in the record", report.output_dropped));
        }
    }

    /// The evidence on a lost guest. A crash's trace has shown the console already.
    fn loss(&self, loss: &LossReport, verdict: &Verdict, line: &mut impl FnMut(&str)) {
        let verbose = self.verbosity == Verbosity::Verbose;
        let most = |few: usize| if verbose { usize::MAX } else { few };
        let shown = matches!(verdict, Verdict::KernelCrashed { trace, .. } if trace.len() > 1);
        if verbose || !shown {
            self.excerpt(
                "end of the console",
                &excerpt::tail(&loss.console.join("\n"), most(MAX_LINES), MAX_CHARS),
                line,
            );
        }
        let registers: Vec<_> = loss.registers.iter().flat_map(|text| text.trim().lines().map(str::to_owned)).collect();
        self.excerpt("registers", &excerpt::head(&registers, most(MAX_REGISTERS), MAX_CHARS), line);
        if let Some(vmcore) = &loss.vmcore {
            line(&loss::vmcore(vmcore));
        }
    }

    fn excerpt(&self, name: &str, excerpt: &Excerpt, line: &mut impl FnMut(&str)) {
        if excerpt.lines.is_empty() {
            return;
        }
        let note = excerpt.left_out().map(|note| format!(" {note}")).unwrap_or_default();
        line(&format!("{name}:{note}"));
        for text in &excerpt.lines {
            line(format!("{} {text}", self.paint.dim("|")).trim_end());
        }
    }

    /// The console's file, where the console may explain the verdict.
    fn console(&self, report: &JobReport) -> Option<String> {
        if !matches!(report.verdict.class(), Class::Flaky | Class::TimedOut | Class::Crashed | Class::Lab) {
            return None;
        }
        let guest = report.guest.or_else(|| self.run.loss(report).map(|loss| loss.guest))?;
        let file = self.run.consoles.get(&guest)?;
        Some(clean::line(&self.record?.join(file).display().to_string()))
    }

    /// The skips, by their reason, with an empty line before each reason.
    #[must_use]
    pub fn skips(&self) -> String {
        let mut skipped: Vec<(String, &str, String)> = Vec::new();
        let mut label = String::new();
        for (target, known) in self.run.targets.iter().enumerate() {
            for (_, report) in self.run.reports(target) {
                if report.verdict.class() == Class::Skipped {
                    label = self.paint.verdict(&report.verdict, report.verdict.label());
                    skipped.push((report.verdict.detail(), known.id.as_str(), report.job.to_string()));
                }
            }
        }
        let mut out = String::new();
        while let Some((reason, ..)) = skipped.first().cloned() {
            out.push_str(&format!("\n{label}  {}\n", clean::cut(&clean::line(&reason), MAX_DETAIL)));
            for target in &self.run.targets {
                let of_this = |(why, id, _): &&(String, &str, String)| *why == reason && *id == target.id.as_str();
                let names: Vec<_> = skipped.iter().filter(of_this).map(|(.., name)| name.as_str()).collect();
                if !names.is_empty() {
                    out.push_str(&wrapped(&format!("{INDENT}on {}:", clean::line(target.id.as_str())), &names));
                }
            }
            skipped.retain(|(why, ..)| *why != reason);
        }
        out
    }

    /// What the labels in the table mean where it is not obvious, with an empty line before it.
    #[must_use]
    pub fn explanations(&self) -> String {
        let mut lines = Vec::new();
        let verdicts = || (0..self.run.targets.len()).flat_map(|kernel| self.run.reports(kernel));
        if verdicts().any(|(_, report)| matches!(report.verdict, Verdict::Leaks { .. })) {
            lines.push(
                "LEAK: Linux is documented not to isolate this, and it does not; that counts as passed.".to_owned(),
            );
        }
        if verdicts().any(|(_, report)| matches!(report.verdict, Verdict::Vacuous { .. })) {
            lines.push(
                "VACUOUS: the control leg, which runs without the namespace, did not leak; the scenario proves nothing \
                 here, and that counts as failed."
                    .to_owned(),
            );
        }
        if verdicts().any(|(_, report)| report.verdict.class() == Class::Flaky) {
            let mut text =
                "FLAKY: of several attempts on the same kernel some failed and others did not; that counts as failed."
                    .to_owned();
            if !self.run.repetition.measures() {
                text.push_str(
                    " `--repeat N` measures how often it fails, and `--until-failure` finds the next failure.",
                );
            }
            lines.push(text);
        }
        for (scenario, spec) in self.run.jobs.iter().enumerate() {
            let ran = (0..self.run.targets.len()).any(|kernel| !self.run.report(kernel, scenario).legs.is_empty());
            if let (Some(why), true) = (spec.no_control(), ran) {
                lines.push(format!("{} has no control leg: {}.", spec.name(), clean::line(why).trim_end_matches('.')));
            }
        }
        if lines.is_empty() { String::new() } else { format!("\n{}\n", lines.join("\n")) }
    }
}

/// A list of names after a head, on as many lines as it takes, with a line end.
fn wrapped(head: &str, names: &[&str]) -> String {
    let mut out = head.to_owned();
    let mut column = head.chars().count();
    for (at, name) in names.iter().enumerate() {
        let comma = if at + 1 < names.len() { "," } else { "" };
        let width = 1 + name.chars().count() + comma.len();
        if at > 0 && column + width > MAX_LIST_COLUMNS {
            out.push_str(&format!("\n{INDENT}   "));
            column = INDENT.len() + 3;
        }
        out.push_str(&format!(" {name}{comma}"));
        column += width;
    }
    out.push('\n');
    out
}

/// Whether two reports say the same and have nothing of their own to show.
fn alike(one: &JobReport, other: &JobReport) -> bool {
    let bare = |report: &JobReport| {
        report.attempts.is_none()
            && report.legs.is_empty()
            && report.warnings.is_empty()
            && report.stdout.is_empty()
            && report.stderr.is_empty()
    };
    one.verdict == other.verdict && (one.job == other.job || (bare(one) && bare(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_names_is_wrapped() {
        assert_eq!(wrapped("SKIP  on a:", &["uts.one", "uts.two"]), "SKIP  on a: uts.one, uts.two\n");
        let names = vec!["scenario.name"; 20];
        let text = wrapped("NOT-RUN  20 scenarios on debian:trixie:", &names);
        assert!(text.lines().all(|line| line.chars().count() <= MAX_LIST_COLUMNS), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("          scenario.name")), "{text}");
        assert_eq!(text.matches("scenario.name").count(), 20);
        assert_eq!(text.matches("scenario.name,").count(), 19);
    }
}
