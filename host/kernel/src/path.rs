//! A kernel given by its path, with the configuration and modules found near it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::config::KernelConfig;
use super::release::version_of;
use super::{Kernel, KernelError, file};

/// Inspects a kernel file and finds its configuration and modules. `root` is the directory of `/boot` and
/// `/lib/modules`.
pub(crate) fn obtain(label: &str, path: &Path, root: &Path) -> Result<Kernel, KernelError> {
    let inspected = file::inspect(path)?;
    let release = inspected.image.release;
    // The search starts at the file and not at a link to it: arch/x86_64/boot/bzImage is a link.
    let real = fs::canonicalize(path)
        .map_err(|cause| KernelError::File(file::FileError::Open { path: path.to_owned(), cause }))?;
    let dir = real.parent().unwrap_or(root);
    Ok(Kernel {
        label: label.to_owned(),
        version: version_of(label, &release)?,
        sha256: inspected.sha256,
        config: read_config(label, &config_places(dir, &release, root))?,
        modules: module_places(dir, &release, root).into_iter().find(|place| place.join("modules.dep").is_file()),
        path: path.to_owned(),
        release,
        lease: None,
        notices: Vec::new(),
    })
}

/// The possible paths of the configuration, most reliable first.
fn config_places(dir: &Path, release: &str, root: &Path) -> Vec<PathBuf> {
    let named = format!("config-{release}");
    let mut places = vec![dir.join(&named)];
    if dir.file_name().is_some_and(|name| name == release) {
        // For /usr/lib/modules/RELEASE/vmlinuz.
        places.push(dir.join("config"));
    }
    if dir.ends_with("arch/x86/boot") {
        places.extend(dir.ancestors().nth(3).map(|tree| tree.join(".config")));
    } else {
        // vmlinux is at the top of its source tree.
        places.push(dir.join(".config"));
    }
    places.push(root.join("boot").join(named));
    for modules in installed_modules(root, release) {
        places.push(modules.join("config"));
    }
    places
}

/// The possible directories of modules: first those beside the kernel, then this machine's modules for the same
/// release.
fn module_places(dir: &Path, release: &str, root: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if dir.file_name().is_some_and(|name| name == release) {
        places.push(dir.to_owned());
    }
    for base in [Some(dir), dir.parent()].into_iter().flatten() {
        places.extend(installed_modules(base, release));
    }
    places.extend(installed_modules(root, release));
    places
}

fn installed_modules(root: &Path, release: &str) -> [PathBuf; 2] {
    ["lib/modules", "usr/lib/modules"].map(|dir| root.join(dir).join(release))
}

fn read_config(label: &str, places: &[PathBuf]) -> Result<Option<KernelConfig>, KernelError> {
    let Some(path) = places.iter().find(|place| place.is_file()) else { return Ok(None) };
    match fs::read(path) {
        Ok(text) => Ok(Some(KernelConfig::parse(&String::from_utf8_lossy(&text)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(KernelError::Config { label: label.to_owned(), path: path.clone(), cause }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::{RELEASE, bzimage};

    fn put(path: &Path, contents: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn symbol(kernel: &Kernel) -> Option<&str> {
        kernel.config.as_ref().and_then(|config| config.get("CONFIG_FROM"))
    }

    #[test]
    fn the_config_of_a_built_tree_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("arch/x86/boot/bzImage");
        put(&image, &bzimage(1));
        put(&dir.path().join(".config"), b"CONFIG_FROM=tree\n");
        fs::create_dir(dir.path().join("arch/x86_64")).unwrap();
        std::os::unix::fs::symlink("../x86/boot", dir.path().join("arch/x86_64/boot")).unwrap();
        for path in [image, dir.path().join("arch/x86_64/boot/bzImage")] {
            let kernel = obtain("label", &path, &dir.path().join("root")).unwrap();
            assert_eq!((kernel.release.as_str(), symbol(&kernel)), (RELEASE, Some("tree")));
            assert_eq!((kernel.path, kernel.modules), (path, None));
        }
    }

    #[test]
    fn files_beside_the_kernel_take_precedence_over_installed_ones() {
        let dir = tempfile::tempdir().unwrap();
        let (root, image) = (dir.path().join("root"), dir.path().join("x/boot/vmlinuz"));
        put(&image, &bzimage(1));
        let alone = obtain("label", &image, &root).unwrap();
        assert_eq!((symbol(&alone), alone.modules.as_ref()), (None, None));

        let installed = root.join("lib/modules").join(RELEASE);
        put(&installed.join("modules.dep"), b"");
        put(&root.join("boot").join(format!("config-{RELEASE}")), b"CONFIG_FROM=root\n");
        let kernel = obtain("label", &image, &root).unwrap();
        assert_eq!((symbol(&kernel), kernel.modules.as_ref()), (Some("root"), Some(&installed)));

        let beside = dir.path().join("x/usr/lib/modules").join(RELEASE);
        put(&beside.join("modules.dep"), b"");
        put(&dir.path().join("x/boot").join(format!("config-{RELEASE}")), b"CONFIG_FROM=beside\n");
        let kernel = obtain("label", &image, &root).unwrap();
        assert_eq!(symbol(&kernel), Some("beside"));
        assert_eq!(kernel.modules, Some(fs::canonicalize(beside).unwrap()));
    }

    #[test]
    fn config_and_modules_of_a_kernel_among_its_modules_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().join("modules").join(RELEASE);
        put(&modules.join("vmlinuz"), &bzimage(1));
        put(&modules.join("config"), b"CONFIG_FROM=modules\n");
        put(&modules.join("modules.dep"), b"");
        let kernel = obtain("label", &modules.join("vmlinuz"), &dir.path().join("root")).unwrap();
        assert_eq!(symbol(&kernel), Some("modules"));
        assert_eq!(kernel.modules, Some(fs::canonicalize(modules).unwrap()));
    }
}
