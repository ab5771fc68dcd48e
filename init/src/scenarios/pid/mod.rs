//! PID namespaces, and what can be seen and done across them.

mod init;
mod outer;
mod proc_options;
mod procfs;
mod reboot;
mod set_tid;
mod translation;

pub(super) use set_tid::{fork_as, probe_set_tid};

use super::process::with_child;
use super::{Finding, Probe, Scenario, Trouble, Undo, support};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[
    &outer::CALLS,
    &proc_options::HIDEPID,
    &proc_options::HIDEPID_GROUP,
    &init::INIT,
    &init::INIT_END,
    &init::INIT_EXIT,
    &init::INIT_SIGNALS,
    &outer::KILL_ALL,
    &outer::KILL_OUTER,
    &procfs::KTHREAD_LINE,
    &procfs::KTHREADS,
    &translation::LAST_PID,
    &procfs::LOADAVG,
    &procfs::LOADAVG_LAST,
    &translation::NSPID,
    &init::ORPHAN,
    &set_tid::PID_MAX,
    &reboot::POWER_OFF,
    &procfs::PROC,
    &procfs::PROC_CALLER,
    &proc_options::PROC_MOUNT,
    &proc_options::PROC_OF,
    &outer::PTRACE_OUTER,
    &outer::PTRACE_USER,
    &set_tid::RANDOM,
    &reboot::REBOOT,
    &reboot::REBOOT_CAD,
    &set_tid::SAME_NUMBER,
    &translation::SCM_CREDENTIALS,
    &set_tid::SET_TID,
    &set_tid::SET_TID_FIRST,
    &set_tid::SET_TID_INVALID,
    &set_tid::SET_TID_PRIVILEGE,
    &proc_options::SUBSET,
    &translation::TRANSLATE,
    &outer::YAMA,
];
