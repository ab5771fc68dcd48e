//! Makes the files of a module directory that modprobe(8) and modinfo(8) look things up in, as depmod(8) does.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::depmod::{self, DepmodError, name_of};
use crate::modinfo;
use crate::modules::{LIST, ModuleDir};
use crate::trie::Trie;

/// What the files have of one module.
#[derive(Debug, Default, PartialEq, Eq)]
struct Module {
    name: String,
    /// The fields that the files have, in order.
    fields: Vec<(String, String)>,
    exported: Vec<String>,
}

/// The files, by name. Reading a thousand modules takes a second or two; setting `cancelled` stops it.
///
/// # Errors
/// [`DepmodError`] if a module or a list cannot be read.
pub(crate) fn make(dir: &ModuleDir, cancelled: &AtomicBool) -> Result<BTreeMap<&'static str, Vec<u8>>, DepmodError> {
    let failed = |name: &str| {
        let path = dir.path.join(name);
        |cause| DepmodError::Read { path, cause }
    };
    let list = dir.list().map_err(failed(LIST))?;
    let order = read_if_there(&dir.path, "modules.order")?;
    let lines = in_order(&list, &String::from_utf8_lossy(&order));
    let paths: Vec<&str> = lines.iter().map(|line| path_of(line)).collect();
    let modules = read_all(&dir.path, &paths, cancelled)?;
    let builtin = read_if_there(&dir.path, "modules.builtin")?;
    let about_builtin = read_if_there(&dir.path, "modules.builtin.modinfo")?;
    let mut files = of_modules(&modules);
    files.insert(LIST, list.clone().into_bytes());
    files.insert("modules.dep.bin", dependencies(&lines).encode());
    files.insert("modules.builtin.bin", built_in(&String::from_utf8_lossy(&builtin)).encode());
    files.insert("modules.builtin.alias.bin", aliases_of_built_in(&about_builtin).encode());
    Ok(files)
}

/// A file of the kernel's build. Old kernels have no `modules.builtin.modinfo`.
fn read_if_there(dir: &Path, name: &str) -> Result<Vec<u8>, DepmodError> {
    let path = dir.join(name);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|cause| DepmodError::Read { path, cause }),
    }
}

/// The path in a line of `modules.dep`.
fn path_of(line: &str) -> &str {
    line.split_once(':').map_or(line, |(path, _)| path)
}

/// The lines of `modules.dep` in the order of `modules.order`, which is that of the links of built-in drivers: where several
/// modules match, it decides which one is loaded first. Others follow.
fn in_order<'a>(list: &'a str, order: &str) -> Vec<&'a str> {
    let plain = |path: &str| path.rfind(".ko").map_or(path, |at| &path[..at]).to_owned();
    let places: HashMap<String, usize> = order.lines().map(plain).zip(0..).collect();
    let mut lines: Vec<_> = list.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_by_key(|line| places.get(&plain(path_of(line))).copied().unwrap_or(usize::MAX));
    lines
}

/// Reads modules, in as many threads as there are CPUs.
fn read_all(dir: &Path, paths: &[&str], cancelled: &AtomicBool) -> Result<Vec<Module>, DepmodError> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut read = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(at) else { return Ok(read) };
            if cancelled.load(Ordering::Relaxed) {
                return Err(DepmodError::Cancelled);
            }
            read.push((at, read_one(dir, path)?));
        }
    };
    let mut found: Vec<(usize, Module)> = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut found = work()?;
        for other in others {
            // A panic of a thread is a fault of vmlab, and goes on.
            found.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(found)
    })?;
    found.sort_by_key(|(at, _)| *at);
    Ok(found.into_iter().map(|(_, module)| module).collect())
}

fn read_one(dir: &Path, path: &str) -> Result<Module, DepmodError> {
    const NEEDED: [&str; 3] = ["alias", "softdep", "weakdep"];
    let file = dir.join(path);
    let elf = depmod::read(&file)?;
    let fields = modinfo::fields(&elf).ok_or(DepmodError::Malformed(file))?;
    let fields = fields.into_iter().filter(|(key, _)| NEEDED.contains(key));
    Ok(Module {
        name: name_of(path),
        fields: fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        exported: modinfo::exported(&elf).into_iter().map(str::to_owned).collect(),
    })
}

