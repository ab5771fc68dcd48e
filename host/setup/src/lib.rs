//! Checks what vmlab needs on a machine, and installs it with the system's package manager.
//!
//! vmlab installs packages only on request: `vmlab doctor --fix` or `vmlab run --setup`.

use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};

use futures_util::future::LocalBoxFuture;
use nix::unistd::geteuid;
use tokio::process::Command;

use vmlab_events::progress::Progress;

mod machine;
mod manager;
mod need;
mod survey;

use machine::Machine;
use need::Need;

pub use need::Scope;
pub use survey::{Check, Question, Status, Survey, survey};

/// Why the installation failed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The machine has no known package manager.
    #[error(
        "{missing} missing, and vmlab found no package manager (apt-get, dnf, pacman, zypper or apk); install it by hand"
    )]
    NoManager {
        /// The missing things, with a verb: `qemu and apt are`.
        missing: String,
    },
    /// vmlab knows no package of the distribution that contains it.
    #[error(
        "{missing} missing, and vmlab knows no package for {manager} that contains it; install it by hand, or use an option that does not need it, such as --kernel PATH"
    )]
    NoPackage {
        /// The missing things, with a verb: `qemu and apt are`.
        missing: String,
        /// The name of the package manager's program.
        manager: &'static str,
    },
    /// The user is not root, and sudo is not installed.
    #[error("only root can install packages, and sudo is not installed; run as root: {commands}")]
    NotRoot {
        /// The commands to run as root.
        commands: String,
    },
    /// The package manager cannot be started.
    #[error("cannot run `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// The system's error.
        source: io::Error,
    },
    /// The package manager failed and printed the reason on standard error.
    #[error("`{command}` failed with {status} (its output is above); fix the cause and run the command by hand")]
    Failed {
        /// The command line.
        command: String,
        /// The exit status of the package manager.
        status: ExitStatus,
    },
    /// The package manager succeeded, but something is still missing.
    #[error("{missing} still missing after `{command}`; check which files the package contains, or install it by hand")]
    StillMissing {
        /// The missing things, with a verb: `qemu and apt are`.
        missing: String,
        /// The command that installed the packages.
        command: String,
    },
}

/// Installs what `scope` needs and this machine lacks, with the system's package manager. Returns the names of what was
/// missing. Each command is announced to `progress` before it runs, and writes to standard error.
///
/// # Errors
/// [`SetupError`] if something is still missing at the end.
pub fn install_missing(
    scope: Scope,
    progress: &dyn Progress,
) -> LocalBoxFuture<'_, Result<Vec<&'static str>, SetupError>> {
    Box::pin(async move {
        let installed = install(&Machine::this(), scope, progress).await;
        progress.done();
        installed
    })
}

async fn install(machine: &Machine, scope: Scope, progress: &dyn Progress) -> Result<Vec<&'static str>, SetupError> {
    let missing = machine.missing(scope);
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let commands = plan(machine, &missing, geteuid().is_root())?;
    let names: Vec<_> = missing.iter().map(|need| need.name).collect();
    for command in &commands {
        let line = command.join(" ");
        progress.step(&format!("installing {}: {line}", names.join(", ")));
        let status = execute(command).await.map_err(|source| SetupError::Start { command: line.clone(), source })?;
        if !status.success() {
            return Err(SetupError::Failed { command: line, status });
        }
    }
    let still = machine.missing(scope);
    if still.is_empty() {
        return Ok(names);
    }
    let command = commands.last().map(|command| command.join(" ")).unwrap_or_default();
    Err(SetupError::StillMissing { missing: sentence(&still), command })
}

/// The commands that install the missing packages.
fn plan(machine: &Machine, missing: &[&'static Need], root: bool) -> Result<Vec<Vec<String>>, SetupError> {
    let manager = machine.manager().ok_or_else(|| SetupError::NoManager { missing: sentence(missing) })?;
    // Needs without a package stay missing; the error after the installation names them.
    let mut packages: Vec<_> = missing.iter().filter_map(|need| need.package(manager)).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Err(SetupError::NoPackage { missing: sentence(missing), manager: manager.program() });
    }
    let commands = manager.commands(&packages);
    if root {
        return Ok(commands);
    }
    if machine.program("sudo").is_none() {
        let lines: Vec<_> = commands.iter().map(|command| command.join(" ")).collect();
        return Err(SetupError::NotRoot { commands: lines.join(" && ") });
    }
    Ok(commands.into_iter().map(|command| [vec!["sudo".to_owned()], command].concat()).collect())
}

/// `qemu is`, `qemu and apt are`.
fn sentence(needs: &[&Need]) -> String {
    let names: Vec<_> = needs.iter().map(|need| need.name).collect();
    match names.as_slice() {
        [one] => format!("{one} is"),
        _ => format!("{} are", names.join(" and ")),
    }
}

/// Runs a command of the package manager. Unlike other children, the command survives when vmlab is killed, because a
/// half-installed package is worse than an installed one. Ctrl-C reaches it from the terminal.
async fn execute(command: &[String]) -> io::Result<ExitStatus> {
    let [program, arguments @ ..] = command else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    // Standard output is for vmlab's results. Standard input stays open, because sudo may ask for a password.
    let output = Stdio::from(io::stderr().as_fd().try_clone_to_owned()?);
    Command::new(program).args(arguments).stdout(output).spawn()?.wait().await
}

#[cfg(test)]
mod tests;
