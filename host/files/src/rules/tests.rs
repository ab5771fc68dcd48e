use proptest::prelude::*;

use super::lists::*;
use super::*;

const HIDDEN_HOME: Seen = Seen::Hidden(Reason::OwnHome);
const HIDDEN_OTHER: Seen = Seen::Hidden(Reason::OtherHome);
const CREDENTIAL: Seen = Seen::Hidden(Reason::Credential);
const SECRET: Seen = Seen::Hidden(Reason::SystemSecret);
const EMPTY_DIR: Seen = Seen::Hidden(Reason::Empty);

fn rules(home: &str, cwd: &str, shares: &[&str]) -> Rules {
    Rules::new(Facts {
        home: Some(home.into()),
        cwd: cwd.into(),
        shares: shares.iter().map(PathBuf::from).collect(),
        toolchains: toolchains_of(Path::new(home)).collect(),
        ..Facts::default()
    })
}

#[track_caller]
fn check(rules: &Rules, table: &[(&str, Seen)]) {
    for (path, seen) in table {
        assert_eq!(rules.decide(Path::new(path)), *seen, "{path} with {rules:?}");
    }
}

#[test]
fn of_a_home_the_way_to_the_working_directory_and_toolchains_are_seen() {
    check(
        &rules("/home/me", "/home/me/src/project", &[]),
        &[
            ("/", Seen::Whole),
            ("/usr/bin/ls", Seen::Whole),
            ("/etc/passwd", Seen::Whole),
            ("/home", Seen::Way),
            ("/home/me", Seen::Way),
            ("/home/me/src", Seen::Way),
            ("/home/me/src/project", Seen::Whole),
            ("/home/me/src/project/target/debug/x", Seen::Whole),
            ("/home/me/src/project2", HIDDEN_HOME),
            ("/home/me/src/other", HIDDEN_HOME),
            ("/home/me/letter.txt", HIDDEN_HOME),
            ("/home/me/.bashrc", HIDDEN_HOME),
            ("/home/me/.cargo", Seen::Whole),
            ("/home/me/.cargo/bin/cargo", Seen::Whole),
            ("/home/me/.cargo/credentials.toml", CREDENTIAL),
            ("/home/me/.cargo/credentials", CREDENTIAL),
            ("/home/me/.cargos", HIDDEN_HOME),
            ("/home/me/.local", Seen::Way),
            ("/home/me/.local/bin/x", Seen::Whole),
            ("/home/me/.local/share", Seen::Way),
            ("/home/me/.local/share/keyrings", CREDENTIAL),
            ("/home/me/.local/share/recently-used.xbel", HIDDEN_HOME),
            ("/home/me/go/bin/x", Seen::Whole),
            ("/home/you", HIDDEN_OTHER),
            ("/home/me2", HIDDEN_OTHER),
            ("/home/you/src/project", HIDDEN_OTHER),
            ("/home/linuxbrew", Seen::Way),
            ("/home/linuxbrew/.linuxbrew/bin/x", Seen::Whole),
            ("/home/linuxbrew/x", HIDDEN_OTHER),
            ("/root", Seen::Way),
            ("/root/x", HIDDEN_OTHER),
        ],
    );
}

#[test]
fn a_working_directory_that_is_or_holds_the_home_shows_no_more_of_it() {
    for cwd in ["/home/me", "/home", "/"] {
        check(
            &rules("/home/me", cwd, &[]),
            &[
                ("/home/me", Seen::Way),
                ("/home/me/src", HIDDEN_HOME),
                ("/home/me/.rustup/x", Seen::Whole),
                ("/home/you/x", HIDDEN_OTHER),
                ("/root/x", HIDDEN_OTHER),
                ("/proc/1", EMPTY_DIR),
            ],
        );
    }
}

#[test]
fn a_superusers_home_is_a_home_like_others() {
    check(
        &rules("/root", "/root/code", &[]),
        &[
            ("/root", Seen::Way),
            ("/root/code/x", Seen::Whole),
            ("/root/x", HIDDEN_HOME),
            ("/root/.cargo/bin", Seen::Whole),
            ("/root/.ssh/id_rsa", CREDENTIAL),
            ("/root/code/.ssh/id_rsa", CREDENTIAL),
            ("/home/you/x", HIDDEN_OTHER),
        ],
    );
    check(
        &rules("/root", "/root", &[]),
        &[("/root", Seen::Way), ("/root/x", HIDDEN_HOME), ("/root/go/x", Seen::Whole)],
    );
    check(&rules("/var/lib/ci", "/srv", &[]), &[("/var/lib/ci/x", HIDDEN_HOME), ("/var/lib/x", Seen::Whole)]);
}

