//! What vmlab needs of a kernel, as far as its configuration tells. A kernel without it boots and says nothing, or does
//! not boot; the configuration tells so before.

use std::path::PathBuf;

use crate::Kernel;
use crate::config::KernelConfig;
use crate::modules::{self, ModuleDir, Modules};

/// Why vmlab cannot use a kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    /// The kernel ignores the command line with which it is booted.
    #[error(
        "{label}: the kernel has CONFIG_CMDLINE_OVERRIDE=y: it ignores vmlab's command line, with its console, and uses only \
        its own, {own}; build it without CONFIG_CMDLINE_OVERRIDE (CONFIG_CMDLINE may stay)"
    )]
    CommandLine {
        /// The kernel's label.
        label: String,
        /// The value of `CONFIG_CMDLINE`.
        own: String,
    },
    /// A driver or feature is missing, or is a module and has to be built in.
    #[error("{label}: the kernel has {symbol}{value}, so {consequence}; build it with {symbol}={remedy}")]
    Symbol {
        /// The kernel's label.
        label: String,
        /// The config symbol.
        symbol: &'static str,
        /// ` not set` or `=m`.
        value: &'static str,
        /// What does not work without it.
        consequence: &'static str,
        /// The value that it needs.
        remedy: &'static str,
    },
    /// A driver is a module, and is not among the kernel's modules.
    #[error(
        "{label}: the kernel has {symbol}=m, but {module} is not among its modules in {dir} (by modules.dep); install all \
        modules, and run depmod(8)"
    )]
    Lacking {
        /// The kernel's label.
        label: String,
        /// The config symbol of the driver.
        symbol: &'static str,
        /// The name of the module.
        module: &'static str,
        /// The module directory.
        dir: String,
    },
    /// A driver is a module, and there are no modules.
    #[error(
        "{label}: the kernel has {symbol}=m, but its modules were not found: there is neither modules.dep nor any module in \
        {looked_in}; install them with `make modules_install INSTALL_MOD_PATH={base}`, or copy them there"
    )]
    Modules {
        /// The kernel's label.
        label: String,
        /// The config symbol of the driver.
        symbol: &'static str,
        /// The directories, separated by commas.
        looked_in: String,
        /// The directory above `lib/modules` of a directory beside the kernel.
        base: String,
    },
}

/// A symbol that has to be set.
struct Need {
    symbol: &'static str,
    /// The name of the module that the symbol may be instead.
    module: Option<&'static str>,
    consequence: &'static str,
}

const NEEDS: &[Need] = &[
    need("CONFIG_PRINTK", "it prints nothing that vmlab could judge"),
    need("CONFIG_TTY", "it cannot print on the serial console ttyS0, which vmlab reads"),
    need("CONFIG_SERIAL_8250", "it cannot print on the serial console ttyS0, which vmlab reads"),
    need("CONFIG_SERIAL_8250_CONSOLE", "it cannot print on the serial console ttyS0, which vmlab reads"),
    need("CONFIG_BLK_DEV_INITRD", "it cannot use the guest image"),
    Need { module: Some("virtio_pci"), ..need("CONFIG_VIRTIO_PCI", "vmlab cannot talk to the guest") },
    Need { module: Some("virtio_console"), ..need("CONFIG_VIRTIO_CONSOLE", "vmlab cannot talk to the guest") },
];

const fn need(symbol: &'static str, consequence: &'static str) -> Need {
    Need { symbol, module: None, consequence }
}

/// Checks what the configuration of a kernel says, if it is known and complete. The words of `CONFIG_CMDLINE` alone do no
/// harm: vmlab's come after them (`setup_arch` in arch/x86/kernel/setup.c).
///
/// # Errors
/// The first reason why vmlab cannot use the kernel.
pub fn check(kernel: &Kernel) -> Result<(), Unsuitable> {
    let Some(config) = complete(kernel) else { return Ok(()) };
    let label = || kernel.label.clone();
    if config.enabled("CONFIG_CMDLINE_OVERRIDE") {
        let own = config.get("CONFIG_CMDLINE").unwrap_or("which is empty").to_owned();
        return Err(Unsuitable::CommandLine { label: label(), own });
    }
    for need in NEEDS {
        check_symbol(kernel, config, need)?;
    }
    Ok(())
}

/// Why vmlab cannot use a kernel that is to be built with this config, and with all its modules.
pub(crate) fn refusal(label: &str, config: &KernelConfig) -> Option<Unsuitable> {
    let is_met = |need: &&Need| match config.get(need.symbol) {
        Some("y") => true,
        Some("m") => need.module.is_some(),
        _ => false,
    };
    NEEDS.iter().find(|need| !is_met(need)).map(|need| unmet(label, config, need))
}

/// The symbol has neither value that it needs.
fn unmet(label: &str, config: &KernelConfig, need: &Need) -> Unsuitable {
    let &Need { symbol, module, consequence } = need;
    let value = if config.get(symbol) == Some("m") { "=m" } else { " not set" };
    let remedy = if module.is_some() { "y or =m" } else { "y" };
    Unsuitable::Symbol { label: label.to_owned(), symbol, value, consequence, remedy }
}

