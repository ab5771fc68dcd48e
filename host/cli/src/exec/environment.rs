//! The environment of a command. Pure.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use vmlab_protocol::command::Text;

/// Words in the names of variables that hold secrets. Words are divided by underscores.
const SECRETS: [&str; 16] = [
    "APIKEY",
    "AUTH",
    "COOKIE",
    "CREDENTIAL",
    "CREDENTIALS",
    "KEY",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PAT",
    "PWD",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "TOKENS",
];

/// Variables that have such a word in their names and hold no secret.
const HARMLESS: [&str; 2] = ["OLDPWD", "PWD"];

/// Variables that name a service of the machine's session, which is not in the guest.
const SESSION: [&str; 13] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "GPG_AGENT_INFO",
    "GPG_TTY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "KRB5CCNAME",
    "NOTIFY_SOCKET",
    "SSH_AGENT_PID",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_ID",
];

/// What remains with `--clean-env`.
const CLEAN: [&str; 7] = ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "USER"];

/// The user's wish for a variable cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadVariable {
    #[error("--env {0:?}: the name of a variable is missing; give NAME or NAME=VALUE")]
    NoName(OsString),
    #[error("--env {0:?}: the environment has no such variable; give it a value, as NAME=VALUE")]
    NotSet(OsString),
}

/// The variables for a command: what is passed on of `host`, and the user's wishes.
pub(super) fn of_command(
    host: impl IntoIterator<Item = (OsString, OsString)>,
    wishes: &[OsString],
    clean: bool,
) -> Result<Vec<Text>, BadVariable> {
    let host: BTreeMap<OsString, OsString> = host.into_iter().collect();
    let passes = |name: &OsStr, value: &OsStr| {
        if clean { CLEAN.iter().any(|kept| name == *kept) } else { is_passed_on(name) && !has_password(value) }
    };
    let passed_on = host.iter().filter(|(name, value)| passes(name, value));
    let mut chosen: BTreeMap<&OsStr, &OsStr> =
        passed_on.map(|(name, value)| (name.as_os_str(), value.as_os_str())).collect();
    for wish in wishes {
        let bytes = wish.as_bytes();
        let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => (OsStr::from_bytes(&bytes[..at]), OsStr::from_bytes(&bytes[at + 1..])),
            None => {
                let value = host.get(wish).ok_or_else(|| BadVariable::NotSet(wish.clone()))?;
                (wish.as_os_str(), value.as_os_str())
            }
        };
        if name.is_empty() {
            return Err(BadVariable::NoName(wish.clone()));
        }
        chosen.insert(name, value);
    }
    let variable = |(name, value): (&OsStr, &OsStr)| {
        let mut text = name.to_owned();
        text.extend([OsStr::new("="), value]);
        Text::from(text)
    };
    Ok(chosen.into_iter().map(variable).collect())
}

/// Whether a variable is passed on without being asked for. A name that is not UTF-8 is.
fn is_passed_on(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_uppercase();
    let is_secret = || name.split('_').any(|word| SECRETS.contains(&word));
    HARMLESS.contains(&name.as_str()) || !SESSION.contains(&name.as_str()) && !is_secret()
}

/// Whether a value is an address with a password in it: `https://user:password@host`.
fn has_password(value: &OsStr) -> bool {
    let value = value.to_string_lossy();
    let Some((_, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wishes: &[&str], clean: bool) -> Result<Vec<String>, BadVariable> {
        let host = [
            ("PATH", "/bin"),
            ("CARGO_TERM", "x"),
            ("GITHUB_TOKEN", "t"),
            ("ssh_auth_sock", "s"),
            ("DISPLAY", ":0"),
            ("AWS_SECRET_ACCESS_KEY", "k"),
            ("MYSQL_PWD", "p"),
            ("PWD", "/"),
            ("GIT_AUTHOR_NAME", "me"),
            ("HTTPS_PROXY", "http://me:x@proxy:1"),
            ("HTTP_PROXY", "http://proxy:1"),
        ];
        let host = host.map(|(name, value)| (name.into(), value.into()));
        let wishes: Vec<OsString> = wishes.iter().map(OsString::from).collect();
        let texts = of_command(host, &wishes, clean)?;
        Ok(texts.iter().map(|text| text.as_os_str().to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn secrets_and_the_session_stay_on_the_host() {
        assert_eq!(
            chosen(&[], false).unwrap(),
            ["CARGO_TERM=x", "GIT_AUTHOR_NAME=me", "HTTP_PROXY=http://proxy:1", "PATH=/bin", "PWD=/"]
        );
        assert_eq!(chosen(&[], true).unwrap(), ["PATH=/bin"]);
    }

    #[test]
    fn the_users_wishes_count() {
        let wishes = ["GITHUB_TOKEN", "PATH=/x", "A==b", "E="];
        assert_eq!(chosen(&wishes, true).unwrap(), ["A==b", "E=", "GITHUB_TOKEN=t", "PATH=/x"]);
        assert_eq!(chosen(&["NONE"], false), Err(BadVariable::NotSet("NONE".into())));
        assert_eq!(chosen(&["=x"], false), Err(BadVariable::NoName("=x".into())));
    }
}
