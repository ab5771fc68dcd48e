//! Attributes of mounts: nodev, noexec, nosuid, nosymfollow (mount(2)).

use std::ffi::CStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::exit;

use nix::NixPath as _;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::unistd::execv;

use crate::sandbox::{During, End, Sandbox, answer, refused};
use crate::scenarios::file::node;
use crate::scenarios::support::{Scratch, become_user, judge, note, write};
use crate::scenarios::{Finding, Scenario, Trouble};

const MAN_PAGE: &str = "mount(2), section Additional mount flags";

pub(super) const NODEV: Scenario =
    Scenario::new("mount.nodev", "A device node on a nodev mount cannot be opened", nodev)
        .shows(&["mount-attributes"], MAN_PAGE)
        .steps(&[
            "mount(MS_NODEV) mounts a tmpfs. The control mounts it without the flag.",
            "mknod(2) makes a character device 1:3, /dev/null, there.",
            "open(2) of the node must fail with EACCES.",
        ])
        .by_means_of("MS_NODEV");

fn nodev(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = mounted(sandbox, MsFlags::MS_NODEV)?;
    let device = scratch.join("null");
    node(&device, 1, 3).map_err(|code| Trouble::new(format_args!("mknod(1:3): {code:?}")))?;
    let opened = answer("open(2)", File::open(&device))?.map(drop);
    judge("open(2) of a device node", &opened, &refused(Errno::EACCES), &Ok(()))
}

pub(super) const NOSYMFOLLOW: Scenario =
    Scenario::new("mount.nosymfollow", "A symbolic link on a nosymfollow mount is not followed", nosymfollow)
        .shows(&["mount-attributes"], MAN_PAGE)
        .steps(&[
            "mount(MS_NOSYMFOLLOW) mounts a tmpfs. The control mounts it without the flag.",
            "A file is written there, and a symbolic link to it.",
            "open(2) of the link must fail with ELOOP.",
        ])
        .by_means_of("MS_NOSYMFOLLOW")
        .needs(&[], 5, 10, 0);

fn nosymfollow(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    /// The flag of <linux/mount.h>, which nix lacks.
    const MS_NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);
    let scratch = mounted(sandbox, MS_NOSYMFOLLOW)?;
    write(scratch.join("file"), "")?;
    symlink("file", scratch.join("link")).during("symlink(2)")?;
    let opened = answer("open(2)", File::open(scratch.join("link")))?.map(drop);
    judge("open(2) of a symbolic link", &opened, &refused(Errno::ELOOP), &Ok(()))
}

pub(super) const NOEXEC: Scenario =
    Scenario::new("mount.noexec", "A program on a noexec mount cannot be executed", noexec)
        .shows(&["mount-attributes"], MAN_PAGE)
        .steps(&[
            "mount(MS_NOEXEC) mounts a tmpfs. The control mounts it without the flag.",
            "A program is written there. It exits with its effective user id.",
            "execve(2) of the program must fail with EACCES. In the control the program exits with 0.",
        ])
        .by_means_of("MS_NOEXEC");

fn noexec(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = mounted(sandbox, MsFlags::MS_NOEXEC)?;
    let program = install(&scratch, 0o755)?;
    let end = sandbox.end_of(|| execute(&program))?;
    judge("the end of the process that calls execve(2)", &end, &End::Exited(REFUSED), &End::Exited(0))
}

pub(super) const NOSUID: Scenario =
    Scenario::new("mount.nosuid", "A program on a nosuid mount does not get the user id of its owner", nosuid)
        .shows(&["mount-attributes"], MAN_PAGE)
        .steps(&[
            "mount(MS_NOSUID) mounts a tmpfs. The control mounts it without the flag.",
            "A program of root with mode 4755 is written there. It exits with its effective user id.",
            "User 100 executes it: it must exit with 100. In the control it exits with 0.",
        ])
        .by_means_of("MS_NOSUID");

fn nosuid(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    /// An exit status has 8 bits.
    const USER: u8 = 100;
    let scratch = mounted(sandbox, MsFlags::MS_NOSUID)?;
    let program = install(&scratch, 0o4755)?;
    let end = sandbox.end_of(|| {
        become_user(USER.into())?;
        execute(&program)
    })?;
    judge("the effective user id of the program", &end, &End::Exited(USER.into()), &End::Exited(0))
}

/// Mounts a tmpfs, with this flag if the mechanism applies.
fn mounted(sandbox: &Sandbox, flag: MsFlags) -> Result<Scratch, Trouble> {
    let scratch = Scratch::new()?;
    let flags = if sandbox.applies() { flag } else { MsFlags::empty() };
    mount(Some("vmlab"), scratch.path(), Some("tmpfs"), flags, Some("mode=0777"))
        .during(format_args!("mount(tmpfs, {flags:?})"))?;
    Ok(scratch)
}

/// The exit code that stands for EACCES of execve(2).
const REFUSED: i32 = 113;

/// Executes a program, or exits with [`REFUSED`].
fn execute(program: &Path) -> Result<(), Trouble> {
    match program.with_nix_path(|program| execv(program, &[program] as &[&CStr])).and_then(|result| result) {
        Err(Errno::EACCES) => {
            note("execve(2): EACCES");
            exit(REFUSED)
        }
        Err(errno) => Err(errno).during("execve(2)"),
        Ok(never) => match never {},
    }
}

/// Writes a program that exits with its effective user id.
fn install(scratch: &Scratch, mode: u32) -> Result<std::path::PathBuf, Trouble> {
    let path = scratch.join("program");
    fs::write(&path, program()).during("writing a program")?;
    fs::set_permissions(&path, Permissions::from_mode(mode)).during("chmod(2) of a program")?;
    Ok(path)
}

/// An ELF file for x86-64 (elf(5)): a header, one segment that loads the whole file at 0x400000, and the code.
fn program() -> Vec<u8> {
    const HEADERS: u8 = 64 + 56;
    /// `mov eax, 107 (geteuid); syscall; mov edi, eax; mov eax, 60 (exit); syscall`.
    const CODE: [u8; 16] = [0xb8, 107, 0, 0, 0, 0x0f, 0x05, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let mut elf = Vec::new();
    // Magic, 64 bits, little-endian, version 1; executable, x86-64, version 1.
    elf.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0]);
    // Entry point, offset of the program header; no section headers, no flags.
    elf.extend([HEADERS, 0, 0x40, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Sizes of the header and of a program header, their number 1; no section headers.
    elf.extend([64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // A segment to load, readable and executable, from offset 0 to address 0x400000.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend([[0, 0, 0x40, 0, 0, 0, 0, 0]; 2].concat());
    // Its size in the file and in memory, and its alignment.
    elf.extend([[HEADERS + 16, 0, 0, 0, 0, 0, 0, 0]; 2].concat());
    elf.extend([0, 0x10, 0, 0, 0, 0, 0, 0]);
    elf.extend(CODE);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_has_the_size_that_its_headers_say() {
        assert_eq!(program().len(), 64 + 56 + 16);
    }
}
