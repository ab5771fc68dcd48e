//! The files that a command wrote, as they reach the host.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tar::{Archive, EntryType};
use vmlab_protocol::archive::{Extended, OutReport, REPORT};
use vmlab_protocol::command::{Command, CommandEnd, Text, WINDOW};
use vmlab_protocol::message::LegOutcome;

use crate::host::{Observed, Scratch, Script, command, run, run_with, shell};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("only_what_the_command_wrote_is_copied", only_what_the_command_wrote_is_copied),
    ("names_of_any_bytes_and_lengths_are_copied", names_of_any_bytes_and_lengths_are_copied),
    ("a_renamed_directory_is_copied_whole", a_renamed_directory_is_copied_whole),
    ("a_directory_outside_of_the_overlay_is_copied_whole", a_directory_outside_of_the_overlay_is_copied_whole),
    ("a_directory_that_does_not_exist_is_reported", a_directory_that_does_not_exist_is_reported),
    ("files_and_links_to_directories_can_be_named", files_and_links_to_directories_can_be_named),
    ("devices_and_mount_points_are_counted_and_left_out", devices_and_mount_points_are_counted_and_left_out),
    ("much_is_copied_through_the_window", much_is_copied_through_the_window),
    ("processes_left_behind_do_not_write_meanwhile", processes_left_behind_do_not_write_meanwhile),
    ("files_are_copied_whatever_the_end_of_the_program", files_are_copied_whatever_the_end_of_the_program),
    ("a_command_that_is_timed_out_sends_no_files", a_command_that_is_timed_out_sends_no_files),
    ("a_killed_archiver_is_a_failure", a_killed_archiver_is_a_failure),
    ("a_host_that_refuses_the_files_gets_the_exit_code", a_host_that_refuses_the_files_gets_the_exit_code),
    ("the_program_notices_nothing_of_the_archiver", the_program_notices_nothing_of_the_archiver),
];

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Directory(u32),
    File(u32, Vec<u8>),
    Link(Vec<u8>),
}

fn file(mode: u32, content: &str) -> Entry {
    Entry::File(mode, content.as_bytes().to_vec())
}

type Entries = BTreeMap<Vec<u8>, Entry>;

/// The entries of a whole archive, and its reports.
fn read(archive: &[u8]) -> (Entries, Vec<OutReport>) {
    let mut archive = Archive::new(archive);
    let (mut found, mut reports, mut extended) = (BTreeMap::new(), None, None);
    for entry in archive.entries().unwrap().raw(true) {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert_eq!(reports, None, "the report is the last entry");
        let kind = entry.header().entry_type();
        if kind == EntryType::XHeader {
            extended = Some(Extended::parse(&content).unwrap());
            continue;
        }
        let mode = entry.header().mode().unwrap();
        let Extended { path, link, .. } = extended.take().unwrap();
        if path == REPORT.as_bytes() {
            reports = Some(serde_json::from_slice(&content).unwrap());
            continue;
        }
        let entry = match kind {
            EntryType::Directory => Entry::Directory(mode),
            EntryType::Regular => Entry::File(mode, content),
            EntryType::Symlink => Entry::Link(link),
            other => panic!("{other:?}"),
        };
        assert!(found.insert(path, entry).is_none(), "an entry comes twice");
    }
    (found, reports.unwrap())
}

fn with_out(out: &[&Path], command: Command) -> Command {
    Command { out: out.iter().map(|path| Text::from(path.as_os_str().to_owned())).collect(), ..command }
}

fn observed(out: &[&Path], script: &str) -> Observed {
    let observed = run(&with_out(out, shell(&format!("set -e; {script}"))));
    observed.has_exited(0);
    observed
}

fn copied(out: &[&Path], script: &str) -> (Entries, Vec<OutReport>) {
    read(&observed(out, script).archive)
}

fn entries<const N: usize>(expected: [(&str, Entry); N]) -> Entries {
    expected.into_iter().map(|(path, entry)| (path.as_bytes().to_vec(), entry)).collect()
}

const WHOLE: OutReport = OutReport { exists: true, special_files: 0, mount_points: 0 };

