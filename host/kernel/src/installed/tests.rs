use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::file::tests::{RELEASE, bzimage, bzimage_of, uki, vmlinux};

const MACHINE: &str = "0123456789abcdef0123456789abcdef";

fn write(root: &Path, path: &str, contents: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

/// Writes kernels; each is a path and the release in its header.
fn machine(kernels: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, release) in kernels {
        write(root.path(), path, &bzimage_of(release, 1));
    }
    root
}

/// Releases and paths of the kernels that are found.
fn found(root: &tempfile::TempDir) -> Vec<(String, String)> {
    let below = |path: &Path| path.strip_prefix(root.path()).unwrap().to_string_lossy().into_owned();
    find(root.path()).unwrap().into_iter().map(|kernel| (kernel.release, below(&kernel.path))).collect()
}

fn expect(root: &tempfile::TempDir, expected: &[(&str, &str)]) {
    let seen = found(root);
    let seen: Vec<(&str, &str)> = seen.iter().map(|(release, path)| (release.as_str(), path.as_str())).collect();
    assert_eq!(seen, expected);
}

#[test]
fn the_newest_kernel_is_taken_and_each_release_is_found_once() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(choose(dir.path(), None), Err(InstalledError::None)));
    let in_boot = format!("boot/vmlinuz-{RELEASE}");
    let in_modules = format!("lib/modules/{RELEASE}/vmlinuz");
    let root = machine(&[
        (&in_boot, RELEASE),
        ("boot/vmlinuz-5.10.0-9-amd64", "5.10.0-9-amd64"),
        ("boot/config-9.9", "9.9"),
        (&in_modules, RELEASE),
        ("usr/lib/modules/6.0.0/vmlinuz", "6.0.0"),
    ]);
    fs::create_dir_all(root.path().join("lib/modules/8.8.8")).unwrap();
    fs::create_dir_all(root.path().join("boot/vmlinuz-9.9.9")).unwrap();
    expect(
        &root,
        &[
            (RELEASE, &in_boot),
            ("6.0.0", "usr/lib/modules/6.0.0/vmlinuz"),
            ("5.10.0-9-amd64", "boot/vmlinuz-5.10.0-9-amd64"),
        ],
    );
    assert_eq!(choose(root.path(), None).unwrap().path, root.path().join(in_boot));
    let older = choose(root.path(), Some("6.0.0")).unwrap().path;
    assert_eq!(older, root.path().join("usr/lib/modules/6.0.0/vmlinuz"));
    let error = choose(root.path(), Some("1.2.3")).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("no kernel 1.2.3 is installed on this machine; installed: {RELEASE}, 6.0.0, 5.10.0-9-amd64")
    );
}

#[test]
fn a_kernel_that_make_install_has_set_aside_is_never_taken() {
    // Each set-aside kernel is newer by its header.
    for aside in ["6.1.0.old", "6.1.0.bak", "6.1.0~", "6.1.0.dpkg-tmp", "0-rescue-0123456789abcdef0123456789abcdef"] {
        let root = machine(&[("boot/vmlinuz-6.1.0", "6.1.0"), (&format!("boot/vmlinuz-{aside}"), "6.2.0")]);
        expect(&root, &[("6.1.0", "boot/vmlinuz-6.1.0")]);
    }
    let root = machine(&[("boot/vmlinuz.old", "6.2.0"), ("lib/modules/6.1.0.old/vmlinuz", "6.1.0")]);
    assert!(matches!(choose(root.path(), None), Err(InstalledError::None)));
}

#[test]
fn the_release_is_that_of_the_header_and_not_of_the_name() {
    let root = machine(&[("boot/vmlinuz-6.1.0", "6.1.0-56-amd64"), ("boot/vmlinuz-9.9.9", "5.10.0")]);
    expect(&root, &[("6.1.0-56-amd64", "boot/vmlinuz-6.1.0"), ("5.10.0", "boot/vmlinuz-9.9.9")]);
    assert!(matches!(choose(root.path(), Some("6.1.0")), Err(InstalledError::NoSuchRelease { .. })));
    // Of two files of a release, the file whose name contains the release counts.
    let root = machine(&[("boot/vmlinuz-6.0.0", "6.1.0"), ("lib/modules/6.1.0/vmlinuz", "6.1.0")]);
    expect(&root, &[("6.1.0", "lib/modules/6.1.0/vmlinuz")]);
}

#[test]
fn kernels_of_arch_and_alpine_have_no_release_in_their_names() {
    let root = machine(&[
        ("boot/vmlinuz-linux", "6.12.5-arch1-1"),
        ("boot/vmlinuz-linux-lts", "6.6.66-1-lts"),
        ("boot/vmlinuz-linux-zen", "6.12.5-zen1-1-zen"),
        ("usr/lib/modules/6.12.5-arch1-1/vmlinuz", "6.12.5-arch1-1"),
    ]);
    write(root.path(), "usr/lib/modules/6.12.5-arch1-1/pkgbase", b"linux\n");
    write(root.path(), "boot/initramfs-linux.img", b"cpio");
    expect(
        &root,
        &[
            ("6.12.5-zen1-1-zen", "boot/vmlinuz-linux-zen"),
            ("6.12.5-arch1-1", "usr/lib/modules/6.12.5-arch1-1/vmlinuz"),
            ("6.6.66-1-lts", "boot/vmlinuz-linux-lts"),
        ],
    );
    expect(&machine(&[("boot/vmlinuz-virt", "6.6.7-0-virt")]), &[("6.6.7-0-virt", "boot/vmlinuz-virt")]);
    expect(&machine(&[("boot/vmlinuz", "6.6.7")]), &[("6.6.7", "boot/vmlinuz")]);
}

