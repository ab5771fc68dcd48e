//! Templates in memory, for a cache that can only be read: QEMU opens a fork's memory for writing, although it writes
//! only to private pages (7.2, file_ram_open in softmmu/physmem.c). The files are unnamed (memfd_create(2)), so that
//! nothing is left if vmlab is killed.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Whence, lseek};

use super::{STATE, ram_name};

/// The files of a template in memory.
#[derive(Debug)]
pub(super) struct InMemory {
    /// One for each node.
    ram: Vec<File>,
    state: File,
}

impl InMemory {
    /// Files to which QEMU saves a guest, whose nodes have so many bytes of memory. QEMU does not enlarge a file that exists.
    pub(super) fn new(node_memory: impl Iterator<Item = u64>) -> io::Result<Self> {
        let ram = node_memory.map(|bytes| {
            let file = unnamed()?;
            file.set_len(bytes)?;
            Ok(file)
        });
        Ok(Self { ram: ram.collect::<io::Result<_>>()?, state: unnamed()? })
    }

    /// A copy of the template in a directory.
    pub(super) fn copy_of(dir: &Path, nodes: usize) -> io::Result<Self> {
        let copy = |name: &str| -> io::Result<File> {
            let mut file = unnamed()?;
            copy_data(&mut File::open(dir.join(name))?, &mut file)?;
            Ok(file)
        };
        let ram = (0..nodes).map(|node| copy(&ram_name(node)));
        Ok(Self { ram: ram.collect::<io::Result<_>>()?, state: copy(STATE)? })
    }

    /// The paths of the guest's memory for other processes, while this process has the files open (proc(5), `/proc/PID/fd`).
    pub(super) fn ram(&self) -> Vec<PathBuf> {
        self.ram.iter().map(path_of).collect()
    }

    /// The file of the device state, for writing.
    pub(super) fn state(&self) -> io::Result<File> {
        self.state.try_clone()
    }

    /// Opens the device state at its beginning. Each fork needs an offset of its own.
    pub(super) fn open_state(&self) -> io::Result<File> {
        File::open(path_of(&self.state))
    }
}

fn unnamed() -> io::Result<File> {
    Ok(File::from(memfd_create(c"vmlab-template", MFdFlags::MFD_CLOEXEC)?))
}

fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
}

/// Copies a file without its holes (lseek(2), `SEEK_DATA`): most of a guest's memory is one.
fn copy_data(from: &mut File, to: &mut File) -> io::Result<()> {
    to.set_len(from.metadata()?.len())?;
    let mut at = 0;
    loop {
        let begin = match lseek(&*from, at, Whence::SeekData) {
            Ok(begin) => begin,
            Err(Errno::ENXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        at = lseek(&*from, begin, Whence::SeekHole)?;
        let (offset, length) = (u64::try_from(begin), u64::try_from(at - begin));
        let (Ok(offset), Ok(length)) = (offset, length) else { return Err(Errno::EOVERFLOW.into()) };
        from.seek(SeekFrom::Start(offset))?;
        to.seek(SeekFrom::Start(offset))?;
        io::copy(&mut from.by_ref().take(length), to)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_copy_in_memory_has_the_data_and_the_holes() {
        let dir = tempfile::tempdir().unwrap();
        let mut ram = File::create(dir.path().join(ram_name(0))).unwrap();
        ram.seek(SeekFrom::Start(10 << 20)).unwrap();
        ram.write_all(&[2; 5000]).unwrap();
        ram.set_len(32 << 20).unwrap();
        std::fs::write(dir.path().join(STATE), "device state").unwrap();
        let copy = InMemory::copy_of(dir.path(), 1).unwrap();
        assert_eq!(std::fs::read(&copy.ram()[0]).unwrap(), std::fs::read(dir.path().join(ram_name(0))).unwrap());
        let blocks = std::os::unix::fs::MetadataExt::blocks(&copy.ram[0].metadata().unwrap());
        assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
        File::options().read(true).write(true).open(&copy.ram()[0]).unwrap();
        for _ in 0..2 {
            assert_eq!(io::read_to_string(copy.open_state().unwrap()).unwrap(), "device state");
        }
    }
}
