use super::*;
use crate::fake::script;

const GOOD: &str = "echo 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)'; echo Copyright";

async fn ask_script(body: &str) -> Result<Qemu, QemuError> {
    let dir = tempfile::tempdir().unwrap();
    ask(&script(dir.path(), "qemu", body), VERSION_LIMIT).await
}

#[test]
fn versions_are_read_from_the_first_line() {
    for (line, version) in [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)", Some((7, 2, 22))),
        ("QEMU emulator version 10.0.2", Some((10, 0, 2))),
        ("QEMU emulator version 9.2.50 (v9.2.0-1204-gd9ce74873a)", Some((9, 2, 50))),
        ("QEMU emulator version 6.0", Some((6, 0, 0))),
        ("QEMU emulator version 8", None),
        ("QEMU emulator version ", None),
        ("QEMU emulator version 7..2", None),
        ("QEMU emulator version 99999999999.1", None),
        ("GNU bash, version 5.2.15", None),
        ("", None),
    ] {
        let expected = version.map(|(major, minor, micro)| QemuVersion { major, minor, micro });
        assert_eq!(parse_version(line), expected, "{line:?}");
    }
}

#[tokio::test]
async fn the_identity_changes_with_the_build() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "qemu", GOOD);
    let first = ask(&path, VERSION_LIMIT).await.unwrap();
    assert_eq!(first.version, QemuVersion { major: 7, minor: 2, micro: 22 });
    assert_eq!(first.identity.version_line, "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)");
    let again = ask(&path, VERSION_LIMIT).await.unwrap();
    assert_eq!((again.path, again.version, again.identity), (first.path, first.version, first.identity.clone()));
    script(dir.path(), "qemu", &format!("{GOOD} # rebuilt"));
    assert_ne!(ask(&path, VERSION_LIMIT).await.unwrap().identity, first.identity);
    let other_name = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &other_name).unwrap();
    let linked = ask(&other_name, VERSION_LIMIT).await.unwrap();
    assert_eq!(linked.identity.path, fs::canonicalize(&path).unwrap());
}

#[tokio::test]
async fn the_error_for_an_old_qemu_names_both_versions() {
    let error = ask_script("echo QEMU emulator version 5.2.0").await.unwrap_err();
    assert!(matches!(error, QemuError::TooOld { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("5.2.0") && text.contains("6.0.0"), "{text}");
}

#[tokio::test]
async fn a_failing_programs_output_is_quoted() {
    let error = ask_script("echo 'libfoo.so.1: cannot open' >&2; exit 127").await.unwrap_err();
    assert!(matches!(&error, QemuError::Died { said, .. } if said == "libfoo.so.1: cannot open"), "{error}");
    let error = ask_script("kill -ABRT $$").await.unwrap_err();
    assert!(error.to_string().contains("signal: 6"), "{error}");
}

#[tokio::test]
async fn a_hanging_program_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let hangs = format!("echo $$ >{}/pid; exec sleep 1000", dir.path().display());
    let error = ask(&script(dir.path(), "qemu", &hangs), Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, QemuError::Hung { .. }), "{error}");
    // On a busy machine the script may not have executed its first line yet.
    if let Ok(pid) = fs::read_to_string(dir.path().join("pid"))
        && !pid.trim().is_empty()
    {
        let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
        let gone = || !stat.exists() || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "));
        while !gone() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn another_program_is_refused() {
    for body in ["echo GNU bash, version 5.2.15", "true", "yes"] {
        let error = ask_script(body).await.unwrap_err();
        let refused = matches!(error, QemuError::NotQemu { .. } | QemuError::Died { .. });
        assert!(refused, "{body}: {error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    fs::write(&text, "no program").unwrap();
    let error = ask(&text, VERSION_LIMIT).await.unwrap_err();
    assert!(matches!(error, QemuError::NotExecutable { .. }), "{error}");
}

#[test]
fn the_option_takes_precedence_over_variable_and_path() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| script(dir.path(), name, GOOD));
    let in_path = script(dir.path(), PROGRAM, GOOD);
    let path = Some(dir.path().as_os_str());
    assert_eq!(locate(Some(&a), Some(b.clone().into()), path).unwrap(), a);
    assert_eq!(locate(None, Some(b.clone().into()), path).unwrap(), b);
    assert_eq!(locate(None, Some(OsString::new()), path).unwrap(), in_path);
    assert_eq!(locate(None, None, path).unwrap(), in_path);
}

#[test]
fn errors_for_missing_programs_name_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let error = locate(None, None, Some(dir.path().as_os_str())).unwrap_err();
    assert!(matches!(error, QemuError::Missing));
    assert!(error.to_string().contains("vmlab doctor --fix"), "{error}");
    assert!(matches!(locate(None, None, None).unwrap_err(), QemuError::Missing));
    let nothing = dir.path().join("nothing");
    let error = locate(Some(&nothing), None, None).unwrap_err().to_string();
    assert!(error.contains("--qemu") && error.contains("does not exist"), "{error}");
    let error = locate(None, Some(dir.path().into()), None).unwrap_err().to_string();
    assert!(error.contains(VARIABLE) && error.contains("is not a file"), "{error}");
    // The file has the right name but no execute permission.
    fs::write(dir.path().join(PROGRAM), "").unwrap();
    assert!(matches!(locate(None, None, Some(dir.path().as_os_str())).unwrap_err(), QemuError::Missing));
}

/// A program that was not changed recently, and a remembered version of it.
fn remembered(cache: &Path) -> (Qemu, PathBuf) {
    let path = vmlab_store::fixture::old_file();
    let identity = QemuIdentity { path: path.clone(), version_line: String::new(), size_bytes: 1, modified_ns: 2 };
    let qemu = Qemu {
        path: path.clone(),
        version: QemuVersion { major: 7, minor: 2, micro: 22 },
        identity,
        version_cpu_us: 15_000,
    };
    Fact::new(cache, "qemu", &[&path]).put(&qemu).unwrap();
    let fact = fs::read_dir(cache.join("stat-cache")).unwrap().next().unwrap().unwrap().path();
    (qemu, fact)
}

#[tokio::test]
async fn a_flipped_byte_in_the_remembered_version_is_a_cache_miss() {
    let cache = tempfile::tempdir().unwrap();
    let (qemu, fact) = remembered(cache.path());
    assert_eq!(find(Some(&qemu.path), cache.path()).await.unwrap(), qemu);
    let text = fs::read_to_string(&fact).unwrap();
    for (from, to) in [("\"major\": 7", "\"major\": 5"), ("/bin", "/bim"), ("\"qemu\"", "\"qemt\"")] {
        assert!(text.contains(from), "{text}");
        fs::write(&fact, text.replace(from, to)).unwrap();
        // The program is asked, and it is not QEMU.
        assert!(find(Some(&qemu.path), cache.path()).await.is_err(), "{to}");
    }
    fs::write(&fact, text).unwrap();
    assert_eq!(find(Some(&qemu.path), cache.path()).await.unwrap(), qemu);
}

#[tokio::test]
async fn a_remembered_version_of_another_program_is_a_cache_miss() {
    let cache = tempfile::tempdir().unwrap();
    let (mut qemu, _) = remembered(cache.path());
    qemu.identity.path = PathBuf::from("/no/such/program");
    Fact::new(cache.path(), "qemu", &[&qemu.path]).put(&qemu).unwrap();
    assert!(find(Some(&qemu.path), cache.path()).await.is_err());
}
