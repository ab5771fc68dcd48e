//! Fetches that are stopped.

use super::*;

#[tokio::test(flavor = "current_thread")]
async fn an_interrupted_fetch_leaves_nothing_behind() {
    let fake = Fake::new();
    fs::write(fake.bin("download-hangs"), "").unwrap();
    let pid_file = fake.bin("hanging");
    let hanging = async {
        while !pid_file.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        result = fake.obtain(FetchPolicy::CacheFirst) => panic!("it ended: {result:?}"),
        () = hanging => {}
    }
    fake.assert_nothing_left();
    let pid = fs::read_to_string(&pid_file).unwrap();
    while is_alive(pid.trim()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Temporary files of apt's are in the part of the cache that was removed.
    let temporary = fs::read_to_string(fake.bin("temporary-seen")).unwrap();
    assert_eq!(temporary.lines().count(), 2, "{temporary}");
    assert!(temporary.lines().all(|dir| Path::new(dir).starts_with(&fake.dirs.cache)), "{temporary}");
    // The lock is released, too.
    fs::remove_file(fake.bin("download-hangs")).unwrap();
    fake.obtain(FetchPolicy::CacheFirst).await.unwrap();
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn an_apt_without_progress_is_killed() {
    let fake = Fake::new();
    fs::write(fake.bin("download-hangs"), "").unwrap();
    // With the clock paused, waits for time end at once.
    assert!(matches!(fake.fails().await, DebianError::Stalled { .. }));
}

/// Whether a process still runs. A killed process may remain as a zombie until its new parent reaps it.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}
