//! The identity of a git repository's work tree.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, thread};

use sha2::{Digest as _, Sha256};
use vmlab_store::hex;

use super::add;

/// Mode and content of a file, as git lists them.
type Files = BTreeMap<Vec<u8>, Vec<u8>>;

/// The identity of a repository with this work tree; `None` if there is no repository or git cannot read it.
pub(super) fn identity(tree: &Path) -> Option<String> {
    tree.join(".git").exists().then(|| files(tree)).flatten().map(|files| {
        let mut hash = Sha256::new();
        for (path, content) in files {
            add(&mut hash, &path);
            add(&mut hash, &content);
        }
        hex(&hash.finalize())
    })
}

fn files(tree: &Path) -> Option<Files> {
    let listed = git(tree, &["ls-files", "--stage", "-v", "-z"])?;
    // A lower-case letter or an S marks a file whose changes git was told not to look at (git-ls-files(1)).
    if nul_separated(&listed).any(|entry| entry[0].is_ascii_lowercase() || entry[0] == b'S') {
        return None;
    }
    let mut files: Files = nul_separated(&listed).filter_map(staged).collect();
    let status = ["status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=none"];
    let status = git(tree, &status)?;
    let mut changed = Vec::new();
    for path in nul_separated(&status).filter_map(|entry| entry.get(3..)) {
        let file = tree.join(OsStr::from_bytes(path));
        match fs::symlink_metadata(&file) {
            Err(_) => drop(files.remove(path)),
            Ok(about) if about.is_symlink() => {
                let target = fs::read_link(&file).ok()?;
                files.insert(path.to_owned(), [b"link ", target.as_os_str().as_bytes()].concat());
            }
            Ok(about) if about.is_file() => {
                let mode = if about.permissions().mode() & 0o100 == 0 { "100644" } else { "100755" };
                changed.push((path.to_owned(), mode));
            }
            // A repository within the tree, whose state git reports and does not list: the files are read one by one.
            Ok(_) => return None,
        }
    }
    let paths: Vec<_> = changed.iter().map(|(path, _)| path).collect();
    for ((path, mode), content) in changed.iter().zip(contents(tree, &paths)?) {
        files.insert(path.clone(), [mode.as_bytes(), b" ", &content].concat());
    }
    Some(files)
}

/// Path, and mode with content, of an entry `TAG MODE CONTENT STAGE\tPATH`.
fn staged(entry: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let tab = entry.iter().position(|&byte| byte == b'\t')?;
    let (about, path) = (&entry[..tab], &entry[tab + 1..]);
    let stage = about.iter().rposition(|&byte| byte == b' ')?;
    Some((path.to_owned(), about.get(2..stage)?.to_owned()))
}

/// git's names of the contents of files, which are the same when a change is committed.
fn contents(tree: &Path, paths: &[&Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    // git reads one path in each line.
    if paths.iter().any(|path| path.contains(&b'\n')) {
        return None;
    }
    if paths.is_empty() {
        return Some(Vec::new());
    }
    let mut command = command(tree);
    command.args(["hash-object", "--stdin-paths"]).stdin(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let mut stdin = child.stdin.take()?;
    let input = paths.iter().fold(Vec::new(), |input, path| [input.as_slice(), path, b"\n"].concat());
    // git answers while it reads, and must not wait for a full pipe.
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().ok()?;
    let is_written = writer.join().is_ok_and(|written| written.is_ok());
    let names: Vec<Vec<u8>> = output.stdout.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    (output.status.success() && is_written && names.len() == paths.len() + 1).then_some(names)
}

fn git(tree: &Path, args: &[&str]) -> Option<Vec<u8>> {
    let output = command(tree).args(args).stdin(Stdio::null()).output().ok()?;
    output.status.success().then_some(output.stdout)
}

/// A git that neither writes to the repository nor starts its hooks. The tree may belong to another user.
fn command(tree: &Path) -> Command {
    let mut command = Command::new("git");
    let safe = [OsStr::new("safe.directory="), tree.as_os_str()].join(OsStr::new(""));
    command.arg("--no-optional-locks").arg("-C").arg(tree).args(["-c", "core.fsmonitor=false", "-c"]).arg(safe);
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn nul_separated(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == 0).filter(|entry| !entry.is_empty())
}