/// The files that list what modules say about themselves.
fn of_modules(modules: &[Module]) -> BTreeMap<&'static str, Vec<u8>> {
    let (mut alias_trie, mut symbol_trie) = (Trie::default(), Trie::default());
    let mut aliases = "# Aliases of the modules.\n".to_owned();
    let mut symbols = "# Symbols that the modules export.\n".to_owned();
    let mut softdeps = "# Soft dependencies of the modules.\n".to_owned();
    let mut weakdeps = "# Weak dependencies of the modules.\n".to_owned();
    let mut devices = "# Device nodes whose use loads a module.\n".to_owned();
    for (module, priority) in modules.iter().zip(0..) {
        let Module { name, fields, exported } = module;
        for (key, value) in fields {
            let (text, word) = match key.as_str() {
                "softdep" => (&mut softdeps, "softdep"),
                "weakdep" => (&mut weakdeps, "weakdep"),
                _ => {
                    alias_trie.insert(&normalized(value), priority, name);
                    line(&mut aliases, format_args!("alias {value} {name}"));
                    continue;
                }
            };
            line(text, format_args!("{word} {name} {value}"));
        }
        for symbol in exported {
            let symbol = format!("symbol:{symbol}");
            symbol_trie.insert(&symbol, priority, name);
            line(&mut symbols, format_args!("alias {symbol} {name}"));
        }
        if let Some(device) = device(fields) {
            line(&mut devices, format_args!("{name} {device}"));
        }
    }
    BTreeMap::from([
        ("modules.alias", aliases.into_bytes()),
        ("modules.alias.bin", alias_trie.encode()),
        ("modules.symbols", symbols.into_bytes()),
        ("modules.symbols.bin", symbol_trie.encode()),
        ("modules.softdep", softdeps.into_bytes()),
        ("modules.weakdep", weakdeps.into_bytes()),
        ("modules.devname", devices.into_bytes()),
    ])
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.push_str(&line.to_string());
    text.push('\n');
}

/// An alias as libkmod looks it up: with underscores for hyphens, but in brackets.
fn normalized(alias: &str) -> String {
    let mut in_brackets = false;
    let normalize = |letter| {
        match letter {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            '-' if !in_brackets => return '_',
            _ => {}
        }
        letter
    };
    alias.chars().map(normalize).collect()
}

/// The device node of a module in the form of `modules.devname`, as `net/tun c10:200`: it has aliases for the name and for
/// the numbers.
fn device(fields: &[(String, String)]) -> Option<String> {
    let aliases = || fields.iter().filter(|(key, _)| key == "alias").map(|(_, value)| value.as_str());
    let name = aliases().find_map(|alias| alias.strip_prefix("devname:"))?;
    let numbers = |kind: char, prefix: &str| {
        let (major, minor) = aliases().find_map(|alias| alias.strip_prefix(prefix)?.split_once('-'))?;
        let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        Some(format!("{name} {kind}{major}:{minor}"))
    };
    numbers('c', "char-major-").or_else(|| numbers('b', "block-major-"))
}

/// The index of lines of `modules.dep`.
fn dependencies(lines: &[&str]) -> Trie {
    let mut trie = Trie::default();
    for (line, priority) in lines.iter().zip(0..) {
        trie.insert(&name_of(path_of(line)), priority, line);
    }
    trie
}

/// The index of the names in `modules.builtin`.
fn built_in(list: &str) -> Trie {
    let mut trie = Trie::default();
    for line in list.lines().filter(|line| !line.is_empty()) {
        trie.insert(&name_of(line), 0, "");
    }
    trie
}

