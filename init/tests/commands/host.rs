//! The host's side of a command, and a guest that is a few namespaces.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};
use vmlab_protocol::command::{Command, CommandEnd, Control, Text, User, WINDOW};
use vmlab_protocol::frame::{Decoder, Item, Kind};
use vmlab_protocol::message::{self, Envelope, GuestMessage, HostMessage, Leg, LegOutcome, RawChunk, Stream};

use crate::agent::output::Forwarded;
use crate::agent::session;
use crate::agent::standby::Launcher;
use crate::children::Children;
use crate::command::Place;
use crate::link::Link;
use crate::sys::process::fork_with;

const RUN: u32 = 7;

/// A command of root's with the host's root as its lower directory.
pub(crate) fn command(argv: &[&str]) -> Command {
    let texts = |texts: &[&str]| texts.iter().map(|&text| Text::from(text)).collect();
    Command {
        argv: texts(argv),
        found: None,
        env: texts(&["PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C"]),
        cwd: Text::from("/"),
        user: User::ROOT,
        terminal: None,
        hostname: "guest".to_owned(),
        host_files: true,
        network: None,
        load: Vec::new(),
        out: Vec::new(),
    }
}

pub(crate) fn shell(script: &str) -> Command {
    command(&["sh", "-c", script])
}