fn only_what_the_command_wrote_is_copied() {
    let scratch = Scratch::new("wrote");
    let dir = &scratch.0;
    for path in ["same", "changed", "removed", "sub/same", "sub/changed", "gone/file", "replaced/old"] {
        fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
        fs::write(dir.join(path), "old").unwrap();
    }
    fs::set_permissions(dir.join("sub"), Permissions::from_mode(0o750)).unwrap();
    let script = format!(
        "umask 022; cd {}; printf new >changed; rm removed; chmod 640 sub/changed; rm -r gone; rm -r replaced; mkdir replaced; \
         printf new >replaced/new; mkdir -p new/deep; printf x >new/deep/tool; chmod 4755 new/deep/tool; ln -s ../same new/link; \
         ln new/deep/tool new/hard; : >new/empty; cat same >/dev/null",
        dir.display()
    );
    let (found, reports) = copied(&[dir], &script);
    assert_eq!(reports, [WHOLE]);
    let expected = entries([
        ("0", Entry::Directory(0o755)),
        ("0/changed", file(0o644, "new")),
        ("0/new", Entry::Directory(0o755)),
        ("0/new/deep", Entry::Directory(0o755)),
        ("0/new/deep/tool", file(0o755, "x")),
        ("0/new/empty", file(0o644, "")),
        ("0/new/hard", file(0o755, "x")),
        ("0/new/link", Entry::Link(b"../same".to_vec())),
        ("0/replaced", Entry::Directory(0o755)),
        ("0/replaced/new", file(0o644, "new")),
        ("0/sub", Entry::Directory(0o750)),
        ("0/sub/changed", file(0o640, "old")),
    ]);
    assert_eq!(found, expected);
    let (found, reports) = copied(&[dir], "true");
    assert_eq!((found, reports), (entries([]), vec![WHOLE]), "nothing was written");
    assert!(run(&shell("true")).archive.is_empty(), "nothing was asked for");
}

