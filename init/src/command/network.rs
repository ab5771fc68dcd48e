//! The network of a command.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use vmlab_protocol::command::Network;

use crate::sandbox::{During as _, Trouble};
use crate::sys::network::configure;

/// Where programs look for the addresses of name servers (resolv.conf(5)).
const RESOLVERS: &str = "/etc/resolv.conf";

/// Configures the network card, and names the name server in the command's root.
pub(super) fn set_up(network: &Network) -> Result<(), Trouble> {
    let Network { device, address, mask, gateway, resolver } = network;
    configure(device, *address, *mask, *gateway).during(format!("configuring the network device {device}"))?;
    // It may be a link to a file of the host's resolver.
    match fs::remove_file(RESOLVERS) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).during(format!("unlink({RESOLVERS})")),
        _ => {}
    }
    let dir = Path::new(RESOLVERS).parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).during(format!("mkdir({})", dir.display()))?;
    fs::write(RESOLVERS, format!("nameserver {resolver}\n")).during(format!("writing {RESOLVERS}"))
}
