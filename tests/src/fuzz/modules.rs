//! The readers of `modules.dep` and `modules.builtin`, of a module's own list of dependencies, and of compressed modules.

use std::collections::BTreeSet;

use vmlab_image::modules::{Found, ModuleIndex};
use vmlab_kernel::decompress;
use vmlab_kernel::depmod;

pub const WORDS: &[&[u8]] = &[
    b"kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n",
    b"kernel/drivers/virtio/virtio-ring.ko.xz:",
    b"a.ko:b.ko c.ko\nb.ko:c.ko\nc.ko:\n",
    b"a.ko: a.ko\n",
    b"../a.ko:",
    b"/a.ko:",
    b".ko.zst",
    b"\0kernel/b.ko\n",
    b"# ",
    b"\x7fELF\x02\x01\x01",
    b".modinfo",
    b"depends=a,b",
    b"\xfd7zXZ\0",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
];

/// The largest decompressed module, in bytes.
const UNPACKED_LIMIT: u64 = 1 << 16;
/// How many modules of an input are looked up.
const ASKED: usize = 64;

pub fn run(input: &[u8]) {
    index(input);
    for name in depmod::modinfo_depends(input).unwrap_or_default() {
        assert!(!name.is_empty() && !name.contains(['-', ',', '\0']), "{name:?}");
    }
    if let Ok(elf) = decompress::module(input.to_vec(), UNPACKED_LIMIT) {
        assert!(elf.starts_with(b"\x7fELF"));
        assert!(elf.len() as u64 <= UNPACKED_LIMIT || elf == input);
    }
}

/// Splits the input at a NUL into the two files. Without a NUL, there is no `modules.builtin`.
fn index(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (dep, builtin) = text.split_once('\0').map_or((&*text, None), |(dep, builtin)| (dep, Some(builtin)));
    let Ok(index) = ModuleIndex::parse(dep, builtin) else { return };
    assert_eq!(index.knows_builtin(), builtin.is_some());
    let paths = dep.lines().filter_map(|line| line.trim().split_once(':')).map(|(path, _)| path);
    for path in paths.take(ASKED) {
        let file = path.rsplit('/').next().unwrap_or(path);
        let name = file.split(".ko").next().unwrap_or(file);
        let found = index.find(name);
        assert_eq!(index.find(&name.replace('_', "-")).is_ok(), found.is_ok(), "{name}");
        if let Ok(Found::Files(files)) = found {
            let last = files.last().expect("the wanted module is among those to load");
            assert_eq!(last.name, name.replace('-', "_"));
            let distinct: BTreeSet<_> = files.iter().map(|file| &file.path).collect();
            assert_eq!(distinct.len(), files.len(), "{name} loads a module twice");
            files.iter().for_each(|file| needs_come_first(dep, &file.path, &files));
        }
    }
}

/// Checks that all modules on a module's line are loaded before it, so that the order has no cycle.
fn needs_come_first(dep: &str, path: &str, files: &[vmlab_image::modules::ModuleFile]) {
    let place = |path: &str| files.iter().position(|file| file.path == path);
    let line = dep.lines().map(str::trim).find_map(|line| line.split_once(':').filter(|(of, _)| *of == path));
    let (_, needs) = line.expect("each file has its line");
    for needed in needs.split_whitespace() {
        assert!(place(needed) < place(path) && place(needed).is_some(), "{path} is loaded before {needed}");
    }
}
