//! System calls taken away from a program before it starts, as a container's runtime does.

use std::io;

use seccompiler::{BpfProgram, apply_filter, sock_filter};
use tokio::process::Command;

/// From `linux/bpf_common.h` and `linux/filter.h`: load a word of the call's data, compare it, end with a constant.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Where the call's number and the machine it is meant for stand in `seccomp_data`.
const NUMBER: u32 = 0;
const MACHINE: u32 = 4;

/// The machine of this program's calls, from linux/audit.h.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// System calls that fail for a program and everything it starts.
pub struct Mask(BpfProgram);

/// A mask under which `calls` answer `errno`.
///
/// The program is written out by hand and not by seccompiler, whose filters kill whoever calls for another machine:
/// then a test could not see whether the program's own filter stops a 32-bit call.
pub fn mask(calls: &[libc::c_long], errno: i32) -> Mask {
    let statement = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    let unless_equal = |k, skip| sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: skip, k };
    let mut program = vec![statement(LOAD, MACHINE), unless_equal(NATIVE, 1), statement(LOAD, NUMBER)];
    // For another machine the number is not loaded: what is compared below is then the machine's, which is no call's.
    for call in calls {
        program.push(unless_equal(u32::try_from(*call).unwrap(), 1));
        program.push(statement(RETURN, libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()));
    }
    program.push(statement(RETURN, libc::SECCOMP_RET_ALLOW));
    Mask(program)
}

impl Mask {
    /// Puts the mask on what `command` starts, which loses the way to new privileges with it.
    #[expect(unsafe_code, reason = "between fork and exec there is no other way to act on the child alone")]
    pub fn put_on(self, command: &mut Command) {
        let program = self.0;
        let put_on = move || apply_filter(&program).map_err(|_| io::Error::last_os_error());
        // SAFETY: the closure makes two system calls on memory that was there before the fork; it allocates nothing.
        unsafe { command.pre_exec(put_on) };
    }
}
