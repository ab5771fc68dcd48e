//! The kernel modules of `--load`, as files that a guest can load.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vmlab_kernel::{decompress, depmod};

use crate::Failure;

/// The modules to load.
pub(super) struct Modules {
    /// In the order of loading.
    pub(super) files: Vec<PathBuf>,
    /// The directories of modules that were compressed: old kernels do not decompress modules. Dropping them removes them.
    _decompressed: Vec<TempDir>,
}

impl Modules {
    /// Reads the user's files.
    pub(super) fn prepare(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut modules = Self { files: Vec::new(), _decompressed: Vec::new() };
        for path in paths {
            let refused = |error: &dyn Display| Failure::usage(format!("--load {}: {error}", path.display()));
            let file = path.canonicalize().map_err(|error| refused(&error))?;
            let bytes = fs::read(&file).map_err(|error| refused(&error))?;
            let decompressed = decompress::unpack(&bytes, depmod::MODULE_LIMIT).map_err(|error| refused(&error))?;
            if depmod::modinfo_depends(decompressed.as_ref().unwrap_or(&bytes)).is_none() {
                return Err(refused(&"this file is not a kernel module"));
            }
            let file = match decompressed {
                None => file,
                Some(elf) => {
                    let (dir, file) = write(&file, &elf).map_err(|error| refused(&error))?;
                    modules._decompressed.push(dir);
                    file
                }
            };
            modules.files.push(file);
        }
        Ok(modules)
    }
}

/// Writes the content of a compressed module to a directory of its own. The guest's error messages have the name.
fn write(compressed: &Path, elf: &[u8]) -> std::io::Result<(TempDir, PathBuf)> {
    let dir = tempfile::Builder::new().prefix("vmlab-module-").tempdir()?;
    let name = Path::new(compressed.file_name().unwrap_or_default());
    let is_compression = |extension: &std::ffi::OsStr| ["xz", "zst", "gz"].iter().any(|known| extension == *known);
    let name = if name.extension().is_some_and(is_compression) { name.with_extension("") } else { name.to_owned() };
    let file = dir.path().canonicalize()?.join(name);
    fs::write(&file, elf)?;
    Ok((dir, file))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// The smallest file that has the fields of a module.
    fn module() -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let info = b"depends=\0";
        let mut elf = vec![0; 64];
        elf[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0");
        let sections = (64 + info.len() + names.len()) as u64;
        elf[40..48].copy_from_slice(&sections.to_le_bytes());
        (elf[58], elf[60], elf[62]) = (64, 3, 2);
        elf.extend_from_slice(info);
        elf.extend_from_slice(names);
        elf.extend_from_slice(&[0; 64]);
        for (name, kind, at, length) in [(1_u32, 1_u32, 64, info.len()), (10, 3, 64 + info.len(), names.len())] {
            let mut section = [0; 64];
            section[..4].copy_from_slice(&name.to_le_bytes());
            section[4..8].copy_from_slice(&kind.to_le_bytes());
            section[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            section[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            elf.extend_from_slice(&section);
        }
        elf
    }

    #[test]
    fn a_compressed_module_is_decompressed_for_the_guest() {
        let dir = tempfile::tempdir().unwrap();
        let [plain, compressed] = ["x.ko", "y.ko.gz"].map(|name| dir.path().canonicalize().unwrap().join(name));
        fs::write(&plain, module()).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&module()).unwrap();
        fs::write(&compressed, encoder.finish().unwrap()).unwrap();
        let modules = Modules::prepare(&[compressed, plain.clone()]).unwrap();
        let [decompressed, as_it_is] = &modules.files[..] else { panic!("{:?}", modules.files) };
        assert_eq!((as_it_is, decompressed.file_name().unwrap().to_str()), (&plain, Some("y.ko")));
        assert_eq!(fs::read(decompressed).unwrap(), module());
        let decompressed = decompressed.clone();
        drop(modules);
        assert!(!decompressed.exists());
    }

    #[test]
    fn what_is_no_module_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.ko");
        let refusal = || Modules::prepare(std::slice::from_ref(&file)).err().unwrap().to_string();
        assert!(refusal().contains("No such file"), "{}", refusal());
        for content in [&b""[..], b"text", b"\x1f\x8bbroken", &module()[..100]] {
            fs::write(&file, content).unwrap();
            assert!(refusal().starts_with(&format!("vmlab: --load {}: ", file.display())), "{}", refusal());
        }
    }
}
