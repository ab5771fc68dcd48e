//! What the capabilities of root in a user namespace allow.

use std::fs::File;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{gethostname, sethostname};
use vmlab_protocol::catalogue::Namespace;

use crate::sandbox::{Code, During, OUTER_ID, Sandbox, refused};
use crate::scenarios::support::{Scratch, decide, judge, known, mount_tmpfs};
use crate::scenarios::{Finding, Probe, Scenario, Trouble, Undo};
use crate::sys::attributes::{set_xattr, xattr};
use crate::sys::privilege::{SECBIT_EXEC_RESTRICT_FILE, secure_bits, set_secure_bits, user_fault_fd};

pub(super) const CAPABILITIES: Scenario =
    Scenario::new("user.capabilities", "Root of a user namespace may not set the host name", capabilities)
        .shows(&["3a", "capabilities"], "user_namespaces(7), section Effect of capabilities within a user namespace")
        .steps(&[
            "Inside: root of a user namespace, in the UTS namespace of outside, calls sethostname(2).",
            "The call must fail with EPERM: the UTS namespace belongs to the initial user namespace.",
        ])
        .inside(&[Namespace::User])
        .needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn capabilities(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let before = gethostname().during("gethostname(2)")?;
    let _back = Undo::new("the host name", || sethostname(&before).during("sethostname(2)"));
    let answer = sandbox.run(|| Ok(sethostname("vmlab-inside").map_err(Code::from)))?;
    judge("sethostname(2) inside", &answer, &refused(Errno::EPERM), &Ok(()))
}

/// A capability attribute of version 2, as setcap(8) writes it (`struct vfs_cap_data` in <linux/capability.h>): `CAP_NET_RAW` is
/// permitted, little endian.
const CAPABILITY_V2: [u8; 20] = [0, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub(super) const FILE_CAPABILITY: Scenario = Scenario::new(
    "user.file-capability",
    "A file capability set by root inside counts for the user namespace only (version 3)",
    file_capability,
)
.shows(&["capabilities", "xattrs"], "capabilities(7), section File capability extended attribute versioning")
.steps(&[
    "Outside: mounts a tmpfs with a file in it that belongs to user 100000.",
    "Inside: root, which is user 100000 outside, sets security.capability of version 2 on the file.",
    "Outside: the attribute must be of version 3 and name user 100000 as the root that it counts for.",
    "In the control it is of version 2, which counts everywhere.",
])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_TMPFS_XATTR"], 4, 14, 0)
.probed_by(probe_attributes);

/// A file on a new tmpfs that belongs to user 100000, which is root inside.
fn file_of_root_inside() -> Result<(Scratch, PathBuf), Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let file = scratch.join("file");
    File::create_new(&file).during("creating a file")?;
    chown(&file, Some(OUTER_ID), Some(OUTER_ID)).during("chown(2)")?;
    Ok((scratch, file))
}

/// Whether files of a tmpfs have attributes that only root may set.
fn probe_attributes() -> Result<Probe, Trouble> {
    let (_scratch, file) = file_of_root_inside()?;
    known("setxattr(trusted.vmlab)", set_xattr(&file, c"trusted.vmlab", b"1"), &[Errno::EOPNOTSUPP], &[])
}

fn file_capability(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (_scratch, file) = file_of_root_inside()?;
    sandbox.run(|| {
        set_xattr(&file, c"security.capability", &CAPABILITY_V2).during("setxattr(security.capability) inside")
    })?;
    let value = xattr(&file, c"security.capability").during("getxattr(security.capability) outside")?;
    // The version is the highest byte of the first number; version 3 ends with the user id of the root.
    let version = value.get(3).copied();
    let root = value.get(20..24).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    judge(
        "version of the attribute, and the root that it counts for",
        &(version, root),
        &(Some(3), Some(OUTER_ID)),
        &(Some(2), None),
    )
}

