//! The values of `--out`. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A directory of the guest's, or a file, and where it goes on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutDir {
    /// An absolute path.
    pub(super) guest: PathBuf,
    pub(super) host: PathBuf,
}

impl OutDir {
    /// Reads `DIR[:HOSTDIR]`. A relative DIR is below the working directory of the program.
    pub(super) fn parse(text: &OsStr, cwd: &Path) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let (guest, host) = match bytes.iter().position(|byte| *byte == b':') {
            Some(colon) => (&bytes[..colon], Some(&bytes[colon + 1..])),
            None => (bytes, None),
        };
        if guest.is_empty() || host.is_some_and(<[u8]>::is_empty) {
            return Err(format!("--out {}: a directory is missing; give `DIR` or `DIR:HOSTDIR`", text.display()));
        }
        let guest = cwd.join(OsStr::from_bytes(guest));
        // A slip would overwrite files of the system's.
        if host.is_none() && !guest.starts_with(cwd) {
            let dir = text.display();
            return Err(format!(
                "--out {dir}: outside of the working directory, the directory on this machine must be named, as `--out {dir}:HOSTDIR`"
            ));
        }
        let host = host.map_or_else(|| guest.clone(), |host| PathBuf::from(OsStr::from_bytes(host)));
        Ok(Self { guest, host })
    }

    /// The name that a single file gets in a directory of the host's.
    pub(super) fn file_name(&self) -> &OsStr {
        self.guest.file_name().unwrap_or(OsStr::new("out"))
    }
}

/// The name of the directory for a kernel's files: readable, and without characters that file systems, scripts or CI services
/// treat in a special way. `taken` has the names of other kernels.
pub(super) fn directory_name(target: &str, taken: &[String]) -> OsString {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.+@".contains(c);
    let name: String = target.chars().map(|c| if is_plain(c) { c } else { '-' }).take(100).collect();
    let name = match name.trim_start_matches(['-', '.']) {
        "" => "kernel",
        name => name,
    };
    let others = (2..).map(|number| format!("{name}-{number}"));
    let mut candidates = std::iter::once(name.to_owned()).chain(others);
    candidates.find(|name| !taken.contains(name)).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_directory_is_below_the_working_directory() {
        let parse = |text: &str| OutDir::parse(OsStr::new(text), Path::new("/src"));
        let both = |guest: &str, host: &str| Ok(OutDir { guest: guest.into(), host: host.into() });
        assert_eq!(parse("results"), both("/src/results", "/src/results"));
        assert_eq!(parse("results:copy"), both("/src/results", "copy"));
        assert_eq!(parse("/tmp/x:/a:b"), both("/tmp/x", "/a:b"));
        assert_eq!(parse("."), both("/src/.", "/src/."));
        for outside in ["/etc", "/", "/srcs"] {
            assert!(
                parse(outside).is_err_and(|error| error.contains(&format!("`--out {outside}:HOSTDIR`"))),
                "{outside}"
            );
        }
        for bad in ["", ":", "a:", ":b"] {
            assert!(parse(bad).is_err_and(|error| error.contains("a directory is missing")), "{bad}");
        }
    }

    #[test]
    fn kernels_have_directories_of_their_own() {
        let name = |target: &str, taken: &[&str]| {
            let taken: Vec<_> = taken.iter().map(|&name| name.to_owned()).collect();
            directory_name(target, &taken).into_string().unwrap()
        };
        for (target, expected) in [
            ("debian:trixie", "debian-trixie"),
            ("debian:bookworm/rt@smp4", "debian-bookworm-rt@smp4"),
            ("tree:.+base+kasan", "tree-.+base+kasan"),
            ("/boot/vmlinuz-6.1", "boot-vmlinuz-6.1"),
            ("../..", "kernel"),
            (".", "kernel"),
            ("a\n\u{1b}b c", "a--b-c"),
        ] {
            assert_eq!(name(target, &[]), expected);
        }
        assert_eq!(name("a/b", &["a-b"]), "a-b-2");
        assert_eq!(name("a/b", &["a-b", "a-b-2"]), "a-b-3");
        assert_eq!(name(&"x".repeat(1000), &[]).len(), 100);
    }
}
