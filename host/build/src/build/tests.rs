//! Builds of a tree whose Makefile knows the kernel's targets and builds in no time.

use std::error::Error;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

use vmlab_events::progress::Silent;
use vmlab_store::cache::{self, EntryKind};

use super::*;
use crate::store::{BUILDS, OBJECTS, label};

/// The targets that vmlab uses. The kernel is the text of kernel.c, unless that has an error.
const MAKEFILE: &str = r#"VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 5

allnoconfig:
	@grep -v SPECIAL $(KCONFIG_ALLCONFIG) > $(O)/.config
	@mkdir -p $(O)/include/config $(O)/arch/x86/boot
	@echo 6.12.5 > $(O)/include/config/kernel.release

bzImage:
	@echo '  CC      kernel.o'
	@echo run >> $(O)/runs
	@if grep -q ERROR kernel.c; then echo "$(CURDIR)/kernel.c:3:1: error: expected ';'" >&2; exit 1; fi
	@if grep -q FULL kernel.c; then echo "cc1: fatal error: error writing to /tmp/x.s: No space left on device"; exit 1; fi
	@if grep -q GELF kernel.c; then echo "main.h:1:10: fatal error: gelf.h: No such file or directory"; exit 1; fi
	@if grep -q MOVING kernel.c; then echo x >> kernel.c; fi
	@if grep -q SLOW kernel.c; then sleep 60; fi
	@grep -q NOTHING kernel.c || cp kernel.c $(O)/arch/x86/boot/bzImage
	@cp /bin/true $(O)/vmlinux # an ELF file without KUnit
	@echo '  OBJCOPY arch/x86/boot/bzImage'

modules:
	@echo '  CC [M]  module.ko'

modules_install:
	@mkdir -p $(INSTALL_MOD_PATH)/lib/modules/6.12.5/kernel
	@ln -s $(CURDIR) $(INSTALL_MOD_PATH)/lib/modules/6.12.5/build
	@echo module > $(INSTALL_MOD_PATH)/lib/modules/6.12.5/kernel/module.ko
"#;

struct Place {
    dir: tempfile::TempDir,
    fragments: Vec<FragmentName>,
}

impl Place {
    fn new(code: &str) -> Result<Self, Box<dyn Error>> {
        let place = Self { dir: tempfile::tempdir()?, fragments: Vec::new() };
        crate::tree::tests::minimal(&place.tree());
        fs::write(place.tree().join("Makefile"), MAKEFILE)?;
        place.write(code)?;
        Ok(place)
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("linux")
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn write(&self, code: &str) -> io::Result<()> {
        fs::write(self.tree().join("kernel.c"), code)
    }

    async fn obtain(&self, progress: &dyn Progress, may_build: bool) -> Result<Option<Built>, BuildError> {
        let (tree, cache) = (self.tree(), self.cache());
        let fragments = &self.fragments;
        let request = Request {
            label: "tree:linux",
            tree: &tree,
            identity: None,
            fragments,
            cache: &cache,
            jobs: NonZeroUsize::new(2),
            refusal: &|config| config.enabled("CONFIG_USELESS").then(|| "it is useless".to_owned()),
            may_build,
            progress,
        };
        obtain(request).await
    }

    async fn build(&self) -> Result<Built, Box<dyn Error>> {
        Ok(self.obtain(&Silent, true).await?.ok_or("not built")?)
    }

    async fn error(&self) -> Result<String, Box<dyn Error>> {
        Ok(self.obtain(&Silent, true).await.err().ok_or("no error")?.to_string())
    }

    /// How often make compiled.
    fn runs(&self) -> usize {
        let objects = fs::read_dir(self.cache().join("builds/objects")).into_iter().flatten().flatten();
        let runs = objects.filter_map(|place| fs::read_to_string(place.path().join("o/runs")).ok());
        runs.map(|text| text.lines().count()).sum()
    }

    /// Names and contents of the tree's files.
    fn contents(&self) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut contents = Vec::new();
        let mut dirs = vec![self.tree()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                if path.is_dir() { dirs.push(path) } else { contents.push((path.clone(), fs::read(path)?)) }
            }
        }
        contents.sort();
        Ok(contents)
    }
}

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::test]
async fn a_kernel_is_built_once_and_the_tree_stays_as_it_is() -> Outcome {
    let place = Place::new("one\n")?;
    let before = place.contents()?;
    assert!(place.obtain(&Silent, false).await?.is_none());
    assert_eq!(place.runs(), 0);
    let built = place.build().await?;
    assert_eq!(fs::read_to_string(built.image())?, "one\n");
    assert_eq!(built.record.release, "6.12.5");
    assert!(fs::read_to_string(built.config())?.contains("CONFIG_64BIT=y"));
    assert!(
        built
            .record
            .asked
            .get("CONFIG_64BIT")
            .is_some_and(|(value, by)| value == "y" && by.starts_with("base.config:"))
    );
    assert_eq!(place.build().await?.image(), built.image());
    assert!(place.obtain(&Silent, false).await?.is_some());
    assert_eq!(place.runs(), 1);
    assert_eq!(place.contents()?, before);
    Ok(())
}

