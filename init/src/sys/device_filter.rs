//! BPF programs that decide on a cgroup's access to devices (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE). Linux 4.15.

use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc;

// include/uapi/linux/bpf.h
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;

/// `r0 = 0` and `exit`: refuses every access. Code, registers, offset, and immediate value of each instruction, little-endian.
const REFUSE_ALL: [u64; 2] = [0xb7, 0x95];

/// The first members of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// The first members of `union bpf_attr` for BPF_PROG_ATTACH.
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Loads a program that refuses every access.
///
/// # Errors
/// As bpf(2): `ENOSYS`; `EINVAL` if the kernel does not know the type.
pub(crate) fn refuse_all() -> Result<OwnedFd> {
    let license = c"GPL";
    let load = Load {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: 2,
        insns: REFUSE_ALL.as_ptr() as u64,
        license: license.as_ptr() as u64,
    };
    // SAFETY: the kernel reads the struct, of the size given, and the two arrays that it points to, which are live.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>()) };
    let fd = libc::c_int::try_from(Errno::result(fd)?).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the call has returned a new descriptor that belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches the program to the cgroup whose directory is open.
///
/// # Errors
/// As bpf(2).
pub(crate) fn attach(cgroup: impl AsFd, program: impl AsFd) -> Result<()> {
    let number = |fd: libc::c_int| u32::try_from(fd).map_err(|_| Errno::EBADF);
    let attach = Attach {
        target_fd: number(cgroup.as_fd().as_raw_fd())?,
        attach_bpf_fd: number(program.as_fd().as_raw_fd())?,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: 0,
    };
    // SAFETY: the kernel reads the struct, of the size given.
    Errno::result(unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attach, size_of::<Attach>()) })
        .map(drop)
}