/// The directory of one test for lower files; removed when it is dropped.
pub(crate) struct Scratch(pub(crate) std::path::PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        Self::below(&std::env::temp_dir(), name)
    }

    pub(crate) fn below(dir: &Path, name: &str) -> Self {
        let path = dir.join(format!("vmlab-commands-{}-{name}", getpid()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What the host sends while the command runs.
pub(crate) struct Script {
    pub(crate) input: Vec<u8>,
    /// The text in the output after which the input comes.
    pub(crate) input_after: &'static str,
    pub(crate) ends_input: bool,
    /// Controls to send after the standard output has come to hold a text, in order.
    pub(crate) after: Vec<(&'static str, Control)>,
    /// Whether the host says that it has taken output.
    pub(crate) takes: bool,
    pub(crate) limit_ms: u64,
    pub(crate) output_limit: u64,
    /// Whether the host refuses the archive when it begins.
    pub(crate) refuses_archive: bool,
}

impl Default for Script {
    fn default() -> Self {
        let input = Vec::new();
        let (limit_ms, output_limit) = (u64::MAX, u64::MAX);
        Self {
            input,
            input_after: "",
            ends_input: true,
            after: Vec::new(),
            takes: true,
            limit_ms,
            output_limit,
            refuses_archive: false,
        }
    }
}

/// What is observed of a command.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) outcome: LegOutcome,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) archive: Vec<u8>,
    pub(crate) dropped: u64,
    /// The number of answers to pings.
    pub(crate) answers: u32,
    /// The most output of a stream that was on its way.
    pub(crate) most_on_the_way: u64,
}

impl Observed {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    pub(crate) fn has_exited(&self, expected: u8) {
        assert_eq!(self.outcome, LegOutcome::Ended(CommandEnd::Exited { code: expected }), "{}", self.errors());
    }
}

pub(crate) fn run(command: &Command) -> Observed {
    run_with(command, Script::default())
}

pub(crate) fn run_with(command: &Command, script: Script) -> Observed {
    let (host, guest) = UnixStream::pair().unwrap();
    let (limit_ms, output_limit) = (script.limit_ms, script.output_limit);
    let scratch = Scratch::new("base");
    let base = scratch.0.join("command");
    let host_end = host.try_clone().unwrap();
    let helper = fork_with(|| {
        drop(host_end);
        be_guest(|| serve(Link::new(File::from(OwnedFd::from(guest))), &base, command, limit_ms, output_limit));
        0
    })
    .unwrap();
    let observed = Host::new(host, script).serve();
    waitpid(helper, None).unwrap();
    observed
}

const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWPID
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// Whether this process may make a guest.
pub(crate) fn can_be_guest() -> bool {
    let tried = fork_with(|| u8::from(unshare(NAMESPACES).is_err())).unwrap();
    waitpid(tried, None).unwrap() == WaitStatus::Exited(tried, 0)
}

/// Runs `agent` in a process that is not PID 1 of new namespaces.
fn be_guest(agent: impl FnOnce()) {
    unshare(NAMESPACES).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>).unwrap();
    let init = fork_with(|| {
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>).unwrap();
        let agent = fork_with(|| {
            assert_eq!(getpid(), Pid::from_raw(2), "outside of a PID namespace the agent would kill all processes");
            agent();
            0
        });
        waitpid(agent.unwrap(), None).unwrap();
        0
    });
    waitpid(init.unwrap(), None).unwrap();
}

fn serve(mut link: Link, base: &Path, command: &Command, limit_ms: u64, output_limit: u64) {
    set_child_subreaper(true).unwrap();
    let children = Children::open().unwrap();
    let mut left = output_limit;
    let mut forwarded = Forwarded { link: &mut link, run: RUN, leg: Leg::Subject, left: &mut left, dropped: 0 };
    let mut launcher = Launcher::new(Place { base, lower: Path::new("/") });
    if command.host_files {
        launcher.stand_by().unwrap();
    }
    let outcome = session::run(command, &mut launcher, limit_ms, &children, &mut forwarded).unwrap();
    let output_dropped = forwarded.dropped;
    link.send(GuestMessage::LegFinished { run: RUN, leg: Leg::Subject, outcome, duration_ns: 0, output_dropped })
        .unwrap();
}

struct Host {
    link: UnixStream,
    decoder: Decoder,
    script: Script,
    /// Input that the guest may take.
    window: u64,
    to_send: Vec<u8>,
    on_the_way: [u64; 3],
    observed: Observed,
}

impl Host {
    fn new(link: UnixStream, script: Script) -> Self {
        link.set_nonblocking(true).unwrap();
        let outcome = LegOutcome::Reported;
        let observed = Observed {
            outcome,
            stdout: Vec::new(),
            stderr: Vec::new(),
            archive: Vec::new(),
            dropped: 0,
            answers: 0,
            most_on_the_way: 0,
        };
        Self {
            link,
            decoder: Decoder::default(),
            script,
            window: WINDOW,
            to_send: Vec::new(),
            on_the_way: [0; 3],
            observed,
        }
    }

    fn serve(mut self) -> Observed {
        while self.observed.outcome == LegOutcome::Reported {
            self.give_input();
            let writes = if self.to_send.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
            let mut fds = [PollFd::new(self.link.as_fd(), PollFlags::POLLIN | writes)];
            assert_ne!(
                poll(&mut fds, PollTimeout::from(60_000_u16)),
                Ok(0),
                "the agent is silent: {:?}",
                self.observed
            );
            self.write();
            self.read();
        }
        self.observed
    }

    fn give_input(&mut self) {
        if !self.script.input_after.is_empty() && !self.observed.text().contains(self.script.input_after) {
            return;
        }
        while self.window > 0 && !self.script.input.is_empty() {
            let most = usize::try_from(self.window).unwrap().min(self.script.input.len()).min(50_000);
            let data: Vec<_> = self.script.input.drain(..most).collect();
            self.window -= most as u64;
            let chunk = RawChunk { run: RUN, leg: Leg::Subject, stream: Stream::Stdin, data: &data };
            chunk.encode(&mut self.to_send).unwrap();
        }
        if self.script.input.is_empty() && std::mem::take(&mut self.script.ends_input) {
            self.control(Control::EndOfInput);
        }
    }

    fn control(&mut self, control: Control) {
        // Nobody takes the control of another run for this command's.
        let other = HostMessage::Control { run: RUN - 1, control: Control::Signal { signal: 9 } };
        message::encode(&other, &mut self.to_send).unwrap();
        message::encode(&HostMessage::Control { run: RUN, control }, &mut self.to_send).unwrap();
    }

    fn write(&mut self) {
        match self.link.write(&self.to_send) {
            Ok(count) => drop(self.to_send.drain(..count)),
            // The guest may have ended before it has read all input.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::BrokenPipe) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn read(&mut self) {
        let mut buffer = vec![0; 100_000];
        match self.link.read(&mut buffer) {
            Ok(0) => panic!("the agent has ended: {:?}", self.observed.errors()),
            Ok(count) => self.decoder.push(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        while let Some(item) = self.decoder.next_item() {
            let Item::Frame(frame) = item else { panic!("{item:?}") };
            if frame.kind == Kind::Raw {
                self.output(&RawChunk::decode(&frame.payload).unwrap());
                continue;
            }
            match message::decode::<Envelope>(&frame).unwrap().message {
                GuestMessage::InputTaken { run: RUN, bytes } => self.window += bytes,
                GuestMessage::Alive { run: RUN } => self.observed.answers += 1,
                GuestMessage::LegFinished { outcome, output_dropped, .. } => {
                    (self.observed.outcome, self.observed.dropped) = (outcome, output_dropped);
                }
                other => panic!("{other:?}"),
            }
            assert!(self.window <= WINDOW, "more input was taken than was sent");
        }
    }

    fn output(&mut self, chunk: &RawChunk<'_>) {
        assert_eq!((chunk.run, chunk.leg), (RUN, Leg::Subject));
        let (stream, at) = match chunk.stream {
            Stream::Stdout => (&mut self.observed.stdout, 0),
            Stream::Stderr => (&mut self.observed.stderr, 1),
            Stream::Archive => (&mut self.observed.archive, 2),
            Stream::Stdin => panic!("the guest sent input"),
        };
        stream.extend_from_slice(chunk.data);
        let bytes = chunk.data.len() as u64;
        self.on_the_way[at] += bytes;
        self.observed.most_on_the_way = self.observed.most_on_the_way.max(self.on_the_way[at]);
        if chunk.stream == Stream::Archive && self.script.refuses_archive {
            self.control(Control::Closed { stream: Stream::Archive });
        }
        if self.script.takes {
            self.on_the_way[at] = 0;
            self.control(Control::Taken { stream: chunk.stream, bytes });
        }
        while let Some((text, _)) = self.script.after.first() {
            if !self.observed.text().contains(text) {
                break;
            }
            let (_, control) = self.script.after.remove(0);
            self.control(control);
        }
    }
}
