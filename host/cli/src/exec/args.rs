//! `vmlab exec`'s arguments.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::machine_args::MachineArgs;
use crate::Failure;
use crate::lab_args::{GUESTS, GuestArgs, KernelArgs, OutputArgs, RepetitionArgs, TIMEOUTS};

/// Run a program of this machine's on one or more kernels
///
/// The program sees this machine's files, read-only, below a layer of its own that it can write to and that is gone
/// afterwards. It gets the arguments, the working directory, the environment and the standard streams of this command, and a
/// kernel of its own. Its exit code is that of this command.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExecArgs {
    /// Program and its arguments; a name without a slash is looked up in PATH
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    #[arg(value_hint = ValueHint::CommandWithArguments)]
    pub(super) command: Vec<OsString>,

    #[command(flatten)]
    pub(super) kernels: KernelArgs,

    /// With several kernels or attempts, print lines as they come, each with the kernel's name [default: the whole output of
    /// each at its end]
    #[arg(long)]
    pub(super) prefix: bool,

    /// Exit as `git bisect run` wants it: 1 if the kernel crashed or a signal ended the program, 125 if there is no result, as
    /// for a kernel that does not build, and 128, which ends the search, for bad arguments
    #[arg(long)]
    pub(super) bisect: bool,

    #[command(flatten)]
    pub(super) program: ProgramArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(super) guests: GuestArgs,

    /// Memory of each guest in MiB; the files that the program writes are in it
    #[arg(short, long, value_name = "MIB", default_value_t = 1024, help_heading = GUESTS)]
    #[arg(value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(super) memory: u32,

    #[command(flatten)]
    pub(super) machine: MachineArgs,

    /// Time for the program [default: none]
    #[arg(long, value_name = "SECONDS", help_heading = TIMEOUTS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub(super) timeout: Option<u32>,

    #[command(flatten)]
    pub(super) repetition: RepetitionArgs,
}

/// Open a shell on a kernel
///
/// The same as `vmlab exec` with the shell of SHELL. Files that change on this machine show within a second; what is written in
/// the shell is gone at its end.
#[derive(Debug, Args)]
#[command(after_help = SHELL_EXAMPLES)]
pub struct ShellArgs {
    #[command(flatten)]
    kernels: KernelArgs,

    #[command(flatten)]
    program: ProgramArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    guests: GuestArgs,

    /// Memory of the guest in MiB; the files that are written are in it
    #[arg(short, long, value_name = "MIB", default_value_t = 1024, help_heading = GUESTS)]
    #[arg(value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    memory: u32,

    #[command(flatten)]
    machine: MachineArgs,
}

impl ShellArgs {
    /// The command that does the same.
    ///
    /// # Errors
    /// Several kernels: only one can have the terminal.
    pub(crate) fn into_exec(self) -> Result<ExecArgs, Failure> {
        if self.kernels.kernels.len() > 1 {
            return Err(Failure::usage("a shell is for one kernel; `vmlab exec` runs a program on several"));
        }
        let Self { kernels, program, output, guests, memory, machine } = self;
        let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into());
        let repetition = RepetitionArgs { retries: None, repeat: None, until_failure: false };
        Ok(ExecArgs {
            command: vec![shell],
            kernels,
            program,
            output,
            guests,
            memory,
            machine,
            prefix: false,
            bisect: false,
            timeout: None,
            repetition,
        })
    }
}

/// What the program gets of this machine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Program")]
pub struct ProgramArgs {
    /// File or directory of the home to show; may be given several times
    ///
    /// Of the home directory the program sees only the working directory, the git repository around it, its own file, and
    /// directories of toolchains, such as .cargo and .rustup. Everything outside of home directories is visible, except for
    /// secrets of the system. Credentials, such as .ssh and .netrc, are hidden unless they are named here.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(super) share: Vec<PathBuf>,

