//! Nothing hidden is reached by any way, and what is shown can be.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::Host;
use super::client::{Client, LOOKUP, READDIR, READDIRPLUS, ROOT};
use crate::{Request, ShareFlag, View, ViewError, Visibility};

fn home() -> Host {
    let host = Host::with(&[
        "/usr/bin/ls",
        "/etc/shadow",
        "/etc/passwd",
        "/proc/1/environ",
        "/home/me/letter",
        "/home/me/.ssh/id",
        "/home/me/.cargo/bin/cargo",
        "/home/me/.cargo/credentials.toml",
        "/home/me/src/project/main.c",
        "/home/me/src/project/.netrc",
        "/home/me/src/other/main.c",
        "/home/you/letter",
        "/root/letter",
    ]);
    Host { cwd: "/home/me/src/project".into(), ..host }
}

#[test]
fn lists_show_what_can_be_looked_up_and_no_more() {
    let host = home();
    let mut guest = Client::mount(&host.view());
    for (directory, names) in [
        ("/", vec!["etc", "home", "proc", "root", "usr"]),
        ("/etc", vec!["passwd"]),
        ("/proc", vec![]),
        ("/root", vec![]),
        ("/home", vec!["me"]),
        ("/home/me", vec![".cargo", "src"]),
        ("/home/me/.cargo", vec!["bin"]),
        ("/home/me/src", vec!["project"]),
        ("/home/me/src/project", vec!["main.c"]),
    ] {
        assert_eq!(guest.names(directory).unwrap(), names, "{directory}");
    }
    for shown in ["/usr/bin/ls", "/etc/passwd", "/home/me/.cargo/bin/cargo", "/home/me/src/project/main.c"] {
        assert_eq!(guest.content(shown).unwrap(), shown.as_bytes());
    }
    for hidden in [
        "/etc/shadow",
        "/proc/1",
        "/home/me/letter",
        "/home/me/.ssh",
        "/home/me/.cargo/credentials.toml",
        "/home/me/src/other",
        "/home/me/src/project/.netrc",
        "/home/you",
        "/root/letter",
    ] {
        assert_eq!(guest.walk(hidden), Err(libc::ENOENT), "{hidden}");
    }
}

#[test]
fn names_with_slashes_and_dots_lead_nowhere() {
    let host = home();
    let mut guest = Client::mount(&host.view());
    let project = guest.walk("/home/me/src/project").unwrap().node;
    for name in ["..", ".", "", "../other", "../../letter", "/etc/shadow", "a/b", "main.c/", "./main.c"] {
        assert_eq!(guest.look_up(project, name), Err(libc::EINVAL), "{name:?}");
        assert_eq!(guest.look_up(ROOT, name), Err(libc::EINVAL), "{name:?}");
    }
    assert_eq!(guest.look_up(project, "x".repeat(256)), Err(libc::ENAMETOOLONG));
    for node in [0, 2_000, u64::MAX] {
        assert_eq!(guest.look_up(node, "letter"), Err(libc::ESTALE));
        assert_eq!(guest.read(node, 0, 10), Err(libc::ESTALE));
        assert_eq!(guest.attributes(node), Err(libc::ESTALE));
        assert_eq!(guest.list_from(READDIR, node, 0), Err(libc::ESTALE));
    }
}

#[test]
fn links_to_hidden_files_are_links_only() {
    let host = home();
    symlink("../other", host.path("/home/me/src/project/up")).unwrap();
    symlink(host.path("/home/me/.ssh"), host.path("/home/me/src/project/keys")).unwrap();
    let mut guest = Client::mount(&host.view());
    for link in ["up", "keys"] {
        let node = guest.walk(PathBuf::from("/home/me/src/project").join(link)).unwrap().node;
        for name in ["main.c", "id"] {
            assert_eq!(guest.look_up(node, name), Err(libc::ESTALE), "{link}/{name}");
        }
        assert_eq!(guest.read(node, 0, 10), Err(libc::EACCES));
        assert_eq!(guest.list_from(READDIRPLUS, node, 0), Err(libc::ENOTDIR));
    }
}

#[test]
fn a_link_that_takes_a_directorys_place_is_not_followed() {
    let host = home();
    let mut guest = Client::mount(&host.view());
    let file = guest.walk("/home/me/src/project/main.c").unwrap().node;
    let project = guest.walk("/home/me/src/project").unwrap().node;
    fs::rename(host.path("/home/me/src/project"), host.path("/home/me/src/moved")).unwrap();
    symlink("other", host.path("/home/me/src/project")).unwrap();
    assert_eq!(guest.look_up(project, "main.c"), Err(libc::ESTALE));
    assert_eq!(guest.attributes(file), Err(libc::ESTALE));
    assert_eq!(guest.read(file, 0, 10), Err(libc::ESTALE));
    assert_eq!(guest.list_from(READDIRPLUS, project, 0), Err(libc::ESTALE));
}

