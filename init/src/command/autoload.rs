//! Lets the kernel load modules by itself while a command runs, as on any machine: for a file system's type, a network device's,
//! a protocol, or a device node.
//!
//! The kernel starts the program that the sysctl kernel.modprobe names (Documentation/admin-guide/sysctl/kernel.rst) in the root
//! of PID 1, which has no modprobe(8). vmlab-init takes its place: it enters the command's mount namespace, and executes the
//! host's modprobe there, which finds the kernel's modules in the command's /lib/modules.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Pid, execv};
use vmlab_protocol::command::DeviceNode;

use super::Place;

/// The path of this program in the image.
const INIT: &str = "/init";
/// Where modprobe may be in the command's root.
const MODPROBE: [&str; 3] = ["/sbin/modprobe", "/usr/sbin/modprobe", "/bin/modprobe"];
/// Nodes that everybody may open, as in systemd's udev rules (50-udev-default.rules).
const OPEN_TO_ALL: [&str; 2] = ["fuse", "net/tun"];

/// The list of device nodes in the image.
const NODES: &str = "/modules/nodes.json";

/// Has the kernel call this program for modprobe, and makes the device nodes whose use loads a module. The error says why there are
/// no nodes.
pub(crate) fn enable() -> Result<(), String> {
    // A kernel without modules has no such sysctl.
    let _ = fs::write("/proc/sys/kernel/modprobe", INIT);
    let list = fs::read(NODES).map_err(|error| format!("cannot read {NODES}: {error}"))?;
    let nodes: Vec<_> = serde_json::from_slice(&list).map_err(|error| format!("{NODES}: {error}"))?;
    make_nodes(&nodes);
    Ok(())
}

/// Says where the command's process is. Without it, the kernel's requests fail, as they do without a command.
pub(crate) fn announce(place: &Place<'_>, command: Pid) {
    let _ = fs::create_dir_all(place.base).and_then(|()| fs::write(pid_file(place), command.to_string()));
}

fn pid_file(place: &Place<'_>) -> PathBuf {
    place.base.join("pid")
}

/// Whether these are the arguments with which the kernel calls modprobe (kernel/module/kmod.c, `call_modprobe`).
pub(crate) fn is_request(arguments: &[OsString]) -> bool {
    matches!(arguments, [quiet, end, _] if quiet == "-q" && end == "--")
}

/// Makes the calling process the modprobe of the command's root. Returns only if that fails.
pub(crate) fn become_modprobe(arguments: &[OsString]) -> ExitCode {
    let entered = fs::read_to_string(pid_file(&Place::in_guest()))
        .and_then(|pid| File::open(format!("/proc/{pid}/ns/mnt")))
        .is_ok_and(|namespace| setns(&namespace, CloneFlags::CLONE_NEWNS).is_ok());
    if entered {
        let texts = |first: &str| {
            let all = [OsStr::new(first)].into_iter().chain(arguments.iter().map(OsString::as_os_str));
            all.map(|text| CString::new(text.as_bytes())).collect::<Result<Vec<_>, _>>()
        };
        for path in MODPROBE {
            if let Ok(argv) = texts(path)
                && let [program, ..] = argv.as_slice()
            {
                let Err(_) = execv(program, &argv);
            }
        }
    }
    ExitCode::FAILURE
}

/// Makes device nodes whose use loads a module, as /dev/loop-control and /dev/net/tun, which systemd makes elsewhere
/// (kmod-static-nodes.service).
fn make_nodes(nodes: &[DeviceNode]) {
    for node in nodes {
        let path = Path::new("/dev").join(&node.name);
        let kind = if node.is_block { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
        let make = || mknod(&path, kind, Mode::S_IRUSR | Mode::S_IWUSR, makedev(node.major.into(), node.minor.into()));
        let made = match make() {
            Err(Errno::ENOENT) => path.parent().map(fs::create_dir_all).map_or(Err(Errno::ENOENT), |_| make()),
            // A kernel that has the driver built in has made the node.
            made => made,
        };
        if made.is_ok() && OPEN_TO_ALL.contains(&node.name.as_str()) {
            // Not by mknod, because of the umask.
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o666));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_arguments_are_a_request() {
        let is_request = |arguments: &[&str]| is_request(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(is_request(&["-q", "--", "fs-btrfs"]));
        for others in [&["--catalogue"][..], &[], &["-q", "--"], &["-q", "-r", "loop"], &["-q", "--", "a", "b"]] {
            assert!(!is_request(others), "{others:?}");
        }
    }
}
