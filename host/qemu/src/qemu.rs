//! Finds QEMU and determines its version.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::quote;
use crate::spawn::{Family, Offspring, start_watcher};
use vmlab_store::stat_cache::Fact;

/// The program's usual name.
pub const PROGRAM: &str = "qemu-system-x86_64";
/// The environment variable for another program.
pub const VARIABLE: &str = "VMLAB_QEMU";
/// The oldest supported QEMU, of 2021. The features that vmlab uses are older (`-chardev socket,fd=`: 2.12; `-sandbox`:
/// 2.11), but older versions are not tested, and refusing them is better than failing during a run.
pub(crate) const MINIMUM: QemuVersion = QemuVersion { major: 6, minor: 0, micro: 0 };

/// The time limit of `--version`, which takes 40 ms on an idle machine.
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// The time limit for the end of its output after its end: a process that it left behind may hold it open.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);
/// The limit for reading the output of `--version`, in bytes.
const OUTPUT_LIMIT_BYTES: u64 = 64 << 10;

/// A version of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QemuVersion {
    /// The 7 in 7.2.22.
    pub major: u32,
    /// The 2 in 7.2.22.
    pub minor: u32,
    /// The 22 in 7.2.22.
    pub micro: u32,
}

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// The identity of a build of QEMU. Results of running QEMU stay valid as long as its identity is the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QemuIdentity {
    /// The file, with symbolic links resolved.
    pub path: PathBuf,
    /// The first line of `--version`.
    pub version_line: String,
    /// The size of the file, in bytes.
    pub size_bytes: u64,
    /// The file's modification time, in ns since 1970 UTC.
    pub modified_ns: i128,
}

/// A usable QEMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qemu {
    /// The path of the program, with symbolic links.
    pub path: PathBuf,
    /// The version, `MINIMUM` or later.
    pub version: QemuVersion,
    /// The identity of the build.
    pub identity: QemuIdentity,
    /// The CPU time of `--version`, in microseconds, as a measure of the machine's speed.
    pub version_cpu_us: u64,
}

impl Qemu {
    /// Prepares for the processes that the program starts, if it is a script: see [`start_watcher`]. A notice if that
    /// fails.
    #[must_use]
    pub fn watch(&self) -> Option<String> {
        let error = match offspring(&self.path) {
            Offspring::None => return None,
            Offspring::Any => start_watcher().err()?,
        };
        Some(format!(
            "{} is a script, and the process that would end its children if vmlab is killed cannot be started ({error}); \
             have the script start QEMU with `exec`",
            self.path.display()
        ))
    }
}

/// Why no usable QEMU was found.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// QEMU is not in `PATH`.
    #[error(
        "QEMU is missing: {PROGRAM} is not in PATH; run `vmlab doctor --fix`, install the package qemu-system-x86, or name a program with --qemu or {VARIABLE}"
    )]
    Missing,
    /// The named program does not exist or is no file.
    #[error(
        "{path}, set by {named_by} as QEMU, {problem}; name a {PROGRAM}, or omit {named_by} to use the one in PATH"
    )]
    NotThere {
        /// The path that the user gave.
        path: PathBuf,
        /// `--qemu` or the environment variable.
        named_by: &'static str,
        /// The problem.
        problem: String,
    },
    /// The program cannot be executed.
    #[error(
        "cannot execute {path} as QEMU; reinstall the package qemu-system-x86, or name another program with --qemu or {VARIABLE}"
    )]
    NotExecutable {
        /// The path of the program.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// `--version` failed.
    #[error(
        "{path} --version ended with {status}, its output: {said}; reinstall the package qemu-system-x86, or name another program with --qemu or {VARIABLE}"
    )]
    Died {
        /// The path of the program.
        path: PathBuf,
        /// The exit status.
        status: ExitStatus,
        /// The end of its output.
        said: String,
    },
    /// `--version` did not end.
    #[error("{path} --version has not ended after {limit_s} s; name another program with --qemu or {VARIABLE}")]
    Hung {
        /// The path of the program.
        path: PathBuf,
        /// The time limit, in seconds.
        limit_s: u64,
    },
    /// The program is not QEMU.
    #[error("{path} --version prints `{said}`, so the program is not QEMU; name a {PROGRAM} with --qemu or {VARIABLE}")]
    NotQemu {
        /// The path of the program.
        path: PathBuf,
        /// The end of its output.
        said: String,
    },
    /// The version is older than `MINIMUM`.
    #[error(
        "{path} is QEMU {found}, but vmlab needs {MINIMUM} or later; install a newer version, or name another program with --qemu or {VARIABLE}"
    )]
    TooOld {
        /// The path of the program.
        path: PathBuf,
        /// The program's version.
        found: QemuVersion,
    },
}

/// Finds QEMU and runs it with `--version`. `option` (`--qemu`) takes precedence over `VMLAB_QEMU`, which takes
/// precedence over `PATH`.
///
/// The version of a program is remembered in `cache` while its file is unchanged.
///
/// # Errors
/// [`QemuError`] if no usable QEMU was found.
pub fn find<'a>(option: Option<&'a Path>, cache: &'a Path) -> LocalBoxFuture<'a, Result<Qemu, QemuError>> {
    Box::pin(async move {
        let path = locate(option, env::var_os(VARIABLE), env::var_os("PATH").as_deref())?;
        let files = [path.as_path()];
        let fact = Fact::new(cache, "qemu", &files);
        // A link may lead to another program with the same times.
        if let Some(known) = fact.get::<Qemu>().filter(|known| leads_to(&path, &known.identity.path)) {
            return Ok(Qemu { path, ..known });
        }
        let qemu = ask(&path, VERSION_LIMIT).await?;
        // A script may run another program, which can change without the script.
        if is_elf(&path) {
            fact.put_if_possible(&qemu);
        }
        Ok(qemu)
    })
}

