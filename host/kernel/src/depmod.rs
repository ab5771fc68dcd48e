//! Creates `modules.dep` (modules.dep(5)) for a tree of modules that has none.
//!
//! Debian's packages do not contain the file: depmod(8) creates it at installation. vmlab creates it from the `depends`
//! field that modpost writes into every module (scripts/mod/modpost.c, `add_depends`). The field names the modules
//! whose symbols a module uses; depmod determines the same modules by comparing symbols. The host therefore needs no
//! kmod. A tree that is no package may be incomplete. A module that needs a missing module is left out of its list, so
//! that the other modules can be used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::decompress::{self, DecompressError};
use crate::modinfo;

/// More than the decompressed size of any module, in bytes.
pub const MODULE_LIMIT: u64 = 256 << 20;

/// Why `modules.dep` cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum DepmodError {
    /// A file or directory cannot be read.
    #[error("cannot read the kernel modules: {path}: {cause}")]
    Read {
        /// The path of the file or directory.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// A file has no `depends` field, although it is an ELF file.
    #[error("{0} is not a kernel module; the module is damaged or has a form that vmlab does not know")]
    Malformed(PathBuf),
    /// A file is no ELF file, is damaged, or is compressed in an unknown format.
    #[error("{path} is not a kernel module: {cause}; the module is damaged or has a form that vmlab does not know")]
    Content {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong.
        cause: DecompressError,
    },
    /// A module needs a module that does not exist.
    #[error("the kernel module {module} needs {needed}, which is not among the modules of this kernel")]
    Lacking {
        /// The module with the dependency.
        module: String,
        /// The missing module.
        needed: String,
    },
    /// Modules depend on each other and cannot be loaded.
    #[error("the kernel module {0} depends on itself through other modules")]
    Circular(String),
    /// The caller no longer waits for the result.
    #[error("stopped")]
    Cancelled,
}

/// A module. Its name is the file's name with underscores instead of hyphens, as for modprobe(8).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    /// The path relative to `modules.dep`, for example `kernel/drivers/virtio/virtio_ring.ko.xz`.
    path: String,
    /// The names of the modules that it directly depends on.
    needs: Vec<String>,
}

/// What becomes of a module that needs a module that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lacking {
    /// It is an error: the tree is a whole package.
    Refuse,
    /// The module is left out of the list.
    LeaveOut,
}

/// Creates the text of `modules.dep` for the modules below a directory. Setting `cancelled` stops the work.
///
/// # Errors
/// [`DepmodError`] if a module cannot be read or its dependencies cannot be satisfied.
pub(crate) fn modules_dep(dir: &Path, lacking: Lacking, cancelled: &AtomicBool) -> Result<String, DepmodError> {
    let mut modules = BTreeMap::new();
    for path in module_files(dir)? {
        if cancelled.load(Ordering::Relaxed) {
            return Err(DepmodError::Cancelled);
        }
        let needs = modinfo_depends(&read(&path)?).ok_or_else(|| DepmodError::Malformed(path.clone()))?;
        let below = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
        modules.insert(name_of(&below), Module { path: below, needs });
    }
    if lacking == Lacking::LeaveOut {
        leave_out_incomplete(&mut modules);
    }
    render(&modules)
}

/// Removes the modules that need missing modules, and the modules that need those.
fn leave_out_incomplete(modules: &mut BTreeMap<String, Module>) {
    loop {
        let names: BTreeSet<String> = modules.keys().cloned().collect();
        modules.retain(|_, module| module.needs.iter().all(|needed| names.contains(needed)));
        if modules.len() == names.len() {
            return;
        }
    }
}

/// The paths of all modules below a directory, sorted.
///
/// # Errors
/// [`DepmodError::Read`]
pub(crate) fn module_files(dir: &Path) -> Result<Vec<PathBuf>, DepmodError> {
    let mut paths = Vec::new();
    find(dir, &mut paths)?;
    paths.sort();
    Ok(paths)
}

