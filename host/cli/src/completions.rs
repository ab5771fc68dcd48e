//! `vmlab completions SHELL`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Failure, output};
use vmlab_events::exit;

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vmlab completions bash > ~/.local/share/bash-completion/completions/vmlab
  vmlab completions zsh > ~/.zfunc/_vmlab      (with ~/.zfunc in $fpath)
  vmlab completions fish > ~/.config/fish/completions/vmlab.fish")]
pub(super) struct Args {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vmlab", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn each_shell_has_a_script_with_all_commands() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "vmlab", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["run", "isolation", "kernel", "fetch", "prune", "completions"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
            // `vmlab report --format`, `vmlab run --report`, and `vmlab help`, where the generator completes them.
            if matches!(shell, Shell::Bash | Shell::Zsh) {
                assert!(script.matches("junit").count() >= 2 && script.contains("troubleshooting"), "{shell}");
            }
        }
    }
}
