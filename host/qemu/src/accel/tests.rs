use std::fs;

use super::*;
use crate::fake::script;
use crate::qemu::QemuVersion;

const ROOTLESS: &str = "echo 'Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)'";
const ABORTS: &str = "echo 'failed to set MSR 0x10a to 0x0' >&2; kill -ABRT $$";

/// A host whose KVM device opens, a cache, and a QEMU that counts how often it is started.
struct Lab {
    dir: tempfile::TempDir,
    host: Host,
    qemu: Qemu,
}

impl Lab {
    fn new(body: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("kvm"), "").unwrap();
        let counted = format!("echo >>{}/starts\n{body}", dir.path().display());
        let path = script(dir.path(), "qemu", &counted);
        let identity = QemuIdentity {
            path: path.clone(),
            version_line: "QEMU emulator version 7.2.22".to_owned(),
            size_bytes: 1,
            modified_ns: 2,
        };
        let qemu =
            Qemu { path, version: QemuVersion { major: 7, minor: 2, micro: 22 }, identity, version_cpu_us: 15_000 };
        let host =
            Host { device: dir.path().join("kvm"), boot_id: Some("first boot".to_owned()), now_unix_s: 1_795_345_323 };
        Self { dir, host, qemu }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    async fn choose(&self, wanted: Wanted) -> Result<AccelChoice, KvmUnusable> {
        choose_on(&self.host, wanted, &self.qemu, Path::new("/boot/vmlinuz"), &self.cache()).await
    }

    fn starts(&self) -> usize {
        fs::read(self.dir.path().join("starts")).map_or(0, |bytes| bytes.len())
    }
}

#[tokio::test]
async fn a_kvm_that_boots_a_kernel_is_used_and_remembered() {
    let lab = Lab::new(ROOTLESS);
    let choice = lab.choose(Wanted::Auto).await.unwrap();
    assert_eq!((choice.accelerator, choice.remembered), (Accelerator::Kvm, Remembered::UntilReboot));
    assert_eq!(choice.explanation(), "kvm: a kernel booted under it; remembered until reboot");
    assert_eq!(choice.to_string(), "using KVM");
    assert_eq!(lab.choose(Wanted::Kvm).await.unwrap(), choice);
    assert_eq!(lab.starts(), 1);
}

#[tokio::test]
async fn a_kvm_that_aborts_is_not_used_and_remembered() {
    let lab = Lab::new(ABORTS);
    let choice = lab.choose(Wanted::Auto).await.unwrap();
    assert_eq!((choice.accelerator, choice.remembered), (Accelerator::Tcg, Remembered::UntilReboot));
    assert!(choice.explanation().contains("MSR 0x10a"), "{choice:?}");
    assert_eq!(choice.to_string(), "using TCG: KVM is not usable here (vmlab doctor says why)");
    assert_eq!(lab.choose(Wanted::Auto).await.unwrap(), choice);
    assert_eq!(known_on(&lab.host, &lab.qemu, &lab.cache()), Some(choice));
    assert_eq!(lab.starts(), 1);
}

#[tokio::test]
async fn a_crash_of_the_kernel_itself_is_not_remembered() {
    let lab = Lab::new("echo 'Kernel panic - not syncing: Attempted to kill init!'");
    let choice = lab.choose(Wanted::Auto).await.unwrap();
    assert_eq!((choice.accelerator, choice.remembered), (Accelerator::Tcg, Remembered::No));
    lab.choose(Wanted::Auto).await.unwrap();
    assert_eq!(lab.starts(), 2);
}

#[tokio::test]
async fn a_result_is_remembered_until_a_reboot_or_another_build() {
    let mut lab = Lab::new(ABORTS);
    lab.choose(Wanted::Auto).await.unwrap();
    lab.qemu.identity.modified_ns = 3;
    lab.choose(Wanted::Auto).await.unwrap();
    assert_eq!(lab.starts(), 2);
    lab.qemu.identity.modified_ns = 2;
    lab.choose(Wanted::Auto).await.unwrap();
    assert_eq!(lab.starts(), 2, "both builds are remembered");
    lab.host.boot_id = Some("second boot".to_owned());
    lab.choose(Wanted::Auto).await.unwrap();
    assert_eq!(lab.starts(), 3);
}

#[tokio::test]
async fn a_damaged_result_is_probed_again() {
    let lab = Lab::new(ABORTS);
    let choice = lab.choose(Wanted::Auto).await.unwrap();
    let path = fs::read_dir(lab.cache().join("stat-cache")).unwrap().next().unwrap().unwrap().path();
    for (number, damage) in ["", "{", "[]", "{\"boot_id\": \"first boot\", \"answers\": [{}]}"].iter().enumerate() {
        fs::write(&path, damage).unwrap();
        assert_eq!(known_on(&lab.host, &lab.qemu, &lab.cache()), None);
        lab.choose(Wanted::Auto).await.unwrap();
        assert_eq!(lab.starts(), number + 2);
    }
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut harmed = bytes.clone();
        harmed[at] ^= 1;
        fs::write(&path, &harmed).unwrap();
        assert!(known_on(&lab.host, &lab.qemu, &lab.cache()).is_none_or(|known| known == choice), "byte {at}");
    }
    lab.choose(Wanted::Auto).await.unwrap();
    lab.choose(Wanted::Auto).await.unwrap();
    assert_eq!(lab.starts(), 6);
}

#[tokio::test]
async fn an_unusable_kvm_that_was_asked_for_is_an_error_with_the_evidence() {
    let lab = Lab::new(ABORTS);
    lab.choose(Wanted::Auto).await.unwrap();
    let error = lab.choose(Wanted::Kvm).await.unwrap_err().to_string();
    assert!(error.contains("MSR 0x10a") && error.contains("--accel tcg"), "{error}");
    assert_eq!(lab.starts(), 2, "a remembered refusal is looked into again");
}