pub(super) const SECURE_BITS: Scenario = Scenario::new(
    "user.secure-bits",
    "SECBIT_EXEC_RESTRICT_FILE survives unshare(CLONE_NEWUSER), as it restricts its process",
    secure_bits_survive,
)
.shows(&["capabilities", "version-25"], "Documentation/userspace-api/check_exec.rst")
.steps(&[
    "The subject's process sets SECBIT_EXEC_RESTRICT_FILE with prctl(2).",
    "It calls unshare(CLONE_NEWUSER).",
    "prctl(PR_GET_SECUREBITS) must return the bit. Linux 6.14 to 7.2 clear it with the other bits.",
])
.by_means_of("SECBIT_EXEC_RESTRICT_FILE")
.needs(&["CONFIG_USER_NS"], 6, 14, 0)
.probed_by(probe_secure_bit)
.isolates_since((7, 3, 0), &[]);

fn secure_bits_survive(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let bits = sandbox.run(|| {
        if sandbox.applies() {
            set_secure_bits(SECBIT_EXEC_RESTRICT_FILE).during("prctl(PR_SET_SECUREBITS)")?;
        }
        unshare(CloneFlags::CLONE_NEWUSER).during("unshare(CLONE_NEWUSER)")?;
        secure_bits().during("prctl(PR_GET_SECUREBITS)")
    })?;
    judge("the secure bits after unshare(CLONE_NEWUSER)", &bits, &SECBIT_EXEC_RESTRICT_FILE, &0)
}

/// An unknown bit is refused with EPERM (security/commoncap.c, `cap_task_prctl`). That this is the reason shows a known bit.
fn probe_secure_bit() -> Result<Probe, Trouble> {
    const SECBIT_NO_SETUID_FIXUP: i32 = 1 << 2;
    set_secure_bits(SECBIT_NO_SETUID_FIXUP).during("prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)")?;
    known(
        "prctl(PR_SET_SECUREBITS, SECBIT_EXEC_RESTRICT_FILE), where SECBIT_NO_SETUID_FIXUP succeeds",
        set_secure_bits(SECBIT_EXEC_RESTRICT_FILE),
        &[Errno::EPERM],
        &[],
    )
}

pub(super) const TRUSTED_ATTRIBUTE: Scenario =
    Scenario::new("user.trusted-xattr", "Root of a user namespace may not set trusted.* attributes", trusted_attribute)
        .shows(&["capabilities", "xattrs"], "xattr(7), section Trusted extended attributes")
        .steps(&[
            "Outside: mounts a tmpfs with a file in it that belongs to user 100000.",
            "Inside: setxattr(2) of trusted.vmlab on this file must fail with EPERM.",
        ])
        .inside(&[Namespace::User])
        .needs(&["CONFIG_USER_NS", "CONFIG_TMPFS_XATTR"], 3, 8, 0)
        .probed_by(probe_attributes);

fn trusted_attribute(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (_scratch, file) = file_of_root_inside()?;
    let set = sandbox.run(|| Ok(set_xattr(&file, c"trusted.vmlab", b"1").map_err(Code::from)))?;
    judge("setxattr(trusted.vmlab) inside", &set, &refused(Errno::EPERM), &Ok(()))
}

pub(super) const USERFAULTFD: Scenario = Scenario::new(
    "user.userfaultfd",
    "Root of a user namespace may not handle page faults of the kernel with userfaultfd(2)",
    userfaultfd,
)
.shows(&["capabilities", "version-29"], "userfaultfd(2), and vm.unprivileged_userfaultfd in proc_sys_vm(5)")
.steps(&[
    "Inside: root of a user namespace calls userfaultfd(0).",
    "The call must fail with EPERM: without CAP_SYS_PTRACE in the initial user namespace it needs UFFD_USER_MODE_ONLY.",
    "Before Linux 5.11 the sysctl vm.unprivileged_userfaultfd is 1 by default, and the call succeeds.",
])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_USERFAULTFD"], 4, 3, 0)
.probed_by(|| known("userfaultfd(0)", user_fault_fd(), &[Errno::ENOSYS], &[]))
.isolates_since((5, 11, 0), &[]);

fn userfaultfd(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let opened = sandbox.run(|| Ok(user_fault_fd().map(drop).map_err(Code::from)))?;
    decide("userfaultfd(0) inside", &opened, (opened == refused(Errno::EPERM), opened == Ok(())), "EPERM or success")
}
