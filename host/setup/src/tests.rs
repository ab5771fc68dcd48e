use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;

use super::manager::Manager;
use super::*;

/// A machine in a directory; `bin` is its PATH.
struct Fake {
    dir: tempfile::TempDir,
}

impl Fake {
    fn new(os_release: &str, programs: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["bin", "etc", "usr/share/keyrings"] {
            fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        fs::write(dir.path().join("etc/os-release"), os_release).unwrap();
        let fake = Self { dir };
        programs.iter().for_each(|program| fake.add(program));
        fake
    }

    fn add(&self, program: &str) {
        let file = self.dir.path().join("bin").join(program);
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn machine(&self) -> Machine {
        Machine { path: Some(self.dir.path().join("bin").into()), root: self.dir.path().to_owned() }
    }
}

const APT_TOOLS: [&str; 4] = ["apt-get", "apt-cache", "apt-config", "dpkg-deb"];

fn lines(commands: Result<Vec<Vec<String>>, SetupError>) -> Vec<String> {
    commands.unwrap().iter().map(|command| command.join(" ")).collect()
}

fn names(needs: &[&Need]) -> Vec<&'static str> {
    needs.iter().map(|need| need.name).collect()
}

#[test]
fn a_fresh_debian_lacks_qemu_and_the_keyring() {
    let fake = Fake::new("ID=debian\n", &APT_TOOLS);
    let machine = fake.machine();
    assert_eq!(names(&machine.missing(Scope::Run)), ["qemu", "debian-archive-keyring"]);
    let build = ["make", "gcc", "flex", "bison", "bc", "perl", "xz", "libc headers", "libelf"];
    let run = ["qemu", "debian-archive-keyring"];
    assert_eq!(names(&machine.missing(Scope::Build)), [&run[..], &build].concat());
    assert_eq!(names(&machine.missing(Scope::Tests)), [&run[..], &build, &["git", "cpio", "kmod"]].concat());
    let keyring = machine.file("/usr/share/keyrings/debian-archive-keyring.pgp");
    fs::write(keyring, "").unwrap();
    assert_eq!(names(&machine.missing(Scope::Run)), ["qemu"]);
    let planned = lines(plan(&machine, &machine.missing(Scope::Run), true));
    assert_eq!(planned.len(), 2);
    assert!(planned[0].ends_with("update"), "{planned:?}");
    assert!(planned[1].ends_with("install --yes --no-install-recommends qemu-system-x86"), "{planned:?}");
    fake.add("qemu-system-x86_64");
    assert!(machine.missing(Scope::Run).is_empty());
}

#[test]
fn a_file_without_execute_permission_is_no_program() {
    let fake = Fake::new("ID=debian\n", &APT_TOOLS);
    fs::write(fake.dir.path().join("bin/cpio"), "").unwrap();
    assert!(names(&fake.machine().missing(Scope::Tests)).contains(&"cpio"));
}

#[test]
fn users_other_than_root_need_sudo() {
    let fake = Fake::new("ID=debian\n", &APT_TOOLS);
    let machine = fake.machine();
    let missing = machine.missing(Scope::Run);
    let error = plan(&machine, &missing, false).unwrap_err().to_string();
    assert!(error.contains("update && env DEBIAN_FRONTEND=noninteractive apt-get"), "{error}");
    assert!(!error.contains("sudo env"), "{error}");
    fake.add("sudo");
    assert!(lines(plan(&machine, &missing, false)).iter().all(|line| line.starts_with("sudo env ")));
}

#[test]
fn os_release_decides_among_several_installed_managers() {
    let fake = Fake::new("ID=fedora\n", &["apt-get", "dnf"]);
    let machine = fake.machine();
    assert_eq!(machine.manager(), Some(Manager::Dnf));
    let planned = lines(plan(&machine, &[&need::QEMU], true));
    assert_eq!(planned, ["dnf install --assumeyes --setopt=install_weak_deps=False qemu-system-x86-core"]);
    let unknown = Fake::new("ID=unheard-of\n", &["pacman"]);
    assert_eq!(unknown.machine().manager(), Some(Manager::Pacman));
}

#[test]
fn a_need_without_a_package_is_named() {
    let fake = Fake::new("ID_LIKE=suse\n", &["zypper", "qemu-system-x86_64", "dpkg-deb"]);
    let machine = fake.machine();
    let error = plan(&machine, &machine.missing(Scope::Run), true).unwrap_err().to_string();
    assert!(
        error.starts_with("apt and debian-archive-keyring are missing, and vmlab knows no package for zypper"),
        "{error}"
    );
    assert!(error.contains("--kernel PATH"), "{error}");
    let planned = lines(plan(&machine, &machine.missing(Scope::Tests), true));
    assert_eq!(
        planned,
        [
            "zypper --non-interactive install --no-recommends bc bison cpio flex gcc git glibc-devel kmod libelf-devel make perl xz"
        ],
        "packages that exist are installed"
    );
    let bare = Fake::new("", &[]);
    let error = plan(&bare.machine(), &bare.machine().missing(Scope::Run), true).unwrap_err().to_string();
    assert!(error.starts_with("qemu and apt and dpkg-deb and debian-archive-keyring are missing"), "{error}");
}

/// Records the announced steps.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn step(&self, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }
    fn percent(&self, _percent: u8) {}
    fn done(&self) {}
}

#[tokio::test]
async fn nothing_runs_if_nothing_is_missing() {
    let fake = Fake::new("ID=debian\n", &APT_TOOLS);
    fake.add("qemu-system-x86_64");
    fs::write(fake.machine().file("/usr/share/keyrings/debian-archive-keyring.gpg"), "").unwrap();
    let notes = Notes::default();
    assert!(install(&fake.machine(), Scope::Run, &notes).await.unwrap().is_empty());
    assert!(notes.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_command_runs_unchanged_and_its_failure_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let file = dir.path().join("a file");
    assert!(execute(&words(&["touch", file.to_str().unwrap()])).await.unwrap().success());
    assert!(Path::new(&file).exists());
    assert_eq!(execute(&words(&["false"])).await.unwrap().code(), Some(1));
    assert!(execute(&words(&["/nonexistent"])).await.is_err());
    assert!(execute(&[]).await.is_err());
}