/// The index of the aliases in `modules.builtin.modinfo`: texts of the form `MODULE.alias=ALIAS`.
fn aliases_of_built_in(texts: &[u8]) -> Trie {
    let mut trie = Trie::default();
    for (key, alias) in modinfo::pairs(texts) {
        if let Some((module, "alias")) = key.split_once('.') {
            trie.insert(&normalized(alias), 0, module);
        }
    }
    trie
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trie::tests::read;

    fn module(name: &str, fields: &[(&str, &str)], exported: &[&str]) -> Module {
        Module {
            name: name.to_owned(),
            fields: fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            exported: exported.iter().map(|&symbol| symbol.to_owned()).collect(),
        }
    }

    fn keys(trie: &[u8]) -> Vec<(String, String)> {
        read(trie).into_iter().map(|(key, _, value)| (key, value)).collect()
    }

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
    }

    #[test]
    fn modules_are_found_by_alias_symbol_and_device() {
        let tun = [("alias", "devname:net/tun"), ("alias", "char-major-10-200"), ("softdep", "pre: x post: y")];
        let files = of_modules(&[
            module("b", &[("alias", "fs-x-y"), ("alias", "of:N*T*Cx[a-b],y-z")], &["b_f"]),
            module("tun", &tun, &[]),
            module("a", &[("alias", "fs-x-y"), ("weakdep", "b")], &["a_f"]),
        ]);
        let text =
            |name| String::from_utf8(files[name].clone()).unwrap().lines().skip(1).collect::<Vec<_>>().join("\n");
        assert_eq!(
            keys(&files["modules.alias.bin"]),
            pairs([
                ("char_major_10_200", "tun"),
                ("devname:net/tun", "tun"),
                ("fs_x_y", "b"),
                ("fs_x_y", "a"),
                ("of:N*T*Cx[a-b],y_z", "b"),
            ]),
            "in the order of the modules"
        );
        assert_eq!(keys(&files["modules.symbols.bin"]), pairs([("symbol:a_f", "a"), ("symbol:b_f", "b")]));
        assert_eq!(text("modules.softdep"), "softdep tun pre: x post: y");
        assert_eq!(text("modules.weakdep"), "weakdep a b");
        assert_eq!(text("modules.devname"), "tun net/tun c10:200");
        assert_eq!(text("modules.symbols"), "alias symbol:b_f b\nalias symbol:a_f a");
        assert!(text("modules.alias").starts_with("alias fs-x-y b\n"));
    }

    #[test]
    fn the_order_is_that_of_the_kernels_build() {
        let list = "k/a.ko.xz: k/b.ko\nk/b.ko:\nk/c-d.ko.zst:\nk/e.ko:\n";
        assert_eq!(
            in_order(list, "k/c-d.ko\nk/b.ko\n"),
            ["k/c-d.ko.zst:", "k/b.ko:", "k/a.ko.xz: k/b.ko", "k/e.ko:"],
            "those that are not listed keep their order"
        );
        let index = keys(&dependencies(&in_order(list, "")).encode());
        assert_eq!(index[0], ("a".to_owned(), "k/a.ko.xz: k/b.ko".to_owned()));
        assert_eq!(index[2].0, "c_d");
    }

    #[test]
    fn what_is_built_in_is_known_by_name_and_alias() {
        assert_eq!(
            keys(&built_in("kernel/fs/fuse/fuse.ko\nkernel/x/a-b.ko\n").encode()),
            pairs([("a_b", ""), ("fuse", "")])
        );
        let texts = b"fuse.alias=fs-fuseblk\0fuse.license=GPL\0broken\0a.b=c\0fuse.alias=devname:fuse\0";
        assert_eq!(
            keys(&aliases_of_built_in(texts).encode()),
            pairs([("devname:fuse", "fuse"), ("fs_fuseblk", "fuse")])
        );
    }

    #[test]
    fn aliases_keep_hyphens_in_brackets() {
        for (alias, found) in
            [("fs-a-b", "fs_a_b"), ("usb:v[0-9]p-[!a-f]-", "usb:v[0-9]p_[!a-f]_"), ("a[-", "a[-"), ("]-", "]_")]
        {
            assert_eq!(normalized(alias), found);
        }
    }
}