fn check_symbol(kernel: &Kernel, config: &KernelConfig, need: &Need) -> Result<(), Unsuitable> {
    let (label, &Need { symbol, module, .. }) = (kernel.label.clone(), need);
    match (config.get(symbol), module, &kernel.modules) {
        (Some("y"), ..) => Ok(()),
        (Some("m"), Some(module), Modules::Found(dir)) if lists(dir, module) => Ok(()),
        (Some("m"), Some(module), Modules::Found(dir)) => {
            Err(Unsuitable::Lacking { label, symbol, module, dir: dir.path.display().to_string() })
        }
        (Some("m"), Some(_), Modules::NotFound { looked_in }) => {
            let (looked_in, base) = (modules::describe(looked_in, &kernel.release), base(looked_in, kernel));
            Err(Unsuitable::Modules { label, symbol, looked_in, base })
        }
        _ => Err(unmet(&label, config, need)),
    }
}

/// Whether `modules.dep` has a module. A list that cannot be read is reported when the guest's image is built.
fn lists(dir: &ModuleDir, module: &str) -> bool {
    let file = format!("{module}.ko");
    let is_it = |line: &str| {
        let path = line.split(':').next().unwrap_or_default();
        path.rsplit('/').next().is_some_and(|name| name.starts_with(&file))
    };
    dir.list().map_or(true, |text| text.lines().any(is_it))
}

/// The notice on a kernel of which too little is known to check it; `None` if enough is known.
#[must_use]
pub fn unknown(kernel: &Kernel) -> Option<String> {
    let looked_in = unknown_modules(kernel)?;
    Some(format!(
        "{}: the kernel's configuration is not known, and its modules were not found: there is neither modules.dep nor any \
         module in {looked_in}. If its drivers for virtio are modules, it cannot answer",
        kernel.label
    ))
}

/// Where the modules of a kernel were looked for that were not found, if the kernel's configuration does not tell whether it
/// needs them.
#[must_use]
pub fn unknown_modules(kernel: &Kernel) -> Option<String> {
    let Modules::NotFound { looked_in } = &kernel.modules else { return None };
    complete(kernel).is_none().then(|| modules::describe(looked_in, &kernel.release))
}

/// The configuration, if it is a whole one: `CONFIG_X86` cannot be chosen and is in every `.config` of an x86 kernel, and
/// in no defconfig or fragment, which leave out what has its default value.
fn complete(kernel: &Kernel) -> Option<&KernelConfig> {
    kernel.config.as_ref().filter(|config| config.enabled("CONFIG_X86"))
}

