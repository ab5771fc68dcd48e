//! Parses QEMU's command line as strictly as QEMU does.

use std::fs::{self, File};

use super::socket::{Pipe, Socket};

/// The machine that the command line describes, and its sockets.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) control: Socket,
    pub(super) qmp: Socket,
    pub(super) console: Pipe,
    pub(super) memory_mib: u64,
    pub(super) cpus: u32,
    /// Empty for a fork, whose template has the kernel in memory.
    pub(super) kernel: String,
    pub(super) command_line: String,
    /// Whether the guest is loaded from a saved state.
    pub(super) is_fork: bool,
}

impl Machine {
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let values = |option: &str| -> Vec<&str> {
            let pairs = arguments.windows(2).filter(|pair| pair[0] == option);
            pairs.map(|pair| pair[1].as_str()).collect()
        };
        let value = |option: &str| match values(option).as_slice() {
            [only] => Ok(*only),
            several => Err(format!("{option} was given {} times", several.len())),
        };
        let socket = |id: &str| {
            let prefix = format!("socket,id={id},fd=");
            let descriptor = values("-chardev").into_iter().find_map(|value| value.strip_prefix(&prefix));
            descriptor.and_then(|number| number.parse().ok()).map(Socket).ok_or(format!("no socket for {id}"))
        };
        // Guest and host need these to exchange anything.
        for (option, wanted) in [
            ("-mon", "chardev=qmp,mode=control"),
            ("-serial", "chardev:console"),
            ("-device", "virtserialport,chardev=control,name=org.vmlab.control.0"),
            ("-display", "none"),
        ] {
            if !values(option).contains(&wanted) {
                return Err(format!("{option} {wanted} is missing"));
            }
        }
        let is_fork = match value("-incoming") {
            Ok("defer") if arguments.iter().any(|word| word == "-S") => true,
            Ok("defer") => return Err("a fork without -S would run before it has a job".to_owned()),
            Ok(other) => return Err(format!("-incoming {other} is not for vmlab")),
            Err(_) => false,
        };
        let boots = |option: &str| if is_fork { Ok(String::new()) } else { value(option).map(str::to_owned) };
        if let Some(memory) = values("-object").into_iter().find_map(|value| value.strip_prefix("memory-backend-file,"))
        {
            open_memory(memory)?;
        }
        Ok(Self {
            control: socket("control")?,
            qmp: socket("qmp")?,
            console: pipe(&values("-add-fd"), &values("-chardev"))?,
            memory_mib: value("-m")?.strip_suffix('M').and_then(|number| number.parse().ok()).ok_or("-m is not MiB")?,
            cpus: value("-smp")?.parse().map_err(|error| format!("-smp: {error}"))?,
            kernel: boots("-kernel")?,
            command_line: boots("-append")?,
            is_fork,
        })
    }
}

/// The pipe that the console writes to.
fn pipe(added: &[&str], chardevs: &[&str]) -> Result<Pipe, String> {
    let rest = chardevs.iter().find_map(|value| value.strip_prefix("file,id=console,path=/dev/fdset/"));
    let set = rest.and_then(|rest| rest.strip_suffix(",append=on"));
    let set = set.ok_or("no file for console")?;
    let number = added.iter().find_map(|value| value.strip_prefix("fd=")?.strip_suffix(&format!(",set={set}")));
    let number = number.ok_or(format!("there is no set {set} of descriptors"))?;
    Pipe::open(number).map_err(|error| format!("descriptor {number} is no pipe to write to: {error}"))
}

/// Creates the file of the guest's memory if it is shared, and opens it otherwise. The path has no comma.
fn open_memory(properties: &str) -> Result<(), String> {
    let value = |name: &str| properties.split(',').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let path = value("mem-path").ok_or("the memory has no file")?;
    let opened = if value("share") == Some("on") { fs::write(path, "memory") } else { File::open(path).map(drop) };
    opened.map_err(|error| format!("the memory's file {path}: {error}"))
}
