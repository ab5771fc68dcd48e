//! Why a process is not frozen.

use nix::errno::Errno;
use vmlab_thaw_image::DecodeError;

/// A reason. The texts are for notices: what was found, where, and why it matters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// A step needs something that the system does not have or does not allow.
    #[error("cannot {step}: {}", error.desc())]
    System { step: &'static str, error: Errno },
    #[error("ptrace(2) is not allowed here ({}); see kernel.yama.ptrace_scope", _0.desc())]
    NoTracing(Errno),
    #[error("QEMU ended while it was examined")]
    Ended,
    #[error("the thread {name} ({thread}) does not wait in a system call: the guest has to be paused")]
    Runs { name: String, thread: i32 },
    #[error("a signal for QEMU arrived while it was examined")]
    Interrupted,
    #[error("QEMU has {count} threads; an image can have {limit}")]
    Threads { count: usize, limit: usize },
    #[error("QEMU has {count} descriptors; an image can have {limit}")]
    Descriptors { count: usize, limit: usize },
    #[error("descriptor {number} is {target}, which cannot be restored")]
    Descriptor { number: u32, target: String },
    #[error("a mapping is shared, and not the guest's memory: {0}")]
    Shared(String),
    #[error("a mapping is of a kind that vmlab does not know: {0}")]
    Mapping(String),
    #[error("a mapped file was deleted or replaced: {0}")]
    Deleted(String),
    #[error("memory has the property `{flag}` of /proc/PID/smaps, which vmlab cannot restore: {mapping}")]
    Property { flag: String, mapping: String },
    #[error("the kernel does not show the properties of memory in /proc/PID/smaps")]
    NoProperties,
    #[error("QEMU has a shadow stack")]
    ShadowStack,
    #[error("a signal is pending for QEMU")]
    PendingSignal,
    #[error("QEMU has timers of its own: {0}")]
    Timers(&'static str),
    #[error("QEMU has child processes")]
    Children,
    #[error("QEMU has {installed} seccomp filters, of which vmlab has seen {seen}")]
    Filters { installed: u64, seen: usize },
    #[error("{what} of the thread {thread} is not that of a new process")]
    Changed { what: &'static str, thread: i32 },
    #[error("the C library keeps the id of the thread {0} where vmlab does not find it")]
    ThreadId(i32),
    #[error("{file} of /proc cannot be understood: {text:?}")]
    Unreadable { file: &'static str, text: String },
    #[error("the image would be invalid: {0}")]
    Format(#[from] DecodeError),
}

impl Refusal {
    /// Whether the reason may be gone in a moment: QEMU ends threads and closes descriptors a little after it says so.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Runs { .. } | Self::Interrupted | Self::Descriptor { .. } | Self::PendingSignal | Self::Children
        )
    }

    /// For `map_err`.
    pub(crate) fn on<E: Into<std::io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |error| {
            let error: std::io::Error = error.into();
            Self::System { step, error: Errno::from_raw(error.raw_os_error().unwrap_or(0)) }
        }
    }
}
