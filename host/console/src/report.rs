//! Reads a report while the kernel prints it: its lines, task and functions, until its end.

use std::sync::LazyLock;

use regex::Regex;

use super::finding::{Finding, Task};
use super::fingerprint::{NAMING_FRAMES, fingerprint};
use super::frames;
use super::helpers::is_helper;
use super::kind::{Ending, Kind, Severity};
use super::parts;
use super::prefix::{Caller, Start};
use super::rules::Title;
use super::tail::text;

/// The maximum number of lines that are kept of a report: its beginning and its end.
const TRACE_LINES: usize = 200;
/// The number of lines that are kept of the beginning of a longer report. Then follows a line that counts the lines left out.
const BEGINNING: usize = 119;
/// The maximum number of lines of a lockdep report, which has hundreds of lines before the trace that names it.
const LOCKDEP_LINES: usize = 5000;
/// The maximum number of lines before a report's trace. More lines do not belong to a report that has none.
const BEFORE_TRACE: usize = 60;
/// The maximum number of functions that are kept.
const FRAMES: usize = 8;

/// Matches the task in `CPU: 0 UID: 0 PID: 61 Comm: sh Tainted: G`, `by task sh/61`, `pid: 61, name: sh`, and in the
/// format of `sched_show_task()`: `task:sh  state:R  running task  stack:0  pid:61`. A name may contain blanks.
static TASK: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"\bPID: (?P<pid>\d+) Comm: (?P<comm>.{1,15}?) (?:Kdump: |Not tainted|Tainted: )",
        r"|\bby task (?P<comm2>.{1,15})/(?P<pid2>\d+)",
        r"|\bpid: (?P<pid3>\d+), name: (?P<comm3>.{1,15})$",
        r#"|^ *comm "(?P<comm5>.{0,15}?)", pid (?P<pid5>\d+)"#,
        r"|^task:(?P<comm4>\S.{0,14}?) +state:\S.* pid: *(?P<pid4>\d+)",
    ))
    .ok()
});

/// A report that is being read.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) finding: Finding,
    /// Whether more lines of the report may follow.
    pub(super) is_open: bool,
    /// The report's printer, if the lines have a caller.
    pub(super) caller: Option<Caller>,
    /// The report's sequence number.
    pub(super) number: u64,
    /// The number of the title's line in the input, from 1, if lines are counted.
    pub(super) line: Option<u64>,
    /// Whether the report is only counted: nothing but its key is kept.
    pub(super) is_brief: bool,
    /// The key to count by, if the report is brief and its title determines the key.
    pub(super) key: Vec<u8>,
    stamped: bool,
    /// Whether nothing but the word `WARNING: ` suggests that the kernel printed the report.
    is_doubtful: bool,
    what: String,
    /// The number of lines so far.
    lines: usize,
    /// Whether the current line is within a call trace.
    in_trace: bool,
    /// Whether the current line is within the interrupt's part of a call trace.
    in_interrupt: bool,
    /// Whether the report has had a call trace.
    had_trace: bool,
    /// The first significant function that the unwinder is not sure of. It counts where the unwinder is sure of none, as
    /// with a kernel without ORC and frame pointers; elsewhere such functions are left from earlier calls.
    guess: Option<String>,
    /// Whether the unwinder is sure of a function of the call trace.
    is_certain: bool,
    /// Whether functions are still collected, which ends with the first call trace.
    wants_frames: bool,
}