#[test]
fn a_working_directory_in_another_home_is_seen() {
    check(
        &rules("/root", "/home/you/src", &[]),
        &[
            ("/home/you", Seen::Way),
            ("/home/you/src/x", Seen::Whole),
            ("/home/you/src/.netrc", CREDENTIAL),
            ("/home/you/x", HIDDEN_OTHER),
            ("/home/them", HIDDEN_OTHER),
        ],
    );
    check(&rules("/root", "/home/you", &[]), &[("/home/you", HIDDEN_OTHER), ("/home/you/x", HIDDEN_OTHER)]);
}

#[test]
fn homes_below_other_homes_are_told_apart() {
    check(
        &rules("/home/corp/me", "/home/corp/me/x", &[]),
        &[("/home/corp", Seen::Way), ("/home/corp/you", HIDDEN_OTHER), ("/home/corp/me/x/y", Seen::Whole)],
    );
}

#[test]
fn a_whole_home_hides_its_credentials_at_any_depth() {
    let mut whole = rules("/home/me", "/tmp", &[]);
    whole.facts.whole_home = true;
    check(
        &whole,
        &[
            ("/home/me/letter.txt", Seen::Whole),
            ("/home/me/.bashrc", Seen::Whole),
            ("/home/me/.config", Seen::Whole),
            ("/home/me/.config/gh/hosts.yml", CREDENTIAL),
            ("/home/me/.config/google-chrome-beta", CREDENTIAL),
            ("/home/me/.docker", Seen::Whole),
            ("/home/me/.docker/config.json", CREDENTIAL),
            ("/home/me/.docker/config.json.bak", Seen::Whole),
            ("/home/me/.ssh", CREDENTIAL),
            ("/home/me/.SSH/id", CREDENTIAL),
            ("/home/me/backup/.ssh/id", CREDENTIAL),
            ("/home/me/backup/.config/gh/x", CREDENTIAL),
            ("/home/me/backup/gh", Seen::Whole),
            ("/home/you", HIDDEN_OTHER),
            ("/srv/.ssh", Seen::Whole),
        ],
    );
}

#[test]
fn a_share_shows_what_it_names_but_credentials_only_by_name() {
    check(
        &rules("/home/me", "/tmp", &["/home/me/data", "/home/you/pub"]),
        &[
            ("/home/me", Seen::Way),
            ("/home/me/data/x", Seen::Whole),
            ("/home/me/data/.aws/credentials", CREDENTIAL),
            ("/home/me/x", HIDDEN_HOME),
            ("/home/you", Seen::Way),
            ("/home/you/pub/x", Seen::Whole),
            ("/home/you/x", HIDDEN_OTHER),
        ],
    );
    check(
        &rules("/home/me", "/tmp", &["/home/me/.ssh/known_hosts", "/home/me/.aws", "/etc/ssl/private"]),
        &[
            ("/home/me/.ssh", Seen::Way),
            ("/home/me/.ssh/known_hosts", Seen::Whole),
            ("/home/me/.ssh/id_rsa", CREDENTIAL),
            ("/home/me/.aws/credentials", Seen::Whole),
            ("/home/me/.gnupg", CREDENTIAL),
            ("/etc/ssl/private/key.pem", Seen::Whole),
        ],
    );
    for share in ["/", "/home", "/home/me"] {
        check(
            &rules("/home/me", "/tmp", &[share]),
            &[
                ("/home/me/x", Seen::Whole),
                ("/home/me/.ssh/id", CREDENTIAL),
                ("/etc/shadow", SECRET),
                ("/proc/1", EMPTY_DIR),
            ],
        );
    }
}

#[test]
fn secrets_of_the_system_are_hidden_with_their_backups() {
    check(
        &rules("/home/me", "/etc/ssl/private", &[]),
        &[
            ("/etc/shadow", SECRET),
            ("/etc/shadow-", SECRET),
            ("/etc/gshadow-", SECRET),
            ("/etc/sudoers", SECRET),
            ("/etc/sudoers.d/me", SECRET),
            ("/etc/ssh/ssh_host_ed25519_key", SECRET),
            ("/etc/ssh/ssh_host_ed25519_key.pub", Seen::Whole),
            ("/etc/ssh/ssh_config", Seen::Whole),
            ("/etc/ssl/private", SECRET),
            ("/etc/ssl/certs", Seen::Whole),
            ("/var/lib/private/x", SECRET),
            ("/srv/etc/shadow", Seen::Whole),
        ],
    );
}

