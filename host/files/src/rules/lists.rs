//! What is hidden from guests, and what of a home directory is shown. Each list is here only, and sorted.
//!
//! A pattern is a relative path. A `*` in a name stands for any bytes within that name.

/// Directories that look empty: a guest mounts file systems of its own there.
pub(super) const EMPTY: &[&str] = &["/dev", "/proc", "/run", "/sys"];

/// Directories below those, in which a share or the working directory is shown nevertheless. They hold ordinary files.
pub(super) const ORDINARY: &[&str] = &["/dev/shm", "/run"];

/// Secrets of the system. Most of them only root can read, and a guest does not see them even if root runs vmlab.
pub(super) const SYSTEM_SECRETS: &[&str] = &[
    "etc/NetworkManager/system-connections",
    "etc/gshadow*",
    "etc/krb5.keytab",
    "etc/letsencrypt/accounts",
    "etc/letsencrypt/archive",
    "etc/letsencrypt/live",
    "etc/pki/tls/private",
    "etc/shadow*",
    "etc/ssh/ssh_host_*_key",
    "etc/ssl/private",
    "etc/sudoers*",
    "etc/wireguard",
    "etc/wpa_supplicant",
    "var/lib/NetworkManager/secret_key",
    "var/lib/private",
    "var/lib/sss/secrets",
    "var/lib/systemd/credential.secret",
];

/// Credentials in a home directory, at any depth below it. Every pattern begins with a dot.
pub(super) const CREDENTIALS: &[&str] = &[
    ".Xauthority",
    ".aws",
    ".azure",
    ".bitcoin",
    ".boto",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".composer/auth.json",
    ".config/Bitwarden*",
    ".config/BraveSoftware",
    ".config/Signal",
    ".config/Slack",
    ".config/chromium",
    ".config/composer/auth.json",
    ".config/containers/auth.json",
    ".config/doctl",
    ".config/gcloud",
    ".config/gh",
    ".config/git/credentials",
    ".config/glab-cli",
    ".config/google-chrome*",
    ".config/helm/registry",
    ".config/heroku",
    ".config/hub",
    ".config/microsoft-edge*",
    ".config/op",
    ".config/opera",
    ".config/rclone",
    ".config/vivaldi",
    ".databrickscfg",
    ".docker/config.json",
    ".electrum",
    ".fly",
    ".gem/credentials",
    ".git-credentials",
    ".gnome2/keyrings",
    ".gnupg",
    ".kube",
    ".local/share/keyrings",
    ".local/share/kwalletd",
    ".local/share/python_keyring",
    ".m2/settings-security.xml",
    ".m2/settings.xml",
    ".mozilla",
    ".my.cnf",
    ".netrc",
    ".npmrc",
    ".oci",
    ".password-store",
    ".pgpass",
    ".pki",
    ".pypirc",
    ".rhosts",
    ".s3cfg",
    ".ssh",
    ".subversion/auth",
    ".terraform.d/credentials.tfrc.json",
    ".thunderbird",
    ".vault-token",
];

/// Directories of the caller's home that hold toolchains and the programs that they install.
pub(super) const TOOLCHAINS: &[&str] = &[
    ".asdf",
    ".bun",
    ".cabal/bin",
    ".cargo",
    ".conda",
    ".deno",
    ".dotnet",
    ".elan",
    ".fnm",
    ".ghcup",
    ".juliaup",
    ".linuxbrew",
    ".local/bin",
    ".local/lib",
    ".local/pipx",
    ".local/share/fnm",
    ".local/share/mise",
    ".local/share/pipx",
    ".local/share/pnpm",
    ".local/share/uv",
    ".local/state/nix",
    ".nix-profile",
    ".npm-global",
    ".nvm",
    ".opam",
    ".pixi",
    ".pyenv",
    ".rbenv",
    ".rustup",
    ".rvm",
    ".sdkman",
    ".swiftly",
    ".volta",
    "anaconda3",
    "go",
    "mambaforge",
    "miniconda3",
    "miniforge3",
];

/// A list of this module, for documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentedList {
    /// What the entries have in common; the beginning of a sentence that they complete.
    pub title: &'static str,
    /// Where the entries begin: `/` or `~`.
    pub below: &'static str,
    /// Patterns.
    pub entries: &'static [&'static str],
}

/// The lists that decide what a guest sees, for the help texts.
#[must_use]
pub fn documented_lists() -> [DocumentedList; 3] {
    [
        DocumentedList {
            title: "Toolchain directories of the home directory, which are always shown",
            below: "~",
            entries: TOOLCHAINS,
        },
        DocumentedList {
            title: "Credentials, which are hidden at any depth below a home directory",
            below: "~",
            entries: CREDENTIALS,
        },
        DocumentedList { title: "Secrets of the system, which are hidden", below: "/", entries: SYSTEM_SECRETS },
    ]
}
