use std::io::Cursor;

use super::*;

pub(crate) const RELEASE: &str = "6.1.0-56-cloud-amd64";

/// A bzImage of [`RELEASE`].
pub(crate) fn bzimage(paragraphs: u32) -> Vec<u8> {
    bzimage_of(RELEASE, paragraphs)
}

/// A bzImage with two setup sectors, the version string in the second, and `paragraphs` times 16 bytes of kernel.
pub(crate) fn bzimage_of(release: &str, paragraphs: u32) -> Vec<u8> {
    let mut bytes = vec![0; 3 * 512 + paragraphs as usize * 16];
    bytes[0x1f1] = 2;
    bytes[0x1f4..0x1f8].copy_from_slice(&paragraphs.to_le_bytes());
    bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    bytes[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
    bytes[0x236] = 1;
    let version = format!("{release} (somebody@example) #1 SMP\0");
    bytes[0x500..0x500 + version.len()].copy_from_slice(version.as_bytes());
    bytes
}

fn segment(kind: u32, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; 56];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[8..16].copy_from_slice(&offset.to_le_bytes());
    bytes[32..40].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// A vmlinux of [`RELEASE`].
pub(crate) fn vmlinux(at: usize, note: u32) -> Vec<u8> {
    vmlinux_of(RELEASE, at, note)
}

/// An x86-64 vmlinux with the banner at offset `at` of its loaded segment and a Xen note of type `note`.
fn vmlinux_of(release: &str, at: usize, note: u32) -> Vec<u8> {
    let mut bytes = vec![0; 0x1000];
    bytes[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0");
    bytes[20] = 1;
    bytes[32] = 64;
    bytes[52] = 64;
    bytes[54] = 56;
    bytes[56] = 2;
    let banner = format!("Linux version %s\0Linux version {release} (somebody@example) gcc\0");
    let loaded = at + banner.len();
    bytes[64..120].copy_from_slice(&segment(1, 0x1000, loaded as u64));
    bytes[120..176].copy_from_slice(&segment(4, 0x1000 + loaded as u64, 20));
    bytes.resize(0x1000 + at, 0);
    bytes.extend_from_slice(banner.as_bytes());
    for word in [4, 4, note] {
        bytes.extend_from_slice(&u32::to_le_bytes(word));
    }
    bytes.extend_from_slice(b"Xen\0\0\0\0\x01");
    bytes
}

/// A unified kernel image for x86-64 with these sections, each padded to 512 bytes in the file.
pub(crate) fn uki(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let headers_at = 0x80;
    let optional_bytes = 240;
    let mut bytes = vec![0; 0x400];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c..0x40].copy_from_slice(&u32::to_le_bytes(headers_at));
    let headers_at = headers_at as usize;
    bytes[headers_at..headers_at + 6].copy_from_slice(b"PE\0\0\x64\x86");
    bytes[headers_at + 6] = u8::try_from(sections.len()).unwrap();
    bytes[headers_at + 20] = optional_bytes;
    // The magic number of a 64-bit header, and the number of its data directories.
    bytes[headers_at + 24..headers_at + 26].copy_from_slice(&[0x0b, 0x02]);
    bytes[headers_at + 24 + 108] = 16;
    let mut at = headers_at + 24 + usize::from(optional_bytes);
    for (name, contents) in sections {
        let in_file = contents.len().next_multiple_of(512);
        bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
        for (field, value) in [(8, contents.len()), (12, 0x1000), (16, in_file), (20, bytes.len())] {
            bytes[at + field..at + field + 4].copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
        }
        at += 40;
        bytes.extend_from_slice(contents);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes
}

fn look(bytes: &[u8]) -> Result<Image, Unbootable> {
    recognise(&mut Cursor::new(bytes), bytes.len() as u64)
}

fn release_of(bytes: &[u8]) -> (Format, String) {
    let image = look(bytes).unwrap();
    (image.format, image.release)
}

#[test]
fn the_release_of_a_bzimage_is_found() {
    assert_eq!(release_of(&bzimage(100)), (Format::BzImage, RELEASE.to_owned()));
    // A signature may follow the kernel.
    let mut signed = bzimage(100);
    signed.extend_from_slice(b"signature");
    assert_eq!(release_of(&signed).1, RELEASE);
}

#[test]
fn a_bzimage_cut_at_any_length_is_truncated() {
    let whole = bzimage(100);
    for length in [0x206, 0x237, 0x238, 0x500, 3 * 512, whole.len() - 1] {
        match look(&whole[..length]) {
            Err(Unbootable::Truncated { expected, actual }) => {
                assert_eq!(actual, length as u64);
                assert!(expected > actual);
            }
            other => panic!("{length}: {other:?}"),
        }
    }
    assert!(matches!(look(&whole[..0x205]), Err(Unbootable::NotAKernel)));
}

#[test]
fn a_bzimage_of_another_architecture_or_protocol_is_named() {
    let mut narrow = bzimage(1);
    narrow[0x236] = 0;
    assert!(matches!(look(&narrow), Err(Unbootable::Architecture(name)) if name == "32-bit x86"));
    let mut old = bzimage(1);
    old[0x206] = 0x0b;
    assert!(matches!(look(&old), Err(Unbootable::OldProtocol { major: 2, minor: 11 })));
    for pointer in [0_u16, 0x314, 0xffff] {
        let mut nameless = bzimage(1);
        nameless[0x20e..0x210].copy_from_slice(&pointer.to_le_bytes());
        assert!(matches!(look(&nameless), Err(Unbootable::NoRelease)), "{pointer:#x}");
    }
}

#[test]
fn the_release_of_a_vmlinux_is_found_at_any_offset() {
    // The search's window has 1 MiB: test before, across and after its border.
    for at in [0, (1 << 20) - 40, (1 << 20) - 10, (1 << 20) + 3, 3 << 20] {
        assert_eq!(release_of(&vmlinux(at, 18)), (Format::Vmlinux, RELEASE.to_owned()), "{at}");
    }
}

#[test]
fn a_vmlinux_that_qemu_cannot_enter_is_named() {
    assert!(matches!(look(&vmlinux(9, 17)), Err(Unbootable::NoPvh)));
    let whole = vmlinux(9, 18);
    for length in [4, 63, 64, 100, 0x1000, whole.len() - 1] {
        assert!(matches!(look(&whole[..length]), Err(Unbootable::Truncated { .. })), "{length}");
    }
    for (machine, class, name) in [(183_u16, 2, "arm64"), (3, 1, "32-bit x86"), (243, 2, "RISC-V"), (62, 1, "x32")] {
        let mut foreign = whole.clone();
        foreign[4] = class;
        foreign[18..20].copy_from_slice(&machine.to_le_bytes());
        assert!(matches!(look(&foreign), Err(Unbootable::Architecture(seen)) if seen == name), "{name}");
    }
    let mut big_endian = whole.clone();
    big_endian[5] = 2;
    big_endian[18..20].copy_from_slice(&[0, 22]);
    assert!(matches!(look(&big_endian), Err(Unbootable::Architecture(seen)) if seen == "s390"));
    // An ordinary program is an ELF file without a kernel banner.
    let mut program = whole;
    program[0x1000..].fill(0);
    assert!(matches!(look(&program), Err(Unbootable::NotAKernel)));
}

#[test]
fn other_files_are_named() {
    assert!(matches!(look(b""), Err(Unbootable::Empty)));
    assert!(matches!(look(b"root:x:0:0:root:/root:/bin/bash\n"), Err(Unbootable::NotAKernel)));
    assert!(matches!(look(&[0x1f, 0x8b, 8]), Err(Unbootable::Compressed { form: "gzip", .. })));
    assert!(matches!(look(&[0x28, 0xb5, 0x2f, 0xfd]), Err(Unbootable::Compressed { form: "zstd", .. })));
    let mut arm64 = vec![0; 0x100];
    arm64[0x38..0x3c].copy_from_slice(b"ARM\x64");
    assert!(matches!(look(&arm64), Err(Unbootable::Architecture(name)) if name == "arm64"));
    assert!(matches!(recognise(&mut Cursor::new(b"x"), LENGTH_LIMIT + 1), Err(Unbootable::TooLarge(_))));
}

#[test]
fn special_files_are_named_without_blocking() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(inspect(&fifo), Err(FileError::Special { kind: "FIFO", .. })));
    assert!(matches!(inspect(Path::new("/dev/zero")), Err(FileError::Special { kind: "character device", .. })));
    assert!(matches!(inspect(&dir.path().join("none")), Err(FileError::Missing(_))));
    assert!(matches!(inspect(Path::new("/etc/passwd/x")), Err(FileError::Missing(_))));

    let plain = inspect(dir.path()).unwrap_err().to_string();
    assert!(plain.ends_with("give the path of the bzImage or vmlinux"), "{plain}");
    let built = dir.path().join("arch/x86/boot/bzImage");
    fs::create_dir_all(built.parent().unwrap()).unwrap();
    fs::write(&built, bzimage(1)).unwrap();
    let hint = inspect(dir.path()).unwrap_err().to_string();
    assert!(hint.ends_with(&format!("did you mean {}?", built.display())), "{hint}");
    assert_eq!(inspect(&built).unwrap().image.release, RELEASE);
}

