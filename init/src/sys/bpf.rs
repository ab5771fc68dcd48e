//! Programs of the kernel's virtual machine that decide on bind(2) in a cgroup (bpf(2); include/uapi/linux/bpf.h).

use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const CGROUP_INET4_BIND: u32 = 8;
const EXIT: u64 = 0x95;

/// The part of `union bpf_attr` that BPF_PROG_LOAD reads.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: *const u64,
    license: *const libc::c_char,
    /// log_level, log_size, log_buf, kern_version, prog_flags, prog_name and prog_ifindex.
    unused: [u32; 11],
    expected_attach_type: u32,
}

/// The part of `union bpf_attr` that BPF_PROG_ATTACH reads.
#[repr(C)]
struct Attach {
    target: RawFd,
    program: RawFd,
    attach_type: u32,
    flags: u32,
}

/// Loads a program that lets bind(2) of IPv4 sockets have one address only. It allows this address, puts it in the place of
/// INADDR_ANY, and refuses all others with EPERM. Linux 4.17.
///
/// # Errors
/// As bpf(2): `ENOSYS` without `CONFIG_BPF_SYSCALL`, `EINVAL` without `CONFIG_CGROUP_BPF`, `EPERM`.
pub(crate) fn only_address(address: Ipv4Addr) -> Result<OwnedFd> {
    // The offset of user_ip4 in struct bpf_sock_addr.
    const ADDRESS: u64 = 4;
    // Both are in network byte order, as the program loads the field.
    let immediate = u64::from(u32::from_ne_bytes(address.octets())) << 32;
    let instruction = |code: u64, registers: u64, offset: u64| code | registers << 8 | offset << 16;
    let program: [u64; 9] = [
        // r2 = address
        instruction(0x61, 0x12, ADDRESS),
        // if r2 == the address goto allow
        instruction(0x15, 0x02, 3) | immediate,
        // if r2 != 0 goto refuse
        instruction(0x55, 0x02, 4),
        // r3 = the address; address = r3
        instruction(0xb7, 0x03, 0) | immediate,
        instruction(0x63, 0x31, ADDRESS),
        // allow: r0 = 1; exit
        instruction(0xb7, 0, 0) | 1 << 32,
        EXIT,
        // refuse: r0 = 0; exit
        instruction(0xb7, 0, 0),
        EXIT,
    ];
    let load = Load {
        program_type: PROG_TYPE_CGROUP_SOCK_ADDR,
        instruction_count: 9,
        instructions: program.as_ptr(),
        license: c"GPL".as_ptr(),
        unused: [0; 11],
        expected_attach_type: CGROUP_INET4_BIND,
    };
    // SAFETY: the kernel reads the attributes, the program and the license, which are live.
    let fd =
        Errno::result(unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, mem::size_of::<Load>()) })?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the descriptor is new, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a program of [`only_address`] to a cgroup, until the cgroup is removed.
///
/// # Errors
/// As bpf(2): `EBADF`, `EPERM`.
pub(crate) fn attach(program: impl AsFd, cgroup: impl AsFd) -> Result<()> {
    let attach = Attach {
        target: cgroup.as_fd().as_raw_fd(),
        program: program.as_fd().as_raw_fd(),
        attach_type: CGROUP_INET4_BIND,
        flags: 0,
    };
    let size = mem::size_of::<Attach>();
    // SAFETY: the kernel reads the attributes, which are live.
    Errno::result(unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size) }).map(drop)
}
