//! The service of the host's files: whatever a guest sends, it sees nothing hidden, changes nothing on the host, and gets
//! replies to its own requests only.

mod script;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sys::socket::{MsgFlags, send};
use tempfile::TempDir;
use vmlab_files::{Request, ServeError, View, serve};

pub use script::WORDS;

/// What only hidden files contain, and are called.
const HIDDEN: &str = "HIDDEN-FROM-ALL-GUESTS";
/// What shown files contain.
const SHOWN: &str = "SHOWN-TO-GUESTS";

/// The root of the tree that a guest sees. What is beside it is outside.
const ROOT: &str = "root";
/// The directory that shows at `/lib/modules/6.1`.
const EXTRA: &str = "extra";

/// Files that guests see, from the directory of the test on.
const SHOWN_FILES: [&str; 4] =
    ["root/home/me/code/file", "root/home/me/code/dir/file", "root/etc/passwd", "extra/file"];
/// Directories in which everything is hidden, or that are outside.
const HIDDEN_IN: [&str; 6] =
    ["root/home/me", "root/home/me/.ssh", "root/home/you", "root/root", "root/proc/1", "outside"];
/// Hidden files whose names a guest may know.
const HIDDEN_FILES: [&str; 3] = ["root/etc/shadow", "root/home/me/.ssh/id", "outside/file"];

/// The host, in a directory of its own.
struct Host {
    dir: TempDir,
    /// What lies in the directory before a guest sends anything.
    before: BTreeMap<PathBuf, [i64; 8]>,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &Path, content: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        SHOWN_FILES.iter().for_each(|path| write(path.as_ref(), SHOWN));
        HIDDEN_FILES.iter().for_each(|path| write(path.as_ref(), HIDDEN));
        HIDDEN_IN.iter().for_each(|path| write(&Path::new(path).join(HIDDEN), HIDDEN));
        let code = dir.path().join(ROOT).join("home/me/code");
        symlink("../.ssh/id", code.join("link")).unwrap();
        symlink(dir.path().join("outside/file"), code.join("out")).unwrap();
        symlink("../../../../outside", code.join("up")).unwrap();
        let before = snapshot(dir.path());
        Self { dir, before }
    }

    fn view(&self, shares: &[PathBuf]) -> View {
        let extra = [("/lib/modules/6.1".into(), self.dir.path().join(EXTRA))];
        let (home, cwd) = (Some(Path::new("/home/me")), Path::new("/home/me/code"));
        let request = Request { home, whole_home: false, shares, cwd, extra: &extra };
        View::below(&self.dir.path().join(ROOT), &request).unwrap()
    }
}

thread_local! {
    /// The same tree for all inputs of a thread: to make one takes longer than to play an input.
    static HOST: Host = Host::new();
}

/// What stat(2) says of everything below a directory, but the time of the last access. Each change of a file changes its
/// `st_ctime`.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, [i64; 8]> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let stat = path.symlink_metadata().unwrap();
        if stat.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let numbers = [stat.ino(), stat.nlink(), stat.size(), stat.mode().into()].map(u64::cast_signed);
        let times = [stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec()];
        found.insert(path, [numbers, times].concat().try_into().unwrap());
    }
    found
}

/// Sends a stream of requests to a service, in pieces. Returns all replies, and what the service came to.
fn play(view: View, stream: &[u8]) -> (Vec<u8>, Result<(), ServeError>) {
    let (port, other_end) = UnixStream::pair().unwrap();
    // The service confines its thread for good.
    let service = thread::spawn(move || serve(other_end, &view));
    let mut replies = port.try_clone().unwrap();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        // A service that ends with requests left unread resets the connection; what was replied comes first.
        let _ = replies.read_to_end(&mut all);
        all
    });
    for mut piece in super::pieces(stream) {
        // A service that has ended has closed the port. libFuzzer's programs do not ignore SIGPIPE.
        while let Ok(sent @ 1..) = send(port.as_raw_fd(), piece, MsgFlags::MSG_NOSIGNAL) {
            piece = &piece[sent..];
        }
        if !piece.is_empty() {
            break;
        }
    }
    // A service that has ended has closed the port.
    let _ = port.shutdown(Shutdown::Write);
    let end = service.join().expect("the service does not panic");
    (reader.join().unwrap(), end)
}

/// Checks that each reply answers a request, in their order.
fn check_replies(mut replies: &[u8], stream: &[u8]) {
    let mut asked = script::numbers(stream);
    while let Some((header, _)) = replies.split_first_chunk::<16>() {
        let [length @ .., _, _, _, _, _, _, _, _, _, _, _, _] = header;
        let length = u32::from_ne_bytes(*length) as usize;
        let unique = u64::from_ne_bytes(*header.last_chunk().unwrap());
        assert!((16..=replies.len()).contains(&length), "a reply of {length} bytes, but {} came", replies.len());
        assert!(asked.any(|number| number == unique), "a reply to the request {unique}, which was not sent");
        replies = &replies[length..];
    }
    assert!(replies.is_empty(), "a part of a reply");
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn run_with(input: &[u8], shares: &[PathBuf]) -> Vec<u8> {
    let stream = script::requests(&input[..input.len().min(4096)]);
    let (replies, end) = HOST.with(|host| play(host.view(shares), &stream));
    let is_guests_fault = |error: &ServeError| !matches!(error, ServeError::Read { .. } | ServeError::Reply { .. });
    assert!(end.as_ref().err().is_none_or(is_guests_fault), "{end:?}");
    check_replies(&replies, &stream);
    assert!(!contains(&replies, HIDDEN), "the guest saw what is hidden");
    let is_unchanged = HOST.with(|host| snapshot(host.dir.path()) == host.before);
    assert!(is_unchanged, "the guest changed something on the host");
    replies
}

pub fn run(input: &[u8]) {
    run_with(input, &[]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_the_words_reach_what_is_shown() {
        let replies = run_with(script::READS_SHOWN, &[]);
        assert!(contains(&replies, SHOWN) && contains(&replies, "link"));
    }

    #[test]
    #[should_panic(expected = "the guest saw what is hidden")]
    fn a_hidden_file_that_shows_is_noticed() {
        run_with(script::READS_HIDDEN, &["/home/me/.ssh/id".into()]);
    }
}
