use std::fs;
use std::sync::LazyLock;

use super::recipe::Recipe;
use super::*;

const MODULE: &[u8] = b"\x7fELF and so on";

/// A module directory where virtio_console and veth are files, virtio_pci is built in, and dummy is missing.
fn module_directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let dep = "kernel/virtio_console.ko: kernel/virtio.ko\nkernel/virtio.ko:\nkernel/veth-x.ko: kernel/virtio.ko\n";
    fs::write(dir.path().join("modules.dep"), dep).unwrap();
    fs::write(dir.path().join("modules.builtin"), "kernel/virtio_pci.ko\n").unwrap();
    fs::create_dir(dir.path().join("kernel")).unwrap();
    for file in ["virtio_console.ko", "virtio.ko", "veth-x.ko"] {
        fs::write(dir.path().join("kernel").join(file), MODULE).unwrap();
    }
    dir
}

fn listed(dir: &tempfile::TempDir) -> ModuleDir {
    ModuleDir::complete(dir.path().to_owned())
}

static RECIPE: LazyLock<Recipe> = LazyLock::new(|| Recipe::scenarios().unwrap());

fn spec<'a>(modules: Option<&'a ModuleDir>, cache: &'a Path) -> ImageSpec<'a> {
    let scenario_modules = BTreeSet::from(["veth-x", "dummy", "virtio_pci"]);
    static NONE: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    ImageSpec { recipe: &RECIPE, init: b"init", modules, scenario_modules, nodes: &[], extra_modules: &NONE, cache }
}

/// Path and content of each file in the archive, by an independent parser.
fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let field = |at: usize, number: usize| {
        let start = at + 6 + number * 8;
        usize::from_str_radix(std::str::from_utf8(&archive[start..start + 8]).unwrap(), 16).unwrap()
    };
    let mut files = BTreeMap::new();
    let mut at = 0;
    loop {
        let (mode, size, name_size) = (field(at, 1), field(at, 6), field(at, 11));
        let name = std::str::from_utf8(&archive[at + 110..at + 110 + name_size - 1]).unwrap();
        if name == "TRAILER!!!" {
            return files;
        }
        let content = (at + 110 + name_size).next_multiple_of(4);
        if mode & 0o170_000 == 0o100_000 {
            files.insert(name.to_owned(), archive[content..content + size].to_vec());
        }
        at = (content + size).next_multiple_of(4);
    }
}

#[test]
fn the_image_contains_init_and_the_modules_to_load() {
    let (kernel, cache) = (module_directory(), tempfile::tempdir().unwrap());
    let image = build(&spec(Some(&listed(&kernel)), cache.path())).unwrap().0;
    let bytes = fs::read(&image.path).unwrap();
    assert_eq!(image.size_bytes, bytes.len() as u64);
    assert_eq!(image.sha256, vmlab_store::hex(&Sha256::digest(&bytes)));
    assert!(image.absent.is_empty());
    let expected: BTreeMap<String, Vec<u8>> = [
        ("init", b"init".as_slice()),
        ("modules/boot.list", b"/modules/virtio.ko\n/modules/virtio_console.ko\n"),
        ("modules/for/veth-x.list", b"/modules/virtio.ko\n/modules/veth_x.ko\n"),
        ("modules/for/virtio_pci.list", b""),
        ("modules/virtio.ko", MODULE),
        ("modules/virtio_console.ko", MODULE),
        ("modules/veth_x.ko", MODULE),
        ("modules/nodes.json", b"[]"),
    ]
    .map(|(path, content)| (path.to_owned(), content.to_vec()))
    .into();
    assert_eq!(files(&bytes), expected);
}

#[test]
fn a_kernel_without_modules_gets_an_empty_list() {
    let cache = tempfile::tempdir().unwrap();
    let image = build(&spec(None, cache.path())).unwrap().0;
    let files = files(&fs::read(&image.path).unwrap());
    assert_eq!(files.keys().collect::<Vec<_>>(), ["init", "modules/boot.list", "modules/nodes.json"]);
    assert!(files["modules/boot.list"].is_empty());
}

#[test]
fn missing_boot_modules_are_named() {
    let (kernel, cache) = (module_directory(), tempfile::tempdir().unwrap());
    fs::write(kernel.path().join("modules.dep"), "").unwrap();
    let image = build(&spec(Some(&listed(&kernel)), cache.path())).unwrap().0;
    assert_eq!(image.absent, ["virtio_console"]);
    let modules = listed(&kernel);
    let recipe = spec(Some(&modules), cache.path()).recipe;
    assert_eq!(absent_modules(recipe, &modules).unwrap(), image.absent);
}

