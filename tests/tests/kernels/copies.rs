//! Files that programs in guests wrote, on the host: `--out`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use super::commands::{KERNELS, run_on, sh};
use super::*;

/// The working directory of the program, with files of the host's.
fn work(env: &TestEnv, name: &str) -> io::Result<PathBuf> {
    let dir = env.home().join(name);
    fs::create_dir_all(dir.join("old/sub"))?;
    for path in ["same", "changed", "removed", "old/sub/file"] {
        fs::write(dir.join(path), "old")?;
    }
    Ok(dir)
}

#[test]
fn what_a_program_wrote_is_copied_with_its_exit_code() {
    let env = env();
    let script = "umask 022; printf new > changed; rm removed; mv old renamed; mkdir -p new/deep; printf x > new/deep/tool \
                  && chmod 4711 new/deep/tool && ln -s ../../same new/link && : > \"$(printf 'new/a\\377\\nb')\" \
                  && touch -d @1000000000.5 new/deep/tool && mkfifo new/fifo \
                  && head -c 100000000 /dev/urandom > new/big && cksum < new/big && echo errors >&2; exit 7";
    for kernel in KERNELS {
        let dir = work(&env, &kernel.replace(':', "-")).unwrap();
        let same = fs::metadata(dir.join("same")).unwrap().ino();
        let ended = sh(&env, &["-k", kernel, "--cwd", dir.to_str().unwrap(), "--out", "."], script);
        ended.exits(7);
        let read = |path: &str| fs::read_to_string(dir.join(path)).unwrap();
        assert_eq!((read("changed"), read("same")), ("new".to_owned(), "old".to_owned()), "{ended}");
        assert_eq!(fs::metadata(dir.join("same")).unwrap().ino(), same, "it was not written, and is not copied");
        assert_eq!(read("removed"), "old", "nothing is removed");
        assert_eq!((read("renamed/sub/file"), read("old/sub/file")), ("old".to_owned(), "old".to_owned()));
        let tool = fs::metadata(dir.join("new/deep/tool")).unwrap();
        assert_eq!((read("new/deep/tool").as_str(), tool.permissions().mode() & 0o7777), ("x", 0o711));
        assert_eq!((tool.mtime(), tool.mtime_nsec()), (1_000_000_000, 500_000_000));
        assert_eq!(tool.uid(), nix::unistd::getuid().as_raw());
        assert_eq!(fs::read_link(dir.join("new/link")).unwrap(), Path::new("../../same"));
        assert!(dir.join("new").join(OsStr::from_bytes(b"a\xff\nb")).exists());
        let sum = Command::new("cksum").stdin(fs::File::open(dir.join("new/big")).unwrap()).output().unwrap();
        assert_eq!(String::from_utf8(sum.stdout).unwrap(), ended.stdout);
        assert!(ended.stderr.contains("1 device, FIFO or socket was left out"), "{ended}");
        assert!(!dir.join("new/fifo").exists());
    }
}

#[test]
fn directories_of_several_kernels_are_kept_apart() {
    let env = env();
    let options = ["-k", BOOKWORM, "-k", TRIXIE, "--out", "/dev/shm/r:kept", "--out", "one:kept-file"];
    let script =
        "mkdir /dev/shm/r && uname -r > /dev/shm/r/release; case $(uname -r) in 6.12*) echo x > one; exit 3;; esac";
    let ended = sh(&env, &options, script);
    ended.exits(3);
    for (name, release) in [("debian-bookworm", "6.1."), ("debian-trixie", "6.12.")] {
        let text = fs::read_to_string(env.home().join("kept").join(name).join("release")).unwrap();
        assert!(text.starts_with(release), "{name}: {text}");
    }
    assert_eq!(fs::read_to_string(env.home().join("kept-file/debian-trixie/one")).unwrap(), "x\n");
    let missing = format!("vmlab: {BOOKWORM}: --out {}/one: nothing was copied", env.home().display());
    assert!(ended.stderr.contains(&missing), "{ended}");
    assert!(!env.home().join("kept-file/debian-bookworm").exists());
    let ended = sh(&env, &["--repeat", "2", "--out", "one:twice"], "echo x > one");
    ended.exits(0);
    for attempt in ["1", "2"] {
        assert!(env.home().join("twice/debian-trixie").join(attempt).join("one").exists(), "{ended}");
    }
}

#[test]
fn nothing_is_copied_of_a_program_that_does_not_end() {
    let env = env();
    let crash = "echo x > file; echo c > /proc/sysrq-trigger; sleep 1000";
    for (options, script, code) in [(vec!["--timeout", "1"], "echo x > file; sleep 1000", 124), (vec![], crash, 125)] {
        let ended = sh(&env, &[&options[..], &["--out", "file"]].concat(), script);
        ended.exits(code);
        assert!(ended.stderr.contains("no files of --out were copied"), "{ended}");
        assert!(!env.home().join("file").exists());
    }
}

#[test]
fn a_host_that_cannot_write_the_files_is_reported() {
    let env = env();
    // Before the guest starts: nobody may create files there.
    let ended = sh(&env, &["--out", "file:/proc/x"], "echo ran");
    ended.exits(125);
    assert!(ended.stdout.is_empty() && ended.stderr.contains("--out cannot write to /proc/x"), "{ended}");
    // At the end: the host has a directory where the guest has a file.
    fs::create_dir_all(env.home().join("to/file/sub")).unwrap();
    let ended = sh(&env, &["--out", "/tmp/from:to"], "mkdir /tmp/from; seq 1000000 > /tmp/from/file; exit 4");
    ended.exits(125);
    assert!(ended.stderr.contains("to/file: it is a directory here and a file in the guest"), "{ended}");
    let ended = run_on(&env, &["--no-host-files", "--out", "/run:to"], &["/no/program"]);
    ended.exits(127);
    assert!(env.home().join("to/file/sub").exists());
}
