//! A kernel as it is typed. A word that names a kernel without its source is refused with the name that was meant.

use std::path::Path;

use vmlab_kernel::catalogue::Catalogue;
use vmlab_kernel::debian::OTHER_SUITES;
use vmlab_kernel::is_release;
use vmlab_kernel::order::{BadOrder, FragmentName};
use vmlab_kernel::{KernelSource, installed};

/// Reads the name of a kernel.
///
/// # Errors
/// The name is malformed, or it is a path where nothing is, and means something with a source before it.
pub(super) fn parse(text: &str) -> Result<KernelSource, String> {
    let source: KernelSource = text.parse().map_err(|error| format!("{error}"))?;
    match &source {
        KernelSource::Path(path) if !path.exists() => match meant(text, Path::new("/")) {
            Some(meant) => Err(format!("there is no file `{text}`; did you mean {meant}?")),
            None => Ok(source),
        },
        _ => Ok(source),
    }
}

/// Reads the name of a fragment.
///
/// # Errors
/// There is no such fragment, or the text is no symbol with a value.
pub(super) fn parse_fragment(text: &str) -> Result<FragmentName, BadOrder> {
    text.parse()
}

/// The kernels, of which those that are built get further fragments.
///
/// # Errors
/// There are fragments and no kernel that is built.
pub(super) fn with_fragments(kernels: &[KernelSource], config: &[FragmentName]) -> Result<Vec<KernelSource>, String> {
    let with = |kernel: &KernelSource| match kernel {
        KernelSource::Order(order) => {
            let mut order = order.clone();
            for name in config {
                if !order.fragments.contains(name) {
                    order.fragments.push(name.clone());
                }
            }
            KernelSource::Order(order)
        }
        other => other.clone(),
    };
    if !config.is_empty() && !kernels.iter().any(|kernel| matches!(kernel, KernelSource::Order(_))) {
        return Err(
            "--config is for kernels that vmlab builds, and none is named: expected --kernel source:SUITE or --kernel \
                    tree:PATH"
                .to_owned(),
        );
    }
    Ok(kernels.iter().map(with).collect())
}

/// The kernel that a bare suite, series or release stands for; two if a release is not installed on this machine.
fn meant(text: &str, root: &Path) -> Option<String> {
    let suite = text.split('/').next().unwrap_or_default();
    let kernels = Catalogue::embedded().map_or_else(|_| Vec::new(), |catalogue| catalogue.kernels);
    let is_known = |suite: &str| kernels.iter().any(|known| known.source.to_string() == format!("debian:{suite}"));
    let debian = format!("debian:{text}");
    if (is_known(suite) || OTHER_SUITES.contains(&suite)) && debian.parse::<KernelSource>().is_ok() {
        return Some(debian);
    }
    let version = text.strip_prefix('v').unwrap_or(text);
    // Also of the usual path of such a kernel.
    let release = text.rsplit_once("vmlinuz-").map_or(text, |(_, release)| release);
    let is_installed = is_release(release)
        && installed::find(root).is_ok_and(|kernels| kernels.iter().any(|kernel| kernel.release == release));
    if is_installed {
        return Some(format!("installed:{release}"));
    }
    let of_series =
        |series: &str| version.strip_prefix(series).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']));
    let of_catalogue = kernels.into_iter().find(|known| of_series(&known.series)).map(|known| known.source.to_string());
    let of_machine = is_full(text).then(|| format!("installed:{text}"));
    let meant: Vec<_> = of_catalogue.into_iter().chain(of_machine).collect();
    (!meant.is_empty()).then(|| meant.join(" or "))
}

/// Whether a text is a full release, as `uname -r` prints it: numbers with points, and text of the builder's.
fn is_full(text: &str) -> bool {
    let version = text.split(['-', '+', '_']).next().unwrap_or_default();
    let numbers = version.split('.').filter(|number| number.parse::<u32>().is_ok()).count();
    is_release(text) && version.len() < text.len() && numbers >= 2 && numbers == version.split('.').count()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::{Cli, help};

    #[test]
    fn a_bare_suite_or_series_is_told_its_full_name() {
        let root = tempfile::tempdir().unwrap();
        for (text, full) in [
            ("bookworm", "debian:bookworm"),
            ("trixie", "debian:trixie"),
            ("trixie/rt-amd64", "debian:trixie/rt-amd64"),
            ("trixie-backports", "debian:trixie-backports"),
            ("sid", "debian:sid"),
            ("6.1", "debian:bookworm"),
            ("6.1.0-56-cloud-amd64", "debian:bookworm or installed:6.1.0-56-cloud-amd64"),
            ("6.10.3-arch1-1", "installed:6.10.3-arch1-1"),
            ("6.10.3-200.fc40.x86_64", "installed:6.10.3-200.fc40.x86_64"),
            ("6.9.7+local", "installed:6.9.7+local"),
            ("v6.12", "debian:trixie"),
            ("5.10.100", "debian:bullseye"),
        ] {
            assert_eq!(meant(text, root.path()).as_deref(), Some(full), "{text}");
        }
        let refused = parse("bookworm").unwrap_err();
        assert_eq!(refused, "there is no file `bookworm`; did you mean debian:bookworm?");
    }

    #[test]
    fn the_help_names_the_catalogues_default() {
        let default = format!("[default: {}]", Catalogue::default_source().unwrap());
        for names in [&["run"][..], &["kernel", "fetch"]] {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            let help = help::named(&Cli::command(), &names).ok().unwrap().clone().render_long_help().to_string();
            assert!(help.contains(&default), "{help}");
        }
    }

    #[test]
    fn other_paths_are_left_to_whoever_opens_them() {
        for text in [
            "bzImage",
            "./bookworm",
            "vmlinuz",
            "6",
            "6.10",
            "6-x",
            "linux-6.10.3",
            "6.10.x-y",
            "/boot/vmlinuz-6.10.3-mine",
            "path:bookworm",
            "trixie/x86/boot/bzImage",
        ] {
            assert!(matches!(parse(text), Ok(KernelSource::Path(_))), "{text}");
        }
        assert!(parse("debian:").is_err());
    }

    #[test]
    fn a_release_of_this_machine_is_told_its_full_name() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("boot")).unwrap();
        std::fs::write(root.path().join("boot/vmlinuz-6.1.0-38-amd64"), "").unwrap();
        for text in ["6.1.0-38-amd64", "/boot/vmlinuz-6.1.0-38-amd64", "vmlinuz-6.1.0-38-amd64"] {
            assert_eq!(meant(text, root.path()).as_deref(), Some("installed:6.1.0-38-amd64"), "{text}");
        }
    }
}
