//! A kernel given by its path, with the configuration and modules found near it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::config::KernelConfig;
use super::file::Inspected;
use super::release::version_of;
use super::{Kernel, KernelError, file, modules, unpack};
use vmlab_store::warnings::CacheWarnings;

/// Where a kernel's files are looked for.
pub(crate) struct Search<'a> {
    /// The kernel's label.
    pub(crate) label: &'a str,
    /// The directory of `/boot` and `/lib/modules`.
    pub(crate) root: &'a Path,
    /// vmlab's cache directory, for files that are made.
    pub(crate) cache: &'a Path,
    /// Stops the work.
    pub(crate) stopped: &'a AtomicBool,
}

/// Inspects a kernel file and finds its configuration and modules. The kernel of a unified kernel image is unpacked.
pub(crate) fn obtain(search: &Search<'_>, path: &Path) -> Result<Kernel, KernelError> {
    let Search { label, root, cache, stopped } = *search;
    let Inspected { image, sha256 } = file::inspect(path)?;
    // The search starts at the file and not at a link to it: arch/x86_64/boot/bzImage is a link.
    let real = fs::canonicalize(path)
        .map_err(|cause| KernelError::File(file::FileError::Open { path: path.to_owned(), cause }))?;
    let dir = real.parent().unwrap_or(root);
    let mut warnings = CacheWarnings::default();
    let modules =
        modules::find(module_places(dir, &image.release, root), &image.release, cache, stopped, &mut warnings)
            .map_err(|what| KernelError::Modules { label: label.to_owned(), what })?;
    let (config, config_file) = read_config(label, &config_places(dir, &image.release, root))?.unzip();
    let mut kernel = Kernel {
        label: label.to_owned(),
        version: version_of(label, &image.release)?,
        sha256,
        config,
        config_file,
        modules,
        path: path.to_owned(),
        release: image.release.clone(),
        suites: None,
        lease: None,
        notices: warnings.notices(),
    };
    if let Some(section) = image.section {
        let unpacked = unpack::from_uki(path, &kernel.sha256, &image, section, cache)
            .map_err(|cause| KernelError::Uki { path: path.to_owned(), cause })?;
        kernel.notices.push(format!(
            "{label}: this is a unified kernel image; vmlab boots the kernel in its section .linux, and ignores its initrd and \
             its command line"
        ));
        (kernel.path, kernel.sha256, kernel.lease) = (unpacked.path, unpacked.sha256, unpacked.lease);
    }
    Ok(kernel)
}

/// The possible paths of the configuration, most reliable first.
fn config_places(dir: &Path, release: &str, root: &Path) -> Vec<PathBuf> {
    let named = format!("config-{release}");
    let mut places = vec![dir.join(&named)];
    if dir.file_name().is_some_and(|name| name == release) {
        // For /usr/lib/modules/RELEASE/vmlinuz.
        places.push(dir.join("config"));
        places.extend(config_of_build(dir, release));
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
        places.extend(config_of_build(&modules, release));
    }
    places
}

/// The configuration in the headers of a kernel among its modules, as Arch has it. `build` may also be a link to a tree
/// that was built again since, so its release is compared.
fn config_of_build(modules: &Path, release: &str) -> Option<PathBuf> {
    let build = modules.join("build");
    let built = fs::read_to_string(build.join("include/config/kernel.release")).ok()?;
    (built.strip_suffix('\n').unwrap_or(&built) == release).then(|| build.join(".config"))
}

