//! What lies behind a path: only the bytes of an ordinary file on an ordinary file system are for the tools.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;

use cap_std::fs::FileTypeExt as _;

/// File systems whose files are the kernel speaking, by their magic numbers (`linux/magic.h`): /proc shows the
/// service's own environment and memory, and reading or writing some of the others does something. They are inside a
/// workspace only where somebody mounted them there, or made `/` the workspace.
const KERNEL: [u64; 10] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6265_6570, // configfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0xcafe_4a11, // bpf
    0xde5e_81e4, // efivarfs
];

/// What a name stands for, if not for an ordinary file.
pub(super) fn of_name(kind: cap_std::fs::FileType) -> Option<&'static str> {
    if kind.is_file() {
        return None;
    }
    Some(match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    })
}

/// What an open file is, if not an ordinary one.
pub(super) fn of_file(file: &File, metadata: &Metadata) -> io::Result<Option<&'static str>> {
    let kind = metadata.file_type();
    if !kind.is_file() {
        // It has been exchanged since its name was looked at.
        return Ok(Some(if kind.is_dir() {
            "a directory"
        } else if kind.is_fifo() {
            "a FIFO"
        } else {
            "a device"
        }));
    }
    let magic = u64::try_from(rustix::fs::fstatfs(file)?.f_type).unwrap_or_default();
    // Where the field has 32 bits with a sign, the upper half is no part of the number.
    Ok(KERNEL.contains(&(magic & 0xffff_ffff)).then_some("a file of the kernel"))
}