#[test]
fn a_link_that_takes_a_files_place_is_not_read() {
    let host = home();
    let mut guest = Client::mount(&host.view());
    let file = guest.walk("/home/me/src/project/main.c").unwrap().node;
    fs::remove_file(host.path("/home/me/src/project/main.c")).unwrap();
    symlink(host.path("/home/me/.ssh/id"), host.path("/home/me/src/project/main.c")).unwrap();
    assert_eq!(guest.read(file, 0, 10), Err(libc::ESTALE));
    assert_eq!(guest.content("/home/me/src/project/main.c"), Err(libc::EACCES));
}

#[test]
fn a_file_on_the_way_to_the_working_directory_is_hidden() {
    let host = home();
    let view = host.view();
    fs::rename(host.path("/home/me/src"), host.path("/home/me/old")).unwrap();
    fs::write(host.path("/home/me/src"), "secret").unwrap();
    let mut guest = Client::mount(&view);
    assert_eq!(guest.walk("/home/me/src"), Err(libc::ENOENT));
    assert_eq!(guest.names("/home/me").unwrap(), [".cargo"]);
}

#[test]
fn a_home_that_is_a_link_is_hidden_where_it_really_is() {
    let host = Host::with(&["/data/me/letter", "/data/me/src/main.c", "/data/me/.rust/rustc", "/home/"]);
    symlink("/data/me", host.path("/home/me")).unwrap();
    symlink("/data/you", host.path("/home/you")).unwrap();
    symlink(".rust", host.path("/data/me/.rustup")).unwrap();
    symlink("..", host.path("/data/me/.cargo")).unwrap();
    let host = Host { cwd: "/home/me/src".into(), ..host };
    let mut guest = Client::mount(&host.view());
    assert_eq!(guest.names("/home").unwrap(), ["me"]);
    assert_eq!(guest.names("/data").unwrap(), ["me"]);
    assert_eq!(guest.names("/data/me").unwrap(), [".cargo", ".rust", ".rustup", "src"]);
    assert_eq!(guest.walk("/data/me/letter"), Err(libc::ENOENT));
    let link = guest.walk("/home/me").unwrap().node;
    assert_eq!(guest.read_link(link).unwrap(), b"/data/me");
}

#[test]
fn shares_may_be_single_files_and_must_exist() {
    let host = Host { shares: vec!["/home/me/.ssh/id".into(), "/home/me/letter".into()], ..home() };
    let mut guest = Client::mount(&host.view());
    assert_eq!(guest.content("/home/me/.ssh/id").unwrap(), b"/home/me/.ssh/id");
    assert_eq!(guest.content("/home/me/letter").unwrap(), b"/home/me/letter");
    assert_eq!(guest.names("/home/me").unwrap(), [".cargo", ".ssh", "letter", "src"]);

    let request = |shares| Request { home: None, whole_home: false, shares, cwd: "/".as_ref(), extra: &[] };
    let missing = [PathBuf::from("/nowhere/at/all")];
    assert!(matches!(View::new(&request(&missing)), Err(ViewError::Share { .. })));
    let relative = [PathBuf::from("here")];
    assert!(matches!(View::new(&request(&relative)), Err(ViewError::Relative { .. })));
}

#[test]
fn extra_directories_in_one_place_are_seen_as_one() {
    let upper = Host::with(&["/modules.dep", "/both/upper", "/file"]);
    let lower = Host::with(&["/modules.dep", "/modules.order", "/kernel/fs/fuse.ko", "/both/lower", "/file/hidden"]);
    let extra = [&upper, &lower].map(|host| ("/lib/modules/6.1".into(), host.dir.path().to_owned()));
    fs::write(upper.path("/modules.dep"), "the first one").unwrap();
    let host = Host { extra: extra.to_vec(), ..Host::with(&["/lib/libc.so", "/lib/modules/6.1/host"]) };
    let mut guest = Client::mount(&host.view());
    for (directory, names) in [
        ("/lib/modules", vec!["6.1"]),
        ("/lib/modules/6.1", vec!["both", "file", "kernel", "modules.dep", "modules.order"]),
        ("/lib/modules/6.1/both", vec!["lower", "upper"]),
        ("/lib/modules/6.1/kernel/fs", vec!["fuse.ko"]),
    ] {
        assert_eq!(guest.names(directory).unwrap(), names, "{directory}");
    }
    for (file, content) in [
        ("modules.dep", "the first one"),
        ("modules.order", "/modules.order"),
        ("kernel/fs/fuse.ko", "/kernel/fs/fuse.ko"),
        ("both/lower", "/both/lower"),
        ("both/upper", "/both/upper"),
        ("file", "/file"),
    ] {
        assert_eq!(guest.content(Path::new("/lib/modules/6.1").join(file)).unwrap(), content.as_bytes(), "{file}");
    }
    for missing in ["kernel/none", "none", "host"] {
        assert_eq!(guest.walk(Path::new("/lib/modules/6.1").join(missing)), Err(libc::ENOENT), "{missing}");
    }
}