/// The possible directories of modules: first those beside the kernel, then this machine's modules for the same
/// release.
fn module_places(dir: &Path, release: &str, root: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if dir.file_name().is_some_and(|name| name == release) {
        places.push(dir.to_owned());
    }
    for base in [Some(dir), dir.parent()].into_iter().flatten() {
        places.extend(modules_below(base, release));
    }
    for place in installed_modules(root, release) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// The directories of this machine's modules, with those of NixOS, which has no `/lib/modules`.
fn installed_modules(root: &Path, release: &str) -> Vec<PathBuf> {
    let mut places = modules_below(root, release).to_vec();
    let systems = ["run/booted-system/kernel-modules", "run/current-system/kernel-modules"].map(|dir| root.join(dir));
    let there = systems.into_iter().filter(|dir| dir.is_dir());
    places.extend(there.map(|dir| dir.join("lib/modules").join(release)));
    places
}

fn modules_below(base: &Path, release: &str) -> [PathBuf; 2] {
    ["lib/modules", "usr/lib/modules"].map(|dir| base.join(dir).join(release))
}

/// The first configuration that is there, and its file.
fn read_config(label: &str, places: &[PathBuf]) -> Result<Option<(KernelConfig, PathBuf)>, KernelError> {
    let Some(path) = places.iter().find(|place| place.is_file()) else { return Ok(None) };
    match fs::read(path) {
        Ok(text) => Ok(Some((KernelConfig::parse(&String::from_utf8_lossy(&text)), path.clone()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(KernelError::Config { label: label.to_owned(), path: path.clone(), cause }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::depmod::tests as depmod;
    use crate::file::tests::{RELEASE, bzimage, uki};

    /// Finds a kernel's files, with a cache beside `root`.
    fn look(path: &Path, root: &Path) -> Result<Kernel, KernelError> {
        let (cache, stopped) = (root.with_file_name("cache"), AtomicBool::new(false));
        obtain(&Search { label: "label", root, cache: &cache, stopped: &stopped }, path)
    }

    fn modules_of(kernel: &Kernel) -> Option<&Path> {
        kernel.modules.found().map(|found| found.path.as_path())
    }

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
            let kernel = look(&path, &dir.path().join("root")).unwrap();
            assert_eq!((kernel.release.as_str(), symbol(&kernel)), (RELEASE, Some("tree")));
            assert_eq!((modules_of(&kernel), &kernel.path), (None, &path));
        }
    }

    #[test]
    fn files_beside_the_kernel_take_precedence_over_installed_ones() {
        let dir = tempfile::tempdir().unwrap();
        let (root, image) = (dir.path().join("root"), dir.path().join("x/boot/vmlinuz"));
        put(&image, &bzimage(1));
        let alone = look(&image, &root).unwrap();
        assert_eq!((symbol(&alone), modules_of(&alone)), (None, None));

        let installed = root.join("lib/modules").join(RELEASE);
        put(&installed.join("modules.dep"), b"");
        put(&root.join("boot").join(format!("config-{RELEASE}")), b"CONFIG_FROM=root\n");
        let kernel = look(&image, &root).unwrap();
        assert_eq!((symbol(&kernel), modules_of(&kernel)), (Some("root"), Some(installed.as_path())));

        let beside = dir.path().join("x/usr/lib/modules").join(RELEASE);
        put(&beside.join("modules.dep"), b"");
        put(&dir.path().join("x/boot").join(format!("config-{RELEASE}")), b"CONFIG_FROM=beside\n");
        let kernel = look(&image, &root).unwrap();
        assert_eq!(symbol(&kernel), Some("beside"));
        assert_eq!(modules_of(&kernel), Some(fs::canonicalize(beside).unwrap().as_path()));
    }

    #[test]
    fn config_and_modules_of_a_kernel_among_its_modules_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().join("modules").join(RELEASE);
        put(&modules.join("vmlinuz"), &bzimage(1));
        put(&modules.join("config"), b"CONFIG_FROM=modules\n");
        put(&modules.join("modules.dep"), b"");
        let kernel = look(&modules.join("vmlinuz"), &dir.path().join("root")).unwrap();
        assert_eq!(symbol(&kernel), Some("modules"));
        assert_eq!(modules_of(&kernel), Some(fs::canonicalize(modules).unwrap().as_path()));
    }

    #[test]
    fn an_unpacked_package_without_a_list_has_its_modules() {
        for modules in ["lib/modules", "usr/lib/modules"] {
            let dir = tempfile::tempdir().unwrap();
            let package = fs::canonicalize(dir.path()).unwrap().join("package");
            let modules = package.join(modules).join(RELEASE);
            put(&package.join(format!("boot/vmlinuz-{RELEASE}")), &bzimage(1));
            put(&modules.join("kernel/virtio.ko"), &depmod::module(b"depends=\0"));
            let kernel = look(&package.join(format!("boot/vmlinuz-{RELEASE}")), &dir.path().join("root")).unwrap();
            let found = kernel.modules.found().unwrap();
            assert_eq!((&found.path, found.list().unwrap().as_str()), (&modules, "kernel/virtio.ko:\n"));
            assert_eq!(fs::read_dir(modules).unwrap().count(), 1, "nothing is written to the package");
        }
    }

    #[test]
    fn each_directory_that_was_looked_in_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let image = fs::canonicalize(dir.path()).unwrap().join("x/boot/vmlinuz");
        put(&image, &bzimage(1));
        let modules::Modules::NotFound { looked_in } = look(&image, Path::new("/r")).unwrap().modules else {
            panic!("there are none")
        };
        let bases = ["/x/boot/", "/x/boot/usr/", "/x/", "/x/usr/", "/r/", "/r/usr/"];
        for (place, base) in looked_in.iter().zip(bases) {
            assert!(place.to_string_lossy().ends_with(&format!("{base}lib/modules/{RELEASE}")), "{place:?}");
        }
    }

    #[test]
    fn the_config_of_the_headers_is_used_if_they_are_of_the_same_release() {
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().join("modules").join(RELEASE);
        put(&modules.join("vmlinuz"), &bzimage(1));
        put(&modules.join("build/.config"), b"CONFIG_FROM=build\n");
        for (release, from) in [("6.1.0-another\n", None), (&*format!("{RELEASE}\n"), Some("build"))] {
            put(&modules.join("build/include/config/kernel.release"), release.as_bytes());
            let kernel = look(&modules.join("vmlinuz"), &dir.path().join("root")).unwrap();
            assert_eq!(symbol(&kernel), from, "{release}");
        }
    }

    #[test]
    fn the_kernel_of_a_unified_kernel_image_is_unpacked_and_the_files_beside_the_image_are_used() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("x/linux.efi");
        put(&image, &uki(&[(".cmdline", b"quiet"), (".linux", &bzimage(5)), (".initrd", b"cpio")]));
        put(&dir.path().join("x").join(format!("config-{RELEASE}")), b"CONFIG_FROM=beside\n");
        let kernel = look(&image, &dir.path().join("root")).unwrap();
        assert_eq!((kernel.release.as_str(), symbol(&kernel)), (RELEASE, Some("beside")));
        assert!(fs::read(&kernel.path).unwrap() == bzimage(5));
        assert!(kernel.path.starts_with(dir.path().join("cache")) && kernel.lease.is_some());
        assert_eq!(kernel.sha256, file::inspect(&kernel.path).unwrap().sha256);
        assert!(matches!(&kernel.notices[..], [only] if only.contains("unified kernel image")), "{:?}", kernel.notices);
        // A cache that cannot be written to.
        fs::remove_dir_all(dir.path().join("cache")).unwrap();
        put(&dir.path().join("cache"), b"");
        let error = look(&image, &dir.path().join("root")).unwrap_err().to_string();
        let command = format!("`objcopy -O binary --only-section=.linux {} vmlinuz`", image.display());
        assert!(error.contains(&command), "{error}");
    }
}