#[test]
fn a_made_list_is_used_and_a_missing_list_of_built_in_modules_makes_nothing_absent() {
    let (kernel, cache) = (module_directory(), tempfile::tempdir().unwrap());
    let list = fs::read_to_string(kernel.path().join("modules.dep")).unwrap();
    for file in ["modules.dep", "modules.builtin"] {
        fs::remove_file(kernel.path().join(file)).unwrap();
    }
    let error = build(&spec(Some(&listed(&kernel)), cache.path())).unwrap_err().to_string();
    assert!(error.contains("modules.dep"), "{error}");
    let modules = ModuleDir { made_list: Some(list.into()), ..listed(&kernel) };
    let image = build(&spec(Some(&modules), cache.path())).unwrap().0;
    // virtio_pci is in no list, and may be built in.
    assert!(image.absent.is_empty());
    let files = files(&fs::read(&image.path).unwrap());
    assert_eq!(files["modules/boot.list"], b"/modules/virtio.ko\n/modules/virtio_console.ko\n");
}

fn identity(image: &Image) -> (&Path, &str, u64, &[String]) {
    (&image.path, &image.sha256, image.size_bytes, &image.absent)
}

#[test]
fn the_same_spec_gives_the_same_file_and_a_damaged_file_is_replaced() {
    let (kernel, cache) = (module_directory(), tempfile::tempdir().unwrap());
    let modules = listed(&kernel);
    let spec = spec(Some(&modules), cache.path());
    let first = build(&spec).unwrap().0;
    let bytes = fs::read(&first.path).unwrap();
    assert_eq!(identity(&build(&spec).unwrap().0), identity(&first));
    for damage in [&bytes[..bytes.len() - 1], &vec![0; bytes.len()]] {
        fs::write(&first.path, damage).unwrap();
        assert_eq!(identity(&build(&spec).unwrap().0), identity(&first));
        assert_eq!(fs::read(&first.path).unwrap(), bytes);
    }
    assert_eq!(list(cache.path()).entries.len(), 1);
}

#[test]
fn concurrent_builds_of_the_same_image_succeed() {
    let (kernel, cache) = (module_directory(), tempfile::tempdir().unwrap());
    let modules = listed(&kernel);
    let built: Vec<Image> = std::thread::scope(|scope| {
        let spec = spec(Some(&modules), cache.path());
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn({
                    let spec = spec.clone();
                    move || build(&spec)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap().0).collect()
    });
    assert!(built.iter().all(|image| identity(image) == identity(&built[0])));
    assert_eq!(list(cache.path()).entries.len(), 1);
}

#[test]
fn an_image_with_the_real_init_is_built() {
    let cache = tempfile::tempdir().unwrap();
    let spec = ImageSpec {
        nodes: &[],
        recipe: &RECIPE,
        init: guest_init::init_binary(),
        modules: None,
        scenario_modules: BTreeSet::new(),
        extra_modules: &BTreeMap::new(),
        cache: cache.path(),
    };
    let image = build(&spec).unwrap().0;
    assert_eq!(files(&fs::read(image.path).unwrap())["init"], guest_init::init_binary());
}

#[test]
fn invalid_module_names_are_refused() {
    let (kernel, cache) = (module_directory(), tempfile::tempdir().unwrap());
    let modules = listed(&kernel);
    for name in ["", "../x", "a/b", "a b"] {
        let spec = ImageSpec { scenario_modules: BTreeSet::from([name]), ..spec(Some(&modules), cache.path()) };
        assert!(matches!(build(&spec).unwrap_err(), ImageError::BadModuleName(_)), "{name:?}");
    }
    fs::remove_file(kernel.path().join("kernel/virtio.ko")).unwrap();
    let error = build(&spec(Some(&listed(&kernel)), cache.path())).unwrap_err();
    assert!(matches!(error, ImageError::Modules(ModulesError::Read { .. })), "{error}");
}

#[test]
fn an_image_that_the_cache_cannot_store_stays_in_memory_with_a_warning() {
    let cache = tempfile::tempdir().unwrap();
    let file = cache.path().join("file");
    fs::write(&file, b"").unwrap();
    let (image, warnings) = build(&spec(None, &file)).unwrap();
    let bytes = fs::read(&image.path).unwrap();
    assert_eq!(
        (bytes.len() as u64, vmlab_store::hex(&Sha256::digest(&bytes))),
        (image.size_bytes, image.sha256.clone())
    );
    let notices = warnings.notices();
    assert!(
        matches!(&notices[..], [only] if only.starts_with("could not store the guest image for the next run: ")),
        "{notices:?}"
    );
    let (stored, warnings) = build(&spec(None, cache.path())).unwrap();
    assert!(warnings.grown && warnings.notices().is_empty());
    assert_eq!((stored.sha256, fs::read(stored.path).unwrap()), (image.sha256.clone(), bytes));
    assert!(!build(&spec(None, cache.path())).unwrap().1.grown);
    let path = image.path.clone();
    drop(image);
    assert!(!path.exists(), "the file vanishes with the image");
}
