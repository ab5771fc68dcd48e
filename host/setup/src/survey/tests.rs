use super::*;
use vmlab_qemu::accel::Remembered;

fn check(status: Status) -> Check {
    Check::new("x", status, "")
}

#[test]
fn a_machine_is_fit_if_nothing_is_missing() {
    assert!(Survey::of(vec![check(Status::Ok), check(Status::Warn)]).fit);
    assert!(!Survey::of(vec![check(Status::Ok), check(Status::Missing)]).fit);
}

#[test]
fn a_missing_qemu_has_a_remedy_and_an_old_one_has_none() {
    let missing = qemu_check(&Err(QemuError::Missing));
    assert_eq!((missing.status, missing.remedy.as_deref()), (Status::Missing, Some(FIX)));
    let found = qemu::QemuVersion { major: 5, minor: 2, micro: 0 };
    let old = qemu_check(&Err(QemuError::TooOld { path: PathBuf::from("/usr/bin/q"), found }));
    assert_eq!((old.status, old.remedy), (Status::Missing, None));
    assert!(old.detail.contains("5.2.0"), "{}", old.detail);
}

#[test]
fn the_workarounds_in_force_are_told_in_one_line() {
    let detail = |accelerator, major, minor| {
        let check = quirks_check(accelerator, QemuVersion { major, minor, micro: 0 });
        assert_eq!((check.status, check.remedy, check.detail.lines().count()), (Status::Ok, None, 1));
        check.detail
    };
    let old = detail(Accelerator::Tcg, 7, 2);
    assert_eq!(
        old,
        "guests avoid 5 known faults of tcg in QEMU 7.2.0: erms=off,fsrm=off, pclmulqdq=off, cx16=off, no_timer_check, \
         thread=single (from 2 CPUs); nothing need be done"
    );
    assert!(!detail(Accelerator::Tcg, 8, 0).contains("cx16"));
    assert_eq!(detail(Accelerator::Kvm, 7, 2), "none needed");
}

#[test]
fn a_missing_need_with_a_package_has_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Machine { path: None, root: dir.path().to_owned() };
    for need in need::ALL {
        let check = need_check(&nowhere, need);
        assert_eq!((check.status, check.remedy), (Status::Warn, None), "{}: no package manager, no package", need.name);
    }
    fs::create_dir(dir.path().join("bin")).unwrap();
    let apt = dir.path().join("bin/apt-get");
    fs::write(&apt, "").unwrap();
    fs::set_permissions(&apt, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let debian = Machine { path: Some(dir.path().join("bin").into()), root: dir.path().to_owned() };
    let keyring = need::ALL.iter().find(|need| need.name == "debian-archive-keyring").unwrap();
    let check = need_check(&debian, keyring);
    assert_eq!((check.status, check.remedy.as_deref()), (Status::Missing, Some(FIX)));
    let cpio = need::ALL.iter().find(|need| need.name == "cpio").unwrap();
    let for_tests = need_check(&debian, cpio);
    assert_eq!((for_tests.status, for_tests.remedy.as_deref()), (Status::Missing, Some("vmlab doctor --fix --tests")));
}

#[test]
fn the_needs_of_builds_are_one_line_for_those_who_may_never_build() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Machine { path: None, root: dir.path().to_owned() };
    let check = builds_check(&nowhere);
    assert_eq!(check.status, Status::Warn);
    assert!(check.detail.contains("make, gcc, flex, bison, bc, perl"), "{}", check.detail);
    assert_eq!(check.remedy.as_deref(), Some("vmlab doctor --fix --build"));
}

#[test]
fn a_missing_directory_is_judged_by_its_nearest_ancestor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("not/there/yet");
    let check = directory_check("cache", &path, 0, "XDG_CACHE_HOME");
    assert_eq!(check.status, Status::Ok, "{}", check.detail);
    assert!(!dir.path().join("not").exists(), "the check creates nothing");
    let full = directory_check("cache", &path, u64::MAX, "XDG_CACHE_HOME");
    assert_eq!(full.status, Status::Warn);
    assert!(full.remedy.unwrap().contains("XDG_CACHE_HOME"));
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let below_a_file = directory_check("cache", &file.join("vmlab"), 0, "XDG_CACHE_HOME");
    assert_eq!(below_a_file.status, Status::Missing);
    assert!(below_a_file.remedy.unwrap().contains("XDG_CACHE_HOME"));
    let unwritable = directory_check("cache", Path::new("/proc/vmlab"), 0, "XDG_CACHE_HOME");
    assert_eq!(unwritable.status, Status::Missing, "{}", unwritable.detail);
}

#[test]
fn memory_is_compared_with_the_need_of_the_guests() {
    let meminfo = |mib: u64| format!("MemTotal: 99 kB\nMemAvailable:   {} kB\n", mib * 1024);
    assert_eq!(memory_check(&meminfo(8000), 2).status, Status::Ok);
    assert_eq!(memory_check(&meminfo(500), 2).status, Status::Warn);
    assert_eq!(memory_check(&meminfo(100), 2).status, Status::Missing);
    assert_eq!(memory_check("", 2).status, Status::Warn);
    assert_eq!(memory_check("MemAvailable: many kB\n", 2).status, Status::Warn);
}

#[test]
fn kernels_are_counted() {
    let (cache, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let none = Kernels::find(cache.path(), root.path()).unwrap();
    assert_eq!(none.first(), None);
    assert_eq!(kernels_check(&Ok(none)).remedy.as_deref(), Some("vmlab kernel fetch"));
    fs::create_dir(root.path().join("boot")).unwrap();
    let kernel = root.path().join("boot/vmlinuz-6.1.0-38-amd64");
    fs::write(&kernel, "").unwrap();
    let one = Kernels::find(cache.path(), root.path()).unwrap();
    assert_eq!(one.first(), Some(kernel.as_path()));
    assert!(kernels_check(&Ok(one)).detail.starts_with("0 fetched, 1 installed"));
    let trouble = kernels_check(&Err("cannot read".to_owned()));
    assert_eq!((trouble.status, trouble.detail.as_str()), (Status::Warn, "cannot read"));
}

#[test]
fn a_kvm_that_is_there_and_cannot_be_used_is_a_warning_with_its_evidence() {
    let choice = |accelerator, why: &str| AccelChoice {
        accelerator,
        asked: false,
        why: why.to_owned(),
        remembered: Remembered::UntilReboot,
    };
    let broken = judge(&choice(Accelerator::Tcg, "QEMU said: MSR 0x10a"), Device::Opens);
    assert_eq!(
        (broken.status, broken.detail.as_str()),
        (Status::Warn, "tcg: QEMU said: MSR 0x10a; remembered until reboot")
    );
    assert!(broken.remedy.unwrap().contains("--accel kvm"));
    let forbidden = judge(&choice(Accelerator::Tcg, "x"), Device::Forbidden);
    assert_eq!(forbidden.status, Status::Warn);
    assert!(forbidden.remedy.unwrap().contains("usermod -aG kvm"));
    for fine in [
        judge(&choice(Accelerator::Tcg, "there is no /dev/kvm"), Device::Absent),
        judge(&choice(Accelerator::Kvm, "it boots"), Device::Opens),
    ] {
        assert_eq!((fine.status, fine.remedy), (Status::Ok, None));
    }
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Device::find(&dir.path().join("kvm")), Device::Absent);
    assert_eq!(Device::find(dir.path()), Device::Opens);
}