impl Report {
    /// `before` are the lines since `cut here`, `line` is the title's line, and `words` its text. A brief report gets a
    /// fingerprint only if it is kept after all.
    pub(super) fn new(
        title: Title,
        start: Start,
        before: Vec<String>,
        line: String,
        words: &str,
        is_brief: bool,
    ) -> Self {
        let mut trace = before;
        let is_doubtful = is_doubtful(title.kind, title.is_any, start) && trace.is_empty();
        trace.push(line);
        let lines = trace.len();
        let finding = Finding {
            kind: title.kind,
            severity: title.kind.severity(),
            title: words.to_owned(),
            trace,
            task: title.task(),
            cgroup: None,
            frames: significant(&title, words),
            fingerprint: String::new(),
            more_alike: 0,
            suite: None,
        };
        let mut report = Self {
            finding,
            is_open: title.kind.ending() != Ending::Title,
            caller: start.caller,
            number: 0,
            line: title.line,
            is_brief,
            key: Vec::new(),
            lines,
            stamped: start.stamped,
            is_doubtful,
            what: title.what.unwrap_or_default(),
            in_trace: false,
            in_interrupt: false,
            had_trace: false,
            guess: None,
            is_certain: false,
            wants_frames: true,
        };
        report.set_fingerprint();
        // With a rate limit, the kernel prints this title without the report before it.
        report.is_open &= !report.is_killed(words);
        report
    }

    /// Whether the report is only a title that may be any text, without a call trace.
    pub(super) const fn is_bare(&self) -> bool {
        !self.had_trace && matches!(self.finding.kind, Kind::Bug | Kind::Warning)
    }

    pub(super) const fn is_stamped(&self) -> bool {
        self.stamped
    }

    /// Whether a program may have printed the report: nothing but the word `WARNING: ` suggests that the kernel did.
    pub(super) const fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Whether this title is part of this report.
    pub(super) fn takes_title(&self, title: &Title) -> bool {
        let same_trap = self.finding.kind.is_trap() && (title.kind.is_trap() || title.kind == Kind::Warning);
        let same_kill = matches!(title.kind, Kind::Oom | Kind::MemcgOom) && title.pid.is_some();
        let same_stall = title.kind == Kind::RcuStall && title.what.as_ref().is_some_and(|w| w.starts_with("kthread"));
        match self.finding.kind {
            _ if !self.is_open => false,
            Kind::Oom | Kind::MemcgOom => same_kill,
            Kind::RcuStall => same_stall,
            // A machine check exception has several records, and the worst record is repeated before the panic.
            Kind::MachineCheck => title.kind == Kind::MachineCheck,
            // A symbolised log has a line for each inlined function.
            Kind::Kasan | Kind::Kmsan => title.kind == self.finding.kind && is_inlined(&self.finding.title),
            _ => same_trap && !self.had_trace,
        }
    }

    /// Whether a title of this kind may be part of this report while it is being printed.
    pub(super) fn may_take(&self, kind: Kind) -> bool {
        match self.finding.kind {
            Kind::Oom | Kind::MemcgOom => kind.ending() == Ending::Killed,
            own @ (Kind::RcuStall | Kind::MachineCheck | Kind::Kasan | Kind::Kmsan) => kind == own,
            own => own.is_trap() && (kind.is_trap() || kind == Kind::Warning),
        }
    }

    /// Adds a title to the report.
    pub(super) fn take_title(&mut self, title: &Title, line: &[u8], words: &str) {
        // The first title names the report; a later title may raise its severity.
        if title.kind.severity() > self.finding.severity {
            self.finding.severity = title.kind.severity();
            self.keep_whole();
        }
        if matches!(title.kind, Kind::Oom | Kind::MemcgOom) {
            self.rename(title, words);
            self.finding.kind = title.kind;
            self.finding.task = title.task();
        }
        if is_inlined(&self.finding.title) {
            self.rename(title, words);
            self.finding.frames = significant(title, words);
        }
        self.push(line, words);
        self.set_fingerprint();
    }

    /// Replaces the report's title.
    fn rename(&mut self, title: &Title, words: &str) {
        words.clone_into(&mut self.finding.title);
        self.line = title.line;
    }

    /// Adds the panic that this report caused.
    pub(super) fn take_panic(&mut self, line: &[u8]) {
        self.finding.severity = Severity::Fatal;
        // The trace that follows is the panic's, not the report's.
        self.wants_frames = false;
        self.is_open = true;
        self.keep(line);
    }

    /// Whether a line may belong to this report, judged by the line's prefix.
    pub(super) fn may_have(&self, start: Start) -> bool {
        // A program's output has no time stamp.
        let from_program = self.stamped && !start.stamped;
        let from_other = self.caller.is_some() && start.caller.is_some() && start.caller != self.caller;
        self.is_open && !from_program && !from_other
    }

