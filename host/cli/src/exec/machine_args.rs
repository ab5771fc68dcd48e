//! The options of `vmlab exec` and `vmlab shell` for the guests' machine.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, ValueHint};
use vmlab_lab::machine_plan::{DiskPlan, MachinePlan};

use crate::Failure;
use crate::lab_args::GUESTS;

/// What the guests' machine has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = GUESTS)]
pub struct MachineArgs {
    /// Give each guest a network card, which reaches what this machine reaches
    ///
    /// It is QEMU's user network: eth0 has the address 10.0.2.15, and 10.0.2.2 is this machine. Nothing reaches the guest, and ping
    /// does not work.
    #[arg(long)]
    pub(super) net: bool,

    /// Give each guest a disk: an empty one of a size (as 512M, 2G), or one with the contents of a file; may be given several times
    ///
    /// The disks are /dev/vda, /dev/vdb and so on. What is written to them is gone with the guest: a file (raw or qcow2) does not
    /// change. Until then it takes space in TMPDIR, or /var/tmp.
    #[arg(long, value_name = "SIZE|FILE", value_parser = clap::value_parser!(OsString), value_hint = ValueHint::FilePath)]
    disk: Vec<OsString>,

    /// Divide memory and processors of each guest among NUMA nodes
    #[arg(long, value_name = "NODES")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=64))]
    numa: Option<u32>,

    /// Let each guest run guests of its own: with /dev/kvm, by SVM, or by VMX on this machine's Intel processor
    ///
    /// Under tcg the guest's KVM is emulated, and slow.
    #[arg(long)]
    nested: bool,

    /// Wait for a debugger, and print the command that connects gdb
    ///
    /// A guest that boots (--isolation boot) waits before its firmware's first instruction: `hbreak start_kernel` and `continue` lead
    /// to the kernel. A fork waits before the program starts. The kernel is not moved (nokaslr), and there are no time limits but
    /// --timeout.
    #[arg(long)]
    gdb: bool,
}

impl MachineArgs {
    pub(super) fn plan(&self) -> MachinePlan {
        MachinePlan {
            network: self.net,
            nested: self.nested,
            nodes: self.numa,
            disks: self.disk.iter().map(|value| disk(value)).collect(),
        }
    }

    /// Whether guests wait for a debugger, which is possible for one guest only.
    pub(super) fn debugger(&self, several: bool) -> Result<bool, Failure> {
        if self.gdb && several {
            return Err(Failure::usage(
                "--gdb is for one guest: give one kernel, and no --repeat, --retries or --until-failure",
            ));
        }
        Ok(self.gdb)
    }
}

/// A size, or else a file.
fn disk(value: &OsStr) -> DiskPlan {
    value.to_str().and_then(size).map_or_else(|| DiskPlan::File(PathBuf::from(value)), DiskPlan::Empty)
}

/// The number of bytes of a size with the unit K, M, G or T (powers of 1024).
fn size(text: &str) -> Option<u64> {
    let number = text.strip_suffix(|last: char| last.is_ascii_alphabetic())?;
    let shift = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        b'T' => 40,
        _ => return None,
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    // A size beyond that of any file is taken for a name, and refused as one.
    digits
        .then(|| number.parse::<u64>().ok()?.checked_mul(1 << shift))
        .flatten()
        .filter(|bytes| (1..1 << 62).contains(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_a_size_or_a_file() {
        for (value, bytes) in [("512M", 512 << 20), ("2G", 2 << 30), ("1t", 1 << 40), ("64k", 64 << 10)] {
            assert_eq!(disk(OsStr::new(value)), DiskPlan::Empty(bytes), "{value}");
        }
        for value in ["disk.img", "./2G", "G", "0M", "-1G", "1.5G", "17", "99999999999T", "1X", ""] {
            assert_eq!(disk(OsStr::new(value)), DiskPlan::File(value.into()), "{value}");
        }
    }
}
