//! What a kernel's file is, and whether it can be booted. Recognising works on anything that can be read and sought, so
//! that the tests need no file; [`inspect`] is the edge that opens one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

pub(super) mod bzimage;
mod foreign;
mod vmlinux;

/// How much of the front is read to recognise a file: the setup part of a bzImage is at most 65 sectors of 512 bytes,
/// and an ELF program header table follows right after its header.
const HEAD_BYTES: u64 = 64 * 1024;

/// Larger than any kernel; a vmlinux with all debugging information is about 1 GiB.
const LENGTH_LIMIT: u64 = 4 << 30;

/// A file that can be booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its form.
    pub format: Format,
    /// `uname -r` of the kernel in it.
    pub release: String,
}

/// The two forms that QEMU's `-kernel` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The compressed kernel with its real-mode header, the kernel's Documentation/arch/x86/boot.rst.
    BzImage,
    /// The ELF file, entered through its PVH note.
    Vmlinux,
}

/// An image and the file's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// What it is.
    pub image: Image,
    /// Of the whole file, hexadecimal.
    pub sha256: String,
}

/// Why a file's contents cannot be booted.
#[derive(Debug, thiserror::Error)]
pub enum Unbootable {
    /// Nothing in it.
    #[error("the file is empty; build or fetch the kernel again")]
    Empty,
    /// Its header promises more than there is.
    #[error("the kernel is truncated: its header promises {expected} bytes, the file has {actual}; copy it again")]
    Truncated {
        /// The least that a whole one has, in bytes.
        expected: u64,
        /// What is there, in bytes.
        actual: u64,
    },
    /// A kernel for another machine.
    #[error("this is a kernel for {0}, and vmlab boots kernels for 64-bit x86; build it with ARCH=x86_64")]
    Architecture(String),
    /// A bzImage from before boot protocol 2.12 (Linux 3.8), which does not say whether it is 64-bit.
    #[error(
        "this kernel speaks boot protocol {major}.{minor:02}; 2.12, of Linux 3.8, is the oldest that says whether a \
         kernel is 64-bit, so use a newer kernel"
    )]
    OldProtocol {
        /// 2 in 2.11
        major: u8,
        /// 11 in 2.11
        minor: u8,
    },
    /// A compressed file that is not a bzImage.
    #[error("the file is {form}-compressed, and QEMU takes no bare compressed kernel; unpack it with `{tool}`")]
    Compressed {
        /// As `gzip`.
        form: &'static str,
        /// The command that unpacks it.
        tool: &'static str,
    },
    /// An ELF kernel that QEMU cannot enter.
    #[error(
        "this vmlinux has no PVH entry point, which QEMU needs to start an uncompressed kernel; set CONFIG_PVH=y, or \
         give the bzImage of the same build (arch/x86/boot/bzImage)"
    )]
    NoPvh,
    /// A kernel that does not say which.
    #[error(
        "the kernel holds no release name, so it cannot be told which it is; use a bzImage as the kernel's own build makes it"
    )]
    NoRelease,
    /// Anything else.
    #[error(
        "this is not a Linux kernel: it is neither a bzImage nor a vmlinux; kernels lie in /boot/vmlinuz-* and arch/x86/boot/bzImage"
    )]
    NotAKernel,
    /// More bytes than any kernel has.
    #[error("the file has {0} bytes, more than any kernel; give a bzImage or a vmlinux")]
    TooLarge(u64),
    /// The medium failed, or the file shrank meanwhile.
    #[error("reading failed: {0}")]
    Read(io::Error),
}

