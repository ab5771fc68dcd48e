//! Files in memory: `memfd_create(2)` without execution, and the size of a tmpfs.

use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use vmlab_protocol::catalogue::Namespace;

use crate::sandbox::{Answer, Code, During, Sandbox, answer, refused};
use crate::scenarios::support::{Scratch, exists, judge, known, mount_kind, read, require, write};
use crate::scenarios::{Finding, Probe, Scenario, Trouble, Undo};

// Flags of <linux/memfd.h>, Linux 6.3.
const MFD_NOEXEC_SEAL: MFdFlags = MFdFlags::from_bits_retain(8);
const MFD_EXEC: MFdFlags = MFdFlags::from_bits_retain(16);
const SYSCTL: &str = "/proc/sys/vm/memfd_noexec";

pub(super) const MEMFD_NOEXEC: Scenario = Scenario::new(
    "file.memfd-noexec",
    "A file in memory made with MFD_NOEXEC_SEAL can never become executable",
    memfd_noexec,
)
.shows(&["version-28"], "memfd_create(2); Documentation/userspace-api/mfd_noexec.rst")
.steps(&[
    "memfd_create(MFD_NOEXEC_SEAL) makes a file. The control passes MFD_EXEC.",
    "fchmod(2) to mode 0777 must fail with EPERM.",
])
.by_means_of("MFD_NOEXEC_SEAL")
.needs(&["CONFIG_MEMFD_CREATE"], 6, 3, 0)
.probed_by(probe_flag);

fn memfd_noexec(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let flag = if sandbox.applies() { MFD_NOEXEC_SEAL } else { MFD_EXEC };
    let file = File::from(memfd_create(c"vmlab", flag).during("memfd_create(2)")?);
    let changed = answer("fchmod(0777)", file.set_permissions(Permissions::from_mode(0o777)))?;
    judge("fchmod(0777)", &changed, &refused(Errno::EPERM), &Ok(()))
}

fn probe_flag() -> Result<Probe, Trouble> {
    known(
        "memfd_create(MFD_NOEXEC_SEAL)",
        memfd_create(c"vmlab", MFD_NOEXEC_SEAL),
        &[Errno::ENOSYS, Errno::EINVAL],
        &[],
    )
}

pub(super) const MEMFD_SYSCTL: Scenario = Scenario::new(
    "file.memfd-sysctl",
    "vm.memfd_noexec belongs to the PID namespace: outside, executable memfds stay allowed",
    memfd_sysctl,
)
.shows(&["later-limits"], "Documentation/userspace-api/mfd_noexec.rst, section Sysctl")
.steps(&[
    "Inside: 2 is written to vm.memfd_noexec, and memfd_create(MFD_EXEC) fails with EACCES.",
    "Outside: memfd_create(MFD_EXEC) must still succeed.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS", "CONFIG_MEMFD_CREATE", "CONFIG_SYSCTL"], 6, 3, 0)
.probed_by(probe_sysctl);

fn memfd_sysctl(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let before = read(SYSCTL)?;
    let _back = Undo::new("vm.memfd_noexec", || write(SYSCTL, &before));
    let executable = || -> Answer { memfd_create(c"vmlab", MFD_EXEC).map(drop).map_err(Code::from) };
    let inside = sandbox.run(|| {
        write(SYSCTL, "2")?;
        Ok(executable())
    })?;
    require("memfd_create(MFD_EXEC) inside", &inside, &refused(Errno::EACCES))?;
    judge("memfd_create(MFD_EXEC) outside", &executable(), &Ok(()), &refused(Errno::EACCES))
}

fn probe_sysctl() -> Result<Probe, Trouble> {
    let missing = || Probe::Missing(format!("there is no {SYSCTL}"));
    Ok(if exists(Path::new(SYSCTL))? { Probe::Available } else { missing() })
}

pub(super) const TMPFS_SIZE: Scenario =
    Scenario::new("file.tmpfs-size", "Root cannot write more to a tmpfs than its option size allows", tmpfs_size)
        .shows(&["6c"], "tmpfs(5), option size")
        .steps(&[
            "mount(2) mounts a tmpfs with size=64k. The control mounts it without the option.",
            "Root writes 128 KiB to a file there: write(2) must fail with ENOSPC after 64 KiB.",
        ])
        .by_means_of("the option size=64k")
        .needs(&["CONFIG_TMPFS"], 2, 6, 12);

fn tmpfs_size(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let options = sandbox.applies().then_some("size=64k");
    mount_kind("tmpfs", scratch.path(), options).during(format_args!("mount(tmpfs, {options:?})"))?;
    let limited = (65_536, refused(Errno::ENOSPC));
    judge("bytes that root could write, and the error", &fill(&scratch.join("file"))?, &limited, &(131_072, Ok(())))
}

/// Writes up to 128 KiB to a new file; returns the bytes written and the error.
pub(super) fn fill(path: &Path) -> Result<(usize, Answer), Trouble> {
    const BLOCK_BYTES: usize = 4096;
    let mut file = File::create_new(path).during("creating a file")?;
    for block in 0..32 {
        if let Err(refusal) = answer("write(2)", file.write_all(&[1; BLOCK_BYTES]))? {
            return Ok((block * BLOCK_BYTES, Err(refusal)));
        }
    }
    Ok((32 * BLOCK_BYTES, Ok(())))
}