fn names_of_any_bytes_and_lengths_are_copied() {
    let scratch = Scratch::new("names");
    let long = "n".repeat(255);
    let target = "../".repeat(100) + "./x//y/";
    let script = format!(
        "umask 022; cd {}; f=$(printf 'a\\377b'); : >$f; : >'two\nlines '; mkdir -p {long}/{long}; : >{long}/{long}/f; \
         ln -s {target} link; : >'-x'; : >'c:\\d'",
        scratch.0.display()
    );
    let (found, _) = copied(&[&scratch.0], &script);
    for name in [&b"0/a\xffb"[..], b"0/two\nlines ", format!("0/{long}/{long}/f").as_bytes(), b"0/-x", b"0/c:\\d"] {
        assert_eq!(found.get(name), Some(&file(0o644, "")), "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(found.get(&b"0/link"[..]), Some(&Entry::Link(target.into_bytes())));
}

fn a_renamed_directory_is_copied_whole() {
    let scratch = Scratch::new("renamed");
    let dir = &scratch.0;
    fs::create_dir_all(dir.join("old/sub")).unwrap();
    fs::create_dir(dir.join("out")).unwrap();
    fs::write(dir.join("old/sub/file"), "old").unwrap();
    fs::write(dir.join("old/plain"), "old").unwrap();
    // rename(2) itself: mv(1) would copy if the kernel refused it.
    let script =
        format!("cd {}; perl -e 'rename(\"old\", \"out/new\") or die $!'; printf x >out/new/added", dir.display());
    let (found, _) = copied(&[&dir.join("out")], &script);
    for (name, content) in [("sub/file", "old"), ("plain", "old"), ("added", "x")] {
        let entry = found.get(format!("0/new/{name}").as_bytes());
        assert!(matches!(entry, Some(Entry::File(_, bytes)) if bytes == content.as_bytes()), "{name}: {entry:?}");
    }
    let below = dir.join("out/new/sub");
    let (found, _) = copied(&[&below], &script);
    assert!(found.contains_key(&b"0/file"[..]), "a directory below it is named: {found:?}");
}

fn a_directory_outside_of_the_overlay_is_copied_whole() {
    let script = "umask 022; mkdir /run/a /dev/shm/b; echo x >/run/a/file; mkdir /mnt/t; mount -t tmpfs -o mode=755 t /mnt/t; \
                  echo y >/mnt/t/file";
    let (found, reports) = copied(&["/run/a", "/dev/shm/b", "/mnt/t"].map(Path::new), script);
    assert_eq!(reports, [WHOLE; 3]);
    let expected = entries([
        ("0", Entry::Directory(0o755)),
        ("0/file", file(0o644, "x\n")),
        ("1", Entry::Directory(0o755)),
        ("2", Entry::Directory(0o755)),
        ("2/file", file(0o644, "y\n")),
    ]);
    assert_eq!(found, expected);
    let no_files = Command { host_files: false, ..with_out(&[Path::new("/run"), Path::new("/no")], shell("true")) };
    let (found, reports) = read(&run(&no_files).archive);
    assert_eq!(
        (found, reports[0].exists, reports[1]),
        (entries([("0", Entry::Directory(0o755))]), true, OutReport::default())
    );
}

fn a_directory_that_does_not_exist_is_reported() {
    let scratch = Scratch::new("missing");
    fs::create_dir(scratch.0.join("removed")).unwrap();
    let paths = [scratch.0.join("none/such"), scratch.0.join("removed"), "/bin/sh/x".into()];
    let paths = [paths[0].as_path(), &paths[1], &paths[2]];
    let (found, reports) = copied(&paths, &format!("rmdir {}/removed", scratch.0.display()));
    assert_eq!((found, reports), (entries([]), vec![OutReport::default(); 3]));
}

fn files_and_links_to_directories_can_be_named() {
    let scratch = Scratch::new("named");
    let dir = &scratch.0;
    fs::write(dir.join("same"), "old").unwrap();
    let script = format!(
        "umask 022; cd {}; printf x >file; mkdir real; printf y >real/f; ln -s real relative; ln -s $PWD/real absolute; ln -s loop loop; \
         ln -s file link",
        dir.display()
    );
    let paths = ["file", "relative", "absolute", "same", "relative/../real/./f", "link"].map(|name| dir.join(name));
    let (found, reports) = copied(&paths.each_ref().map(|path| path.as_path()), &script);
    assert_eq!(reports, [WHOLE; 6]);
    let expected = entries([
        ("0", file(0o644, "x")),
        ("1", Entry::Directory(0o755)),
        ("1/f", file(0o644, "y")),
        ("2", Entry::Directory(0o755)),
        ("2/f", file(0o644, "y")),
        ("4", file(0o644, "y")),
        ("5", file(0o644, "x")),
    ]);
    assert_eq!(found, expected);
    let outcome = run(&with_out(&[&dir.join("loop")], shell(&script))).outcome;
    assert!(format!("{outcome:?}").contains("ELOOP"), "{outcome:?}");
}

fn devices_and_mount_points_are_counted_and_left_out() {
    let scratch = Scratch::new("special");
    let script = format!(
        "cd {}; mkfifo fifo; mknod zero c 1 5; mkdir sub mount; mkfifo sub/fifo; mount -t tmpfs t mount; : >mount/file; : >file; \
         : >covered; mount --bind /bin/sh covered",
        scratch.0.display()
    );
    let (found, reports) = copied(&[&scratch.0], &script);
    assert_eq!(reports, [OutReport { exists: true, special_files: 3, mount_points: 2 }]);
    assert_eq!(found.keys().map(|path| path.as_slice()).collect::<Vec<_>>(), [&b"0"[..], b"0/file", b"0/sub"]);
}

fn much_is_copied_through_the_window() {
    let scratch = Scratch::new("much");
    let script = format!(
        "cd {}; seq 3000000 >numbers; truncate -s 1000001 zeros; mkdir m; cd m; seq 2000 | xargs touch",
        scratch.0.display()
    );
    let observed = observed(&[&scratch.0], &script);
    assert!(observed.most_on_the_way <= WINDOW);
    let (found, _) = read(&observed.archive);
    assert_eq!(found.len(), 2004);
    let Some(Entry::File(_, numbers)) = found.get(&b"0/numbers"[..]) else { panic!("no file") };
    assert!(numbers.ends_with(b"2999999\n3000000\n"));
    assert_eq!(numbers.len(), 22_888_896);
    assert!(matches!(found.get(&b"0/zeros"[..]), Some(Entry::File(_, zeros)) if zeros.len() == 1_000_001));
}

fn processes_left_behind_do_not_write_meanwhile() {
    let scratch = Scratch::new("left");
    let script = format!(
        "cd {}; head -c 30000000 /dev/zero >a; setsid sh -c 'trap \"\" HUP TERM; while :; do echo x >>z; done' & sleep 0.2",
        scratch.0.display()
    );
    // A file that changes while it is read would be a failure, or have another length than its header says.
    let (found, _) = copied(&[&scratch.0], &script);
    assert_eq!(found.len(), 3);
}

fn files_are_copied_whatever_the_end_of_the_program() {
    let scratch = Scratch::new("ends");
    let make = format!("umask 022; cd {}; printf x >file; echo out; echo err >&2", scratch.0.display());
    for (end, expected) in
        [("exit 3", CommandEnd::Exited { code: 3 }), ("kill -9 $$", CommandEnd::Killed { signal: 9 })]
    {
        let observed = run(&with_out(&[&scratch.0], shell(&format!("{make}; {end}"))));
        assert_eq!(observed.outcome, LegOutcome::Ended(expected));
        assert_eq!(read(&observed.archive).0.get(&b"0/file"[..]), Some(&file(0o644, "x")));
        assert_eq!((observed.text().as_str(), observed.errors().as_str()), ("out\n", "err\n"));
    }
    let observed = run(&with_out(&[&scratch.0], command(&["no-such-program"])));
    assert!(matches!(observed.outcome, LegOutcome::Ended(CommandEnd::NotFound { .. })), "{:?}", observed.outcome);
    assert_eq!(read(&observed.archive), (entries([]), vec![WHOLE]));
}

fn a_command_that_is_timed_out_sends_no_files() {
    let scratch = Scratch::new("timeout");
    let command = with_out(&[&scratch.0], shell(&format!("cd {}; echo x >file; sleep 1000", scratch.0.display())));
    let observed = run_with(&command, Script { limit_ms: 500, ..Script::default() });
    assert_eq!(observed.outcome, LegOutcome::TimedOut { limit_ms: 500 });
    assert!(observed.archive.is_empty());
    let observed = run(&Command { cwd: Text::from("/no/such"), ..command });
    assert!(format!("{:?}", observed.outcome).contains("/no/such cannot be entered"), "{:?}", observed.outcome);
}

/// The program is root, and finds the archiver by its session.
fn a_killed_archiver_is_a_failure() {
    let scratch = Scratch::new("killed");
    let kill =
        "for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p -gt 2 ] && [ $p != $$ ] && kill -9 $p 2>/dev/null; done; :";
    let observed = run(&with_out(&[&scratch.0], shell(&format!("{kill}; exit 4"))));
    let detail = "the files of --out cannot be copied: the process that copies them";
    assert!(format!("{:?}", observed.outcome).contains(detail), "{:?}", observed.outcome);
}

fn a_host_that_refuses_the_files_gets_the_exit_code() {
    let scratch = Scratch::new("refused");
    let command = with_out(&[&scratch.0], shell(&format!("cd {}; seq 3000000 >numbers; exit 3", scratch.0.display())));
    let observed = run_with(&command, Script { refuses_archive: true, takes: false, ..Script::default() });
    observed.has_exited(3);
    assert!(observed.archive.len() as u64 <= WINDOW);
}

fn the_program_notices_nothing_of_the_archiver() {
    let scratch = Scratch::new("unnoticed");
    let script = "ls /proc/self/fd | wc -l; cat /proc/$$/task/$$/children; exec <&-; sleep 0.3; echo done";
    let plain = run(&shell(script));
    let with_files = run_with(
        &with_out(&[&scratch.0], shell(script)),
        // More than a pipe holds: it is taken because nobody has the other end.
        Script { input: vec![b'x'; 1_000_000], ..Script::default() },
    );
    with_files.has_exited(0);
    let lines = |observed: &Observed| observed.text().lines().next().map(str::to_owned);
    assert_eq!(lines(&plain), lines(&with_files));
    assert!(with_files.text().ends_with("done\n"));
    assert_eq!(OsStr::from_bytes(&with_files.stderr), "");
}
