//! Programs of the host's in guests: `vmlab exec`.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use vmlab_tests::env::Ended;

use super::*;

pub(super) const KERNELS: [&str; 2] = [BOOKWORM, TRIXIE];

/// A command line that runs a program on a kernel.
pub(super) fn exec(env: &TestEnv, options: &[&str], program: &[&str]) -> Command {
    let mut command = env.command(env.program());
    command.arg("exec").args(options).arg("--").args(program);
    command
}

pub(super) fn run_on(env: &TestEnv, options: &[&str], program: &[&str]) -> Ended {
    env.start_command(exec(env, options, program)).wait()
}

/// Runs a script of sh's on a kernel.
pub(super) fn sh(env: &TestEnv, options: &[&str], script: &str) -> Ended {
    run_on(env, options, &["sh", "-c", script])
}

#[test]
fn the_exit_code_is_that_of_the_program() {
    let env = env();
    for kernel in KERNELS {
        let on = ["-k", kernel];
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -SEGV $$", 139), ("kill -TERM $$", 143)] {
            sh(&env, &on, script).exits(code);
        }
        for (program, code, said) in [
            ("no-such-program", 127, "no directory of PATH has a program `no-such-program`"),
            ("./none", 127, "does not exist here"),
            ("/etc/passwd", 126, "EACCES"),
            ("/etc", 126, "cannot be executed"),
        ] {
            let ended = run_on(&env, &on, &[program]);
            ended.exits(code);
            assert!(ended.stderr.contains(said), "{program}: {ended}");
        }
    }
    let script = env.home().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let ended = run_on(&env, &[], &["./script"]);
    ended.exits(127);
    assert!(ended.stderr.contains("/no/such/interpreter"), "{ended}");
}

#[test]
fn streams_are_apart_and_whole() {
    let env = env();
    let input = env.home().join("input");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    fs::write(&input, &bytes).unwrap();
    for kernel in KERNELS {
        let ended = sh(&env, &["-k", kernel], "echo out; echo err >&2; echo out again");
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("out\nout again\n", "err\n"));
        let mut command =
            exec(&env, &["-k", kernel], &["sh", "-c", "cat > copy; cat copy | cksum; cat copy >&2 | head -c 0"]);
        command.stdin(File::open(&input).unwrap());
        let ended = env.start_command(command).wait();
        ended.exits(0);
        let expected = Command::new("cksum").arg(&input).output().unwrap().stdout;
        assert!(String::from_utf8(expected).unwrap().starts_with(ended.stdout.trim_end()), "{}", ended.stdout);
        // More than fits into any window.
        let ended = sh(&env, &["-k", kernel], "seq 1 2000000");
        assert_eq!((ended.stdout.lines().count(), ended.stdout.len()), (2_000_000, 14_888_896));
    }
}

#[test]
fn the_program_can_write_anywhere_and_the_host_sees_nothing() {
    let env = env();
    fs::create_dir(env.home().join(".ssh")).unwrap();
    fs::write(env.home().join(".ssh/id"), "secret").unwrap();
    fs::create_dir(env.home().join("work")).unwrap();
    fs::write(env.home().join("work/file"), "old\n").unwrap();
    fs::write(env.home().join("other"), "mine").unwrap();
    let script = "cat file && echo new > file && cat file && touch /usr/written /tmp/written && rm -r /etc \
                  && ls -a $HOME && cat $HOME/.ssh/id";
    for kernel in KERNELS {
        let cwd = env.home().join("work");
        let ended = sh(&env, &["-k", kernel, "--cwd", cwd.to_str().unwrap()], script);
        ended.exits(1);
        assert_eq!(ended.stdout, "old\nnew\n.\n..\nwork\n", "{ended}");
        assert!(ended.stderr.contains("No such file"), "{ended}");
    }
    assert_eq!(fs::read_to_string(env.home().join("work/file")).unwrap(), "old\n");
    assert!(!Path::new("/usr/written").exists() && !Path::new("/tmp/written").exists() && Path::new("/etc").exists());
}

