use object::read::elf::ElfFile64;
use object::{LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};

use super::code::{ALL, Code, To};
use super::pattern::ThisModule;
use super::*;

/// The pattern of a kernel with a `struct module` that no real kernel has.
fn pattern(bug_entry: usize) -> Pattern {
    let imports = ALL.iter().flat_map(contents).flat_map(|code| code.imports().collect::<Vec<_>>());
    let names = imports.chain(["module_layout"]);
    Pattern {
        this_module: ThisModule { size: 0x240, name_at: 24, init_at: 0x130 },
        vermagic: "6.12.0-fixture SMP preempt mod_unload modversions ".to_owned(),
        versions: (1..).zip(names).map(|(checksum, name)| (name.to_owned(), checksum << 33 | 7)).collect(),
        bug_entry: Some(bug_entry),
    }
}

/// The contents of a recipe for kernels without and with its config symbol.
fn contents(recipe: &code::Recipe) -> Vec<Code> {
    [Some((recipe.code)()), recipe.other.map(|(_, other)| other())].into_iter().flatten().collect()
}

fn code(name: &str) -> Code {
    (ALL.iter().find(|recipe| recipe.name == name).unwrap().code)()
}

#[test]
fn a_module_that_was_made_shows_the_pattern_it_was_made_from() {
    for bug_entry in [12, 16] {
        let pattern = pattern(bug_entry);
        for (recipe, code) in ALL.iter().flat_map(|recipe| contents(recipe).into_iter().map(move |code| (recipe, code)))
        {
            let made = elf::write("fault_x", &code, &pattern).unwrap();
            let read = Pattern::read(&made).unwrap();
            assert_eq!(read.this_module, pattern.this_module, "{}", recipe.name);
            assert_eq!(read.vermagic, pattern.vermagic, "{}", recipe.name);
            assert_eq!(read.bug_entry, code.bug.map(|_| bug_entry), "{}", recipe.name);
            let wanted: BTreeSet<_> = code.imports().chain(["module_layout"]).collect();
            let has: BTreeSet<_> = read.versions.keys().map(String::as_str).collect();
            assert_eq!(has, wanted, "{}", recipe.name);
            assert!(
                read.versions.iter().all(|(name, checksum)| pattern.versions[name] == *checksum),
                "{}",
                recipe.name
            );
        }
    }
}

/// The relocations of a section: the offset, the name of the symbol or section, and the addend.
fn relocations(module: &[u8], section: &str) -> Vec<(u64, String, i64)> {
    let file = ElfFile64::<LittleEndian>::parse(module).unwrap();
    let name = |target| {
        let RelocationTarget::Symbol(index) = target else { panic!("{target:?}") };
        let symbol = file.symbol_by_index(index).unwrap();
        match symbol.section_index().map(|index| file.section_by_index(index).unwrap().name().unwrap().to_owned()) {
            Some(section) if symbol.name().unwrap_or_default().is_empty() => section,
            _ => symbol.name().unwrap().to_owned(),
        }
    };
    let section = file.section_by_name(section).unwrap();
    section.relocations().map(|(at, to)| (at, name(to.target()), to.addend())).collect()
}

#[test]
fn relocations_of_calls_and_of_the_bug_table_have_the_addends_that_the_kernel_expects() {
    let warning = elf::write("fault_warning", &code("warning"), &pattern(16)).unwrap();
    // endbr64 and a push precede the instruction. The NUL at the end of the file's name serves as an empty format.
    let due = [(0, ".text".to_owned(), 5), (4, ".rodata".to_owned(), 11), (8, ".rodata".to_owned(), 4)];
    assert_eq!(relocations(&warning, "__bug_table"), due);
    let file = ElfFile64::<LittleEndian>::parse(&*warning).unwrap();
    assert_eq!(file.section_by_name("__bug_table").unwrap().data().unwrap()[12..], [1, 0, 1, 9]);
    let lockup = elf::write("fault_soft_lockup", &code("soft-lockup"), &pattern(12)).unwrap();
    let due = [(8, ".data".to_owned(), 0), (13, "_raw_spin_lock".to_owned(), -4)];
    assert_eq!(relocations(&lockup, ".text"), due);
}

#[test]
fn every_reference_of_code_is_within_the_module() {
    for (recipe, code) in ALL.iter().flat_map(|recipe| contents(recipe).into_iter().map(move |code| (recipe, code))) {
        for fixup in &code.fixups {
            match fixup.to {
                To::Text(at) => assert!(at < code.text.len() as u64, "{}", recipe.name),
                To::Data(at) => assert!(at < code.data.len() as u64, "{}", recipe.name),
                To::Import(_) => {}
            }
        }
        assert_eq!(code.text[usize::try_from(code.init).unwrap()..][..4], *b"\xf3\x0f\x1e\xfa", "{}", recipe.name);
    }
}

#[test]
fn a_module_that_cannot_be_made_has_a_reason() {
    let no_table = Pattern { bug_entry: None, ..pattern(12) };
    assert!(matches!(elf::write("x", &code("bug"), &no_table), Err(Unmakeable::NoBugTable)));
    let mut unknown = pattern(12);
    unknown.versions.remove("msleep");
    assert!(matches!(elf::write("x", &code("hung-task"), &unknown), Err(Unmakeable::Checksum("msleep"))));
    // A kernel without CONFIG_MODVERSIONS needs no checksum.
    let without = Pattern { versions: BTreeMap::new(), ..pattern(12) };
    assert!(Pattern::read(&elf::write("x", &code("hung-task"), &without).unwrap()).unwrap().versions.is_empty());
    assert!(matches!(Pattern::read(b"no module"), Err(Unusable::Elf(_))));
}

#[test]
fn modules_are_made_from_a_kernels_module_directory() {
    let dir = tempfile::tempdir().unwrap();
    let directory = vmlab_kernel::modules::ModuleDir::complete(dir.path().to_owned());
    let put = |name: &str, content: &[u8]| std::fs::write(dir.path().join(name), content).unwrap();
    put("modules.builtin", b"");
    put("modules.dep", b"abc.ko:\nloop.ko:\nzoo.ko:\n");
    // Every module shows a part of the pattern, except one without an init function, which shows nothing.
    let mut without = elf::write("abc", &code("panic"), &pattern(16)).unwrap();
    let at = without.windows(11).position(|name| name == b"init_module").unwrap();
    without[at..at + 4].copy_from_slice(b"exit");
    put("abc.ko", &without);
    put("loop.ko", &elf::write("loop", &code("panic"), &pattern(16)).unwrap());
    put("zoo.ko", &elf::write("zoo", &code("bug"), &pattern(16)).unwrap());
    let made = make_all(&directory, |_| false).unwrap();
    assert_eq!(made.len(), ALL.len());
    for name in ["panic", "bug", "null-dereference"] {
        assert!(made[name].is_ok(), "{name}: {:?}", made[name]);
    }
    assert!(matches!(made["hung-task"], Err(Unmakeable::Checksum("msleep"))));
    assert!(matches!(made["ubsan"], Err(Unmakeable::Config("CONFIG_UBSAN_BOUNDS"))));
    put("modules.dep", b"abc.ko:\n");
    assert!(matches!(make_all(&directory, |_| false), Err(NoModules::Unusable { path, .. }) if path == "abc.ko"));
    put("modules.dep", b"");
    assert!(matches!(make_all(&directory, |_| false), Err(NoModules::None(_))));
}