/// Why a file is no kernel to boot.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Nothing has that name.
    #[error(
        "no kernel at {0}: there is no such file; a kernel is named by its path, or as debian:SUITE, or as installed \
         (see `vmlab kernel list`)"
    )]
    Missing(PathBuf),
    /// A directory, with a kernel in it where one was seen.
    #[error("{path} is a directory, not a kernel; {hint}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What to give instead.
        hint: String,
    },
    /// A device, FIFO or socket.
    #[error("{path} is a {kind}, not a kernel's file; give the path of a bzImage or vmlinux")]
    Special {
        /// What was named.
        path: PathBuf,
        /// As `FIFO`.
        kind: &'static str,
    },
    /// It is there, but not for this user.
    #[error(
        "{0} may not be read by this user; some distributions keep their kernels to root: make it readable with `sudo \
         chmod a+r {0}`, or use a kernel from the archive, as debian:trixie"
    )]
    Forbidden(PathBuf),
    /// It cannot be opened for another reason.
    #[error("cannot open {path}: {cause}")]
    Open {
        /// What was named.
        path: PathBuf,
        /// The system's word.
        cause: io::Error,
    },
    /// It was read, and is no kernel to boot.
    #[error("{path}: {what}")]
    Contents {
        /// What was named.
        path: PathBuf,
        /// What is wrong with it.
        what: Unbootable,
    },
}

/// Recognises a kernel in `length` bytes.
///
/// # Errors
/// [`Unbootable`], the variant being the first thing found to be wrong.
pub fn recognise<R: Read + Seek>(input: &mut R, length: u64) -> Result<Image, Unbootable> {
    match length {
        0 => return Err(Unbootable::Empty),
        1..=LENGTH_LIMIT => {}
        _ => return Err(Unbootable::TooLarge(length)),
    }
    let mut head = Vec::new();
    input.seek(SeekFrom::Start(0)).map_err(Unbootable::Read)?;
    input.by_ref().take(HEAD_BYTES).read_to_end(&mut head).map_err(Unbootable::Read)?;
    if bzimage::is_one(&head) {
        bzimage::recognise(&head, length)
    } else if vmlinux::is_elf(&head) {
        vmlinux::recognise(input, &head, length)
    } else {
        Err(foreign::name(&head))
    }
}

/// Opens a file, recognises the kernel in it and hashes it. Never blocks on a FIFO or device.
///
/// # Errors
/// [`FileError`]
pub fn inspect(path: &Path) -> Result<Inspected, FileError> {
    let mut file = open(path)?;
    let failed = |what| FileError::Contents { path: path.to_owned(), what };
    let length = file.metadata().map_err(|error| failed(Unbootable::Read(error)))?.len();
    let image = recognise(&mut file, length).map_err(failed)?;
    let hashed = file.seek(SeekFrom::Start(0)).and_then(|_| vmlab_store::sha256_of(&mut file));
    Ok(Inspected { image, sha256: hashed.map_err(|error| failed(Unbootable::Read(error)))? })
}

fn open(path: &Path) -> Result<File, FileError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileError::Missing(path.to_owned()),
        io::ErrorKind::PermissionDenied => FileError::Forbidden(path.to_owned()),
        _ => FileError::Open { path: path.to_owned(), cause },
    };
    // A look before opening: opening a device can have effects of its own.
    regular(path, &fs::metadata(path).map_err(failed)?)?;
    let flags = OFlag::O_NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    // And one after it: the name may mean another file by now.
    regular(path, &file.metadata().map_err(failed)?)?;
    Ok(file)
}

fn regular(path: &Path, metadata: &fs::Metadata) -> Result<(), FileError> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    if kind.is_dir() {
        return Err(FileError::Directory { path: path.to_owned(), hint: directory_hint(path) });
    }
    let kind = match kind {
        kind if kind.is_fifo() => "FIFO",
        kind if kind.is_socket() => "socket",
        kind if kind.is_block_device() => "block device",
        _ => "character device",
    };
    Err(FileError::Special { path: path.to_owned(), kind })
}

fn directory_hint(path: &Path) -> String {
    ["arch/x86/boot/bzImage", "vmlinuz", "bzImage", "vmlinux"]
        .iter()
        .map(|below| path.join(below))
        .find(|candidate| candidate.is_file())
        .map_or_else(
            || "give the path of the bzImage or vmlinux itself".to_owned(),
            |candidate| format!("did you mean {}?", candidate.display()),
        )
}

#[cfg(test)]
pub(crate) mod tests;