#[test]
fn signals_and_limits_end_a_program() {
    let env = env();
    let ready = |running: &mut Running| {
        let events = || events_so_far(&events_file(&env));
        let is_started = |event: &LabEvent| matches!(event, LabEvent::JobStarted { .. });
        running
            .until("the command to start", || events().iter().any(|stamped| is_started(&stamped.event)).then_some(()));
    };
    let report = format!("json={}", events_file(&env).display());
    for (script, signal, code) in [
        ("trap 'echo caught; exit 9' TERM; while :; do sleep 0.1; done", Signal::SIGTERM, 9),
        ("sleep 1000", Signal::SIGINT, 130),
        ("sleep 1000", Signal::SIGHUP, 129),
    ] {
        let mut running = env.start_command(exec(&env, &["-r", &report], &["sh", "-c", script]));
        ready(&mut running);
        // The shell sets its trap first.
        std::thread::sleep(std::time::Duration::from_secs(1));
        running.signal(signal);
        running.wait().exits(code);
    }
    let script = "trap '' INT TERM; while :; do sleep 0.1; done";
    let mut running = env.start_command(exec(&env, &["-r", &report], &["sh", "-c", script]));
    ready(&mut running);
    std::thread::sleep(std::time::Duration::from_secs(1));
    for _ in 0..3 {
        running.signal(Signal::SIGTERM);
        // Signals of one kind merge while they are pending (signal(7)).
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    running.wait().exits(exit::INTERRUPTED);
    let ended = sh(&env, &["--timeout", "1"], "sleep 1000");
    ended.exits(124);
    assert!(ended.stderr.contains("did not end within --timeout, 1 s"), "{ended}");
}

#[test]
fn modprobe_finds_the_kernels_modules() {
    let env = env();
    // Debian's kernels have ext4 built in, and dummy and btrfs as modules.
    let script = "PATH=$PATH:/sbin:/usr/sbin; modprobe dummy && modprobe btrfs && modprobe ext4 && modprobe -R fs-btrfs \
                  && grep -o '^btrfs\\|^raid6_pq\\|^dummy' /proc/modules | sort; modprobe no-such-module";
    for kernel in KERNELS {
        let ended = sh(&env, &["-k", kernel], script);
        ended.exits(1);
        assert_eq!(ended.stdout, "btrfs\nbtrfs\ndummy\nraid6_pq\n", "{ended}");
        assert!(ended.stderr.contains("no-such-module not found"), "{ended}");
    }
}

#[test]
fn a_module_of_the_users_is_loaded_before_the_program() {
    let env = env();
    let module = |release: &str, name: &str| {
        let entries = fs::read_dir(Path::new(CACHE).join("vmlab/kernels/entries")).unwrap();
        let dirs = entries.map(|entry| entry.unwrap().path().join("lib/modules").join(release));
        let dir = dirs.into_iter().find(|dir| dir.exists()).unwrap();
        let list = fs::read_to_string(dir.join("modules.dep")).unwrap();
        let path = list.lines().find(|line| line.contains(&format!("/{name}.ko"))).unwrap();
        dir.join(path.split_once(':').unwrap().0).display().to_string()
    };
    let load = |kernel: &str, release: &str, names: &[&str]| {
        let files: Vec<_> = names.iter().map(|name| module(release, name)).collect();
        let options = files.iter().flat_map(|file| ["--load", file.as_str()]);
        let options: Vec<_> = ["-k", kernel].into_iter().chain(options).collect();
        sh(&env, &options, "grep -o '^dummy\\|^loop' /proc/modules | sort")
    };
    let release = |kernel| sh(&env, &["-k", kernel], "uname -r").stdout.trim().to_owned();
    let (bookworm, trixie) = (release(BOOKWORM), release(TRIXIE));
    for (kernel, release, other) in [(BOOKWORM, &bookworm, &trixie), (TRIXIE, &trixie, &bookworm)] {
        let ended = load(kernel, release, &["dummy", "loop"]);
        ended.exits(0);
        assert_eq!(ended.stdout, "dummy\nloop\n", "{ended}");
        let ended = load(kernel, release, &["btrfs"]);
        ended.exits(125);
        assert!(ended.stderr.contains("ENOENT") && ended.stderr.contains("Unknown symbol"), "{ended}");
        let ended = load(kernel, other, &["dummy"]);
        ended.exits(125);
        assert!(ended.stderr.contains(&format!("it was built for the kernel `{other} ")), "{ended}");
        assert_eq!(ended.stdout, "", "the program does not run");
    }
}

#[test]
fn a_crash_ends_the_program_at_once_with_the_trace() {
    let env = env();
    for kernel in KERNELS {
        let ended = sh(&env, &["-k", kernel], "echo before; echo c > /proc/sysrq-trigger; sleep 1000");
        ended.exits(125);
        assert_eq!(ended.stdout, "before\n");
        assert!(ended.stderr.contains("CRASH: Kernel panic") && ended.stderr.contains("sysrq_handle_crash"), "{ended}");
    }
}

#[test]
fn several_kernels_have_headings_a_table_and_reports() {
    let env = env();
    let ended = sh(&env, &["-r", "junit"], "echo mixed");
    ended.exits(125);
    assert!(ended.stdout.is_empty() && ended.stderr.contains("`--report junit=FILE`"), "{ended}");
    let report = format!("junit={}", env.home().join("junit.xml").display());
    let ended =
        sh(&env, &["-k", BOOKWORM, "-k", TRIXIE, "-r", &report], "uname -r; case $(uname -r) in 6.12*) exit 3;; esac");
    ended.exits(3);
    for part in [format!("==> {BOOKWORM} <==\n6.1."), format!("==> {TRIXIE} <==\n6.12.")] {
        assert!(ended.stdout.contains(&part), "{ended}");
    }
    assert!(ended.stderr.contains("it exited with 3"), "{ended}");
    let junit = fs::read_to_string(env.home().join("junit.xml")).unwrap();
    assert!(junit.contains("exec.sh") && junit.contains("it exited with 3"), "{junit}");
    let ended = sh(&env, &["-k", BOOKWORM, "-k", TRIXIE, "--prefix"], "echo a");
    let mut lines: Vec<_> = ended.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["debian:bookworm: a", "debian:trixie: a"]);
}

