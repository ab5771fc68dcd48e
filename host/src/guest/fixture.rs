//! A guest's hello for the tests.

use vmlab_protocol::message::{Hello, PROTOCOL};

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
        problems: Vec::new(),
    }
}
