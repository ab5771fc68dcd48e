//! What vmlab needs on a machine, and the system's own package manager that brings it.
//!
//! Nothing is installed without being asked for: by `vmlab doctor --fix` or `vmlab run --setup`.

use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};

use nix::unistd::geteuid;
use tokio::process::Command;

use vmlab_events::progress::Progress;

pub mod machine;
pub mod manager;
pub mod need;
pub mod survey;

pub use machine::Machine;
use need::{Need, Scope};

/// Why what is missing could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// None of the package managers that are known.
    #[error(
        "{missing} missing, and none of apt-get, dnf, pacman, zypper and apk is here to install it; install it by hand"
    )]
    NoManager {
        /// Names of what is missing.
        missing: String,
    },
    /// The distribution has no package for it, as far as is known.
    #[error(
        "{missing} missing, and {manager} is not known to have a package for that; install it by hand, or use what needs none of it, as --kernel PATH"
    )]
    NoPackage {
        /// Names of what is missing.
        missing: String,
        /// The package manager's program.
        manager: &'static str,
    },
    /// Only root may install, and there is no sudo.
    #[error("only root can install packages, and there is no sudo here; as root run: {commands}")]
    NotRoot {
        /// The commands to run.
        commands: String,
    },
    /// The package manager cannot be started.
    #[error("cannot run `{command}`")]
    Start {
        /// As run.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The package manager failed; it has said why on standard error.
    #[error("`{command}` ended with {status}; its own words are above; run it by hand when that is mended")]
    Failed {
        /// As run.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The package manager was content, and still it is not there.
    #[error("{missing} still missing after `{command}`; see what the package brought, or install it by hand")]
    StillMissing {
        /// Names of what is missing.
        missing: String,
        /// The command that should have brought it.
        command: String,
    },
}

/// Installs what `scope` needs and this machine lacks, with the system's package manager; gives the names of what was
/// missing, none where nothing was. Each command is told to `progress` before it runs, and writes to standard error.
///
/// # Errors
/// [`SetupError`].
pub async fn install_missing(scope: Scope, progress: &dyn Progress) -> Result<Vec<&'static str>, SetupError> {
    let installed = install(&Machine::this(), scope, progress).await;
    progress.done();
    installed
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
        progress.step(&format!("installing what is missing ({}): {line}", names.join(", ")));
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

/// The commands that install what is missing.
fn plan(machine: &Machine, missing: &[&'static Need], root: bool) -> Result<Vec<Vec<String>>, SetupError> {
    let manager = machine.manager().ok_or_else(|| SetupError::NoManager { missing: sentence(missing) })?;
    // What no package brings stays missing, and is said after the rest was installed.
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

/// Runs a command of the package manager. It is no child like others: it lives on when vmlab is killed, as half an
/// installed package is worse than a whole one, and Ctrl-C reaches it as the terminal sends it.
async fn execute(command: &[String]) -> io::Result<ExitStatus> {
    let [program, arguments @ ..] = command else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    // Standard output is for vmlab's own results. sudo may ask for a password, so standard input stays.
    let output = Stdio::from(io::stderr().as_fd().try_clone_to_owned()?);
    Command::new(program).args(arguments).stdout(output).spawn()?.wait().await
}

#[cfg(test)]
mod tests;