fn find(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), DepmodError> {
    let failed = |cause| DepmodError::Read { path: dir.to_owned(), cause };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Links such as `build` point outside of the tree, so they are not followed.
        let kind = entry.file_type().map_err(failed)?;
        let name = entry.file_name();
        if kind.is_dir() {
            find(&entry.path(), found)?;
        } else if kind.is_file() && suffix_at(&name.to_string_lossy()).is_some() {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// The offset of a module's suffix: `.ko` and the extension of its compression.
fn suffix_at(name: &str) -> Option<usize> {
    let at = name.rfind(".ko")?;
    matches!(&name[at..], ".ko" | ".ko.xz" | ".ko.zst" | ".ko.gz").then_some(at)
}

/// The name of the module at a path.
pub(crate) fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file[..suffix_at(file).unwrap_or(file.len())].replace('-', "_")
}

/// Reads the file of a module, and decompresses it.
///
/// # Errors
/// [`DepmodError::Read`], [`DepmodError::Content`]
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DepmodError> {
    let failed = |cause| DepmodError::Read { path: path.to_owned(), cause };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MODULE_LIMIT).read_to_end(&mut bytes).map_err(failed)?;
    let content = |cause| DepmodError::Content { path: path.to_owned(), cause };
    decompress::module(bytes, MODULE_LIMIT).map_err(content)
}

/// The names (with underscores) of the modules that a module directly depends on, from the `depends` field in the
/// `.modinfo` section of its decompressed file. None if the file is no module.
#[must_use]
pub fn modinfo_depends(bytes: &[u8]) -> Option<Vec<String>> {
    let (_, depends) = modinfo::fields(bytes)?.into_iter().find(|(key, _)| *key == "depends")?;
    let names = depends.split(',').filter(|name| !name.is_empty());
    Some(names.map(|name| name.replace('-', "_")).collect())
}

/// A line per module: its path, then all modules that it depends on, each before its own dependencies. modprobe(8)
/// loads them from the last to the first.
fn render(modules: &BTreeMap<String, Module>) -> Result<String, DepmodError> {
    let mut lines = BTreeMap::new();
    for (name, module) in modules {
        let mut walk = Walk { modules, order: Vec::new(), done: BTreeSet::new(), open: BTreeSet::new() };
        walk.visit(name)?;
        // The last module in the order is the module itself.
        walk.order.pop();
        let needed: String = walk.order.iter().rev().flat_map(|path| [" ", path]).collect();
        lines.insert(&module.path, needed);
    }
    Ok(lines.iter().map(|(path, needed)| format!("{path}:{needed}\n")).collect())
}

