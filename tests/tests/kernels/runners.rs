//! Programs and test runners as `vmlab exec` meets them: the conventions of LTP, bpf(2), cargo, and `git bisect run`.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::process::Command;

use vmlab_tests::env::Ended;

use super::commands::{KERNELS, exec, run_on, sh};
use super::*;

/// Compiles a C program of this directory. Rust needs `cc` for linking, so it is there.
fn compile(env: &TestEnv, name: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/programs").join(name).with_extension("c");
    let program = env.home().join(name);
    let compiled =
        Command::new("cc").args(["-Wall", "-Werror", "-O1", "-o"]).arg(&program).arg(source).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    program.display().to_string()
}

#[test]
fn programs_with_ltps_conventions_have_their_exit_codes() {
    let env = env();
    let program = compile(&env, "ltp");
    for kernel in KERNELS {
        for (what, code, said) in [
            ("pass", 0, ""),
            ("fail", 1, ""),
            ("broken", 2, ""),
            ("warn", 5, ""),
            ("unsupported", 32, "TCONF: no configuration has CONFIG_NO_SUCH_SYMBOL=y"),
            ("segv", 2, "TBROK: Test killed by Segmentation fault"),
            ("hang", 2, "TBROK: Test timeouted"),
        ] {
            let ended = run_on(&env, &["-k", kernel], &[&program, what]);
            ended.exits(code);
            assert!(ended.stderr.contains(said), "{what}: {ended}");
        }
    }
}

#[test]
fn the_kernels_configuration_is_where_programs_look_for_it() {
    let env = env();
    let script = "r=$(uname -r); cmp /boot/config-$r /lib/modules/$r/config && head -n 3 /boot/config-$r \
                  && ls /boot | grep -c \"^config-$r$\" && ls -ld /boot/config-$r | cut -c 1";
    for kernel in KERNELS {
        let ended = sh(&env, &["-k", kernel], script);
        ended.exits(0);
        let version = if kernel == BOOKWORM { "6.1." } else { "6.12." };
        assert!(ended.stdout.contains(&format!("# Linux/x86 {version}")), "{ended}");
        assert!(ended.stdout.ends_with(" Kernel Configuration\n1\n-\n"), "{ended}");
    }
}

#[test]
fn bpf_programs_are_loaded_and_pinned_and_the_kernels_types_are_there() {
    let env = env();
    let program = compile(&env, "bpf");
    for kernel in KERNELS {
        let ended = run_on(&env, &["-k", kernel], &[&program]);
        ended.exits(0);
        // The magic number of BTF (linux/btf.h).
        assert_eq!(ended.stdout, "returned 42, BTF 0xeb9f\n", "{ended}");
    }
}

