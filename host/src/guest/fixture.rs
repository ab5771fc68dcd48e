//! A guest's hello for the tests.

use vmlab_protocol::message::{CONSOLE_LEVEL, Hello, PROTOCOL};

/// Of a guest about which there is nothing to remark.
pub fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        init_build: "test".to_owned(),
        kernel_release: "6.1.0".to_owned(),
        kernel_version: "#1".to_owned(),
        machine: "x86_64".to_owned(),
        command_line: String::new(),
        memory_bytes: 1,
        cpus: 1,
        virtio: Vec::new(),
        modules: Vec::new(),
        console_level: CONSOLE_LEVEL,
        consoles: vec!["ttyS0".to_owned()],
        problems: Vec::new(),
    }
}
