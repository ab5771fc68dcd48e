//! Says what would have helped a program that ran out of the guest's memory. Pure.

use vmlab_console::{Finding, Kind};
use vmlab_events::event::JobReport;
use vmlab_events::verdict::{Failure, Verdict};

/// The ends of the titles of panics for want of memory (mm/oom_kill.c, `out_of_memory`).
const PANICS: [&str; 2] = ["Out of memory and no killable processes...", "System is deadlocked on memory"];

/// The text of ENOSPC (strerror(3)), in lower case: Go writes it so.
const FULL: &str = "no space left on device";

/// A sentence if the guest ran out of memory or of room for files, and the program did not pass. `memory_mib` is the guest's
/// memory.
///
/// A program that found no room has often removed its file when it ends, so its messages say more than the file system.
pub(super) fn hint(report: &JobReport, memory_mib: u32) -> Option<String> {
    let more = format!(
        "the guest has {memory_mib} MiB of memory, for programs and for the files that they write; --memory gives it more"
    );
    match &report.verdict {
        Verdict::Passed => None,
        Verdict::KernelCrashed { what, .. } if PANICS.iter().any(|panic| what.contains(panic)) => Some(more),
        Verdict::Failed { reason: Failure::Command(_) } if oom(report).is_none() && says_full(report) => Some(format!(
            "the program found a file system full. What it writes is in the guest's memory: up to half of {memory_mib} MiB in each \
             of /, /dev/shm and /run; --memory gives it more"
        )),
        _ => {
            // A cgroup has the limit that a program has given it.
            let killed = oom(report)?;
            let whom = match &killed.task {
                Some(task) => format!("`{}`", task.comm),
                None => "a process".to_owned(),
            };
            Some(format!("out of memory, the kernel killed {whom}: {more}"))
        }
    }
}

fn oom(report: &JobReport) -> Option<&Finding> {
    report.warnings.iter().find(|warning| warning.kind == Kind::Oom)
}

fn says_full(report: &JobReport) -> bool {
    [&report.stderr, &report.stdout].iter().any(|output| output.to_ascii_lowercase().contains(FULL))
}

#[cfg(test)]
mod tests {
    use vmlab_console::Task;
    use vmlab_events::job::{CommandId, Job};
    use vmlab_events::target::TargetId;
    use vmlab_protocol::command::CommandEnd;

    use super::*;

    fn crash(what: &str) -> Verdict {
        Verdict::KernelCrashed {
            what: what.to_owned(),
            trace: Vec::new(),
            kind: Some(Kind::Panic),
            fingerprint: None,
            task: None,
            pvpanic: None,
            suite: None,
        }
    }

    fn said(verdict: Verdict, warnings: &[Kind]) -> Option<String> {
        said_after("", verdict, warnings)
    }

    fn said_after(stderr: &str, verdict: Verdict, warnings: &[Kind]) -> Option<String> {
        let task = Some(Task { comm: "cc1plus".to_owned(), pid: 9 });
        let warnings = warnings.iter().map(|kind| Finding { task: task.clone(), ..Finding::of_title(*kind, "x") });
        let job = Job::Command(CommandId::of_program("make".as_ref()));
        let report = JobReport::without_guest(TargetId::new("k".to_owned()), job, verdict);
        hint(&JobReport { warnings: warnings.collect(), stderr: stderr.to_owned(), ..report }, 512)
    }

    #[test]
    fn a_program_that_ran_out_of_memory_hears_of_the_option() {
        let failed = |end| Verdict::Failed { reason: Failure::Command(end) };
        let warned = Verdict::Failed {
            reason: Failure::KernelWarned { title: "x".into(), warning: Kind::Oom, fingerprint: None },
        };
        for verdict in [
            failed(CommandEnd::Killed { signal: 9 }),
            failed(CommandEnd::Exited { code: 137 }),
            failed(CommandEnd::Exited { code: 2 }),
            warned,
        ] {
            let text = said(verdict, &[Kind::Warning, Kind::Oom]).unwrap();
            assert!(
                text.contains("killed `cc1plus`") && text.contains("512 MiB") && text.contains("--memory"),
                "{text}"
            );
        }
        for panic in ["System is deadlocked on memory", "Out of memory and no killable processes..."] {
            let text = said(crash(&format!("Kernel panic - not syncing: {panic}")), &[]).unwrap();
            assert!(text.contains("512 MiB") && text.contains("--memory"), "{text}");
        }
    }

    #[test]
    fn a_program_that_found_no_room_hears_of_the_option() {
        let failed = || Verdict::Failed { reason: Failure::Command(CommandEnd::Exited { code: 1 }) };
        for message in [
            "dd: error writing '/tmp/x': No space left on device",
            "OSError: [Errno 28] No space left on device",
            "write /tmp/x: no space left on device",
            "Error: Os { code: 28, kind: StorageFull, message: \"No space left on device\" }\n",
        ] {
            let text = said_after(message, failed(), &[]).unwrap();
            assert!(text.contains("half of 512 MiB") && text.contains("--memory"), "{text}");
            assert!(said_after(message, failed(), &[Kind::Oom]).unwrap().contains("killed `cc1plus`"));
            assert_eq!(said_after(message, Verdict::Passed, &[]), None);
        }
        assert_eq!(said_after("dd: error writing '/dev/full': Input/output error", failed(), &[]), None);
    }

    #[test]
    fn other_ends_have_nothing_to_do_with_memory() {
        let killed = || Verdict::Failed { reason: Failure::Command(CommandEnd::Killed { signal: 9 }) };
        assert_eq!(said(killed(), &[]), None);
        assert_eq!(said(killed(), &[Kind::Warning, Kind::MemcgOom]), None);
        assert_eq!(said(Verdict::Passed, &[Kind::Oom]), None);
        assert_eq!(said(crash("Kernel panic - not syncing: sysrq triggered crash"), &[]), None);
    }
}
