//! The embedded programs, as files that can be executed.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Mutex;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Differs between builds of the embedded programs that differ.
pub const IDENTITY: &str = env!("VMLAB_THAW_PROGRAMS");

/// An embedded program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `vmlab-freezer CHANNEL IMAGE PASSED [RAM...] -- QEMU ARGUMENTS...`: see [`crate::freezer`].
    Freezer,
    /// `vmlab-thawer`, with the arguments that `ps` is to show. Descriptor [`IMAGE_FD`](crate::IMAGE_FD) has the image,
    /// [`RAM_FD`](crate::RAM_FD) and those behind it have the guest's memory. It exits with [`NOT_THAWED`](crate::NOT_THAWED) and a line on
    /// standard error if it fails before the frozen process has run.
    Thawer,
}

impl Program {
    /// The program: a static ELF executable for x86-64.
    #[must_use]
    pub const fn binary(self) -> &'static [u8] {
        match self {
            Self::Freezer => include_bytes!(concat!(env!("OUT_DIR"), "/vmlab-freezer")),
            Self::Thawer => include_bytes!(concat!(env!("OUT_DIR"), "/vmlab-thawer")),
        }
    }

    const fn name(self) -> &'static std::ffi::CStr {
        match self {
            Self::Freezer => c"vmlab-freezer",
            Self::Thawer => c"vmlab-thawer",
        }
    }

    /// The path under which this process and its children can execute the program: an unnamed file (memfd_create(2)), which needs no
    /// directory without `noexec`, and of which nothing is left. The path is of this process's descriptor, so that a child's
    /// descriptors do not matter. It is made once and open until the process ends.
    ///
    /// # Errors
    /// As memfd_create(2). With the sysctl `vm.memfd_noexec` 2 the error is EACCES.
    pub fn path(self) -> io::Result<PathBuf> {
        static OPEN: Mutex<[Option<File>; 2]> = Mutex::new([None, None]);
        let mut open = OPEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let place = &mut open[self as usize];
        let descriptor = match place {
            Some(descriptor) => descriptor,
            None => place.insert(unnamed(self)?),
        };
        Ok(PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), descriptor.as_raw_fd())))
    }
}

fn unnamed(program: Program) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC;
    // Linux 6.3 and later want to be asked for a file that can be executed, and older ones do not know the flag.
    let file = match memfd_create(program.name(), flags | MFdFlags::from_bits_retain(libc::MFD_EXEC)) {
        Err(Errno::EINVAL) => memfd_create(program.name(), flags),
        made => made,
    };
    let mut file = File::from(file?);
    file.write_all(program.binary())?;
    // execve(2) refuses a file that is open for writing.
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The sizes in bytes that a change should not exceed without a thought.
    const LIMITS: [(Program, usize); 2] = [(Program::Freezer, 1_400_000), (Program::Thawer, 64_000)];

    #[test]
    fn both_programs_are_static_and_small() {
        for (program, limit) in LIMITS {
            let elf = program.binary();
            assert_eq!(&elf[..6], b"\x7fELF\x02\x01", "a 64-bit little-endian ELF file");
            // e_type is ET_EXEC: at fixed addresses.
            assert_eq!(elf[16..18], [2, 0], "{program:?}");
            assert!(elf.len() <= limit, "{program:?} has {} bytes", elf.len());
        }
    }

    #[test]
    fn programs_run_from_their_paths() {
        for _ in 0..2 {
            let freezer = Command::new(Program::Freezer.path().unwrap()).output().unwrap();
            assert_eq!(freezer.status.code(), Some(64));
            assert!(String::from_utf8_lossy(&freezer.stderr).starts_with("usage: vmlab-freezer"));
            let thawer = Command::new(Program::Thawer.path().unwrap()).output().unwrap();
            assert_eq!(thawer.status.code(), Some(crate::NOT_THAWED));
            let line = String::from_utf8_lossy(&thawer.stderr).into_owned();
            assert!(line.starts_with("vmlab-thawer: ") && line.lines().count() == 1, "{line}");
        }
        assert_eq!(Program::Thawer.path().unwrap(), Program::Thawer.path().unwrap());
    }
}