/// The directory that has `lib/modules/RELEASE` in it, of the first directory that was looked in.
fn base(looked_in: &[PathBuf], kernel: &Kernel) -> String {
    let below = PathBuf::from("lib/modules").join(&kernel.release);
    let bases = looked_in.iter().filter(|dir| dir.ends_with(&below)).filter_map(|dir| dir.ancestors().nth(3));
    bases.map(|dir| dir.display().to_string()).next().unwrap_or_else(|| "DIR".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "CONFIG_X86=y\nCONFIG_PRINTK=y\nCONFIG_TTY=y\nCONFIG_SERIAL_8250=y\nCONFIG_SERIAL_8250_CONSOLE=y\n\
                        CONFIG_BLK_DEV_INITRD=y\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_CONSOLE=y\n";

    fn kernel(config: Option<&str>, with_modules: bool) -> Kernel {
        let looked_in = ["/k/boot/lib/modules/6.1.0", "/k/lib/modules/6.1.0"].map(PathBuf::from).to_vec();
        let found = Modules::Found(ModuleDir::complete("/lib/modules/6.1.0".into()));
        Kernel {
            label: "k".to_owned(),
            release: "6.1.0".to_owned(),
            version: "6.1.0".parse().unwrap(),
            path: PathBuf::new(),
            sha256: String::new(),
            config: config.map(KernelConfig::parse),
            config_file: None,
            modules: if with_modules { found } else { Modules::NotFound { looked_in } },
            suites: None,
            lease: None,
            notices: Vec::new(),
        }
    }

    fn with(lines: &str) -> Kernel {
        kernel(Some(&format!("{GOOD}{lines}")), false)
    }

    fn refused(lines: &str) -> String {
        check(&with(lines)).unwrap_err().to_string()
    }

    #[test]
    fn a_built_in_command_line_is_refused_only_if_it_overrides() {
        let own = "CONFIG_CMDLINE_BOOL=y\nCONFIG_CMDLINE=\"console=tty0 quiet\"\n";
        assert_eq!(check(&with(own)), Ok(()));
        assert_eq!(check(&with(&format!("{own}# CONFIG_CMDLINE_OVERRIDE is not set\n"))), Ok(()));
        assert_eq!(
            refused(&format!("{own}CONFIG_CMDLINE_OVERRIDE=y\n")),
            "k: the kernel has CONFIG_CMDLINE_OVERRIDE=y: it ignores vmlab's command line, with its console, and uses only its \
             own, \"console=tty0 quiet\"; build it without CONFIG_CMDLINE_OVERRIDE (CONFIG_CMDLINE may stay)"
        );
        // Also if its words name the right console: the kernel would not end at a crash.
        assert!(matches!(
            check(&with("CONFIG_CMDLINE=\"console=ttyS0\"\nCONFIG_CMDLINE_OVERRIDE=y\n")),
            Err(Unsuitable::CommandLine { .. })
        ));
    }

    #[test]
    fn a_missing_driver_is_named_with_what_does_not_work() {
        for (lines, start) in [
            (
                "# CONFIG_SERIAL_8250 is not set\n",
                "k: the kernel has CONFIG_SERIAL_8250 not set, so it cannot print on",
            ),
            ("CONFIG_SERIAL_8250=m\n", "k: the kernel has CONFIG_SERIAL_8250=m, so it cannot print on"),
            ("# CONFIG_SERIAL_8250_CONSOLE is not set\n", "k: the kernel has CONFIG_SERIAL_8250_CONSOLE not set"),
            ("# CONFIG_TTY is not set\n# CONFIG_SERIAL_8250 is not set\n", "k: the kernel has CONFIG_TTY not set"),
            ("# CONFIG_PRINTK is not set\n", "k: the kernel has CONFIG_PRINTK not set, so it prints nothing"),
            ("# CONFIG_BLK_DEV_INITRD is not set\n", "k: the kernel has CONFIG_BLK_DEV_INITRD not set"),
            (
                "# CONFIG_VIRTIO_CONSOLE is not set\n",
                "k: the kernel has CONFIG_VIRTIO_CONSOLE not set, so vmlab cannot",
            ),
        ] {
            let said = refused(lines);
            assert!(said.starts_with(start), "{said}");
        }
        assert!(refused("# CONFIG_VIRTIO_PCI is not set\n").ends_with("build it with CONFIG_VIRTIO_PCI=y or =m"));
    }

    #[test]
    fn drivers_that_are_modules_need_modules() {
        let config = format!("{GOOD}CONFIG_VIRTIO_PCI=m\n");
        assert_eq!(check(&kernel(Some(&config), true)), Ok(()));
        assert_eq!(
            check(&kernel(Some(&config), false)).unwrap_err().to_string(),
            "k: the kernel has CONFIG_VIRTIO_PCI=m, but its modules were not found: there is neither modules.dep nor any \
             module in lib/modules/6.1.0 below /k/boot, /k; install them with `make modules_install INSTALL_MOD_PATH=/k/boot`, \
             or copy them there"
        );
    }

    #[test]
    fn drivers_that_are_modules_have_to_be_listed() {
        let config = format!("{GOOD}CONFIG_VIRTIO_PCI=m\nCONFIG_VIRTIO_CONSOLE=m\n");
        let pci = "kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio.ko.xz\n";
        let with_list = |list: &str| {
            let dir = ModuleDir { path: "/m".into(), made_list: Some(list.into()) };
            check(&Kernel { modules: Modules::Found(dir), ..kernel(Some(&config), true) })
        };
        assert_eq!(with_list(&format!("{pci}kernel/drivers/char/virtio_console.ko:\n")), Ok(()));
        // A module that another one needs is no line of its own.
        let error = with_list(&format!("{pci}kernel/x.ko: kernel/drivers/char/virtio_console.ko\n")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "k: the kernel has CONFIG_VIRTIO_CONSOLE=m, but virtio_console is not among its modules in /m (by modules.dep); \
             install all modules, and run depmod(8)"
        );
    }

    #[test]
    fn a_configuration_that_is_unknown_or_incomplete_refuses_nothing_and_is_told() {
        for config in [None, Some("CONFIG_CMDLINE_OVERRIDE=y\n# CONFIG_PRINTK is not set\n")] {
            let kernel = kernel(config, false);
            assert_eq!(check(&kernel), Ok(()));
            let notice = unknown(&kernel).unwrap();
            assert!(
                notice.contains("modules.dep") && notice.contains("lib/modules/6.1.0 below /k/boot, /k."),
                "{notice}"
            );
        }
        assert_eq!(unknown(&kernel(None, true)), None);
        assert_eq!(unknown(&kernel(Some(GOOD), false)), None);
    }

    #[test]
    fn a_config_without_a_need_is_refused_before_the_build() {
        let with = |symbol: &str, value: &str| {
            let line = |need: &Need| {
                let own = if need.symbol == symbol { value } else { "y" };
                format!("{}={own}\n", need.symbol)
            };
            KernelConfig::parse(&NEEDS.iter().map(line).collect::<String>())
        };
        let said = |config: &KernelConfig| refusal("tree:.", config).map(|reason| reason.to_string());
        assert_eq!(said(&with("", "")), None);
        for need in NEEDS {
            let text = said(&with(need.symbol, "n")).unwrap();
            assert!(text.contains(need.symbol) && text.contains(need.consequence), "{text}");
            assert_eq!(said(&with(need.symbol, "m")).is_none(), need.module.is_some(), "{}", need.symbol);
        }
    }
}