#[test]
fn places_of_the_guests_own_mounts_look_empty() {
    check(
        &rules("/home/me", "/dev/shm/code", &["/run/user/7/x", "/proc/self", "/sys/kernel"]),
        &[
            ("/proc", Seen::Way),
            ("/proc/self", EMPTY_DIR),
            ("/sys", Seen::Way),
            ("/sys/kernel", EMPTY_DIR),
            ("/dev", Seen::Way),
            ("/dev/null", EMPTY_DIR),
            ("/dev/shm", Seen::Way),
            ("/dev/shm/other", EMPTY_DIR),
            ("/dev/shm/code/x", Seen::Whole),
            ("/run", Seen::Way),
            ("/run/user/7", Seen::Way),
            ("/run/user/7/x", Seen::Whole),
            ("/run/user/7/bus", EMPTY_DIR),
            ("/running", Seen::Whole),
        ],
    );
    check(&rules("/home/me", "/run", &["/dev/shm"]), &[("/run/x", EMPTY_DIR), ("/dev/shm/x", EMPTY_DIR)]);
}

#[test]
fn links_on_the_way_are_seen_and_nothing_beside_them() {
    let mut linked = rules("/data/me", "/data/me/src", &[]);
    linked.facts.links = vec!["/home/me".into(), "/data/me/link".into()];
    check(
        &linked,
        &[
            ("/home/me", Seen::Way),
            ("/home/you", HIDDEN_OTHER),
            ("/data/me/link", Seen::Way),
            ("/data/me/x", HIDDEN_HOME),
            ("/data/me/src/x", Seen::Whole),
        ],
    );
}

#[test]
fn homes_in_other_places_are_hidden_as_well() {
    let mut rules = rules("/data/home/me", "/data/home/me/src", &["/data/home/them/pub"]);
    rules.facts.homes = vec!["/data/home".into()];
    check(
        &rules,
        &[
            ("/data", Seen::Whole),
            ("/data/home", Seen::Way),
            ("/data/home/me/src/x", Seen::Whole),
            ("/data/home/you", HIDDEN_OTHER),
            ("/data/home/them", Seen::Way),
            ("/data/home/them/pub/.ssh", CREDENTIAL),
        ],
    );
}

#[test]
fn without_a_home_other_homes_are_hidden() {
    let rules = Rules::new(Facts { cwd: "/srv".into(), ..Facts::default() });
    check(&rules, &[("/srv/x", Seen::Whole), ("/home/me/.cargo/bin", HIDDEN_OTHER), ("/root/x", HIDDEN_OTHER)]);
}

#[test]
fn the_lists_are_sorted_and_their_patterns_are_names() {
    for list in [TOOLCHAINS, CREDENTIALS, SYSTEM_SECRETS] {
        assert!(list.is_sorted(), "{list:?}");
        for entry in list {
            assert!(entry.split('/').all(|name| !name.is_empty() && name != ".."), "{entry}");
            assert!(entry.split('/').all(|name| name.matches('*').count() <= 1), "{entry}");
        }
    }
    assert!(CREDENTIALS.iter().all(|entry| entry.starts_with('.')));
    assert!(EMPTY.is_sorted() && ORDINARY.is_sorted());
}

/// Paths of names that matter.
fn paths() -> impl Strategy<Value = PathBuf> {
    let name = proptest::sample::select(vec![
        "home",
        "me",
        "you",
        "root",
        "src",
        ".ssh",
        ".cargo",
        "credentials",
        ".config",
        "gh",
        "etc",
        "shadow",
        "proc",
        "dev",
        "shm",
        "run",
        "x",
    ]);
    proptest::collection::vec(name, 0..6).prop_map(|names| Path::new("/").join(names.iter().collect::<PathBuf>()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What is seen can be reached, and what is below something hidden is hidden.
    #[test]
    fn everything_above_what_is_seen_is_seen(
        path in paths(), cwd in paths(), shares in proptest::collection::vec(paths(), 0..3), whole_home: bool,
    ) {
        let home = PathBuf::from("/home/me");
        let toolchains = toolchains_of(&home).collect();
        let rules = Rules::new(Facts { home: Some(home), whole_home, shares, cwd, toolchains, ..Facts::default() });
        if !matches!(rules.decide(&path), Seen::Hidden(_)) {
            for above in path.ancestors() {
                prop_assert!(!matches!(rules.decide(above), Seen::Hidden(_)), "{} but not {}", path.display(), above.display());
            }
        }
    }

    /// No path is seen whole that has a credential in it which no share names.
    #[test]
    fn credentials_are_seen_only_by_name(path in paths(), cwd in paths(), share in paths(), whole_home: bool) {
        let home = PathBuf::from("/home/me");
        let facts = Facts { home: Some(home), whole_home, shares: vec![share.clone()], cwd, ..Facts::default() };
        let names_it = share.iter().any(|name| name == ".ssh");
        if path.starts_with("/home/me") && path.iter().any(|name| name == ".ssh") && !names_it {
            prop_assert!(matches!(Rules::new(facts).decide(&path), Seen::Hidden(_)));
        }
    }
}
