//! The machines of `vmlab exec`: a network, disks, NUMA nodes, and a debugger.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::thread;

use super::commands::{exec, sh};
use super::*;

#[test]
fn a_guest_reaches_this_machine_by_its_network_and_only_with_net() {
    let env = env();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = thread::spawn(move || {
        for connection in listener.incoming().take(2) {
            connection.unwrap().write_all(b"hello from the host\n").unwrap();
        }
    });
    let script = format!("exec 3<>/dev/tcp/10.0.2.2/{port} && cat <&3; cat /etc/resolv.conf");
    for kernel in [BOOKWORM, TRIXIE] {
        let ended = env.start_command(exec(&env, &["-k", kernel, "--net"], &["bash", "-c", &script])).wait();
        ended.exits(0);
        assert_eq!(ended.stdout, "hello from the host\nnameserver 10.0.2.3\n", "{ended}");
    }
    answering.join().unwrap();
    let ended = sh(&env, &["-k", TRIXIE], "ls /sys/class/net");
    assert_eq!(ended.stdout, "lo\n", "{ended}");
}

#[test]
fn disks_are_empty_or_show_a_file_which_does_not_change() {
    let env = env();
    let file = env.home().join("disk.img");
    let contents = [b"what is in the file".as_slice(), &[0; 1 << 20]].concat();
    fs::write(&file, &contents).unwrap();
    let script = "cat /sys/block/vda/size; head -c 19 /dev/vdb; echo; tr -d '\\0' </dev/vda | wc -c; \
                  printf changed >/dev/vdb; printf changed >/dev/vda; sync; head -c 7 /dev/vda; head -c 7 /dev/vdb";
    let options = |kernel| ["-k", kernel, "--disk", "64M", "--disk", file.to_str().unwrap()].map(str::to_owned);
    for kernel in [BOOKWORM, TRIXIE] {
        // The second guest does not see what the first one wrote.
        for _ in 0..2 {
            let options = options(kernel);
            let ended = sh(&env, &options.each_ref().map(String::as_str), script);
            ended.exits(0);
            assert_eq!(ended.stdout, "131072\nwhat is in the file\n0\nchangedchanged", "{ended}");
        }
    }
    assert_eq!(fs::read(&file).unwrap(), contents);
    let ended = sh(&env, &["--disk", "/no/such/file"], "true");
    ended.exits(125);
    assert!(ended.stderr.contains("cannot use /no/such/file as a disk"), "{ended}");
}

#[test]
fn a_guest_has_the_numa_nodes_that_were_asked_for() {
    let env = env();
    let script = "cat /sys/devices/system/node/online /sys/devices/system/node/node*/cpulist; \
                  awk '$3 == \"MemTotal:\" && $4 > 200000' /sys/devices/system/node/node*/meminfo | wc -l";
    for (kernel, isolation) in [(BOOKWORM, "fork"), (TRIXIE, "fork"), (TRIXIE, "boot")] {
        let options = ["-k", kernel, "--isolation", isolation, "--cpus", "3", "--numa", "2", "-m", "768"];
        let ended = sh(&env, &options, script);
        ended.exits(0);
        assert_eq!(ended.stdout, "0-1\n0-1\n2\n2\n", "{ended}");
    }
    let ended = sh(&env, &["--numa", "64"], "true");
    ended.exits(125);
    assert!(ended.stderr.contains("64 NUMA nodes need 4096 MiB"), "{ended}");
}

/// Connects as gdb does, asks for the registers, and lets the guest run until its end (GDB's manual, "Remote Protocol"). Returns the
/// registers, in hexadecimal.
fn debug(socket: &Path) -> io::Result<String> {
    let mut stub = UnixStream::connect(socket)?;
    // `+` acknowledges; the two digits behind `#` are a checksum.
    stub.write_all(b"+$g#67")?;
    let mut reader = BufReader::new(stub.try_clone()?);
    let (mut head, mut registers) = (Vec::new(), Vec::new());
    reader.read_until(b'$', &mut head)?;
    reader.read_until(b'#', &mut registers)?;
    stub.write_all(b"+$c#63")?;
    io::copy(&mut reader, &mut io::sink())?;
    Ok(String::from_utf8_lossy(&registers).into_owned())
}

#[test]
fn a_guest_waits_for_the_debugger() {
    let env = env();
    for isolation in ["fork", "boot"] {
        let runtime = env.home().join("runtime");
        fs::create_dir_all(&runtime).unwrap();
        let options = ["-k", TRIXIE, "--gdb", "--isolation", isolation];
        let mut command = exec(&env, &options, &["sh", "-c", "echo ran; exit 3"]);
        command.env("XDG_RUNTIME_DIR", &runtime);
        let mut running = env.start_command(command);
        let socket = running.until("the debugger's socket", || {
            let dir = fs::read_dir(&runtime).unwrap().next()?;
            Some(dir.unwrap().path().join("gdb")).filter(|socket| socket.exists())
        });
        assert!(!running.has_ended(), "it waits");
        let registers = debug(&socket).unwrap();
        assert!(registers.len() > 16 * 17, "{registers}");
        let ended = running.wait();
        ended.exits(3);
        assert_eq!(ended.stdout, "ran\n");
        assert!(ended.stderr.contains(&format!("gdb -ex 'target remote {}' vmlinux", socket.display())), "{ended}");
        assert!(!socket.parent().unwrap().exists(), "the socket is removed");
    }
    let ended = sh(&env, &["-k", TRIXIE, "-k", BOOKWORM, "--gdb"], "true");
    ended.exits(125);
    assert!(ended.stderr.contains("--gdb is for one guest"), "{ended}");
}
