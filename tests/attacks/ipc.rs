//! Objects of the kernel that have no place in the file system: `SysV` shared memory, message queues, semaphores, and
//! POSIX message queues. Landlock knows none of them.
#![expect(unsafe_code, reason = "neither the standard library nor rustix has these calls")]

use std::ffi::CString;

use crate::CANARY;

/// One object outside, made for the test and taken away with it.
pub enum Shared {
    Memory(i32),
    Messages(i32),
    Semaphore(i32),
    Mqueue(CString, libc::mqd_t),
}

/// What a semaphore is set to; any other number means that somebody was there.
const COUNT: i32 = 7;

/// For the owner only: whoever gets in is the same user.
const MODE: i32 = 0o600 | libc::IPC_CREAT;

/// A message as `msgsnd` takes it.
#[repr(C)]
struct Message {
    kind: libc::c_long,
    text: [u8; 32],
}

/// Whether somebody made an object with this key.
pub fn has_key(key: &str) -> bool {
    ["shm", "msg", "sem"].iter().any(|kind| {
        let table = std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap();
        table.lines().any(|line| line.split_whitespace().next() == Some(key))
    })
}

impl Shared {
    pub fn memory() -> Self {
        // SAFETY: a new segment is made, and mapped at an address that the kernel chooses; the text fits into it.
        unsafe {
            let id = libc::shmget(libc::IPC_PRIVATE, 4096, MODE);
            assert!(id >= 0, "shmget: {}", std::io::Error::last_os_error());
            let place = libc::shmat(id, std::ptr::null(), 0).cast::<u8>();
            std::ptr::copy_nonoverlapping(CANARY.as_ptr(), place, CANARY.len());
            libc::shmdt(place.cast());
            Self::Memory(id)
        }
    }

    pub fn messages() -> Self {
        let mut message = Message { kind: 1, text: [0; 32] };
        message.text[..CANARY.len()].copy_from_slice(CANARY.as_bytes());
        // SAFETY: the message is as long as is said.
        unsafe {
            let id = libc::msgget(libc::IPC_PRIVATE, MODE);
            assert!(id >= 0, "msgget: {}", std::io::Error::last_os_error());
            assert_eq!(libc::msgsnd(id, (&raw const message).cast(), 32, 0), 0);
            Self::Messages(id)
        }
    }

    pub fn semaphore() -> Self {
        // SAFETY: no memory is passed.
        unsafe {
            let id = libc::semget(libc::IPC_PRIVATE, 1, MODE);
            assert!(id >= 0, "semget: {}", std::io::Error::last_os_error());
            assert_eq!(libc::semctl(id, 0, libc::SETVAL, COUNT), 0);
            Self::Semaphore(id)
        }
    }

    pub fn mqueue(name: &str) -> Self {
        let name = CString::new(name).unwrap();
        // SAFETY: the name is a C string, the message is as long as is said; null attributes are the defaults.
        unsafe {
            let flags = libc::O_CREAT | libc::O_RDWR | libc::O_NONBLOCK;
            let queue = libc::mq_open(name.as_ptr(), flags, 0o600, std::ptr::null::<libc::mq_attr>());
            assert!(queue >= 0, "mq_open: {}", std::io::Error::last_os_error());
            assert_eq!(libc::mq_send(queue, CANARY.as_ptr().cast(), CANARY.len(), 0), 0);
            Self::Mqueue(name, queue)
        }
    }

    pub fn id(&self) -> i32 {
        match self {
            Self::Memory(id) | Self::Messages(id) | Self::Semaphore(id) | Self::Mqueue(_, id) => *id,
        }
    }

    /// Whether it is there and holds what it held.
    pub fn is_untouched(&self) -> bool {
        // SAFETY: the structures are filled by the calls, and are large enough for what is asked.
        unsafe {
            match self {
                Self::Memory(id) => {
                    let place = libc::shmat(*id, std::ptr::null(), libc::SHM_RDONLY).cast::<u8>();
                    if place.addr() == usize::MAX {
                        return false;
                    }
                    let same = std::slice::from_raw_parts(place, CANARY.len()) == CANARY.as_bytes();
                    libc::shmdt(place.cast());
                    same
                }
                Self::Messages(id) => {
                    let mut state: libc::msqid_ds = std::mem::zeroed();
                    libc::msgctl(*id, libc::IPC_STAT, &raw mut state) == 0 && state.msg_qnum == 1
                }
                Self::Semaphore(id) => libc::semctl(*id, 0, libc::GETVAL) == COUNT,
                Self::Mqueue(_, queue) => {
                    let mut state: libc::mq_attr = std::mem::zeroed();
                    libc::mq_getattr(*queue, &raw mut state) == 0 && state.mq_curmsgs == 1
                }
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: nothing is passed but names and numbers.
        unsafe {
            match self {
                Self::Memory(id) => libc::shmctl(*id, libc::IPC_RMID, std::ptr::null_mut()),
                Self::Messages(id) => libc::msgctl(*id, libc::IPC_RMID, std::ptr::null_mut()),
                Self::Semaphore(id) => libc::semctl(*id, 0, libc::IPC_RMID),
                Self::Mqueue(name, queue) => {
                    libc::mq_close(*queue);
                    libc::mq_unlink(name.as_ptr())
                }
            };
        }
    }
}