#[test]
fn extra_directories_are_seen_in_their_places_with_all_that_leads_there() {
    let modules = Host::with(&["/kernel/fs/fuse.ko", "/.ssh/id"]);
    let host = Host::with(&["/usr/lib/libc.so", "/usr/lib/modules/6.1-host/x"]);
    symlink("usr/lib", host.path("/lib")).unwrap();
    let extra = vec![
        ("/lib/modules/6.12".into(), modules.dir.path().to_owned()),
        ("/usr/lib/modules/6.1-host".into(), modules.dir.path().to_owned()),
        ("/opt/a/b".into(), modules.dir.path().to_owned()),
        ("/home/you/x".into(), modules.dir.path().to_owned()),
    ];
    let host = Host { extra, ..host };
    let mut guest = Client::mount(&host.view());
    for (directory, names) in [
        ("/", vec!["home", "lib", "opt", "usr"]),
        ("/usr/lib", vec!["libc.so", "modules"]),
        ("/usr/lib/modules", vec!["6.1-host", "6.12"]),
        ("/usr/lib/modules/6.1-host", vec![".ssh", "kernel"]),
        ("/opt", vec!["a"]),
        ("/opt/a", vec!["b"]),
        ("/home", vec!["you"]),
        ("/home/you", vec!["x"]),
    ] {
        assert_eq!(guest.names(directory).unwrap(), names, "{directory}");
    }
    for directory in ["/usr/lib/modules/6.12", "/opt/a/b", "/home/you/x"] {
        let path = PathBuf::from(directory).join("kernel/fs/fuse.ko");
        assert_eq!(guest.content(path).unwrap(), b"/kernel/fs/fuse.ko");
    }
    let made = guest.walk("/opt/a").unwrap();
    assert_eq!((made.mode, made.uid), (libc::S_IFDIR | 0o555, 0));
    assert_eq!(guest.attributes(made.node).unwrap(), made);
    assert_eq!(guest.read(made.node, 0, 10), Err(libc::EISDIR));
    assert_eq!(guest.read_link(made.node), Err(libc::EINVAL));
    assert_eq!(guest.look_up(made.node, "c"), Err(libc::ENOENT));
    let inodes: Vec<u64> = ["/opt", "/opt/a", "/home", "/home/you"].map(|path| guest.walk(path).unwrap().inode).into();
    assert!((1..4).all(|at| !inodes[..at].contains(&inodes[at])), "{inodes:?}");
}

#[test]
fn interfaces_to_the_hosts_kernel_are_inaccessible_wherever_they_are() {
    let extra = vec![("/x/proc".into(), "/proc".into()), ("/x/sys".into(), "/sys".into())];
    let host = Host { extra, ..Host::with(&[]) };
    let mut guest = Client::mount(&host.view());
    for path in ["/x/proc", "/x/sys"] {
        assert_eq!(guest.walk(path), Err(libc::EACCES), "{path}");
    }
    let parent = guest.walk("/x").unwrap().node;
    for entry in guest.list_from(READDIRPLUS, parent, 0).unwrap() {
        assert_eq!(entry.node, 0, "{entry:?}");
    }
}

#[test]
fn a_missing_name_may_be_remembered_for_a_second() {
    let host = home();
    let mut guest = Client::mount(&host.view());
    for name in [b"missing\0".as_slice(), b"shadow\0"] {
        let etc = guest.walk("/etc").unwrap().node;
        let reply = guest.ask(LOOKUP, etc, name).unwrap();
        assert_eq!(reply[..8], [0; 8], "no node");
        assert_eq!(reply[16..24], 1_u64.to_ne_bytes(), "for one second");
        assert_eq!(reply[40..], [0; 88], "nothing is told of it");
    }
}