/// Runs cargo in a package of two tests, of which one fails, with vmlab as its runner.
fn cargo_test(env: &TestEnv, kernel: &str) -> Ended {
    let package = env.home().join("package");
    fs::create_dir_all(package.join("src")).unwrap();
    let manifest = "[package]\nname = \"tiny\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n";
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    let tests = "#[test] fn it_is_root() { std::fs::create_dir(\"/sys/fs/cgroup/box\").unwrap(); }\n\
                 #[test] fn it_prints_the_release() { panic!(\"{}\", \
                 std::fs::read_to_string(\"/proc/sys/kernel/osrelease\").unwrap()); }\n";
    fs::write(package.join("src/lib.rs"), tests).unwrap();
    let mut command = env.command(env!("CARGO"));
    let runner = format!("{} exec -k {kernel} --", env.program().display());
    command.args(["test", "--offline", "--lib"]).current_dir(&package);
    command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", runner);
    for name in ["PATH", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    env.start_command(command).wait()
}

#[test]
fn cargo_runs_its_tests_in_guests() {
    let env = env();
    for (kernel, release) in [(BOOKWORM, "6.1."), (TRIXIE, "6.12.")] {
        let ended = cargo_test(&env, kernel);
        ended.exits(101);
        assert!(
            ended.stdout.contains("test tests::it_is_root ... ok") || ended.stdout.contains("test it_is_root ... ok")
        );
        assert!(ended.stdout.contains(&format!("\n{release}")), "{ended}");
        assert!(ended.stdout.contains("1 passed; 1 failed"), "{ended}");
    }
}

#[test]
fn git_bisect_finds_the_first_bad_commit_across_a_crash_and_a_missing_kernel() {
    let env = env();
    let repository = env.home().join("repository");
    fs::create_dir(&repository).unwrap();
    let git = |arguments: &[&str]| {
        let mut command = env.command("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(arguments);
        command.current_dir(&repository);
        env.start_command(command).wait()
    };
    git(&["init", "-q", "-b", "main"]).exits(0);
    let kernel = "kernel";
    for (number, script, target) in [
        (1, "exit 0", TRIXIE),
        (2, "exit 0", TRIXIE),
        (3, "exit 0", "./no-such-kernel"),
        (4, "echo c > /proc/sysrq-trigger", TRIXIE),
        (5, "kill -SEGV $$", TRIXIE),
        (6, "exit 3", TRIXIE),
    ] {
        fs::write(repository.join("script"), format!("{script} # {number}\n")).unwrap();
        fs::write(repository.join(kernel), target).unwrap();
        git(&["add", "-A"]).exits(0);
        git(&["commit", "-q", "-m", &format!("commit {number}")]).exits(0);
    }
    git(&["bisect", "start", "HEAD", "HEAD~5"]).exits(0);
    let run = exec(&env, &["--bisect", "-k", "$(cat kernel)"], &["sh", "./script"]);
    let words: Vec<_> =
        [run.get_program()].into_iter().chain(run.get_args()).map(|word| word.to_str().unwrap()).collect();
    let ended = git(&["bisect", "run", "sh", "-c", &words.join(" ")]);
    // Commit 3 cannot be tested, so it or the next one is the first bad one.
    assert!(ended.stdout.contains("only 'skip'ped commits left") || ended.stderr.contains("only 'skip'ped"), "{ended}");
    let log = git(&["bisect", "log"]).stdout.clone();
    for line in ["# good: ", "# skip: ", "# bad: "] {
        assert!(log.contains(line), "{log}");
    }
    let possible = log.lines().filter(|line| line.starts_with("# possible first bad commit: ")).collect::<Vec<_>>();
    assert!(
        possible.len() == 2 && possible.iter().all(|line| line.ends_with(" commit 3") || line.ends_with(" commit 4"))
    );
}

#[test]
fn a_program_that_uses_up_the_guests_memory_hears_of_the_option() {
    let env = env();
    for kernel in KERNELS {
        let full = sh(&env, &["-k", kernel], "dd if=/dev/zero of=/tmp/new-file bs=1M count=4000 2>&1");
        full.exits(1);
        let killed = sh(&env, &["-k", kernel], "exec tail /dev/zero");
        killed.exits(137);
        for (ended, why) in [(full, "found a file system full"), (killed, "the kernel killed `tail`")] {
            assert!(ended.stderr.contains(why) && ended.stderr.contains("--memory gives it more"), "{ended}");
        }
    }
}

#[test]
fn the_kernel_loads_modules_by_itself_for_nodes_and_file_systems() {
    let env = env();
    let script = "loaded() { grep -o '^loop \\|^tun \\|^binfmt_misc ' /proc/modules | sort | tr -d '\\n'; echo; }; \
                  loaded; : <> /dev/loop-control && : <> /dev/net/tun && mount -t binfmt_misc none /mnt && loaded; \
                  ls -l /dev/loop-control /dev/net/tun | cut -c 1-10; mount -t no-such-type none /mnt";
    for kernel in KERNELS {
        let ended = sh(&env, &["-k", kernel], script);
        ended.exits(32);
        assert_eq!(ended.stdout, "\nbinfmt_misc loop tun \ncrw-------\ncrw-rw-rw-\n", "{ended}");
        // Several commands in one guest, each with a root of its own.
        let options = ["-k", kernel, "--isolation", "shared", "--repeat", "2"];
        let ended =
            sh(&env, &options, "rmmod loop 2> /dev/null; : <> /dev/loop-control && grep -c '^loop ' /proc/modules");
        assert_eq!(ended.stdout.matches("\n1\n").count(), 2, "{ended}");
    }
}
