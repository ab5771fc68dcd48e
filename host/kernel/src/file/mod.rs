//! Recognises kernel files and checks whether QEMU can boot them. [`recognise`] works on any seekable reader, so that
//! tests need no files; `inspect` opens a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

pub(super) mod bzimage;
mod foreign;
mod uki;
mod vmlinux;

pub use uki::Section;

/// The number of bytes at the front that are read to recognise a file. The setup part of a bzImage has at most 65
/// sectors of 512 bytes, and an ELF program header table follows the header.
const HEAD_BYTES: u64 = 64 * 1024;

/// More than any kernel, in bytes; a vmlinux with full debug information has about 1 GiB.
const LENGTH_LIMIT: u64 = 4 << 30;

/// A bootable file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The file's format.
    pub format: Format,
    /// `uname -r` of the kernel.
    pub release: String,
    /// The part of the file that is the kernel, for a unified kernel image; `None` if the whole file is the kernel.
    pub section: Option<Section>,
}

/// The formats that QEMU's `-kernel` accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A compressed kernel with a real-mode header (the kernel's Documentation/arch/x86/boot.rst).
    BzImage,
    /// An ELF file, which QEMU enters through its PVH note.
    Vmlinux,
}

/// A recognised file and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inspected {
    /// The recognised kernel.
    pub(crate) image: Image,
    /// The SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
}

/// Why a file's contents are not bootable.
#[derive(Debug, thiserror::Error)]
pub enum Unbootable {
    /// The file is empty.
    #[error("the file is empty; build or fetch the kernel again")]
    Empty,
    /// The file is shorter than its header says.
    #[error("the kernel is truncated: its header requires {expected} bytes, the file has {actual}; copy it again")]
    Truncated {
        /// The minimum length by the header, in bytes.
        expected: u64,
        /// The file's length, in bytes.
        actual: u64,
    },
    /// The kernel is for another architecture.
    #[error("this is a kernel for {0}, but vmlab boots kernels for 64-bit x86; build it with ARCH=x86_64")]
    Architecture(String),
    /// The bzImage has a boot protocol before 2.12 (Linux 3.8), which does not say whether the kernel is 64-bit.
    #[error(
        "this kernel has boot protocol {major}.{minor:02}, which does not say whether the kernel is 64-bit; use a \
        kernel with protocol 2.12 or later (Linux 3.8)"
    )]
    OldProtocol {
        /// The 2 in 2.11.
        major: u8,
        /// The 11 in 2.11.
        minor: u8,
    },
    /// The file is compressed and no bzImage.
    #[error(
        "the file is {form}-compressed, and QEMU accepts no compressed kernel except a bzImage; decompress it with `{tool}`"
    )]
    Compressed {
        /// The compression format, for example `gzip`.
        form: &'static str,
        /// The command that decompresses it.
        tool: &'static str,
    },
    /// The vmlinux has no PVH entry point.
    #[error(
        "this vmlinux has no PVH entry point, which QEMU needs to start an uncompressed kernel; set CONFIG_PVH=y, or \
         give the bzImage of the same build (arch/x86/boot/bzImage)"
    )]
    NoPvh,
    /// The kernel has no release name.
    #[error("the kernel contains no release name, so vmlab cannot identify it; use a bzImage from the kernel's build")]
    NoRelease,
    /// The file is a unified kernel image, and the kernel in it is not bootable.
    #[error("this is a unified kernel image, and the kernel in its section .linux cannot be booted: {0}")]
    InUki(Box<Unbootable>),
    /// The file has an unknown format.
    #[error(
        "this is not a Linux kernel: it is neither a bzImage nor a vmlinux nor a unified kernel image; look for \
        /boot/vmlinuz-* or arch/x86/boot/bzImage"
    )]
    NotAKernel,
    /// The file is larger than any kernel.
    #[error("the file has {0} bytes, more than any kernel; give a bzImage or a vmlinux")]
    TooLarge(u64),
    /// The file cannot be read, or became shorter during reading.
    #[error("cannot read the file: {0}")]
    Read(io::Error),
}

/// Why a path is no bootable kernel.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The path does not exist.
    #[error(
        "no kernel at {0}: there is no such file; give a path, debian:SUITE, installed, source:SUITE or tree:PATH (see `vmlab help kernels`)"
    )]
    Missing(PathBuf),
    /// The path is a directory. The hint names a kernel in it, if there is one.
    #[error("{path} is a directory, not a kernel; {hint}")]
    Directory {
        /// The path of the directory.
        path: PathBuf,
        /// The path to give instead.
        hint: String,
    },
    /// The path is a device, FIFO or socket.
    #[error("{path} is a {kind}, not a kernel file; give the path of a bzImage or vmlinux")]
    Special {
        /// The path.
        path: PathBuf,
        /// The type of file, for example `FIFO`.
        kind: &'static str,
    },
    /// The user may not read the file.
    #[error(
        "{0} is not readable for this user (some distributions restrict kernels to root); make it readable with `sudo \
        chmod a+r {0}`, or use a kernel from the archive, such as debian:trixie"
    )]
    Forbidden(PathBuf),
    /// The file cannot be opened for another reason.
    #[error("cannot open {path}: {cause}")]
    Open {
        /// The path.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The file is no bootable kernel.
    #[error("{path}: {what}")]
    Contents {
        /// The path.
        path: PathBuf,
        /// The reason.
        what: Unbootable,
    },
}

/// Recognises a kernel in `length` bytes.
///
/// # Errors
/// [`Unbootable`] with the first problem found.
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
    } else if let Some(section) = uki::section(&head, length)? {
        uki::recognise(input, section)
    } else {
        Err(foreign::name(&head))
    }
}

/// Opens a file, recognises its kernel and hashes it. Never blocks on a FIFO or device.
///
/// # Errors
/// [`FileError`] if the path is no bootable kernel.
pub(crate) fn inspect(path: &Path) -> Result<Inspected, FileError> {
    let (image, mut file) = recognise_open(path)?;
    let hashed = file.seek(SeekFrom::Start(0)).and_then(|_| vmlab_store::sha256_of(&mut file));
    let failed = |error| FileError::Contents { path: path.to_owned(), what: Unbootable::Read(error) };
    Ok(Inspected { image, sha256: hashed.map_err(failed)? })
}

/// As [`inspect`], without the hash: reads a bzImage's first 64 KiB.
///
/// # Errors
/// [`FileError`] if the path is no bootable kernel.
pub(crate) fn recognise_file(path: &Path) -> Result<Image, FileError> {
    recognise_open(path).map(|(image, _)| image)
}

fn recognise_open(path: &Path) -> Result<(Image, File), FileError> {
    let mut file = open(path)?;
    let failed = |what| FileError::Contents { path: path.to_owned(), what };
    let length = file.metadata().map_err(|error| failed(Unbootable::Read(error)))?.len();
    let image = recognise(&mut file, length).map_err(failed)?;
    Ok((image, file))
}

fn open(path: &Path) -> Result<File, FileError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileError::Missing(path.to_owned()),
        io::ErrorKind::PermissionDenied => FileError::Forbidden(path.to_owned()),
        _ => FileError::Open { path: path.to_owned(), cause },
    };
    // Check before opening, because opening a device can have effects.
    regular(path, &fs::metadata(path).map_err(failed)?)?;
    let flags = OFlag::O_NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    // Check again after opening, because the path may have changed.
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
            || "give the path of the bzImage or vmlinux".to_owned(),
            |candidate| format!("did you mean {}?", candidate.display()),
        )
}

#[cfg(test)]
pub(crate) mod tests;
