//! Finds the kernels that are installed on this machine.

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::source::is_release;

/// Why no installed kernel is available.
#[derive(Debug, thiserror::Error)]
pub enum InstalledError {
    /// No kernel is installed, as in most containers.
    #[error(
        "no kernel is installed on this machine (looked in /boot and /lib/modules); use a kernel from the archive, \
        such as debian:trixie, or give a kernel by its path"
    )]
    None,
    /// Only other releases are installed.
    #[error("no kernel {release} is installed on this machine; installed: {there}")]
    NoSuchRelease {
        /// The requested release.
        release: String,
        /// The installed releases, newest first.
        there: String,
    },
    /// A directory cannot be listed.
    #[error("cannot look for installed kernels in {path}: {cause}; make it readable, or give a kernel by its path")]
    List {
        /// The path of the directory.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

/// An installed kernel, not yet inspected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The release in the name of the file or directory.
    pub release: String,
    /// The path of the kernel file.
    pub path: PathBuf,
}

/// The newest installed kernel, or the one with `release`. `root` is the directory of `/boot`.
pub(crate) fn choose(root: &Path, release: Option<&str>) -> Result<Installed, InstalledError> {
    let found = find(root)?;
    let Some(release) = release else { return found.into_iter().next().ok_or(InstalledError::None) };
    let there: Vec<&str> = found.iter().map(|kernel| kernel.release.as_str()).collect();
    let there = there.join(", ");
    let chosen = found.into_iter().find(|kernel| kernel.release == release);
    chosen.ok_or_else(|| InstalledError::NoSuchRelease { release: release.to_owned(), there })
}

/// All installed kernels, newest first, each release once: `/boot/vmlinuz-RELEASE`, `/lib/modules/RELEASE/vmlinuz` and
/// `/usr/lib/modules/RELEASE/vmlinuz`.
///
/// # Errors
/// [`InstalledError::List`] if a directory cannot be read.
pub fn find(root: &Path) -> Result<Vec<Installed>, InstalledError> {
    let mut found = Vec::new();
    for name in names(&root.join("boot"))? {
        if let Some(release) = name.strip_prefix("vmlinuz-") {
            found.push(Installed { release: release.to_owned(), path: root.join("boot").join(&name) });
        }
    }
    for modules in ["lib/modules", "usr/lib/modules"] {
        let dir = root.join(modules);
        for release in names(&dir)? {
            let path = dir.join(&release).join("vmlinuz");
            found.push(Installed { release, path });
        }
    }
    found.retain(|kernel| is_release(&kernel.release) && kernel.path.is_file());
    // The sort is stable, so of two files of a release the first one found stays.
    found.sort_by(|a, b| compare(&b.release, &a.release));
    found.dedup_by(|later, earlier| later.release == earlier.release);
    Ok(found)
}

fn names(dir: &Path) -> Result<Vec<String>, InstalledError> {
    let failed = |cause| InstalledError::List { path: dir.to_owned(), cause };
    match fs::read_dir(dir) {
        Ok(listing) => {
            listing.map(|file| Ok(file.map_err(failed)?.file_name().to_string_lossy().into_owned())).collect()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Orders releases by their numbers (`6.9` before `6.12`), then by the text between the numbers. A release candidate
/// comes before its release.
fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.replace("-rc", "~rc"), b.replace("-rc", "~rc"));
    parts(&a).cmp(parts(&b)).then_with(|| a.cmp(&b))
}

/// Each number with the text before it. A tilde sorts before everything, even before the end, as in Debian's versions.
fn parts(release: &str) -> impl Iterator<Item = (Vec<u8>, u64)> {
    let mut rest = release;
    let mut ended = false;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            // The end sorts after a tilde and before everything else.
            return (!std::mem::replace(&mut ended, true)).then(|| (vec![1], 0));
        }
        let text = &rest[..rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len())];
        let after = &rest[text.len()..];
        let digits = &after[..after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())];
        rest = &after[digits.len()..];
        let rank = |byte: u8| if byte == b'~' { 0 } else { byte.max(2) };
        Some((text.bytes().map(rank).collect(), digits.parse().unwrap_or(u64::MAX)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::{RELEASE, bzimage};

    fn put(root: &Path, path: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bzimage(1)).unwrap();
    }

    #[test]
    fn releases_are_ordered_by_their_numbers() {
        let ordered = [
            "5.10.0-46-amd64",
            "6.1.0-9-amd64",
            "6.1.0-56-amd64",
            "6.1.0-56-cloud-amd64",
            "6.9.3",
            "6.12.117+deb13-amd64",
            "7.0.0-rc3",
            "7.0.0",
            "7.0.0-1-amd64",
            "7.3.4+deb13-amd64",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
    }

    #[test]
    fn the_newest_kernel_is_taken_and_each_release_is_found_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert!(matches!(choose(root, None), Err(InstalledError::None)));
        for path in [
            &format!("boot/vmlinuz-{RELEASE}"),
            "boot/vmlinuz-5.10.0-9-amd64",
            "boot/config-9.9",
            "boot/vmlinuz-..",
            &format!("lib/modules/{RELEASE}/vmlinuz"),
            "usr/lib/modules/6.0.0/vmlinuz",
        ] {
            put(root, path);
        }
        fs::create_dir_all(root.join("lib/modules/8.8.8")).unwrap();
        let releases: Vec<String> = find(root).unwrap().into_iter().map(|kernel| kernel.release).collect();
        assert_eq!(releases, [RELEASE, "6.0.0", "5.10.0-9-amd64"]);
        assert_eq!(choose(root, None).unwrap().path, root.join(format!("boot/vmlinuz-{RELEASE}")));
        assert_eq!(choose(root, Some("6.0.0")).unwrap().path, root.join("usr/lib/modules/6.0.0/vmlinuz"));
        let error = choose(root, Some("1.2.3")).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("no kernel 1.2.3 is installed on this machine; installed: {RELEASE}, 6.0.0, 5.10.0-9-amd64")
        );
    }
}