#[test]
fn a_change_on_the_host_shows_while_the_program_runs() {
    let env = env();
    let file = env.home().join("file");
    fs::write(&file, "old").unwrap();
    let report = format!("json={}", events_file(&env).display());
    let script = "cat file; while ! grep -q new file; do sleep 0.2; done; cat file";
    let mut running = env.start_command(exec(&env, &["-r", &report, "--home"], &["sh", "-c", script]));
    running.until("the command to start", || {
        let events = events_so_far(&events_file(&env));
        events.iter().any(|stamped| matches!(stamped.event, LabEvent::JobStarted { .. })).then_some(())
    });
    std::thread::sleep(std::time::Duration::from_secs(1));
    // As editors and git do.
    fs::write(env.home().join("file.new"), "a new text").unwrap();
    fs::rename(env.home().join("file.new"), &file).unwrap();
    let ended = running.wait();
    ended.exits(0);
    assert_eq!(ended.stdout, "olda new text");
}

#[test]
fn runs_that_share_a_guest_do_not_see_each_others_files() {
    let env = env();
    let script =
        "cat /proc/sys/kernel/random/boot_id; touch /tmp/$$ /dev/shm/file; ls /tmp | grep -c \"^$$\\$\"; ls /dev/shm";
    for kernel in KERNELS {
        let ended = sh(&env, &["-k", kernel, "--isolation", "shared", "--repeat", "3", "--prefix"], script);
        ended.exits(0);
        let prefix = format!("{kernel}: ");
        let lines: Vec<_> = ended.stdout.lines().map(|line| line.rsplit(": ").next().unwrap()).collect();
        assert!(ended.stdout.contains(&prefix) && lines.len() == 9, "{ended}");
        assert!(lines.chunks(3).all(|run| run == [lines[0], "1", "file"]), "{ended}");
    }
}
