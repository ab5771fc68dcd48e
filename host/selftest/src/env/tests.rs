use std::ffi::OsString;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::*;

/// Waits, with a limit, until a condition holds.
fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() && Instant::now() < deadline {
        sleep(Duration::from_millis(2));
    }
    assert!(condition());
}

fn shell(env: &TestEnv, script: &str) -> Running {
    let mut command = env.command("sh");
    command.args(["-c", script]);
    env.start(command).unwrap()
}

#[test]
fn processes_of_the_environment_are_found_and_killed_whoever_their_parent_is() {
    let env = TestEnv::new(Path::new("/no/such/vmlab")).unwrap();
    assert!(Leftovers::count(&env).is_nothing());
    let mut running = shell(&env, "setsid sleep 1000 & exec sleep 0");
    until(|| running.has_ended().unwrap());
    // The shell's child may not have executed setsid and sleep yet.
    until(|| env.processes().iter().all(|process| process.command.starts_with("sleep 1000")));
    let orphans = env.processes();
    assert!(
        matches!(&orphans[..], [only] if only.command.starts_with("sleep 1000") && !only.is_guest()),
        "{orphans:?}"
    );
    assert_eq!(Leftovers::count(&env).processes, 1);
    let (home, pid) = (env.home().to_owned(), orphans[0].pid);
    drop(env);
    until(|| std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default().is_empty());
    assert!(!home.exists());
}

#[test]
fn an_inner_environment_leaves_the_outer_marker_in_place() {
    let outer = TestEnv::new(Path::new("/no/such/vmlab")).unwrap();
    let inner = TestEnv::new(Path::new("/no/such/vmlab")).unwrap();
    let mut command = inner.command("sleep");
    command.arg("1000").env(&outer.marker.variable, &outer.marker.value);
    let running = inner.start(command).unwrap();
    let pids = |env: &TestEnv| env.processes().iter().map(|process| process.pid).collect::<Vec<_>>();
    until(|| pids(&inner) == [running.pid()]);
    assert_eq!(pids(&outer), [running.pid()]);
}

#[test]
fn commands_have_the_directories_and_variables_of_the_environment() {
    let env = TestEnv::new(Path::new("/no/such/vmlab")).unwrap().env("VMLAB_A", "a");
    let mut running =
        shell(&env, "echo $HOME $XDG_CACHE_HOME $XDG_STATE_HOME $TMPDIR $VMLAB_A; echo ${CI-unset} >&2; exit 3");
    until(|| running.has_ended().unwrap());
    let ended = running.ended().unwrap().unwrap();
    let dirs = [env.home().to_owned(), env.cache(), env.state(), env.temporary()].map(OsString::from);
    let expected = [&dirs[..], &["a".into()]].concat().join(" ".as_ref()).into_string().unwrap();
    assert_eq!((ended.status.code(), ended.stdout.trim(), ended.stderr.trim()), (Some(3), &*expected, "unset"));
}

#[test]
fn temporary_files_and_sockets_are_leftovers_and_cache_entries_are_not() {
    let env = TestEnv::new(Path::new("/no/such/vmlab")).unwrap();
    let cache = env.cache().join("vmlab/images");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(cache.join("entry"), "").unwrap();
    assert!(Leftovers::count(&env).is_nothing());
    std::fs::write(cache.join(".half"), "").unwrap();
    std::fs::write(env.temporary().join("file"), "").unwrap();
    let socket = std::os::unix::net::UnixListener::bind(cache.join("socket")).unwrap();
    assert_eq!(Leftovers::count(&env).to_string(), "0 processes, 1 sockets, 2 temporary files");
    drop(socket);
}
