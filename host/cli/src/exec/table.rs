//! The table at the end of a run on several kernels. Pure.

use vmlab_events::clean;
use vmlab_events::event::JobReport;

use super::outcome;

/// A line for each report: the target, the verdict, the time, and why.
pub(super) fn of(reports: &[JobReport]) -> String {
    let width = reports.iter().map(|report| report.target.as_str().chars().count()).max().unwrap_or(0);
    let line = |report: &JobReport| {
        let (target, label) = (clean::line(report.target.as_str()), report.verdict.label());
        let seconds = f64::from(u32::try_from(report.duration_ms).unwrap_or(u32::MAX)) / 1000.0;
        let text =
            format!("{target:width$}  {label:7}  {seconds:7.2} s  {}", clean::line(&outcome::detail(&report.verdict)));
        format!("{}\n", text.trim_end())
    };
    reports.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use vmlab_events::event::JobReport;
    use vmlab_events::job::{CommandId, Job};
    use vmlab_events::target::TargetId;
    use vmlab_events::verdict::{Failure, Verdict};
    use vmlab_protocol::command::CommandEnd;

    #[test]
    fn a_line_for_each_target() {
        let report = |target: &str, verdict| {
            let job = Job::Command(CommandId::of_program("x".as_ref()));
            let report = JobReport::without_guest(TargetId::new(target.to_owned()), job, verdict);
            JobReport { duration_ms: 1234, ..report }
        };
        let failed = Verdict::Failed { reason: Failure::Command(CommandEnd::Exited { code: 3 }) };
        let text = super::of(&[report("debian:bookworm", Verdict::Passed), report("tree:.", failed)]);
        assert_eq!(
            text,
            "debian:bookworm  PASS        1.23 s\ntree:.           FAIL        1.23 s  it exited with 3\n"
        );
    }
}
