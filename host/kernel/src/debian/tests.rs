//! Tests of fetching with scripts in place of apt and dpkg.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use vmlab_protocol::catalogue::KernelVersion;

use super::memory::Cgroups;
use super::*;
use crate::depmod::tests::module;
use crate::file::tests::{RELEASE, bzimage};
use vmlab_events::progress::Silent;
use vmlab_store::checksummed::{self, Stored};

mod killed;
mod machine;

/// The scripts. Tests link to them instead of copying: a file that was just written may still be open for writing in a
/// child of another test, and cannot be executed then (ETXTBSY, execve(2)).
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/debian/fake");

/// A machine with fake tools, and vmlab's directories.
struct Fake {
    root: tempfile::TempDir,
    system: System,
    dirs: Dirs,
}

impl Fake {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for dir in ["bin/tree/boot", &format!("bin/tree/lib/modules/{RELEASE}/kernel"), "etc"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        for name in ["apt-config", "apt-get", "apt-cache", "dpkg-deb"] {
            symlink(Path::new(SCRIPTS).join(name), at("bin").join(name)).unwrap();
        }
        fs::write(at("keyring.gpg"), "").unwrap();
        let sources = "deb http://m.example/d bookworm main\ndeb http://m.example/s bookworm-security main\n";
        fs::write(at("etc/sources.list"), sources).unwrap();
        fs::write(at(&format!("bin/tree/boot/vmlinuz-{RELEASE}")), bzimage(9)).unwrap();
        fs::write(at(&format!("bin/tree/boot/config-{RELEASE}")), "CONFIG_UTS_NS=y\n").unwrap();
        let modules = at(&format!("bin/tree/lib/modules/{RELEASE}/kernel"));
        fs::write(modules.join("virtio.ko"), module(b"depends=virtio_ring\0")).unwrap();
        fs::write(modules.join("virtio_ring.ko"), module(b"depends=\0")).unwrap();
        let system = System {
            etc_apt: at("etc"),
            keyrings: vec![at("keyring.gpg")],
            main_mirror: None,
            security_mirror: None,
            programs: Some(at("bin")),
            cgroups: Cgroups { membership: at("membership"), root: at("cgroup") },
        };
        let fake = Self { system, dirs: Dirs { cache: at("cache"), state: at("state") }, root };
        fake.offer("6.1.192-2");
        fake
    }

    fn bin(&self, name: &str) -> PathBuf {
        self.root.path().join("bin").join(name)
    }