#[test]
fn the_kernel_of_a_unified_kernel_image_is_found() {
    let kernel = bzimage(33);
    for sections in [
        &[(".linux", &kernel[..])][..],
        &[(".text", b"stub"), (".osrel", b"ID=x"), (".linux", &kernel), (".initrd", b"cpio")],
        // The first of two profiles.
        &[(".linux", &kernel), (".profile", b"ID=other"), (".linux", b"another")],
    ] {
        let image = uki(sections);
        let found = look(&image).unwrap();
        let Section { offset, length } = found.section.unwrap();
        assert_eq!((found.format, found.release.as_str()), (Format::BzImage, RELEASE));
        let (start, end) = (usize::try_from(offset).unwrap(), usize::try_from(offset + length).unwrap());
        assert!(image[start..end] == kernel);
    }
    // Without a size in memory, the size in the file counts.
    let mut image = uki(&[(".linux", &kernel)]);
    let at = image.windows(6).position(|seen| seen == b".linux").unwrap();
    image[at + 8..at + 12].fill(0);
    assert_eq!(look(&image).unwrap().section.unwrap().length, kernel.len().next_multiple_of(512) as u64);
}

#[test]
fn a_unified_kernel_image_without_a_bootable_kernel_is_named() {
    // An EFI program without a kernel, such as a boot loader or an addon.
    assert!(matches!(look(&uki(&[(".text", b"loader"), (".cmdline", b"quiet")])), Err(Unbootable::NotAKernel)));
    let whole = uki(&[(".linux", &bzimage(100))]);
    let cut = &whole[..whole.len() - 1024];
    assert!(matches!(look(cut), Err(Unbootable::Truncated { .. })));
    let mut foreign = whole.clone();
    foreign[0x84..0x86].copy_from_slice(&[0x64, 0xaa]);
    assert!(matches!(look(&foreign), Err(Unbootable::Architecture(name)) if name == "arm64"));
    for (contents, what) in [
        (&b"no kernel"[..], "this is not a Linux kernel"),
        (&bzimage(100)[..0x700], "truncated"),
        (&[0x1f, 0x8b, 8], "gzip-compressed"),
        (&vmlinux(9, 18), "this is not a Linux kernel"),
        (&whole, "this is not a Linux kernel"),
    ] {
        let error = look(&uki(&[(".linux", contents)])).unwrap_err();
        assert!(matches!(error, Unbootable::InUki(_)) && error.to_string().contains(what), "{error}");
    }
}

#[test]
fn a_release_with_spaces_is_read_whole() {
    for release in ["6.12.117-it works+1_1", "6.12.0-a  b", "6.12.0-größe", "6.12.0-(x)"] {
        for image in [bzimage_of(release, 1), vmlinux_of(release, 9, 18), vmlinux_of(release, (1 << 20) - 20, 18)] {
            assert_eq!(release_of(&image).1, release);
        }
    }
    assert!(matches!(look(&bzimage_of("6.1/x", 1)), Err(Unbootable::NoRelease)));
    assert!(matches!(look(&vmlinux_of("6.1/x", 9, 18)), Err(Unbootable::NotAKernel)));
}