    /// Show the whole home directory, except for credentials
    #[arg(long)]
    pub(super) home: bool,

    /// Show none of this machine's files
    #[arg(long, conflicts_with_all = ["share", "home", "load"])]
    pub(super) no_host_files: bool,

    /// Variable of the environment to set, or to pass on although its name looks like a secret; may be given several times
    ///
    /// The environment of this command is passed on, without variables that name a service of this machine's session (such as
    /// DISPLAY), those whose names have a word for a secret in them (TOKEN, SECRET, PASSWORD, PASS, PWD, PASSPHRASE, CREDENTIALS,
    /// KEY, APIKEY, AUTH, COOKIE, PAT), and those whose value is an address with a password.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<OsString>,

    /// Pass on no variables but PATH, HOME, USER, LOGNAME, SHELL, TERM, LANG and those of --env
    #[arg(long)]
    pub(super) clean_env: bool,

    /// Working directory [default: the one of this command]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) cwd: Option<PathBuf>,

    /// User who runs the program, by name or number [default: root]
    #[arg(short, long, value_name = "USER", value_hint = ValueHint::Username)]
    pub(super) user: Option<String>,

    /// Copy files that the program wrote in DIR to HOSTDIR on this machine, when it has ended; may be given several times
    ///
    /// DIR is a path in the guest, a directory or a file; a relative one is below the program's working directory. HOSTDIR is by
    /// default the same path. Only what the program wrote is copied, whatever its exit code. Files are replaced, and directories are
    /// merged; nothing is removed. With several kernels or attempts each has a directory in HOSTDIR. Nothing is copied if the
    /// program did not come to its end.
    #[arg(long, value_name = "DIR[:HOSTDIR]")]
    pub(super) out: Vec<OsString>,

    /// Kernel module to load before the program runs; may be given several times, in the order of loading
    ///
    /// It is a file of this machine's, also one that xz, zstd or gzip have compressed. The modules that it needs are not
    /// loaded with it: `modprobe` in the program loads modules of the kernel with those that they need.
    #[arg(long, value_name = "MODULE.ko", value_hint = ValueHint::FilePath)]
    pub(super) load: Vec<PathBuf>,

    /// Do not fail because of kernel warnings
    #[arg(long)]
    pub(super) allow_warnings: bool,
}

const SHELL_EXAMPLES: &str = "\
Examples:
  vmlab shell                       on the default kernel
  vmlab shell -k tree:.+host-files  on a kernel built from this tree
  vmlab shell --home                with the whole home directory
  vmlab shell --out /tmp/x:kept     keep what was written to /tmp/x in the directory kept
  echo 'uname -a' | vmlab shell     without a terminal";

const EXAMPLES: &str = "\
Examples:
  vmlab exec -- uname -r                                  on the default kernel
  vmlab exec -k debian:bookworm -- ./target/debug/mytest
  vmlab exec -k debian:bullseye -k debian:trixie -- make check
  vmlab exec -k tree:.+host-files -- ./reproducer         on a kernel built from this tree
  git bisect run vmlab exec --bisect -k tree:.+host-files -- ./reproducer
  vmlab exec -k tree:. --load drivers/x/x.ko -- ./test_x  with a module that was built for this kernel
  vmlab exec --out coverage -- make coverage              keep the files that it writes to coverage
  vmlab exec -- sh -c 'modprobe dummy && ip link'         with modules of the kernel's own
  vmlab exec --disk 1G -- sh -c 'mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt && df /mnt'
  vmlab exec --cpus 4 --numa 2 -- numactl --hardware
  CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='vmlab exec --' cargo test

Exit codes:
  that of the program; 128+N if signal N ended it
  124  it took longer than --timeout      126  it cannot be executed      127  there is no such program
  125  no result: bad arguments, or the kernel crashed, hung or did not boot, or the lab failed
    1  the kernel warned while the program ran and exited with 0 (see --allow-warnings)
With several kernels, the gravest one counts.";
