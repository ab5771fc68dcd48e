//! Marks in the environments of child processes, by which their descendants are found: a descendant inherits the mark, also
//! in a session of its own and after its parent has ended. Only a program that clears its environment loses it.

use std::collections::hash_map::RandomState;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The variable that holds the marks, separated by spaces: a vmlab that another vmlab started adds its own.
const VARIABLE: &str = "VMLAB_STARTED_BY";

/// The number of searches for processes, and the pause between them. A killed process ends within a moment, unless it
/// waits for the disk.
const ROUNDS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// A mark: of this process, as in `812-9f3c5e7a01b2d4c6`, or of one of its children, as in `812-9f3c5e7a01b2d4c6.3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    /// The mark of this process, which includes all its children's.
    #[must_use]
    pub fn of_this_process() -> Self {
        static MARK: OnceLock<Mark> = OnceLock::new();
        let random = || RandomState::new().build_hasher().finish();
        MARK.get_or_init(|| Self(format!("{}-{:016x}", std::process::id(), random()))).clone()
    }

    /// A mark of a further child.
    #[must_use]
    pub(crate) fn of_next_child() -> Self {
        static CHILDREN: AtomicU32 = AtomicU32::new(0);
        let Self(process) = Self::of_this_process();
        Self(format!("{process}.{}", CHILDREN.fetch_add(1, Ordering::Relaxed)))
    }

    /// A mark from its text, as an argument.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The mark as text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The variable that gives a child this mark, beside the marks of this process's own environment.
    #[must_use]
    pub(crate) fn variable(&self) -> (&'static str, OsString) {
        let mut value = env::var_os(VARIABLE).unwrap_or_default();
        if !value.is_empty() {
            value.push(" ");
        }
        value.push(&self.0);
        (VARIABLE, value)
    }

    /// Kills all processes that carry the mark, and waits until they have ended. Returns whether none is left.
    pub fn kill_all(&self) -> bool {
        for _ in 0..ROUNDS {
            let found = self.processes();
            if found.is_empty() {
                return true;
            }
            // The call fails for a process that has ended meanwhile, or that is another user's.
            found.into_iter().for_each(|pid| kill(pid, Signal::SIGKILL).unwrap_or_default());
            thread::sleep(PAUSE);
        }
        false
    }

    /// The processes that carry the mark. Those of other users cannot be seen.
    fn processes(&self) -> Vec<Pid> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        // The environment of a process that has ended cannot be read, and that of a zombie is empty.
        let carries =
            |pid: &i32| fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| self.is_in(&environment));
        pids.filter(carries).map(Pid::from_raw).collect()
    }

    /// Whether an environment carries the mark, as proc_pid_environ(5) shows it.
    fn is_in(&self, environment: &[u8]) -> bool {
        let values = environment.split(|&byte| byte == 0).filter_map(|variable| {
            OsStr::from_bytes(variable).as_bytes().strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"=")
        });
        let is_mine = |mark: &[u8]| {
            mark.strip_prefix(self.0.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
        };
        values.flat_map(|value| value.split(|&byte| byte == b' ')).any(is_mine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_as_a_whole_word_of_its_variable() {
        let mark = Mark::from_text("8-ab");
        for (environment, carries) in [
            (&b"HOME=/\0VMLAB_STARTED_BY=8-ab\0"[..], true),
            (b"VMLAB_STARTED_BY=7-cd 8-ab.3", true),
            (b"VMLAB_STARTED_BY=8-ab.3 9-ef\0X=\xff", true),
            (b"VMLAB_STARTED_BY=8-abc", false),
            (b"VMLAB_STARTED_BY=18-ab", false),
            (b"X=VMLAB_STARTED_BY=8-ab\0", false),
            (b"VMLAB_STARTED_BY_X=8-ab\0", false),
            (b"VMLAB_STARTED_BY=8-ab/3", false),
            (b"", false),
        ] {
            assert_eq!(mark.is_in(environment), carries, "{}", String::from_utf8_lossy(environment));
        }
    }

    #[test]
    fn a_childs_mark_includes_no_other_childs() {
        let (one, two) = (Mark::from_text("8-ab.1"), Mark::from_text("8-ab.12"));
        let environment = |mark: &Mark| format!("{VARIABLE}={}", mark.text()).into_bytes();
        assert!(one.is_in(&environment(&one)) && !one.is_in(&environment(&two)) && !two.is_in(&environment(&one)));
        assert!(Mark::from_text("8-ab").is_in(&environment(&two)));
        assert_ne!(Mark::of_next_child(), Mark::of_next_child());
    }
}
