//! Copies what a command wrote to the host. The command's root is in a mount namespace that only its processes see, so a
//! process of that namespace, the archiver, waits until the program has ended, and writes an archive of the files
//! (`vmlab_protocol::archive`) to a pipe. The agent starts it and forwards the archive (`agent::archiver`).

use std::fs::File;
use std::io::{self, BufWriter, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::setsid;
use vmlab_protocol::archive::OutReport;
use vmlab_protocol::command::Text;

use crate::sandbox::{During as _, Trouble};
use crate::sys::files::close_all_but;
use crate::sys::process::{fork_with, reap};
use archive::Archive;

mod archive;
mod place;
mod walk;

/// The size of the buffer for the archive, in bytes: that of a pipe (pipe(7)).
const BUFFER_BYTES: usize = 64 * 1024;

/// The most open files of an archiver: two for each directory on a path.
const OPEN_FILES: u64 = 16_384;

/// The ends of the pipes of an archiver. The program inherits none of them: they are closed when it is executed.
pub(crate) struct Pipes {
    /// A byte lets the archiver begin. The end of the file lets it end.
    pub(crate) go: PipeReader,
    pub(crate) archive: PipeWriter,
    /// The archiver's process id, 4 bytes in the order of the machine; then, when it is done, `Result<(), String>` as JSON.
    pub(crate) result: PipeWriter,
}

/// The layers of a command's root.
struct Layers {
    /// What the command sees.
    root: File,
    /// The layer of the overlay with what it wrote; None if the root is no overlay.
    upper: Option<File>,
}

/// Starts the archiver in the root of the calling process. It is no child of this process, so that the program does not meet it.
pub(super) fn start(paths: &[Text], upper: Option<File>, mut pipes: Pipes) -> Result<(), Trouble> {
    let root = File::open("/").during("open(/)")?;
    let layers = Layers { root, upper };
    let parent = fork_with(|| {
        let mut result = match pipes.result.try_clone() {
            Ok(result) => result,
            Err(_) => return 1,
        };
        match fork_with(|| u8::from(serve(paths, &layers, &mut pipes).is_err())) {
            Ok(archiver) => u8::from(result.write_all(&archiver.as_raw().to_ne_bytes()).is_err()),
            Err(_) => 1,
        }
    })
    .during("fork for the process that copies files")?;
    match reap(Some(parent), WaitPidFlag::empty()).during("waitpid")? {
        Some((_, status)) if status.success() => Ok(()),
        _ => Err(Trouble::new("the process that copies files cannot be started")),
    }
}

/// The archiver.
fn serve(paths: &[Text], layers: &Layers, pipes: &mut Pipes) -> io::Result<()> {
    // Signals to the command's process group are not for the archiver.
    setsid()?;
    let fds = [&layers.root as &dyn AsFd, &pipes.go, &pipes.archive, &pipes.result].map(|fd| fd.as_fd().as_raw_fd());
    let upper = layers.upper.iter().map(|upper| upper.as_raw_fd());
    // A copy of the end of a pipe would hide that the program has closed it.
    close_all_but(&fds.into_iter().chain(upper).collect::<Vec<_>>())?;
    let mut byte = [0];
    if pipes.go.read(&mut byte)? == 0 {
        return Ok(());
    }
    let done = write_archive(paths, layers, &pipes.archive).map_err(Trouble::into_text);
    pipes.result.write_all(&serde_json::to_vec(&done)?)?;
    // The end of the archive is that of this process.
    Ok(())
}

fn write_archive(paths: &[Text], layers: &Layers, pipe: &PipeWriter) -> Result<(), Trouble> {
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES).during("setrlimit(RLIMIT_NOFILE)")?;
    let mut archive = Archive::new(BufWriter::with_capacity(BUFFER_BYTES, pipe));
    let mut reports = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        reports.push(add(&mut archive, number, Path::new(path.as_os_str()), layers)?);
    }
    archive.finish(&reports)
}

/// Adds what the command wrote at a path.
fn add<W: io::Write>(
    archive: &mut Archive<W>,
    number: usize,
    path: &Path,
    layers: &Layers,
) -> Result<OutReport, Trouble> {
    match place::find(layers, path)? {
        None => Ok(OutReport::default()),
        Some(found) => walk::walk(archive, number, path, &found),
    }
}