    /// Sets the version of the archive's image package.
    fn offer(&self, version: &str) {
        let image = format!("linux-image-{RELEASE}");
        let meta = format!("Package: linux-image-cloud-amd64\nVersion: {version}\nDepends: {image} (= {version})\n");
        fs::write(self.bin("metapackage"), meta).unwrap();
        let image = format!("Package: {image}\nSource: linux-signed-amd64\nVersion: {version}\nDepends: kmod\n");
        fs::write(self.bin("image"), image).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.bin("log")).unwrap_or_default().replace('\n', " ").trim().to_owned()
    }

    async fn obtain_with(
        &self,
        source: &str,
        policy: FetchPolicy,
        progress: &dyn Progress,
    ) -> Result<Kernel, DebianError> {
        obtain(&source.parse().unwrap(), &self.dirs, policy, progress, &self.system).await
    }

    async fn obtain(&self, policy: FetchPolicy) -> Result<Kernel, DebianError> {
        self.obtain_with("bookworm", policy, &Silent).await
    }

    async fn fails(&self) -> DebianError {
        match self.obtain(FetchPolicy::CacheFirst).await {
            Err(error) => {
                self.assert_nothing_left();
                error
            }
            Ok(kernel) => panic!("{kernel:?}"),
        }
    }

    fn assert_nothing_left(&self) {
        let kernels = self.dirs.cache.join("kernels");
        for dir in ["staging", "entries", "refs"] {
            let left: Vec<_> = fs::read_dir(kernels.join(dir)).into_iter().flatten().collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Progress for Recorder {
    fn step(&self, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }

    fn percent(&self, percent: u8) {
        self.0.lock().unwrap().push(format!("{percent} %"));
    }

    fn done(&self) {
        self.0.lock().unwrap().push("done".to_owned());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_kernel_is_fetched_once_and_stays_the_same() {
    let fake = Fake::new();
    let progress = Recorder::default();
    let kernel = fake.obtain_with("bookworm", FetchPolicy::CacheFirst, &progress).await.unwrap();
    assert_eq!((kernel.label.as_str(), kernel.release.as_str()), ("debian:bookworm", RELEASE));
    assert_eq!(kernel.version, KernelVersion::new(6, 1, 0));
    assert_eq!(fs::read(&kernel.path).unwrap(), bzimage(9));
    assert!(kernel.config.unwrap().enabled("CONFIG_UTS_NS"));
    let modules_dep = kernel.modules.found().unwrap().list().unwrap();
    assert_eq!(modules_dep, "kernel/virtio.ko: kernel/virtio_ring.ko\nkernel/virtio_ring.ko:\n");
    let steps = progress.0.into_inner().unwrap();
    insta::assert_snapshot!(steps.join("\n"), @r"
    debian:bookworm: reading the package lists
    debian:bookworm: looking up its packages
    debian:bookworm: downloading linux-image-6.1.0-56-cloud-amd64 6.1.192-2
    50 %
    debian:bookworm: unpacking linux-image-6.1.0-56-cloud-amd64_6.1.192-2_amd64.deb
    debian:bookworm: computing its module dependencies
    done
    ");
    let seen = fs::read_to_string(fake.bin("sources-seen")).unwrap();
    assert!(seen.contains("Suites: bookworm\n") && seen.contains("Suites: bookworm-security\n"), "{seen}");

    // A newer version in the archive does not matter, because vmlab does not ask.
    fake.offer("6.1.193-1");
    for policy in [FetchPolicy::CacheFirst, FetchPolicy::Offline] {
        assert_eq!(fake.obtain(policy).await.unwrap().path, kernel.path);
    }
    assert_eq!(fake.log(), "update download");
}

#[tokio::test(flavor = "current_thread")]
async fn refreshing_downloads_only_what_is_new() {
    let fake = Fake::new();
    let first = fake.obtain(FetchPolicy::CacheFirst).await.unwrap();
    assert_eq!(fake.obtain(FetchPolicy::Refresh).await.unwrap().path, first.path);
    assert_eq!(fake.log(), "update download update");
    fake.offer("6.1.193-1");
    let second = fake.obtain(FetchPolicy::Refresh).await.unwrap();
    assert_ne!(second.path, first.path);
    assert_eq!(fake.log(), "update download update update download");
    assert_eq!(fake.obtain(FetchPolicy::CacheFirst).await.unwrap().path, second.path);
}

#[tokio::test(flavor = "current_thread")]
async fn two_concurrent_runs_fetch_once() {
    let fake = Fake::new();
    let (one, two) = (Recorder::default(), Recorder::default());
    let (first, second) = tokio::join!(
        fake.obtain_with("bookworm", FetchPolicy::CacheFirst, &one),
        fake.obtain_with("bookworm", FetchPolicy::CacheFirst, &two),
    );
    assert_eq!(first.unwrap().path, second.unwrap().path);
    assert_eq!(fake.log(), "update download");
    let waited = "debian:bookworm: waiting for another vmlab that is fetching it".to_owned();
    // Either of them may be faster.
    let steps = [one, two].map(|recorder| recorder.0.into_inner().unwrap());
    assert_eq!(steps.iter().filter(|steps| **steps == [waited.as_str(), "done"]).count(), 1, "{steps:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_damaged_kernel_is_fetched_again_or_named() {
    let fake = Fake::new();
    let kernel = fake.obtain(FetchPolicy::CacheFirst).await.unwrap();
    fs::write(&kernel.path, "damaged").unwrap();
    let error = fake.obtain(FetchPolicy::Offline).await.unwrap_err().to_string();
    assert!(error.contains("is damaged in the cache") && error.contains(kernel.path.to_str().unwrap()), "{error}");
    let again = fake.obtain(FetchPolicy::CacheFirst).await.unwrap();
    assert_eq!(again.path, kernel.path);
    assert_eq!(fs::read(&again.path).unwrap(), bzimage(9));
    assert_eq!(fake.log(), "update download update download");
}

#[tokio::test(flavor = "current_thread")]
async fn damaged_modules_are_fetched_again_with_every_policy() {
    for policy in [FetchPolicy::CacheFirst, FetchPolicy::Verify, FetchPolicy::Refresh] {
        let fake = Fake::new();
        let kernel = fake.obtain(FetchPolicy::CacheFirst).await.unwrap();
        assert_eq!(kernel.notices, [""; 0]);
        let path = kernel.modules.found().unwrap().path.join("kernel/virtio.ko");
        let whole = fs::read(&path).unwrap();
        for cut in [Some(whole.len() / 2), None] {
            match cut {
                Some(length) => fs::write(&path, &whole[..length]).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let error = fake.obtain(FetchPolicy::Offline).await.unwrap_err().to_string();
            assert!(error.contains("is damaged in the cache") && error.contains(path.to_str().unwrap()), "{error}");
            let again = fake.obtain(policy).await.unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole);
            let words = ["kernel/virtio.ko ", "; it was fetched again in the same version, 6.1.192-2"];
            assert!(words.iter().all(|words| again.notices[0].contains(words)), "{:?}", again.notices);
            assert_eq!(fake.obtain(policy).await.unwrap().notices, [""; 0]);
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_pinned_version_is_fetched_again_while_the_archive_has_it() {
    let fake = Fake::new();
    let first = fake.obtain(FetchPolicy::CacheFirst).await.unwrap();
    let old = fs::read_to_string(fake.bin("image")).unwrap();
    fake.offer("6.1.193-1");
    let new = fs::read_to_string(fake.bin("image")).unwrap();
    fs::write(fake.bin("image"), format!("{new}\n{old}")).unwrap();
    fs::remove_dir_all(first.path.parent().unwrap()).unwrap();
    let second = fake.obtain(FetchPolicy::CacheFirst).await.unwrap();
    assert_eq!(second.path, first.path);
    assert!(second.notices[0].ends_with("in the same version, 6.1.192-2"), "{:?}", second.notices);

    fs::write(fake.bin("image"), new).unwrap();
    fs::write(&first.path, "damaged").unwrap();
    let third = fake.obtain(FetchPolicy::CacheFirst).await.unwrap();
    assert_ne!(third.path, first.path);
    let words = "it was fetched again as 6.1.193-1, which has replaced 6.1.192-2 in the archive";
    assert!(third.notices[0].ends_with(words), "{:?}", third.notices);
}

#[tokio::test(flavor = "current_thread")]
async fn a_kernel_fetched_by_an_older_vmlab_is_fetched_again() {
    let fake = Fake::new();
    fake.obtain(FetchPolicy::CacheFirst).await.unwrap();
    let pin = fake.dirs.cache.join("kernels/refs/debian_bookworm_cloud-amd64.json");
    let Stored::Sound(mut old) = checksummed::read::<serde_json::Value>(&pin).unwrap() else { panic!("no pin") };
    old["format"] = 1.into();
    checksummed::write(&pin, &old).unwrap();
    let kernel = fake.obtain(FetchPolicy::CacheFirst).await.unwrap();
    assert!(kernel.notices[0].contains("was written by an older or newer vmlab; it was fetched again as 6.1.192-2"));
    assert_eq!(fake.obtain(FetchPolicy::Offline).await.unwrap().notices, [""; 0]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_mirror_without_the_security_suite_is_sufficient() {
    let fake = Fake::new();
    fs::write(fake.bin("no-security"), "").unwrap();
    fake.obtain(FetchPolicy::CacheFirst).await.unwrap();
    let seen = fs::read_to_string(fake.bin("sources-seen")).unwrap();
    assert!(!seen.contains("security"), "{seen}");
}

#[tokio::test(flavor = "current_thread")]
async fn apts_errors_are_distinguished() {
    let fake = Fake::new();
    let says = |name: &str, text: &str| fs::write(fake.bin(name), text).unwrap();
    says("update-fails", "E: The repository 'http://m.example/d bookworm Release' does not have a Release file.\n");
    let error = fake.fails().await;
    assert!(matches!(&error, DebianError::NoSuchSuite { suite, meant: None, .. } if suite == "bookworm"), "{error}");
    says("update-fails", "E: The repository 'http://m.example/d bookwrm Release' does not have a Release file.\n");
    let error = fake.obtain_with("bookwrm/amd64", FetchPolicy::CacheFirst, &Silent).await.unwrap_err().to_string();
    assert!(error.contains("no suite `bookwrm`; did you mean debian:bookworm/amd64? Otherwise, check"), "{error}");
    says("update-fails", "E: Failed to fetch http://m.example/d/x  Could not resolve 'm.example'\n");
    assert!(matches!(fake.fails().await, DebianError::NoNetwork { .. }));
    says("update-fails", "E: The repository 'http://m.example/d bookworm InRelease' is not signed.\n");
    assert!(matches!(fake.fails().await, DebianError::Signature { .. }));
    fs::remove_file(fake.bin("update-fails")).unwrap();
    says("download-fails", "E: Write error - write (28: No space left on device)\n");
    assert!(matches!(fake.fails().await, DebianError::Full { .. }));
    says("download-fails", "E: Failed to fetch http://m.example/d/x.deb  404  Not Found\n");
    assert!(matches!(fake.fails().await, DebianError::Apt { detail, .. } if detail.ends_with("404  Not Found")));
    fs::remove_file(fake.bin("download-fails")).unwrap();
    says("download-killed", "");
    assert!(
        matches!(fake.fails().await, DebianError::Apt { detail, .. } if detail.ends_with("; it was killed by signal 9"))
    );
    fs::remove_file(fake.bin("download-killed")).unwrap();
    says("unpack-fails", "dpkg-deb: error: archive is truncated\n");
    assert!(matches!(fake.fails().await, DebianError::Unpack { .. }));
    fs::remove_file(fake.bin("unpack-fails")).unwrap();
    let result = fake.obtain_with("bookworm/rt-amd64", FetchPolicy::CacheFirst, &Silent).await;
    let no_flavour =
        |error| matches!(error, DebianError::NoSuchFlavour { package, .. } if package == "linux-image-rt-amd64");
    assert!(no_flavour(result.unwrap_err()));
}

#[tokio::test(flavor = "current_thread")]
async fn a_missing_part_of_the_packages_is_named() {
    for (gone, lacking) in [
        (format!("boot/vmlinuz-{RELEASE}"), "kernel"),
        (format!("boot/config-{RELEASE}"), "config"),
        (format!("lib/modules/{RELEASE}/kernel"), "modules"),
    ] {
        let fake = Fake::new();
        let path = fake.bin("tree").join(gone);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        assert!(matches!(fake.fails().await, DebianError::Incomplete { what, .. } if what == lacking), "{lacking}");
    }
    let fake = Fake::new();
    fs::write(fake.bin(&format!("tree/boot/vmlinuz-{RELEASE}")), "no kernel").unwrap();
    assert!(matches!(fake.fails().await, DebianError::File(_)));
    let fake = Fake::new();
    fs::remove_file(fake.bin(&format!("tree/lib/modules/{RELEASE}/kernel/virtio_ring.ko"))).unwrap();
    assert!(matches!(fake.fails().await, DebianError::Depmod { .. }));
}

#[tokio::test(flavor = "current_thread")]
async fn a_missing_tool_mirror_or_keyring_is_named() {
    let mut fake = Fake::new();
    assert!(matches!(
        fake.obtain(FetchPolicy::Offline).await,
        Err(DebianError::NotCached { label }) if label == "debian:bookworm"
    ));
    fake.system.keyrings = vec!["/nonexistent.gpg".into()];
    assert!(matches!(fake.fails().await, DebianError::NoKeyring(_)));
    fs::write(fake.root.path().join("etc/sources.list"), "deb http://f.example noble main\n").unwrap();
    assert!(matches!(fake.fails().await, DebianError::NoMirror(_)));
    fake.system.main_mirror = Some("not a mirror".into());
    assert!(matches!(fake.fails().await, DebianError::BadMirror { variable: "VMLAB_DEBIAN_MIRROR", .. }));
    fake.system.programs = Some("/nonexistent".into());
    assert!(matches!(fake.fails().await, DebianError::NoTool { program } if program == "apt-config"));
}

#[tokio::test(flavor = "current_thread")]
async fn the_environments_mirror_takes_precedence_over_apts() {
    let mut fake = Fake::new();
    fake.system.main_mirror = Some("http://other.example/debian/".into());
    fake.obtain(FetchPolicy::CacheFirst).await.unwrap();
    let seen = fs::read_to_string(fake.bin("sources-seen")).unwrap();
    assert!(seen.contains("URIs: http://other.example/debian\n") && !seen.contains("m.example"), "{seen}");
}

#[tokio::test(flavor = "current_thread")]
async fn an_unwritable_cache_is_named() {
    let mut fake = Fake::new();
    // Even root cannot create directories there.
    fake.dirs.cache = PathBuf::from("/sys/kernel/vmlab");
    let error = fake.obtain(FetchPolicy::CacheFirst).await.unwrap_err();
    assert!(!error.is_usage());
    let text = error.to_string();
    assert!(text.contains("/sys/kernel/vmlab") && text.contains("XDG_CACHE_HOME"), "{text}");
}
