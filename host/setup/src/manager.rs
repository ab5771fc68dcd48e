//! Package managers and their commands.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    /// Debian, Ubuntu.
    Apt,
    /// Fedora.
    Dnf,
    /// Arch.
    Pacman,
    /// openSUSE.
    Zypper,
    /// Alpine.
    Apk,
}

impl Manager {
    /// All package managers, in the order of the search on an unknown distribution.
    pub(crate) const ALL: [Self; 5] = [Self::Apt, Self::Dnf, Self::Pacman, Self::Zypper, Self::Apk];

    #[must_use]
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
            Self::Zypper => "zypper",
            Self::Apk => "apk",
        }
    }

    /// The package manager of the distribution that this os-release(5) describes. The installed programs do not tell:
    /// Fedora has a package of apt-get, and Debian has one of dnf.
    #[must_use]
    pub(crate) fn of_system(os_release: &str) -> Option<Self> {
        let value = |key: &str| {
            let line = os_release.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        let (id, like) = (value("ID"), value("ID_LIKE"));
        std::iter::once(id.as_str()).chain(like.split_whitespace()).find_map(|name| match name {
            "debian" | "ubuntu" => Some(Self::Apt),
            "fedora" | "rhel" | "centos" => Some(Self::Dnf),
            "arch" => Some(Self::Pacman),
            "suse" | "opensuse" => Some(Self::Zypper),
            "alpine" => Some(Self::Apk),
            _ => None,
        })
    }

    /// The commands that install packages without questions, in order; each begins with its program.
    #[must_use]
    pub(crate) fn commands(self, packages: &[&str]) -> Vec<Vec<String>> {
        // env(1) sets the variable after sudo, which clears the environment. Another apt may be running, for example on
        // a cloud machine after boot: wait for its lock (apt 1.9.11).
        const APT: &[&str] = &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"];
        let line = |words: &[&[&str]]| words.concat().into_iter().map(str::to_owned).collect();
        match self {
            Self::Apt => vec![
                line(&[APT, &["update"]]),
                line(&[APT, &["install", "--yes", "--no-install-recommends"], packages]),
            ],
            Self::Dnf => {
                vec![line(&[&["dnf", "install", "--assumeyes", "--setopt=install_weak_deps=False"], packages])]
            }
            // Without --sysupgrade the system would be partially upgraded, which Arch does not support.
            Self::Pacman => {
                vec![line(&[&["pacman", "--sync", "--refresh", "--sysupgrade", "--needed", "--noconfirm"], packages])]
            }
            Self::Zypper => vec![line(&[&["zypper", "--non-interactive", "install", "--no-recommends"], packages])],
            Self::Apk => vec![line(&[&["apk", "add"], packages])],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_decides_on_the_package_manager() {
        for (os_release, manager) in [
            ("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n", Some(Manager::Apt)),
            ("ID=ubuntu\nID_LIKE=debian\n", Some(Manager::Apt)),
            ("ID_LIKE=\"ubuntu debian\"\nID=linuxmint\n", Some(Manager::Apt)),
            ("ID=fedora\n", Some(Manager::Dnf)),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Some(Manager::Dnf)),
            ("ID=arch\n", Some(Manager::Pacman)),
            ("ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n", Some(Manager::Zypper)),
            ("ID=alpine\nVERSION_ID=3.22\n", Some(Manager::Apk)),
            ("ID=nixos\n", None),
            ("", None),
        ] {
            assert_eq!(Manager::of_system(os_release), manager, "{os_release:?}");
        }
    }

    #[test]
    fn commands_install_without_questions() {
        let lines: Vec<String> = Manager::ALL
            .into_iter()
            .flat_map(|manager| manager.commands(&["a", "b"]))
            .map(|command| command.join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 update",
                "env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --yes \
                 --no-install-recommends a b",
                "dnf install --assumeyes --setopt=install_weak_deps=False a b",
                "pacman --sync --refresh --sysupgrade --needed --noconfirm a b",
                "zypper --non-interactive install --no-recommends a b",
                "apk add a b",
            ]
        );
    }
}
