//! `vmlab-freezer`: starts a QEMU as its child, and writes it to a file when it is asked to.
//!
//! `vmlab-freezer CHANNEL IMAGE PASSED [RAM...] -- QEMU ARGUMENTS...`
//!
//! CHANNEL is the number of a connected stream socket, IMAGE that of an empty file that is open for writing, and each RAM is the path of
//! a file with guest memory. PASSED are the numbers of the descriptors that QEMU inherits beside the standard streams, with commas
//! between them. The freezer writes a line to the channel, `started PID`. A line
//! `freeze` from the channel asks for the image; the answer is `frozen` with figures, or `refused` with the reason. After `frozen`
//! QEMU has ended, after `refused` it goes on. QEMU must be paused, so that each of its threads waits in a system call. If QEMU ends
//! by itself, the freezer ends in the same way.
//!
//! It refuses everything that it does not know: see [`refusal::Refusal`].
//!
//! Why it is a process of its own: QEMU has to be its child, so that ptrace(2) works without privileges and with Yama's
//! `ptrace_scope` 1, and the thread that starts QEMU has to be the one that stops it. Unlike the thawer it uses the standard library,
//! because it lives as any other process does.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{FromRawFd as _, IntoRawFd as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

mod build_id;
mod child;
mod descriptors;
mod freeze;
mod memory;
mod pages;
mod process;
mod procfs;
mod raw;
mod refusal;
mod smaps;
mod threads;
mod tracee;

use child::{Child, Ended};
use freeze::Target;

/// What the command line says.
struct Arguments {
    channel: UnixStream,
    image: File,
    /// The descriptors that QEMU inherits.
    passed: Vec<u32>,
    ram: Vec<OsString>,
    program: OsString,
    arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    let Some(arguments) = parse(env::args_os().skip(1)) else {
        eprintln!("usage: vmlab-freezer CHANNEL IMAGE PASSED [RAM...] -- QEMU [ARGUMENT...]");
        return ExitCode::from(64);
    };
    match run(arguments) {
        Ok(Some(ended)) => ended.follow(),
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vmlab-freezer: {error}");
            ExitCode::from(70)
        }
    }
}

fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Arguments> {
    let mut number = || words.next()?.to_str()?.parse::<i32>().ok().filter(|number| *number > 2);
    let (channel, image) = (number()?, number()?);
    if channel == image {
        return None;
    }
    let passed: Vec<u32> = words.next()?.to_str()?.split(',').map(|word| word.parse().ok()).collect::<Option<_>>()?;
    raw::close_on_exec(&passed).ok()?;
    let ram = words.by_ref().take_while(|word| word != "--").collect();
    let program = words.next()?;
    let [channel, image] = [channel, image].map(|number| raw::own(number).ok());
    #[expect(unsafe_code, reason = "a descriptor becomes a socket: there is no safe way from a number")]
    // SAFETY: `own` has returned the descriptor, which nobody else has.
    let channel = unsafe { UnixStream::from_raw_fd(channel?.into_raw_fd()) };
    Some(Arguments { channel, image: File::from(image?), passed, ram, program, arguments: words.collect() })
}

/// Starts QEMU, and carries out orders until it or the channel ends.
fn run(arguments: Arguments) -> io::Result<Option<Ended>> {
    let Arguments { channel, image, passed, ram, program, arguments } = arguments;
    let mut child = Child::start(&program, &arguments)?;
    (&channel).write_all(format!("started {}\n", child.id()).as_bytes())?;
    if let Some(ended) = child.note_filter()? {
        return Ok(Some(ended));
    }
    let mut orders = BufReader::new(&channel);
    loop {
        if let Some(ended) = child.wait_for_order(&channel)? {
            return Ok(Some(ended));
        }
        let mut line = String::new();
        if orders.read_line(&mut line)? == 0 {
            // vmlab has closed the channel: nobody wants this QEMU.
            child.kill()?;
            return Ok(None);
        }
        if line != "freeze\n" {
            return Err(io::Error::other(format!("not an order: {line:?}")));
        }
        match freeze::freeze(&child, &Target { image: &image, passed: &passed, ram: &ram }) {
            Ok(figures) => {
                child.kill()?;
                (&channel).write_all(format!("frozen {figures}\n").as_bytes())?;
                return Ok(None);
            }
            Err(refusal) => {
                let line = refusal.to_string().replace('\n', " ");
                (&channel).write_all(format!("refused {line}\n").as_bytes())?;
            }
        }
    }
}