    /// Adds a line.
    pub(super) fn push(&mut self, line: &[u8], words: &str) {
        if self.has_ended_before(words) {
            self.is_open = false;
            return;
        }
        self.keep(line);
        let begins_trace = parts::begins_trace(words);
        self.is_doubtful &= !(begins_trace || parts::is_of_report(words));
        self.in_trace |= begins_trace;
        self.had_trace |= begins_trace;
        if !self.is_brief {
            self.look_for_task(words);
            self.look_for_function(words);
        }
        if words.starts_with("oom-kill:constraint=") {
            self.look_for_cgroup(words);
        }
        self.is_open &= !self.is_last(words);
    }

    fn keep(&mut self, line: &[u8]) {
        self.lines += 1;
        if !self.is_brief {
            let trace = &mut self.finding.trace;
            trace.push(text(line));
            if let Some(left_out) = self.lines.checked_sub(TRACE_LINES - 1).filter(|_| trace.len() > TRACE_LINES) {
                trace.remove(BEGINNING + 1);
                trace[BEGINNING] = format!("[{left_out} lines left out]");
            }
        }
        let limit = match self.finding.kind {
            Kind::Lockdep => LOCKDEP_LINES,
            kind if kind.ending() == Ending::Trace && !self.had_trace => BEFORE_TRACE,
            _ => TRACE_LINES,
        };
        self.is_open &= self.lines < limit;
    }

    /// Whether a report without an end marker ended before this line.
    fn has_ended_before(&self, words: &str) -> bool {
        let indented = words.starts_with([' ', '\t']) || words.is_empty();
        self.finding.severity < Severity::Fatal
            && self.finding.kind.ending() == Ending::Trace
            && self.had_trace
            && !indented
            && !parts::is_around_trace(words)
            && frames::function(words).is_none()
    }

    fn is_last(&self, words: &str) -> bool {
        if self.finding.severity == Severity::Fatal {
            return words.starts_with("---[ end Kernel panic");
        }
        let marker = words.starts_with("---[ end trace");
        let ruler = words.len() > 20 && words.bytes().all(|byte| byte == b'=');
        match self.finding.kind.ending() {
            Ending::Killed => self.is_killed(words),
            Ending::Ruler => ruler || marker,
            Ending::Marker | Ending::Trace => marker,
            Ending::Title | Ending::Panic => false,
        }
    }

    fn is_killed(&self, words: &str) -> bool {
        self.finding.kind.ending() == Ending::Killed && words.contains("out of memory: Kill")
            || words.starts_with("Out of memory: Kill")
            || words.starts_with("Out of memory (oom_kill_allocating_task): Kill")
    }

    fn look_for_task(&mut self, words: &str) {
        if self.finding.task.is_some() {
            return;
        }
        let Some(found) = TASK.as_ref().and_then(|pattern| pattern.captures(words)) else { return };
        let group = |names: [&str; 5]| names.iter().find_map(|name| found.name(name)).map(|part| part.as_str());
        self.finding.task =
            task(group(["comm", "comm2", "comm3", "comm4", "comm5"]), group(["pid", "pid2", "pid3", "pid4", "pid5"]));
    }

