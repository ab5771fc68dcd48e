//! The places of installed kernels, by distribution.
//!
//! | place | who has it |
//! |---|---|
//! | `/boot/vmlinuz-RELEASE` | Debian, Ubuntu, Fedora, openSUSE, Void, `make install` |
//! | `/boot/vmlinuz-NAME`, `/boot/vmlinuz` | Arch (`vmlinuz-linux-lts`), Alpine (`vmlinuz-virt`), `make install` without installkernel |
//! | `/boot/kernel-RELEASE`, `/boot/bzImage-RELEASE` | Gentoo |
//! | `/boot/MACHINE-ID/RELEASE/linux`, also below `/efi` and `/boot/efi` | kernel-install(8) |
//! | `/lib/modules/RELEASE/vmlinuz`, also below `/usr` | Fedora, Arch, openSUSE, Debian from Linux 7.0 on |
//! | `/run/booted-system/kernel`, `/run/current-system/kernel` | NixOS |
//!
//! Files that are no installed kernel any more, or not yet, are left out by their names: what an installer has set aside
//! (`.old`, `.bak`, `.dpkg-new`, `.rpmsave`), signatures and digests, and rescue kernels (`vmlinuz-0-rescue-MACHINE-ID`),
//! which are copies of the kernel that was installed first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::InstalledError;

/// A file that may be a kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// The part of the name that is the release on most distributions.
    pub(super) named: Option<String>,
    /// Whether the name is used for kernels only, so that a file that cannot be read is worth an error.
    pub(super) is_certain: bool,
}

/// The prefixes of kernels in `/boot`.
const PREFIXES: [&str; 4] = ["vmlinuz", "kernel", "bzImage", "vmlinux"];

/// The names of kernels among their modules, the best first. A `vmlinux` may have debug information, and take longer to
/// load.
const AMONG_MODULES: [&str; 4] = ["vmlinuz", "bzImage", "Image", "vmlinux"];

/// The words of a name, between dots, by which a file is left out.
const ASIDE: &[&str] =
    &["old", "bak", "backup", "orig", "save", "prev", "previous", "tmp", "new", "part", "rpmsave", "rpmnew", "rpmorig"];
const NO_KERNEL: &[&str] = &["sig", "asc", "sign", "hmac", "md5", "sha1", "sha256", "sha512", "img", "gz", "xz", "zst"];

/// All files that may be kernels, those of the preferred places first.
pub(super) fn all(root: &Path) -> Result<Vec<Place>, InstalledError> {
    let boot = root.join("boot");
    let mut places = Vec::new();
    for prefix in PREFIXES {
        for name in names(&boot)? {
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            let named = rest.strip_prefix('-').map(str::to_owned);
            if (rest.is_empty() || named.is_some()) && !is_left_out(rest) {
                places.push(Place { path: boot.join(&name), named, is_certain: prefix == "vmlinuz" });
            }
        }
    }
    for base in [boot.clone(), root.join("efi"), boot.join("efi")] {
        let machines = if base == boot { names(&base)? } else { names(&base).unwrap_or_default() };
        for machine in machines.into_iter().filter(|name| is_machine_id(name)) {
            with_releases(&base.join(machine), &["linux"], &mut places)?;
        }
    }
    for modules in ["lib/modules", "usr/lib/modules"] {
        with_releases(&root.join(modules), &AMONG_MODULES, &mut places)?;
    }
    for system in ["run/booted-system/kernel", "run/current-system/kernel"] {
        places.push(Place { path: root.join(system), named: None, is_certain: true });
    }
    Ok(places)
}

/// For each `RELEASE` in `dir`, the first file with one of `files`' names.
fn with_releases(dir: &Path, files: &[&str], places: &mut Vec<Place>) -> Result<(), InstalledError> {
    for release in names(dir)?.into_iter().filter(|release| !is_left_out(&format!("-{release}"))) {
        let paths = files.iter().map(|file| dir.join(&release).join(file));
        if let Some(path) = paths.into_iter().find(|path| path.is_file()) {
            places.push(Place { path, named: Some(release), is_certain: true });
        }
    }
    Ok(())
}

/// Whether a file is left out by the part of its name after the prefix, for example `-6.1.0.old`.
fn is_left_out(rest: &str) -> bool {
    let whole = rest.trim_start_matches(['-', '.']);
    let is_aside = |word: &str| {
        let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
        ASIDE.contains(&word) || word.starts_with("dpkg-") || word.starts_with("ucf-")
    };
    let words = || rest.split('.').skip(1);
    rest.ends_with('~')
        || ASIDE.contains(&whole)
        || words().any(is_aside)
        || words().last().is_some_and(|word| NO_KERNEL.contains(&word))
        || whole.starts_with("0-rescue")
        || whole.starts_with("rescue")
}

/// The name of a machine in kernel-install(8)'s layout (machine-id(5)).
fn is_machine_id(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The names in a directory, sorted; none if it does not exist.
fn names(dir: &Path) -> Result<Vec<String>, InstalledError> {
    let failed = |cause| InstalledError::List { path: dir.to_owned(), cause };
    let mut names: Vec<String> = match fs::read_dir(dir) {
        Ok(listing) => {
            let names = listing.map(|file| Ok(file.map_err(failed)?.file_name().to_string_lossy().into_owned()));
            names.collect::<Result<_, _>>()?
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_set_aside_or_no_kernels_are_left_out_by_name() {
        for name in [
            "-6.1.0.old",
            ".old",
            "-old",
            "-6.1.0.old.1",
            "-6.1.0.old2",
            "-6.1.0.bak",
            "-6.1.0~",
            "-6.1.0-38-amd64.dpkg-new",
            "-6.1.0-38-amd64.dpkg-tmp",
            "-6.1.0.rpmsave",
            "-6.1.0.orig",
            "-6.1.0-38-amd64.sig",
            "-6.1.0.hmac",
            "-linux.bak",
            "-0-rescue-0123456789abcdef0123456789abcdef",
            "-rescue",
        ] {
            assert!(is_left_out(name), "{name}");
        }
        for name in [
            "",
            "-6.1.0",
            "-6.1.0-38-amd64",
            "-linux",
            "-linux-lts",
            "-virt",
            "-6.12.5-200.fc41.x86_64",
            "-6.12.0-older",
            "-6.12.117-it works+1_1",
            "-6.12.0-rescued",
            "-6.4.0-150600.23.7-default",
            "-6.8.0-51-generic.efi.signed",
            "-6.12.0-rc3.new-scheduler",
        ] {
            assert!(!is_left_out(name), "{name}");
        }
    }
}
