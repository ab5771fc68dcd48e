//! Inspects a source tree before anything is built from it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vmlab_protocol::catalogue::KernelVersion;
use vmlab_store::regular;

/// A kernel's source tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The absolute path, without symbolic links.
    pub path: PathBuf,
    /// The version in the top Makefile.
    pub version: KernelVersion,
}

/// Why nothing can be built from a tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// There is no such directory.
    #[error("cannot open the source tree {path}: {cause}")]
    Open {
        /// The path as it was given.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The directory is no kernel's source tree.
    #[error(
        "{path} is no source tree of a Linux kernel: {what}; give the directory that has the kernel's MAINTAINERS and Kconfig"
    )]
    NoKernel {
        /// The tree's path.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// The kernel's build does not work in such a path.
    #[error(
        "the kernel's build refuses paths with blanks or colons, as {0} is one: move the tree, or bind-mount it elsewhere"
    )]
    Path(PathBuf),
    /// A kernel was built in the tree itself.
    #[error(
        "{path} has the files of a build in the tree itself ({found}), so that the kernel's build refuses to build elsewhere: \
         keep what you need (.config), and run `make -C {path} mrproper`. vmlab never writes to a source tree"
    )]
    Dirty {
        /// The tree's path.
        path: PathBuf,
        /// The file or directory that shows it.
        found: &'static str,
    },
}

/// A kernel's top Makefile has 70 KB.
const LIMIT_BYTES: u64 = 1 << 20;

/// What the kernel's Makefile takes as a sign of a build in the tree (Makefile, `outputmakefile`).
const BUILT: [&str; 3] = [".config", "include/config", "arch/x86/include/generated"];

impl Tree {
    /// Inspects a tree.
    ///
    /// # Errors
    /// [`TreeError`]
    pub fn open(path: &Path) -> Result<Self, TreeError> {
        let open = |cause| TreeError::Open { path: path.to_owned(), cause };
        let path = fs::canonicalize(path).map_err(open)?;
        // A file instead of a directory gives the system's own message.
        fs::read_dir(&path).map_err(open)?;
        let no_kernel = |what| TreeError::NoKernel { path: path.clone(), what };
        let makefile =
            regular::read(&path.join("Makefile"), LIMIT_BYTES).map_err(|_| no_kernel("it has no readable Makefile"))?;
        let version = version(&String::from_utf8_lossy(&makefile));
        let version = version.ok_or_else(|| no_kernel("its Makefile has no VERSION and PATCHLEVEL"))?;
        if !path.join("Kconfig").is_file() || !path.join("arch/x86/Kconfig").is_file() {
            return Err(no_kernel("it has no Kconfig and arch/x86/Kconfig"));
        }
        if path.as_os_str().as_encoded_bytes().iter().any(|byte| byte.is_ascii_whitespace() || *byte == b':') {
            return Err(TreeError::Path(path));
        }
        match BUILT.into_iter().find(|name| path.join(name).exists()) {
            Some(found) => Err(TreeError::Dirty { path, found }),
            None => Ok(Self { path, version }),
        }
    }
}

/// The version that a kernel's top Makefile defines.
fn version(makefile: &str) -> Option<KernelVersion> {
    let number = |name: &str| {
        let line = makefile.lines().take(40).find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
        line?.trim().parse().ok()
    };
    Some(KernelVersion::new(number("VERSION")?, number("PATCHLEVEL")?, number("SUBLEVEL").unwrap_or(0)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes the files by which a tree is recognised.
    pub(crate) fn minimal(path: &Path) {
        for (file, text) in [
            (
                "Makefile",
                "# SPDX-License-Identifier: GPL-2.0\nVERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 5\nEXTRAVERSION =\n",
            ),
            ("Kconfig", "mainmenu \"Linux\"\n"),
            ("arch/x86/Kconfig", "config X86\n\tdef_bool y\n"),
        ] {
            let file = path.join(file);
            let written = fs::create_dir_all(file.parent().unwrap_or(path)).and_then(|()| fs::write(&file, text));
            written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }

    #[test]
    fn a_tree_has_a_version() -> Result<(), TreeError> {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        minimal(dir.path());
        assert_eq!(Tree::open(dir.path())?.version, KernelVersion::new(6, 12, 5));
        Ok(())
    }

    #[test]
    fn what_nothing_can_be_built_from_is_refused_with_the_reason() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let error = |path: &Path| Tree::open(path).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error(&dir.path().join("none")).contains("No such file"));
        assert!(error(dir.path()).contains("it has no readable Makefile"));
        fs::write(dir.path().join("Makefile"), "all:\n")?;
        assert!(error(dir.path()).contains("no VERSION"));
        fs::write(dir.path().join("Makefile"), "VERSION = 6\nPATCHLEVEL = 1\n")?;
        assert!(error(dir.path()).contains("no Kconfig"));
        assert!(error(&dir.path().join("Makefile")).contains("Not a directory"));
        for (name, part) in [("a b", "blanks or colons"), ("a:b", "blanks or colons")] {
            minimal(&dir.path().join(name));
            assert!(error(&dir.path().join(name)).contains(part), "{name}");
        }
        for built in BUILT {
            let tree = dir.path().join(built.replace(['/', '.'], "_"));
            minimal(&tree);
            fs::create_dir_all(tree.join(built))?;
            let error = error(&tree);
            assert!(error.contains(built) && error.contains("mrproper"), "{error}");
        }
        Ok(())
    }
}
