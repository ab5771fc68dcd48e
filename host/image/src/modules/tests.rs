use super::*;

/// The virtio lines of Debian's 5.10 cloud kernel, where virtio and virtio_ring are independent.
const DEP_5_10: &str = "\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/char/virtio_console.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
";

/// The virtio lines of 6.1, where virtio needs virtio_ring.
const DEP_6_1: &str = "\
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_pci_modern_dev.ko:
kernel/drivers/virtio/virtio_pci_legacy_dev.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_legacy_dev.ko \
kernel/drivers/virtio/virtio_pci_modern_dev.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/char/virtio_console.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
";

const BUILTIN: &str = "kernel/fs/ext4/ext4.ko\nkernel/crypto/sha256-generic.ko\n";

/// The names of the files to load.
fn order(dep: &str, wanted: &str) -> Vec<String> {
    match ModuleIndex::parse(dep, Some(BUILTIN)).unwrap().find(wanted).unwrap() {
        Found::Files(files) => files.into_iter().map(|file| file.name).collect(),
        other => panic!("{wanted}: {other:?}"),
    }
}

#[test]
fn the_load_order_is_that_of_the_kernels_modules_dep() {
    assert_eq!(order(DEP_5_10, "virtio_pci"), ["virtio", "virtio_ring", "virtio_pci"]);
    assert_eq!(order(DEP_5_10, "virtio_console"), ["virtio", "virtio_ring", "virtio_console"]);
    assert_eq!(
        order(DEP_6_1, "virtio_pci"),
        ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"]
    );
    assert_eq!(order(DEP_6_1, "virtio_console"), ["virtio_ring", "virtio", "virtio_console"]);
}

#[test]
fn lists_of_direct_dependencies_are_sufficient() {
    let dep = "d/a.ko: d/b.ko\nd/b.ko: d/c.ko d/e.ko\nd/c.ko: d/e.ko\nd/e.ko:\n";
    assert_eq!(order(dep, "a"), ["e", "c", "b", "a"]);
}

#[test]
fn a_line_in_wrong_order_does_not_put_a_module_before_its_dependencies() {
    assert_eq!(order("a.ko: c.ko b.ko\nb.ko: c.ko\nc.ko:\n", "a"), ["c", "b", "a"]);
    assert_eq!(order("a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\n", "a"), ["c", "b", "a"]);
}

#[test]
fn hyphens_and_underscores_are_equivalent() {
    let index = ModuleIndex::parse(
        "kernel/a/virtio-rng.ko.xz: kernel/a/rng-core.ko.xz\nkernel/a/rng-core.ko.xz:\n",
        Some(BUILTIN),
    )
    .unwrap();
    let file = |name: &str, path: &str| ModuleFile { name: name.to_owned(), path: path.to_owned() };
    let files = Found::Files(vec![
        file("rng_core", "kernel/a/rng-core.ko.xz"),
        file("virtio_rng", "kernel/a/virtio-rng.ko.xz"),
    ]);
    for name in ["virtio-rng", "virtio_rng"] {
        assert_eq!(index.find(name).unwrap(), files, "{name}");
    }
    for name in ["sha256_generic", "sha256-generic", "ext4"] {
        assert_eq!(index.find(name).unwrap(), Found::Builtin, "{name}");
    }
    assert_eq!(index.find("veth").unwrap(), Found::Absent);
}

#[test]
fn every_dependency_cycle_is_an_error() {
    for dep in ["a.ko: a.ko\n", "a.ko: b.ko\nb.ko: a.ko\n", "a.ko: b.ko\nb.ko: c.ko\nc.ko: b.ko\n"] {
        let error = ModuleIndex::parse(dep, Some("")).unwrap().find("a").unwrap_err();
        assert!(matches!(error, ModulesError::Cycle(_)), "{dep:?}: {error}");
    }
}

#[test]
fn a_dependency_without_a_line_is_an_error() {
    let error = ModuleIndex::parse("a.ko: b.ko\n", Some("")).unwrap().find("a").unwrap_err();
    assert!(
        matches!(&error, ModulesError::UnknownDependency { needed_by, path } if needed_by == "a.ko" && path == "b.ko"),
        "{error}"
    );
}

#[test]
fn errors_for_malformed_lines_have_their_number() {
    for (dep, at) in [
        ("kernel/a.ko\n", 1),
        ("# by depmod\n\nkernel/a.txt:\n", 3),
        ("a.ko:\n/lib/modules/b.ko:\n", 2),
        ("../a.ko:\n", 1),
        ("a.ko: kernel/../../b.ko\n", 1),
        ("a.ko: b.conf\n", 1),
        ("x/a-b.ko:\ny/a_b.ko:\n", 2),
        (".ko:\n", 1),
        ("a.ko.bz2:\n", 1),
    ] {
        let error = ModuleIndex::parse(dep, Some("")).unwrap_err();
        assert!(
            matches!(error, ModulesError::Line { file: "modules.dep", line, .. } if line == at),
            "{dep:?}: {error}"
        );
    }
    let error = ModuleIndex::parse("", Some("kernel/x.ko\nnonsense\n")).unwrap_err();
    assert!(matches!(error, ModulesError::Line { file: "modules.builtin", line: 2, .. }), "{error}");
}

#[test]
fn a_long_dependency_chain_needs_no_deep_stack() {
    let mut dep: String = (0..2_000).map(|n| format!("m{n}.ko: m{}.ko\n", n + 1)).collect();
    dep.push_str("m2000.ko:\n");
    let order = order(&dep, "m0");
    assert_eq!((order.len(), order[0].as_str()), (2_001, "m2000"));
}

#[test]
fn missing_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let directory = ModuleDir::complete(dir.path().to_owned());
    let error = ModuleIndex::read(&directory).unwrap_err();
    assert!(error.to_string().contains("modules.dep"), "{error}");
    let error = read_module(dir.path(), "kernel/a.ko").unwrap_err();
    assert!(error.to_string().contains("kernel/a.ko"), "{error}");
}

#[test]
fn modules_builtin_may_be_missing_but_not_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("modules.dep"), "a.ko:\n").unwrap();
    let directory = ModuleDir::complete(dir.path().to_owned());
    let index = ModuleIndex::read(&directory).unwrap();
    assert!(!index.knows_builtin());
    assert!(matches!(index.find("a").unwrap(), Found::Files(_)));
    assert_eq!(index.find("ext4").unwrap(), Found::Absent);
    fs::write(dir.path().join("modules.builtin"), BUILTIN).unwrap();
    let index = ModuleIndex::read(&directory).unwrap();
    assert!(index.knows_builtin());
    assert_eq!(index.find("ext4").unwrap(), Found::Builtin);
    fs::remove_file(dir.path().join("modules.builtin")).unwrap();
    fs::create_dir(dir.path().join("modules.builtin")).unwrap();
    let error = ModuleIndex::read(&directory).unwrap_err();
    assert!(error.to_string().contains("modules.builtin"), "{error}");
}