fn leads_to(path: &Path, real: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|now| now == real)
}

/// Whether a program is an executable by itself, and not a script that may run another.
pub fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// What a program that is given as QEMU starts. A script may run QEMU as its child, and start others. QEMU itself starts
/// none: vmlab's arguments forbid it.
pub(crate) fn offspring(path: &Path) -> Offspring {
    if is_elf(path) { Offspring::None } else { Offspring::Any }
}

/// The program to use.
fn locate(option: Option<&Path>, variable: Option<OsString>, path: Option<&OsStr>) -> Result<PathBuf, QemuError> {
    let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = option.map(|path| (path.to_owned(), "--qemu")).or_else(|| variable.map(|path| (path, VARIABLE)));
    let Some((file, named_by)) = named else {
        return in_path(path).ok_or(QemuError::Missing);
    };
    // A name without a slash is a file in the working directory and not in PATH, as for --kernel.
    let absolute = |problem: String| QemuError::NotThere { path: file.clone(), named_by, problem };
    match fs::metadata(&file) {
        Ok(metadata) if metadata.is_file() => std::path::absolute(&file).map_err(|error| absolute(error.to_string())),
        Ok(_) => Err(absolute("is not a file".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(absolute("does not exist".to_owned())),
        Err(error) => Err(absolute(format!("cannot be accessed ({error})"))),
    }
}

fn in_path(path: Option<&OsStr>) -> Option<PathBuf> {
    env::split_paths(path?)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(PROGRAM))
        .find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())
}

async fn ask(path: &Path, limit: Duration) -> Result<Qemu, QemuError> {
    let not_executable = |source| QemuError::NotExecutable { path: path.to_owned(), source };
    // Read the identity before running the program: if the file is replaced in the meantime, the answer is stored for
    // the old identity and not for the new one.
    let metadata = fs::metadata(path).map_err(not_executable)?;
    let real = fs::canonicalize(path).map_err(not_executable)?;
    let before_us = cpu_us_of_children();
    let (status, stdout, stderr) = match tokio::time::timeout(limit, version_output(path)).await {
        Ok(output) => output.map_err(not_executable)?,
        Err(_) => return Err(QemuError::Hung { path: path.to_owned(), limit_s: limit.as_secs() }),
    };
    if !status.success() {
        let said = quote::of_stranger(if stderr.is_empty() { &stdout } else { &stderr });
        return Err(QemuError::Died { path: path.to_owned(), status, said });
    }
    let first = String::from_utf8_lossy(&stdout).lines().next().unwrap_or_default().trim().to_owned();
    let version = parse_version(&first)
        .ok_or_else(|| QemuError::NotQemu { path: path.to_owned(), said: quote::beginning_of(&stdout) })?;
    if version < MINIMUM {
        return Err(QemuError::TooOld { path: path.to_owned(), found: version });
    }
    let modified_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    let identity = QemuIdentity { path: real, version_line: first, size_bytes: metadata.len(), modified_ns };
    let version_cpu_us = cpu_us_of_children().saturating_sub(before_us);
    Ok(Qemu { path: path.to_owned(), version, identity, version_cpu_us })
}

/// The CPU time of all children that were reaped, in microseconds; 0 if it is unknown (getrusage(2)).
fn cpu_us_of_children() -> u64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return 0 };
    let total = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    u64::try_from(total).unwrap_or(0)
}

/// The exit status of `--version`, its standard output and standard error.
async fn version_output(path: &Path) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut family = Family::spawn(&mut command, offspring(path))?;
    let (out, err) = (family.child.stdout.take(), family.child.stderr.take());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let status = {
        let output = async { tokio::try_join!(read_bounded(out, &mut stdout), read_bounded(err, &mut stderr)) };
        let mut output = std::pin::pin!(output);
        tokio::select! {
            read = &mut output => {
                read?;
                family.child.wait().await?
            }
            status = family.child.wait() => {
                // What a script leaves behind holds the output open.
                family.kill()?;
                if let Ok(read) = tokio::time::timeout(OUTPUT_LIMIT, &mut output).await {
                    read?;
                }
                status?
            }
        }
    };
    Ok((status, stdout, stderr))
}

/// The first [`OUTPUT_LIMIT_BYTES`] of a stream. The stream is closed after them, so a program that writes more gets
/// SIGPIPE.
async fn read_bounded(stream: Option<impl AsyncRead + Unpin>, bytes: &mut Vec<u8>) -> io::Result<()> {
    if let Some(stream) = stream {
        stream.take(OUTPUT_LIMIT_BYTES).read_to_end(bytes).await?;
    }
    Ok(())
}

/// Parses a line like `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)`.
fn parse_version(line: &str) -> Option<QemuVersion> {
    let rest = line.strip_prefix("QEMU emulator version ")?;
    let numbers = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let mut parts = numbers.split('.').map(|part| part.parse().ok());
    let (major, minor) = (parts.next()??, parts.next()??);
    let micro = match parts.next() {
        None => 0,
        Some(micro) => micro?,
    };
    Some(QemuVersion { major, minor, micro })
}

#[cfg(test)]
mod tests;