#[tokio::test]
async fn a_change_is_built_in_the_same_directory_and_the_old_kernel_stays() -> Outcome {
    let place = Place::new("one\n")?;
    let first = place.build().await?;
    place.write("two\n")?;
    let second = place.build().await?;
    assert_eq!(fs::read_to_string(second.image())?, "two\n");
    assert_eq!(fs::read_dir(place.cache().join("builds/objects"))?.count(), 1);
    place.write("one\n")?;
    assert_eq!(place.build().await?.image(), first.image());
    assert_eq!(place.runs(), 2);
    Ok(())
}

#[tokio::test]
async fn a_changed_fragment_gives_another_kernel_in_the_same_directory() -> Outcome {
    let mut place = Place::new("one\n")?;
    let fragment = place.dir.path().join("my.config");
    place.fragments.push(FragmentName::File(fragment.clone()));
    fs::write(&fragment, "CONFIG_MINE=y\n")?;
    let first = place.build().await?;
    fs::write(&fragment, "CONFIG_MINE=7\n")?;
    let second = place.build().await?;
    assert_ne!(first.image(), second.image());
    assert!(fs::read_to_string(first.config())?.contains("CONFIG_MINE=y\n"));
    assert!(fs::read_to_string(second.config())?.contains("CONFIG_MINE=7\n"));
    assert_eq!(fs::read_dir(place.cache().join("builds/objects"))?.count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_damaged_kernel_is_built_again() -> Outcome {
    let place = Place::new("one\n")?;
    let built = place.build().await?;
    let image = built.image();
    drop(built);
    fs::write(&image, "bad\n")?;
    assert_eq!(fs::read_to_string(place.build().await?.image())?, "one\n");
    assert_eq!(place.runs(), 2);
    Ok(())
}

#[tokio::test]
async fn modules_are_installed_without_links_to_the_tree() -> Outcome {
    let mut place = Place::new("one\n")?;
    let symbol = FragmentName::Symbol { symbol: "CONFIG_MODULES".to_owned(), value: "y".to_owned() };
    place.fragments.push(symbol);
    let image = place.build().await?.image();
    let modules = image.parent().ok_or("no parent")?.join("lib/modules/6.12.5");
    assert_eq!(fs::read_to_string(modules.join("kernel/module.ko"))?, "module\n");
    assert!(fs::symlink_metadata(modules.join("build")).is_err());
    Ok(())
}

#[tokio::test]
async fn a_failed_build_shows_the_first_error_and_is_tried_again() -> Outcome {
    let place = Place::new("ERROR\n")?;
    let error = place.error().await?;
    assert!(error.contains("linux/kernel.c:3:1: error: expected ';'"), "{error}");
    let log = error.rsplit(' ').next().ok_or("no log")?;
    assert!(fs::read_to_string(log)?.contains("CC      kernel.o"), "{error}");
    place.write("good\n")?;
    assert_eq!(fs::read_to_string(place.build().await?.image())?, "good\n");
    Ok(())
}

#[tokio::test]
async fn failures_of_the_machine_say_what_helps() -> Outcome {
    for (code, part) in [
        ("FULL\n", "the disk is full"),
        ("GELF\n", "libelf-dev is missing: `vmlab doctor --fix --build` installs it"),
        ("NOTHING\n", "reported success, and "),
        ("MOVING\n", "changed while the kernel was built"),
    ] {
        let error = Place::new(code)?.error().await?;
        assert!(error.contains(part), "{code}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_misspelt_symbol_that_is_to_be_off_is_an_error() -> Outcome {
    let mut place = Place::new("one\n")?;
    place.fragments.push(FragmentName::Symbol { symbol: "CONFIG_MISSPELT".to_owned(), value: "n".to_owned() });
    let error = place.error().await?;
    let line = "  CONFIG_MISSPELT=n was asked for by +CONFIG_MISSPELT=n, and this kernel has no such symbol";
    assert!(error.contains(line), "{error}");
    assert_eq!(place.runs(), 0);
    Ok(())
}

#[tokio::test]
async fn after_a_full_disk_the_next_build_begins_anew() -> Outcome {
    let place = Place::new("FULL\n")?;
    assert!(place.error().await?.contains("the disk is full"));
    assert_eq!(place.runs(), 0, "the object files are gone");
    place.write("good\n")?;
    assert_eq!(fs::read_to_string(place.build().await?.image())?, "good\n");
    Ok(())
}

#[tokio::test]
async fn a_kernel_that_is_of_no_use_is_not_compiled() -> Outcome {
    let mut place = Place::new("one\n")?;
    place.fragments.push(FragmentName::Symbol { symbol: "CONFIG_USELESS".to_owned(), value: "y".to_owned() });
    assert_eq!(place.error().await?, "it is useless");
    assert_eq!(place.runs(), 0);
    Ok(())
}

#[tokio::test]
async fn a_symbol_that_is_not_as_asked_is_an_error_before_anything_is_compiled() -> Outcome {
    let mut place = Place::new("one\n")?;
    let symbol = FragmentName::Symbol { symbol: "CONFIG_SPECIAL".to_owned(), value: "y".to_owned() };
    place.fragments.push(symbol);
    let error = place.error().await?;
    let line =
        "  CONFIG_SPECIAL=y was asked for by +CONFIG_SPECIAL=y; it is not set, because this kernel has no such symbol";
    assert!(error.contains(line), "{error}");
    assert_eq!(place.runs(), 0);
    Ok(())
}

#[tokio::test]
async fn a_tree_that_cannot_be_written_to_is_built() -> Outcome {
    let place = Place::new("one\n")?;
    fs::set_permissions(place.tree(), fs::Permissions::from_mode(0o555))?;
    let built = place.build().await;
    fs::set_permissions(place.tree(), fs::Permissions::from_mode(0o755))?;
    assert_eq!(fs::read_to_string(built?.image())?, "one\n");
    Ok(())
}

/// Remembers the steps.
#[derive(Default)]
struct StepLog(Mutex<Vec<String>>);

impl Progress for StepLog {
    fn step(&self, what: &str) {
        self.0.lock().into_iter().for_each(|mut steps| steps.push(what.to_owned()));
    }

    fn percent(&self, _percent: u8) {}

    fn done(&self) {}
}

#[tokio::test]
async fn a_dropped_build_ends_and_the_next_goes_on() -> Outcome {
    let place = Place::new("SLOW\n")?;
    let progress = StepLog::default();
    {
        let mut build = Box::pin(place.obtain(&progress, true));
        while place.runs() == 0 {
            tokio::select! {
                ended = &mut build => return Err(format!("it ended: {ended:?}").into()),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
    }
    place.write("one\n")?;
    assert_eq!(fs::read_to_string(place.build().await?.image())?, "one\n");
    Ok(())
}

#[tokio::test]
async fn two_builds_of_the_same_kernel_share_it() -> Outcome {
    let place = Place::new("one\n")?;
    let (one, other) = tokio::join!(place.build(), place.build());
    assert_eq!(one?.image(), other?.image());
    assert_eq!(place.runs(), 1);
    Ok(())
}

#[tokio::test]
async fn a_cache_with_a_blank_in_its_path_is_refused() -> Outcome {
    let place = Place::new("one\n")?;
    let (tree, cache) = (place.tree(), place.dir.path().join("a cache"));
    let request = Request {
        label: "tree:linux",
        tree: &tree,
        identity: None,
        fragments: &[],
        cache: &cache,
        jobs: None,
        may_build: true,
        refusal: &|_| None,
        progress: &Silent,
    };
    let error = obtain(request).await.err().ok_or("no error")?.to_string();
    assert!(error.contains("a cache: set XDG_CACHE_HOME"), "{error}");
    Ok(())
}

#[tokio::test]
async fn builds_and_build_directories_are_entries_of_the_cache() -> Outcome {
    let place = Place::new("one\n")?;
    let built = place.build().await?;
    let kinds: [&EntryKind; 2] = [&BUILDS, &OBJECTS];
    let listing = cache::scan(&place.cache(), &kinds);
    let mut what: Vec<_> =
        listing.entries.iter().map(|entry| (entry.kind.name, entry.what.as_str(), entry.in_use)).collect();
    what.sort_unstable();
    assert_eq!(what, [("build", "6.12.5 (tree:linux)", true), ("build-dir", "tree:linux", false)]);
    // A kernel that is in use stays, and its build directory goes.
    assert!(cache::clear(&place.cache(), &kinds, &kinds).freed_bytes() > 0);
    assert!(built.image().is_file());
    drop(built);
    assert!(cache::clear(&place.cache(), &kinds, &kinds).freed_bytes() > 0);
    assert!(cache::scan(&place.cache(), &kinds).entries.is_empty());
    assert_eq!(fs::read_to_string(place.build().await?.image())?, "one\n");
    Ok(())
}

#[test]
fn the_rest_of_a_build_is_estimated_from_its_own_speed_and_the_last_build() {
    let last = Some(Last { steps: 1000, seconds: 200 });
    assert_eq!(remaining(10, 30, None), 270);
    // At the beginning the last build counts most, at the end its own speed.
    assert_eq!(remaining(10, 30, last), (180 * 90 + 270 * 10) / 100);
    assert_eq!(remaining(90, 270, last), (20 * 10 + 30 * 90) / 100);
    assert_eq!((remaining(0, 5, None), remaining(100, 5, last)), (500, 0));
}

#[tokio::test]
async fn the_entries_of_a_built_kernel_know_its_name() -> Outcome {
    let place = Place::new("one\n")?;
    place.build().await?;
    let cache = place.cache();
    let labels = |kind: &'static EntryKind| -> Vec<_> {
        let listing = (kind.list)(&cache);
        listing.entries.iter().filter_map(|entry| label(&entry.path)).collect()
    };
    assert_eq!(labels(&BUILDS), [("tree:linux".to_owned(), Some("6.12.5".to_owned()))]);
    assert_eq!(labels(&OBJECTS), [("tree:linux".to_owned(), None)]);
    assert_eq!(label(&cache), None);
    Ok(())
}