    /// Collects functions from the instruction pointer and the first call trace. Reports of data races and
    /// uninitialised values have traces without a heading; lockdep prints older traces before its own.
    fn look_for_function(&mut self, words: &str) {
        let kind = self.finding.kind;
        let bare = matches!(kind, Kind::Kcsan | Kind::Kmsan | Kind::Kfence);
        // The code that was interrupted is below the timer tick that detected the problem.
        let by_tick = matches!(kind, Kind::RcuStall | Kind::SoftLockup | Kind::HardLockup);
        match words.trim_start() {
            "<IRQ>" => self.in_interrupt = true,
            "</IRQ>" => self.in_interrupt = false,
            _ => {}
        }
        self.wants_frames &= !parts::begins_history(words);
        if !self.wants_frames || by_tick && self.in_interrupt {
            return;
        }
        if words.trim_start() == "</TASK>"
            || (self.in_trace && frames::instruction(words).is_some_and(|at| !at.contains("+0x")))
        {
            self.wants_frames = false;
        }
        let at_instruction = frames::instruction(words).is_some() && !self.in_trace;
        if self.in_trace && self.guess.is_none() && !self.is_certain && self.finding.frames.is_empty() {
            self.guess = frames::guess(words).filter(|name| !is_helper(name)).map(str::to_owned);
            self.set_fingerprint();
        }
        let Some(name) = frames::function(words).filter(|_| at_instruction || self.in_trace || bare) else { return };
        if self.in_trace && !self.is_certain {
            (self.is_certain, self.guess) = (true, None);
            self.set_fingerprint();
        }
        let known = &mut self.finding.frames;
        // The instruction pointer's function is often also the first in the trace, as is the function that a macro
        // wraps.
        if !is_helper(name) && known.last().is_none_or(|last| last != name) && known.len() < FRAMES {
            known.push(name.to_owned());
            if known.len() <= NAMING_FRAMES {
                self.set_fingerprint();
            }
        }
    }

    /// Reads the cgroup from a line like
    /// `oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/box,task_memcg=/box,…`
    /// (mm/oom_kill.c, since Linux 5.0).
    fn look_for_cgroup(&mut self, words: &str) {
        if words.contains("CONSTRAINT_MEMCG") {
            self.finding.kind = Kind::MemcgOom;
        }
        self.finding.cgroup = words.split(',').find_map(|part| part.strip_prefix("oom_memcg=")).map(str::to_owned);
        self.set_fingerprint();
    }

    /// Keeps a report that was brief.
    pub(super) fn keep_whole(&mut self) {
        self.is_brief = false;
        self.set_fingerprint();
    }

    /// Sets the finding's fingerprint.
    fn set_fingerprint(&mut self) {
        if self.is_brief {
            return;
        }
        let Finding { kind, frames, task, fingerprint: name, .. } = &mut self.finding;
        let frames = if frames.is_empty() { self.guess.as_slice() } else { frames };
        let comm = task.as_ref().map(|task| task.comm.clone()).unwrap_or_default();
        *name = match kind {
            // The place where memory ran out, or where the end of PID 1 was noticed, is insignificant.
            Kind::Oom | Kind::MemcgOom => fingerprint(*kind, &comm, &[]),
            // Not all kernels have these functions, so their names must not be part of the fingerprint.
            Kind::NoRoot | Kind::NoInit | Kind::WorkqueueLockup => fingerprint(*kind, &self.what, &[]),
            // The functions are in the title, in an order that does not depend on the race. The order of the traces does.
            Kind::Kcsan => fingerprint(*kind, &self.what, &[]),
            // The exit status distinguishes an exit from a signal; numbers alone do not count in a fingerprint.
            Kind::InitDied => fingerprint(*kind, &format!("exit_{}", self.what.trim_start_matches('0')), &[]),
            _ => fingerprint(*kind, &self.what, frames),
        };
    }
}

/// Whether a program may have printed a title of this kind, as far as the title tells: any text behind `WARNING: `, in a
/// line without a time stamp, a level or another prefix of the kernel's or a log's. `BUG: ` is too grave to be doubted.
pub(super) fn is_doubtful(kind: Kind, is_any: bool, start: Start) -> bool {
    kind == Kind::Warning && is_any && start == Start::default()
}

/// Whether a title names an inlined function, as a symbolised log does in the lines before the last.
fn is_inlined(title: &str) -> bool {
    title.ends_with(" [inline]")
}

/// The function in a title, if it is significant.
fn significant(title: &Title, words: &str) -> Vec<String> {
    let func = title.func.as_deref().map(frames::plain).filter(|name| !is_helper(name) && !is_inlined(words));
    func.into_iter().map(str::to_owned).collect()
}

impl Title {
    fn task(&self) -> Option<Task> {
        task(self.comm.as_deref(), self.pid.as_deref())
    }
}

fn task(comm: Option<&str>, pid: Option<&str>) -> Option<Task> {
    Some(Task { comm: comm?.to_owned(), pid: pid?.parse().ok()? })
}