/// A depth-first traversal of a module's dependencies; dependencies come first in the order.
struct Walk<'a> {
    modules: &'a BTreeMap<String, Module>,
    order: Vec<&'a str>,
    done: BTreeSet<&'a str>,
    open: BTreeSet<&'a str>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, name: &'a str) -> Result<(), DepmodError> {
        let Some(module) = self.modules.get(name) else { return Ok(()) };
        if self.done.contains(name) {
            return Ok(());
        }
        // Each level visits a new module, so their number bounds the depth.
        if !self.open.insert(name) {
            return Err(DepmodError::Circular(name.to_owned()));
        }
        for needed in &module.needs {
            if !self.modules.contains_key(needed) {
                return Err(DepmodError::Lacking { module: name.to_owned(), needed: needed.clone() });
            }
            self.visit(needed)?;
        }
        self.done.insert(name);
        self.order.push(&module.path);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;

    use super::*;

    /// A minimal ELF file with a `.modinfo` section.
    pub(crate) fn module(modinfo: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let (info_at, names_at) = (64, 64 + modinfo.len());
        let sections_at = names_at + names.len();
        let mut bytes = vec![0; 64];
        bytes[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0");
        bytes[40..48].copy_from_slice(&(sections_at as u64).to_le_bytes());
        bytes[58] = 64;
        bytes[60] = 3;
        bytes[62] = 2;
        bytes.extend_from_slice(modinfo);
        bytes.extend_from_slice(names);
        bytes.extend_from_slice(&[0; 64]);
        for (name, kind, at, length) in [(1_u32, 1_u32, info_at, modinfo.len()), (10, 3, names_at, names.len())] {
            let mut section = [0; 64];
            section[..4].copy_from_slice(&name.to_le_bytes());
            section[4..8].copy_from_slice(&kind.to_le_bytes());
            section[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            section[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            bytes.extend_from_slice(&section);
        }
        bytes
    }

    pub(crate) fn tree(modules: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, depends) in modules {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let plain = module(format!("license=GPL\0depends={depends}\0name=x\0").as_bytes());
            let bytes = match path.extension().and_then(|extension| extension.to_str()) {
                Some("xz") => liblzma::encode_all(&plain[..], 6).unwrap(),
                Some("zst") => {
                    ruzstd::encoding::compress_to_vec(&plain[..], ruzstd::encoding::CompressionLevel::Fastest)
                }
                Some("gz") => {
                    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                    encoder.write_all(&plain).unwrap();
                    encoder.finish().unwrap()
                }
                _ => plain,
            };
            fs::write(path, bytes).unwrap();
        }
        dir
    }

    fn make(dir: &Path) -> Result<String, DepmodError> {
        modules_dep(dir, Lacking::Refuse, &AtomicBool::new(false))
    }

    #[test]
    fn dependencies_follow_the_module_that_needs_them() {
        // Compressed modules as in 6.1 (virtio needs virtio_ring), and a module whose file name has a hyphen.
        let dir = tree(&[
            ("kernel/drivers/virtio/virtio.ko.xz", "virtio-ring"),
            ("kernel/drivers/virtio/virtio_ring.ko.xz", ""),
            ("kernel/drivers/virtio/virtio_pci.ko", "virtio_ring,virtio,legacy_dev"),
            ("kernel/drivers/virtio/legacy-dev.ko", "virtio"),
        ]);
        std::os::unix::fs::symlink("/", dir.path().join("build")).unwrap();
        fs::write(dir.path().join("modules.order"), "x").unwrap();
        insta::assert_snapshot!(make(dir.path()).unwrap(), @r"
        kernel/drivers/virtio/legacy-dev.ko: kernel/drivers/virtio/virtio.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz
        kernel/drivers/virtio/virtio.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz
        kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/legacy-dev.ko kernel/drivers/virtio/virtio.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz
        kernel/drivers/virtio/virtio_ring.ko.xz:
        ");
    }

    #[test]
    fn missing_circular_and_malformed_modules_are_errors() {
        let dir = tree(&[("a.ko", "b"), ("b.ko", "c")]);
        assert!(
            matches!(make(dir.path()), Err(DepmodError::Lacking { module, needed }) if module == "b" && needed == "c")
        );
        let dir = tree(&[("a.ko", "b"), ("b.ko", "a")]);
        assert!(matches!(make(dir.path()), Err(DepmodError::Circular(_))));
        let dir = tree(&[("a.ko", "")]);
        for bytes in [&b"no module"[..], &[]] {
            fs::write(dir.path().join("a.ko"), bytes).unwrap();
            let error = make(dir.path()).unwrap_err();
            assert!(matches!(error, DepmodError::Content { cause: DecompressError::NotElf, .. }), "{error}");
        }
        fs::write(dir.path().join("a.ko"), module(b"license=GPL\0")).unwrap();
        assert!(matches!(make(dir.path()), Err(DepmodError::Malformed(_))));
        let dir = tree(&[("a.ko.xz", "")]);
        let whole = fs::read(dir.path().join("a.ko.xz")).unwrap();
        fs::write(dir.path().join("a.ko.xz"), &whole[..whole.len() / 2]).unwrap();
        let error = make(dir.path()).unwrap_err();
        assert!(matches!(error, DepmodError::Content { cause: DecompressError::Damaged { .. }, .. }), "{error}");
    }

    #[test]
    fn modules_of_each_compression_format_are_read() {
        let dir = tree(&[("a.ko.xz", "b"), ("b.ko.zst", "c"), ("c.ko.gz", "d"), ("d.ko", "")]);
        insta::assert_snapshot!(make(dir.path()).unwrap(), @r"
        a.ko.xz: b.ko.zst c.ko.gz d.ko
        b.ko.zst: c.ko.gz d.ko
        c.ko.gz: d.ko
        d.ko:
        ");
    }

    #[test]
    fn modules_of_an_incomplete_tree_are_left_out_with_those_that_need_them() {
        let dir = tree(&[("a.ko", "b"), ("b.ko", "gone"), ("c.ko", "d"), ("d.ko", "")]);
        let text = modules_dep(dir.path(), Lacking::LeaveOut, &AtomicBool::new(false)).unwrap();
        assert_eq!(text, "c.ko: d.ko\nd.ko:\n");
        assert!(matches!(make(dir.path()), Err(DepmodError::Lacking { .. })));
    }

    #[test]
    fn setting_cancelled_stops_the_work() {
        let dir = tree(&[("a.ko", "")]);
        let result = modules_dep(dir.path(), Lacking::Refuse, &AtomicBool::new(true));
        assert!(matches!(result, Err(DepmodError::Cancelled)));
    }
}
