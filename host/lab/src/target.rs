//! Targets: a kernel on a machine.

use std::rc::Rc;

use vmlab_events::target::TargetId;
use vmlab_events::verdict::LackingDrivers;
use vmlab_files::View;
use vmlab_image::Image;
use vmlab_kernel::Kernel;
use vmlab_kernel::indexes::ModuleIndex;
use vmlab_kernel::unpack::BootFile;
use vmlab_protocol::command::Command;
use vmlab_qemu::argv::Machine;

use crate::limits::Limits;
use crate::machine_plan::Disks;
use crate::variant::Variant;

/// A kernel on a machine. Targets of the same id differ only in the machine.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) id: TargetId,
    pub(crate) kernel: Kernel,
    pub(crate) machine: Machine,
    /// Which of the target's machines this is.
    pub(crate) variant: Variant,
    /// The user's parameters on the kernel's command line.
    pub(crate) append: Option<String>,
    /// Why the kernel probably has no driver for the control port.
    pub(crate) lacking: Option<LackingDrivers>,
    /// What a guest needs to run the command, if the run has one.
    pub(crate) command: Option<Command>,
    /// What the guests see of the host's files, if anything.
    pub(crate) files: Option<View>,
    /// Whether each guest that runs jobs waits for a debugger.
    pub(crate) debugger: bool,
    /// Keeps the disks without names.
    pub(crate) _disks: Rc<Disks>,
    /// Keeps the index of the modules that `files` shows.
    pub(crate) _index: Option<ModuleIndex>,
    /// The time limits of the target's guests.
    pub(crate) limits: Limits,
}

/// A target, and the files that QEMU boots for it.
#[derive(Debug)]
pub(crate) struct BootableTarget {
    pub(crate) target: Rc<Target>,
    /// The kernel's file that QEMU boots.
    pub(crate) boot_file: BootFile,
    pub(crate) image: Image,
}

/// The targets' ids, once each. Those of the same id follow each other.
pub(crate) fn ids(targets: &[BootableTarget]) -> Vec<TargetId> {
    let mut ids: Vec<_> = targets.iter().map(|bootable| bootable.target.id.clone()).collect();
    ids.dedup();
    ids
}
