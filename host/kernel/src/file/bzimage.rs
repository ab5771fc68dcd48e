//! Reads the real-mode header of a bzImage (the kernel's Documentation/arch/x86/boot.rst, "The Real-Mode Kernel
//! Header").

use super::{Format, Image, Unbootable};
use crate::release;

/// Offsets from the file's start, in bytes.
const SETUP_SECTS: usize = 0x1f1;
const SYSSIZE: usize = 0x1f4;
const BOOT_FLAG: usize = 0x1fe;
const MAGIC: usize = 0x202;
const PROTOCOL: usize = 0x206;
const KERNEL_VERSION: usize = 0x20e;
const XLOADFLAGS: usize = 0x236;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The end of the header fields that this module reads.
const HEADER_END: usize = 0x238;

/// Bit 0 of `xloadflags`: the kernel has the 64-bit entry point.
const XLF_KERNEL_64: u16 = 1;

/// The first boot protocol with `xloadflags`.
const OLDEST_PROTOCOL: u16 = 0x020c;

/// Whether the boot flag and `HdrS` are at their offsets.
pub(crate) fn is_one(head: &[u8]) -> bool {
    head.get(BOOT_FLAG..BOOT_FLAG + 2) == Some(&[0x55, 0xaa]) && head.get(MAGIC..MAGIC + 4) == Some(b"HdrS")
}

/// Reads the header of a file of `length` bytes that begins with `head`.
pub(super) fn recognise(head: &[u8], length: u64) -> Result<Image, Unbootable> {
    let Some(header) = head.get(..HEADER_END) else {
        return Err(Unbootable::Truncated { expected: HEADER_END as u64, actual: length });
    };
    let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let protocol = u16_at(PROTOCOL);
    if protocol < OLDEST_PROTOCOL {
        let [major, minor] = protocol.to_be_bytes();
        return Err(Unbootable::OldProtocol { major, minor });
    }
    if u16_at(XLOADFLAGS) & XLF_KERNEL_64 == 0 {
        return Err(Unbootable::Architecture("32-bit x86".to_owned()));
    }
    // syssize is in units of 16 bytes.
    let syssize = u32_at(head, SYSSIZE).unwrap_or_default();
    let expected = u64::from(setup_bytes(header[SETUP_SECTS])) + u64::from(syssize) * 16;
    if length < expected {
        return Err(Unbootable::Truncated { expected, actual: length });
    }
    let release = release(head, usize::from(u16_at(KERNEL_VERSION))).ok_or(Unbootable::NoRelease)?;
    Ok(Image { format: Format::BzImage, release, section: None })
}

/// The compressed kernel in a bzImage; `None` if the header names no payload or a payload beyond the end.
pub(crate) fn payload(file: &[u8]) -> Option<&[u8]> {
    let protected_mode = file.get(setup_bytes(*file.get(SETUP_SECTS)?) as usize..)?;
    let offset = u32_at(file, PAYLOAD_OFFSET).filter(|&offset| offset != 0)?;
    protected_mode.get(offset as usize..)?.get(..u32_at(file, PAYLOAD_LENGTH)? as usize)
}

/// The length of boot sector and setup code, in bytes: "If setup_sects contains 0, the real value is 4".
fn setup_bytes(setup_sects: u8) -> u32 {
    (u32::from(if setup_sects == 0 { 4 } else { setup_sects }) + 1) * 512
}

fn u32_at(file: &[u8], at: usize) -> Option<u32> {
    file.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// The release in the version string. `pointer` is the string's offset minus 0x200; 0 means no version string.
fn release(head: &[u8], pointer: usize) -> Option<String> {
    let text = head.get(pointer + 0x200..).filter(|_| pointer != 0)?;
    release::of_banner(text.split(|&byte| byte == 0).next()?)
}
