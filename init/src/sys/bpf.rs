//! Programs of the kernel's virtual machine that decide for the processes of a cgroup (bpf(2); include/uapi/linux/bpf.h).

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc;

use super::descriptor::owned;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const CGROUP_DEVICE: u32 = 6;
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

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Program {
    fd: OwnedFd,
    attach_type: u32,
}

impl Program {
    /// Loads a program that refuses every access to devices. Linux 4.15.
    ///
    /// # Errors
    /// As [`Self::only_address`].
    pub(crate) fn no_device() -> Result<Self> {
        Self::load(PROG_TYPE_CGROUP_DEVICE, CGROUP_DEVICE, &[instruction(0xb7, 0, 0), EXIT])
    }

    /// Loads a program that lets bind(2) of IPv4 sockets have one address only. It allows this address, puts it in the place of
    /// INADDR_ANY, and refuses all others with EPERM. Linux 4.17.
    ///
    /// # Errors
    /// As bpf(2): `ENOSYS` without `CONFIG_BPF_SYSCALL`, `EINVAL` without `CONFIG_CGROUP_BPF`, `EPERM`.
    pub(crate) fn only_address(address: Ipv4Addr) -> Result<Self> {
        // The offset of user_ip4 in struct bpf_sock_addr.
        const ADDRESS: u64 = 4;
        // Both are in network byte order, as the program loads the field.
        let immediate = u64::from(u32::from_ne_bytes(address.octets())) << 32;
        let program = [
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
        Self::load(PROG_TYPE_CGROUP_SOCK_ADDR, CGROUP_INET4_BIND, &program)
    }

    fn load(program_type: u32, attach_type: u32, program: &[u64]) -> Result<Self> {
        let load = Load {
            program_type,
            instruction_count: u32::try_from(program.len()).map_err(|_| Errno::EINVAL)?,
            instructions: program.as_ptr(),
            license: c"GPL".as_ptr(),
            unused: [0; 11],
            expected_attach_type: attach_type,
        };
        // SAFETY: the kernel reads the attributes, the program and the license, which are live.
        let fd = owned(unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()) })?;
        Ok(Self { fd, attach_type })
    }

    /// Attaches the program to the cgroup whose directory is open, until the cgroup is removed.
    ///
    /// # Errors
    /// As bpf(2): `EBADF`, `EPERM`.
    pub(crate) fn attach(&self, cgroup: impl AsFd) -> Result<()> {
        let attach = Attach {
            target: cgroup.as_fd().as_raw_fd(),
            program: self.fd.as_raw_fd(),
            attach_type: self.attach_type,
            flags: 0,
        };
        // SAFETY: the kernel reads the attributes, which are live.
        Errno::result(unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of::<Attach>()) })
            .map(drop)
    }
}

/// An instruction without an immediate value, little-endian.
const fn instruction(code: u64, registers: u64, offset: u64) -> u64 {
    code | registers << 8 | offset << 16
}
