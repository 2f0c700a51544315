//! What is no ordinary file, what may not be read, and what has an odd name or mode.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::*;

#[test]
fn what_is_no_file_is_refused_at_once_and_named() {
    let (dir, workspace) = workspace();
    let at = |name: &str| dir.path().join("code").join(name);
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    symlink("pipe", at("to-pipe")).unwrap();
    let mut cases =
        vec![("pipe", "FIFO"), ("to-pipe", "FIFO"), ("socket", "socket"), ("src", "directory"), (".", "directory")];
    // Only root may make one; a watchdog's timer, say, starts when its device is opened.
    if mknodat(CWD, at("device"), FileType::CharacterDevice, Mode::RWXU, makedev(1, 5)).is_ok() {
        cases.push(("device", "device"));
    }
    for (path, what) in cases {
        let said = |result: Result<(), PathError>| result.unwrap_err().to_string();
        let expected = format!("{path}: is a {what}, not a regular file");
        assert_eq!(said(workspace.open_file(path).map(drop)), expected);
        assert_eq!(said(workspace.replace(path, b"x")), expected);
        assert_eq!(said(workspace.may_change(path)), expected);
    }
    assert!(matches!(workspace.open_file(""), Err(PathError::Invalid(_))));
    assert!(workspace.open_file("src/none").is_err_and(|error| error.is_not_found()));
}

#[test]
fn links_to_what_the_kernel_shows_are_not_followed() {
    let (dir, workspace) = workspace();
    let targets =
        ["/proc/self/environ", "/proc/self/mem", "/dev/zero", "/dev/stdin", "/proc/self/fd/0", "/proc/self/root"];
    for target in targets {
        let link = dir.path().join("code/link");
        symlink(target, &link).unwrap();
        assert!(matches!(workspace.open_file("link"), Err(PathError::Outside(_))), "{target}");
        assert!(matches!(workspace.replace("link", b"x"), Err(PathError::Outside(_))), "{target}");
        assert!(matches!(workspace.open_file(target), Err(PathError::Outside(_))), "{target}");
        std::fs::remove_file(link).unwrap();
    }
}

#[test]
fn a_workspace_that_holds_proc_does_not_show_it() {
    let everything = Workspace::open(Path::new("/"), None).unwrap();
    for path in ["proc/self/environ", "/proc/self/status", "sys/kernel/mm/transparent_hugepage/enabled"] {
        let error = everything.open_file(path).unwrap_err().to_string();
        assert!(error.contains("a file of the kernel") || error.contains("No such file"), "{error}");
    }
}

#[test]
fn set_user_id_does_not_pass_to_what_a_brain_wrote() {
    let (dir, workspace) = workspace();
    let file = dir.path().join("code/src/a");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o6755)).unwrap();
    workspace.replace("src/a", b"new").unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn directories_that_cannot_be_listed_serve_and_those_that_cannot_be_entered_say_so() {
    let (dir, workspace) = workspace();
    let src = dir.path().join("code/src");
    let set = |mode| std::fs::set_permissions(&src, PermissionsExt::from_mode(mode)).unwrap();
    set(0o300);
    assert_eq!(read(&workspace, "src/a").unwrap(), "a");
    workspace.replace("src/a", b"new").unwrap();
    assert_eq!(read(&workspace, "src/a").unwrap(), "new");
    set(0o000);
    // Root may do everything.
    if !rustix::process::geteuid().is_root() {
        for error in [workspace.open_file("src/a").unwrap_err(), workspace.replace("src/a", b"x").unwrap_err()] {
            assert!(matches!(error, PathError::Denied(_)), "{error}");
            assert!(error.to_string().starts_with("src/a: permission denied"), "{error}");
        }
    }
    set(0o700);
    assert_eq!(read(&workspace, "src/a").unwrap(), "new");
}

#[test]
fn names_that_are_not_utf8_do_not_disturb() {
    let (dir, workspace) = workspace();
    let odd = dir.path().join("code").join(OsStr::from_bytes(b"od\xffd"));
    std::fs::create_dir(&odd).unwrap();
    std::fs::write(odd.join(OsStr::from_bytes(b"\xfe")), "odd").unwrap();
    symlink(OsStr::from_bytes(b"od\xffd"), dir.path().join("code/way")).unwrap();
    symlink(OsStr::from_bytes(b"od\xffd/\xfe"), dir.path().join("code/link")).unwrap();
    assert_eq!(read(&workspace, "link").unwrap(), "odd");
    workspace.replace("link", b"new").unwrap();
    workspace.replace("way/dir/file", b"made").unwrap();
    assert_eq!(read(&workspace, "link").unwrap(), "new");
    assert_eq!(read(&workspace, "way/dir/file").unwrap(), "made");
    assert_eq!(workspace.shown("way/./x/../dir/file").unwrap(), "way/dir/file");
    assert!(workspace.open_file("od\u{fffd}d/x").is_err_and(|error| error.is_not_found()));
}
