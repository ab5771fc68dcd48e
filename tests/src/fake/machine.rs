//! What vmlab asks of QEMU, read back from the command line as strictly as QEMU would.

use super::socket::Socket;

/// The machine and its sockets.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) control: Socket,
    pub(super) qmp: Socket,
    pub(super) console: Socket,
    pub(super) memory_mib: u64,
    pub(super) cpus: u32,
    pub(super) kernel: String,
    pub(super) command_line: String,
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
        // The guest would have no word with its host without these.
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
        Ok(Self {
            control: socket("control")?,
            qmp: socket("qmp")?,
            console: socket("console")?,
            memory_mib: value("-m")?.strip_suffix('M').and_then(|number| number.parse().ok()).ok_or("-m is not MiB")?,
            cpus: value("-smp")?.parse().map_err(|error| format!("-smp: {error}"))?,
            kernel: value("-kernel")?.to_owned(),
            command_line: value("-append")?.to_owned(),
        })
    }
}