#[tokio::test]
async fn without_the_device_no_qemu_is_started() {
    let mut lab = Lab::new(ROOTLESS);
    lab.host.device = lab.dir.path().join("nothing");
    let choice = lab.choose(Wanted::Auto).await.unwrap();
    assert_eq!((choice.accelerator, choice.remembered), (Accelerator::Tcg, Remembered::No));
    assert!(choice.why.starts_with("there is no "), "{choice:?}");
    assert!(lab.choose(Wanted::Kvm).await.unwrap_err().to_string().contains("there is no "));
    assert_eq!(lab.starts(), 0);
    assert!(!lab.cache().exists(), "the device is looked at each time");
}

#[tokio::test]
async fn tcg_asked_for_needs_no_probe() {
    let lab = Lab::new(ROOTLESS);
    let choice = lab.choose(Wanted::Tcg).await.unwrap();
    assert_eq!((choice.to_string().as_str(), choice.explanation().as_str()), ("using TCG, as asked", "tcg: asked for"));
    assert_eq!(lab.starts(), 0);
}

#[tokio::test]
async fn an_unwritable_cache_is_reported_and_does_not_change_the_choice() {
    let lab = Lab::new(ROOTLESS);
    fs::write(lab.cache(), "a file where the directory should be").unwrap();
    let choice = lab.choose(Wanted::Auto).await.unwrap();
    assert_eq!((choice.accelerator, choice.remembered), (Accelerator::Kvm, Remembered::No));
    assert!(choice.why.contains("not remembered"), "{choice:?}");
}

fn slow(limit_ms: u64) -> Answer {
    Answer::Slow { limit_ms, console: "nothing".to_owned() }
}

#[test]
fn a_slow_kvm_is_explained_with_its_limit() {
    let line = from_answer(&slow(1800), remembered(&slow(1800))).explanation();
    assert_eq!(
        line,
        "tcg: /dev/kvm opens, but a kernel had not booted under KVM after 1800 ms (on its console: nothing); --accel kvm \
         gives it 20 s or more; tried again after 60 min"
    );
    let asked = from_answer(&slow(20_000), Remembered::No).explanation();
    assert!(!asked.contains("--accel kvm"), "it has had that: {asked}");
}

#[test]
fn a_timeout_is_remembered_for_a_time_that_its_limit_gives() {
    let mut lab = Lab::new("");
    for (limit_ms, minutes) in [(1800, 60), (7200, 240), (20_000, 666), (200_000, 666)] {
        assert_eq!(
            remember(&lab.host, &lab.qemu, &lab.cache(), &slow(limit_ms)).unwrap(),
            Remembered::Minutes(minutes)
        );
        let known = |lab: &Lab| known_on(&lab.host, &lab.qemu, &lab.cache()).map(|choice| choice.accelerator);
        let then = lab.host.now_unix_s;
        for (now, accelerator) in [
            (then, Some(Accelerator::Tcg)),
            (then + minutes * 60 - 1, Some(Accelerator::Tcg)),
            (then + minutes * 60, None),
            (then - 1, None),
        ] {
            lab.host.now_unix_s = now;
            assert_eq!(known(&lab), accelerator, "{limit_ms} ms, {now}");
        }
        lab.host.now_unix_s = then;
    }
}

#[test]
fn a_slow_machine_and_a_timeout_get_a_longer_limit() {
    for (version_cpu_us, before, limit_ms) in [
        (0, None, 1_800),
        (15_000, None, 1_800),
        (39_999, None, 1_800),
        (40_000, None, 3_600),
        (200_000, None, 18_000),
        (u64::MAX, None, 18_000),
        (15_000, Some(slow(1_800)), 7_200),
        (15_000, Some(slow(7_200)), 20_000),
        (15_000, Some(slow(u64::MAX)), 20_000),
        (200_000, Some(slow(1_800)), 18_000),
        (15_000, Some(Answer::Works), 1_800),
    ] {
        let limit = auto_limit(version_cpu_us, before.as_ref());
        assert_eq!(limit, Duration::from_millis(limit_ms), "{version_cpu_us} {before:?}");
    }
}

#[test]
fn a_slow_machine_is_given_more_time_within_bounds() {
    let cases = [(0, 1), (39_999, 1), (40_000, 2), (150_000, 7), (200_000, 10), (u64::MAX, 10)];
    for (version_cpu_us, times) in cases {
        assert_eq!(slowness(version_cpu_us), times, "{version_cpu_us}");
    }
}

#[tokio::test]
async fn a_kvm_that_was_too_slow_once_is_used_when_it_works_later() {
    let mut lab = Lab::new(ROOTLESS);
    remember(&lab.host, &lab.qemu, &lab.cache(), &slow(1_800)).unwrap();
    assert_eq!(lab.choose(Wanted::Auto).await.unwrap().accelerator, Accelerator::Tcg);
    lab.host.now_unix_s += 3_600;
    let choice = lab.choose(Wanted::Auto).await.unwrap();
    assert_eq!((choice.accelerator, choice.remembered), (Accelerator::Kvm, Remembered::UntilReboot));
    assert_eq!(lab.choose(Wanted::Auto).await.unwrap(), choice);
    assert_eq!(lab.starts(), 1);
}

#[test]
fn the_names_of_accelerators() {
    assert_eq!("auto".parse(), Ok(Wanted::Auto));
    assert_eq!("kvm".parse(), Ok(Wanted::Kvm));
    assert_eq!("tcg".parse(), Ok(Wanted::Tcg));
    assert!("KVM".parse::<Wanted>().is_err());
}