#[test]
fn error_texts_can_say_why_something_is_hidden_and_what_shows_it() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().canonicalize().unwrap();
    let at = |path: &str| home.join(path);
    for dir in ["src/project", "other", ".ssh", ".cargo/bin"] {
        fs::create_dir_all(at(dir)).unwrap();
    }
    symlink(at("other/tool"), at("src/project/tool")).unwrap();
    let cwd = at("src/project");
    let extra = [(PathBuf::from("/home/nobody/modules"), home.clone())];
    let request = Request { home: Some(&home), whole_home: false, shares: &[], cwd: &cwd, extra: &extra };
    let view = View::new(&request).unwrap();
    for shown in [at("src/project/x"), at(".cargo/bin"), "/usr/bin".into(), "/home/nobody/modules/x".into()] {
        assert_eq!(view.shows(&shown), Visibility::Visible, "{}", shown.display());
    }
    assert_eq!(view.shows(&at("src")), Visibility::Partly);
    let option = |path: PathBuf| match view.shows(&path) {
        Visibility::Hidden { flag, path: hidden, .. } => (hidden, flag.map(|flag| flag.to_string())),
        shown => panic!("{}: {shown:?}", path.display()),
    };
    let share = |path: PathBuf| Some(ShareFlag::Share(path).to_string());
    assert_eq!(option(at("other/x")), (at("other/x"), Some("--home".into())));
    assert_eq!(option(at("src/project/tool")), (at("other/tool"), Some("--home".into())));
    assert_eq!(option(at(".ssh/id")), (at(".ssh/id"), share(at(".ssh/id"))));
    assert_eq!(option("/home/nobody/bin/x".into()).1, share("/home/nobody/bin/x".into()));
    assert_eq!(option("/proc/self/exe".into()).1, None);
}

#[test]
fn other_names_of_secrets_are_hidden_as_well() {
    let host = home();
    for (secret, name) in
        [("/home/me/.ssh/id", "/srv/id"), ("/etc/shadow", "/srv/shadow"), ("/etc/passwd", "/srv/passwd")]
    {
        fs::create_dir_all(host.path("/srv")).unwrap();
        fs::hard_link(host.path(secret), host.path(name)).unwrap();
    }
    let extra = vec![("/mirror".into(), host.dir.path().to_owned())];
    let mut guest = Client::mount(&host.view());
    assert_eq!(guest.walk("/srv/shadow"), Err(libc::ENOENT));
    assert_eq!(guest.content("/srv/passwd").unwrap(), b"/etc/passwd");
    // Only the places of credentials are known, not what is in them.
    assert!(guest.walk("/srv/id").is_ok());
    assert_eq!(guest.walk("/etc/shadow"), Err(libc::ENOENT));
    // Nobody but vmlab chooses the extra directories.
    let host = Host { extra, ..host };
    let mut guest = Client::mount(&host.view());
    assert_eq!(guest.content("/mirror/etc/shadow").unwrap(), b"/etc/shadow");
}

#[test]
fn extra_files_are_seen_in_their_places_and_nothing_beside_them() {
    let other = Host::with(&["/config", "/secret", "/config.d/x"]);
    let file = other.path("/config");
    symlink("config", other.path("/link")).unwrap();
    let extra = vec![
        ("/boot/config-6.1".into(), file.clone()),
        ("/lib/modules/6.1".into(), other.path("/config.d")),
        ("/lib/modules/6.1/config".into(), other.path("/link")),
        ("/etc/hosts".into(), file),
    ];
    let host = Host { extra, ..Host::with(&["/etc/hosts", "/etc/passwd"]) };
    let mut guest = Client::mount(&host.view());
    for place in ["/boot/config-6.1", "/lib/modules/6.1/config", "/etc/hosts"] {
        assert_eq!(guest.content(place).unwrap(), b"/config", "{place}");
        let node = guest.walk(place).unwrap().node;
        for name in ["..", "secret", "config"] {
            assert!(guest.look_up(node, name).is_err(), "{place}/{name}");
        }
    }
    assert_eq!(guest.names("/boot").unwrap(), ["config-6.1"]);
    assert_eq!(guest.names("/lib/modules/6.1").unwrap(), ["config", "x"]);
    assert_eq!(guest.names("/etc").unwrap(), ["hosts", "passwd"]);
    let kinds: Vec<_> = guest.list(READDIR, "/boot").unwrap().iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [u32::from(libc::DT_REG)]);
    fs::remove_file(other.path("/config")).unwrap();
    assert_eq!(guest.walk("/boot/config-6.1").map(|found| found.node), Err(libc::ENOENT));
}
