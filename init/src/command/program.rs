//! What a file must have to be executed: its interpreter, and its machine. Pure.

/// The beginning of a file that is read. The kernel reads 256 bytes for `#!` (`BINPRM_BUF_SIZE`); linkers place the name of an ELF
/// file's loader in the first page.
pub(super) const HEAD_BYTES: usize = 64 * 1024;

/// The machine of this program (elf.h).
pub(super) const OWN_MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else if cfg!(target_arch = "aarch64") {
    183
} else if cfg!(target_arch = "riscv64") {
    243
} else {
    0
};

/// An executable file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Program<'a> {
    /// A script with this interpreter.
    Script(&'a [u8]),
    Elf {
        machine: u16,
        /// The loader of a dynamically linked program.
        loader: Option<&'a [u8]>,
    },
    Other,
}

/// Reads the beginning of a file.
pub(super) fn read(head: &[u8]) -> Program<'_> {
    match head {
        [b'#', b'!', rest @ ..] => {
            let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii_start();
            let name = line.split(|&byte| matches!(byte, b' ' | b'\t' | 0)).next().unwrap_or_default();
            if name.is_empty() { Program::Other } else { Program::Script(name) }
        }
        [0x7f, b'E', b'L', b'F', class @ (1 | 2), data @ (1 | 2), ..] => {
            let elf = Elf { bytes: head, is_64: *class == 2, is_little: *data == 1 };
            elf.number(18, 2)
                .and_then(|machine| u16::try_from(machine).ok())
                .map_or(Program::Other, |machine| Program::Elf { machine, loader: elf.loader() })
        }
        _ => Program::Other,
    }
}

/// The name of a machine (elf.h).
pub(super) fn machine_name(machine: u16) -> String {
    let name = match machine {
        3 => "i386",
        8 => "mips",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv",
        247 => "bpf",
        258 => "loongarch",
        other => return format!("machine {other} of ELF"),
    };
    name.to_owned()
}

struct Elf<'a> {
    bytes: &'a [u8],
    is_64: bool,
    is_little: bool,
}

impl<'a> Elf<'a> {
    /// The name in the segment PT_INTERP, which ends with a NUL.
    fn loader(&self) -> Option<&'a [u8]> {
        const PT_INTERP: usize = 3;
        let (table, size, count) = if self.is_64 {
            (self.number(32, 8)?, self.number(54, 2)?, self.number(56, 2)?)
        } else {
            (self.number(28, 4)?, self.number(42, 2)?, self.number(44, 2)?)
        };
        let segment = (0..count)
            .map_while(|index| index.checked_mul(size).and_then(|offset| table.checked_add(offset)))
            .find(|&segment| self.number(segment, 4) == Some(PT_INTERP))?;
        let field = |of_64: usize, of_32: usize| {
            let (at, width) = if self.is_64 { (of_64, 8) } else { (of_32, 4) };
            self.number(segment.checked_add(at)?, width)
        };
        let (start, length) = (field(8, 4)?, field(32, 16)?);
        let name = self.bytes.get(start..start.checked_add(length)?)?;
        name.split(|&byte| byte == 0).next().filter(|name| !name.is_empty())
    }

    /// The number of `width` bytes at an offset.
    fn number(&self, at: usize, width: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..at.checked_add(width)?)?;
        let add = |number: usize, &byte: &u8| number << 8 | usize::from(byte);
        Some(if self.is_little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_of_a_script_is_its_first_word() {
        for (text, interpreter) in [
            ("#!/bin/sh\necho", "/bin/sh"),
            ("#! /usr/bin/env python3\n", "/usr/bin/env"),
            ("#!/bin/sh\r\necho", "/bin/sh\r"),
            ("#!\t/bin/awk\t-f", "/bin/awk"),
            ("#!sh", "sh"),
        ] {
            assert_eq!(read(text.as_bytes()), Program::Script(interpreter.as_bytes()), "{text:?}");
        }
        for other in ["", "#", "#!", "#!  \n/bin/sh", "echo", "\x7fELF", "\x7fELF\x02\x01"] {
            assert_eq!(read(other.as_bytes()), Program::Other, "{other:?}");
        }
    }

    /// An ELF file with two segments, of which the second names the loader.
    fn elf(is_64: bool, is_little: bool, machine: u16, loader: &str) -> Vec<u8> {
        let mut file = vec![0; 512];
        let mut put = |at: usize, width: usize, number: usize| {
            let bytes = number.to_le_bytes();
            file[at..at + width].copy_from_slice(&bytes[..width]);
            if !is_little {
                file[at..at + width].reverse();
            }
        };
        let (head, size) = if is_64 { (64, 56) } else { (52, 32) };
        put(18, 2, usize::from(machine));
        let [(table, width), (entry, _), (count, _)] =
            if is_64 { [(32, 8), (54, 2), (56, 2)] } else { [(28, 4), (42, 2), (44, 2)] };
        put(table, width, head);
        put(entry, 2, size);
        put(count, 2, 2);
        put(head, 4, 1);
        let segment = head + size;
        put(segment, 4, 3);
        let (start, length) = if is_64 { (8, 32) } else { (4, 16) };
        put(segment + start, width, 400);
        put(segment + length, width, loader.len() + 1);
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1 + u8::from(is_64), 2 - u8::from(is_little)]);
        file[400..400 + loader.len()].copy_from_slice(loader.as_bytes());
        file
    }

    #[test]
    fn elf_files_of_all_classes_name_their_machine_and_loader() {
        for (is_64, is_little, machine) in [(true, true, 62), (true, false, 22), (false, true, 3), (false, false, 8)] {
            let file = elf(is_64, is_little, machine, "/lib/ld.so.1");
            let loader = Some(b"/lib/ld.so.1".as_slice());
            assert_eq!(read(&file), Program::Elf { machine, loader }, "{machine}");
            assert_eq!(read(&elf(is_64, is_little, machine, "")), Program::Elf { machine, loader: None });
        }
    }

    #[test]
    fn damaged_elf_files_have_no_loader() {
        let file = elf(true, true, 62, "/lib/ld.so.1");
        for length in 20..file.len() {
            assert!(matches!(read(&file[..length]), Program::Elf { machine: 62, .. }), "{length}");
        }
        for at in 24..180 {
            let mut damaged = file.clone();
            damaged[at] = 0xff;
            assert!(matches!(read(&damaged), Program::Elf { machine: 62, .. }), "{at}");
        }
    }

    #[test]
    fn this_machine_has_a_name() {
        assert_eq!(machine_name(OWN_MACHINE), std::env::consts::ARCH.replace("riscv64", "riscv"));
    }
}