#[test]
fn kernels_of_fedora_gentoo_and_kernel_install_are_found() {
    let release = "6.12.5-200.fc41.x86_64";
    let installed = format!("boot/{MACHINE}/{release}/linux");
    let root = machine(&[
        (&installed, release),
        (&format!("boot/{MACHINE}/0-rescue/linux"), "9.9.9"),
        ("boot/loader/entries/linux", "9.9.9"),
        ("boot/kernel-6.6.67-gentoo-dist", "6.6.67-gentoo-dist"),
        ("boot/efi/EFI/linux", "9.9.9"),
    ]);
    expect(&root, &[(release, &installed), ("6.6.67-gentoo-dist", "boot/kernel-6.6.67-gentoo-dist")]);
    let root = machine(&[(&format!("lib/modules/{release}/vmlinuz"), release)]);
    expect(&root, &[(release, &format!("lib/modules/{release}/vmlinuz"))]);
}

#[test]
fn links_of_opensuse_and_nixos_are_followed() {
    let release = "6.4.0-150600.23.25-default";
    let modules = format!("usr/lib/modules/{release}");
    let root = machine(&[(&format!("{modules}/vmlinuz"), release)]);
    write(root.path(), &format!("{modules}/vmlinux.xz"), b"\xfd7zXZ\0");
    fs::create_dir(root.path().join("boot")).unwrap();
    let link = |to: &str, at: &str| symlink(to, root.path().join(at)).unwrap();
    link(&format!("../{modules}/vmlinuz"), &format!("boot/vmlinuz-{release}"));
    link(&format!("vmlinuz-{release}"), "boot/vmlinuz");
    link("vmlinuz-6.3.0", "boot/vmlinuz-gone");
    expect(&root, &[(release, &format!("boot/vmlinuz-{release}"))]);

    let root = machine(&[("nix/store/a-linux/bzImage", "6.6.63"), ("nix/store/b-linux/bzImage", "6.6.64")]);
    for (system, store) in [("booted-system", "a-linux"), ("current-system", "b-linux")] {
        fs::create_dir_all(root.path().join("run").join(system)).unwrap();
        let kernel = format!("../../nix/store/{store}/bzImage");
        symlink(kernel, root.path().join("run").join(system).join("kernel")).unwrap();
    }
    expect(&root, &[("6.6.64", "run/current-system/kernel"), ("6.6.63", "run/booted-system/kernel")]);
}

#[test]
fn a_vmlinux_among_modules_is_taken_if_there_is_no_vmlinuz() {
    let root = tempfile::tempdir().unwrap();
    let path = format!("usr/lib/modules/{RELEASE}/vmlinux");
    write(root.path(), &path, &vmlinux(9, 18));
    expect(&root, &[(RELEASE, &path)]);
    let better = format!("usr/lib/modules/{RELEASE}/vmlinuz");
    write(root.path(), &better, &bzimage(1));
    expect(&root, &[(RELEASE, &better)]);
}

#[test]
fn a_damaged_kernel_keeps_its_place_and_other_files_have_none() {
    let root = machine(&[("boot/vmlinuz-6.1.0-1-amd64", "6.1.0-1-amd64")]);
    write(root.path(), "boot/vmlinuz-6.1.0-2-amd64", &bzimage(1)[..0x400]);
    write(root.path(), "boot/kernel-notes", b"text");
    write(root.path(), "boot/vmlinuz-linux", b"text");
    expect(&root, &[("6.1.0-2-amd64", "boot/vmlinuz-6.1.0-2-amd64"), ("6.1.0-1-amd64", "boot/vmlinuz-6.1.0-1-amd64")]);
    let root = machine(&[]);
    write(root.path(), "boot/vmlinuz-linux", b"");
    let error = choose(root.path(), None).unwrap_err().to_string();
    assert!(error.contains("vmlinuz-linux: the file is empty"), "{error}");
}

#[test]
fn releases_with_spaces_and_unified_kernel_images_are_installed_kernels_too() {
    let root = machine(&[("boot/vmlinuz-6.12.117-it works+1_1", "6.12.117-it works+1_1")]);
    write(root.path(), &format!("lib/modules/{RELEASE}/vmlinuz"), &uki(&[(".linux", &bzimage(1))]));
    expect(
        &root,
        &[
            ("6.12.117-it works+1_1", "boot/vmlinuz-6.12.117-it works+1_1"),
            (RELEASE, &format!("lib/modules/{RELEASE}/vmlinuz")),
        ],
    );
}
