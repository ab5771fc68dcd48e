//! Fetches on machines with little memory, or with an odd path of the cache.

use super::*;

#[tokio::test(flavor = "current_thread")]
async fn a_tool_that_was_killed_for_want_of_memory_is_reported_as_such() {
    for (membership, file) in [("0::/\n", "memory.events"), ("4:memory:/x\n", "memory/x/memory.oom_control")] {
        let fake = Fake::new();
        let counter = fake.root.path().join("cgroup").join(file);
        fs::create_dir_all(counter.parent().unwrap()).unwrap();
        fs::write(fake.root.path().join("membership"), membership).unwrap();
        fs::write(&counter, "oom_kill 4\n").unwrap();
        fs::write(fake.bin("unpack-fails"), "tar: Unexpected EOF in archive\n").unwrap();
        // Kills before the fetch are no reason.
        assert!(matches!(fake.fails().await, DebianError::Unpack { .. }));
        symlink(&counter, fake.bin("oom-counter")).unwrap();
        let error = fake.fails().await;
        assert!(!error.is_usage());
        let text = error.to_string();
        assert!(text.contains("out of memory") && text.contains("Unexpected EOF in archive"), "{text}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_cache_whose_path_has_a_line_break_is_refused() {
    let mut fake = Fake::new();
    for name in ["ca\nche", "\n", "cache\n"] {
        fake.dirs.cache = fake.root.path().join(name).join("vmlab");
        let error = fake.fails().await;
        assert!(error.is_usage() && matches!(error, DebianError::CachePath { .. }), "{error}");
        assert!(error.to_string().contains("\\n") && !error.to_string().contains('\n'), "{error}");
    }
    for name in ["ca che", "ca\tche", "c\"a\\che", "käche"] {
        fake.dirs.cache = fake.root.path().join(name).join("vmlab");
        fake.obtain(FetchPolicy::CacheFirst).await.unwrap();
    }
}
