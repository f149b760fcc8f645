//! bpf(2), one safe function per command.

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zerocopy::{FromBytes, IntoBytes};

use crate::asm::Insn;
use crate::attr::{
    object_name, Element, LinkCreate, MapCreate, ObjInfo, ObjPath, ProgLoad, ProgQuery, TestRun,
    MPROG_MAX,
};

const BPF_MAP_CREATE: u32 = 0;
const BPF_MAP_UPDATE_ELEM: u32 = 2;
const BPF_PROG_LOAD: u32 = 5;
const BPF_OBJ_PIN: u32 = 6;
const BPF_OBJ_GET: u32 = 7;
const BPF_PROG_TEST_RUN: u32 = 10;
const BPF_PROG_GET_FD_BY_ID: u32 = 13;
const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
const BPF_PROG_QUERY: u32 = 16;
const BPF_LINK_CREATE: u32 = 28;
const BPF_ENABLE_STATS: u32 = 32;
const BPF_LINK_DETACH: u32 = 34;

/// Calls bpf(2) and returns its non-negative result.
///
/// # Safety
/// `T` must have the layout that `cmd` expects of `union bpf_attr` (a prefix of it), and every address in it must be valid
/// for what the kernel does with it during the call. (Its bounds say that it has no padding and no invalid values.)
unsafe fn bpf<T: FromBytes + IntoBytes>(cmd: u32, attr: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads, and for some commands writes, size_of::<T>() octets of `attr`, which is exclusively
    // borrowed; the addresses inside are the caller's promise.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, cmd, std::ptr::from_mut(attr), size_of::<T>()) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(rc).unwrap_or(0))
}

/// Takes ownership of a descriptor that a command just returned.
fn own(fd: i32) -> OwnedFd {
    // SAFETY: the callers pass the result of a successful command that returns a new (close-on-exec) descriptor, once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn address<T: ?Sized>(of: &T) -> u64 {
    std::ptr::from_ref(of).cast::<u8>() as u64
}

fn fd_number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

/// A map and the sizes of its elements, so that no call can make the kernel touch more than the slice it is given.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    key_size: usize,
    value_size: usize,
}

impl Map {
    /// Creates a map. Per-CPU kinds are not for this type: their values are larger than `value` in user space.
    pub fn create(
        kind: u32,
        key: u32,
        value: u32,
        entries: u32,
        flags: u32,
        name: &str,
    ) -> io::Result<Self> {
        let mut attr = MapCreate {
            map_type: kind,
            key_size: key,
            value_size: value,
            max_entries: entries,
            map_flags: flags,
            map_name: object_name(name),
            ..MapCreate::default()
        };
        // SAFETY: no addresses inside.
        let fd = own(unsafe { bpf(BPF_MAP_CREATE, &mut attr) }?);
        Ok(Self {
            fd,
            key_size: key as usize,
            value_size: value as usize,
        })
    }

    /// A map that was found pinned, if it is of this kind and shape.
    pub fn found(
        fd: OwnedFd,
        kind: u32,
        key: u32,
        value: u32,
        entries: Option<u32>,
        flags: u32,
    ) -> io::Result<(Self, u32)> {
        let [is_kind, _, is_key, is_value, is_entries, is_flags, ..] = info(fd.as_fd())?;
        let same = (is_kind, is_key, is_value, is_flags) == (kind, key, value, flags)
            && entries.is_none_or(|n| n == is_entries);
        if !same {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let map = Self {
            fd,
            key_size: key as usize,
            value_size: value as usize,
        };
        Ok((map, is_entries))
    }

    /// Programs name the map by its number when they are loaded.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Writes one element (`BPF_ANY`).
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if key.len() != self.key_size || value.len() != self.value_size {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let map_fd = fd_number(self.fd.as_fd());
        let (key, value) = (address(key), address(value));
        let mut attr = Element {
            map_fd,
            key,
            value,
            ..Element::default()
        };
        // SAFETY: key and value are as large as the map's, which the kernel reads.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }
}

/// Loads a program. `log`, if not empty, receives the verifier's words (NUL-terminated).
pub fn prog_load(kind: u32, insns: &[Insn], name: &str, log: &mut [u8]) -> io::Result<OwnedFd> {
    // No helper that is reserved for GPL programs is called, so the licence can be said as it is.
    let license = c"Apache-2.0 OR MIT";
    let mut attr = ProgLoad {
        prog_type: kind,
        insn_cnt: u32::try_from(insns.len()).unwrap_or(u32::MAX),
        insns: address(insns),
        license: license.as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: u32::try_from(log.len()).unwrap_or(u32::MAX),
        log_buf: if log.is_empty() {
            0
        } else {
            log.as_mut_ptr() as u64
        },
        prog_name: object_name(name),
        ..ProgLoad::default()
    };
    // SAFETY: instructions, licence and log are live slices of the sizes stated; the log alone is written to.
    unsafe { bpf(BPF_PROG_LOAD, &mut attr) }.map(own)
}

/// Attaches `prog` to `hook` of the device `ifindex` of the calling thread's network namespace, behind what is there.
/// The attachment lives as long as the returned descriptor.
pub fn link_create(prog: BorrowedFd<'_>, ifindex: u32, hook: u32) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        prog_fd: fd_number(prog),
        target_ifindex: ifindex,
        attach_type: hook,
        ..LinkCreate::default()
    };
    // SAFETY: no addresses inside.
    unsafe { bpf(BPF_LINK_CREATE, &mut attr) }.map(own)
}

/// Detaches a link now, whoever else holds a descriptor of it.
pub fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = fd_number(link);
    // SAFETY: the command's member is one descriptor.
    unsafe { bpf(BPF_LINK_DETACH, &mut attr) }.map(drop)
}

/// Gives a program, map or link a name in a bpf file system; it lives as long as the name.
pub fn pin(fd: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let mut attr = ObjPath {
        pathname: path.as_ptr() as u64,
        bpf_fd: fd_number(fd),
        ..ObjPath::default()
    };
    // SAFETY: the path is a live string that ends in NUL, which the kernel reads.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens what was given a name.
pub fn pinned(path: &CStr) -> io::Result<OwnedFd> {
    let mut attr = ObjPath {
        pathname: path.as_ptr() as u64,
        ..ObjPath::default()
    };
    // SAFETY: as for `pin`.
    unsafe { bpf(BPF_OBJ_GET, &mut attr) }.map(own)
}

/// The programs and links (0 for a program without one) on `hook` of a device, in the order in which they run.
pub fn prog_query(ifindex: u32, hook: u32) -> io::Result<Vec<(u32, u32)>> {
    let (mut progs, mut links) = ([0u32; MPROG_MAX], [0u32; MPROG_MAX]);
    let mut attr = ProgQuery {
        target_ifindex: ifindex,
        attach_type: hook,
        prog_ids: progs.as_mut_ptr() as u64,
        count: MPROG_MAX as u32,
        link_ids: links.as_mut_ptr() as u64,
        ..ProgQuery::default()
    };
    // SAFETY: both arrays hold `count` elements and outlive the call.
    unsafe { bpf(BPF_PROG_QUERY, &mut attr) }?;
    Ok(progs
        .into_iter()
        .zip(links)
        .take(attr.count as usize)
        .collect())
}

/// A program by its id (needs CAP_SYS_ADMIN).
pub fn prog_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = [id, 0, 0];
    // SAFETY: the command's member is {id, next_id, open_flags}.
    unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut attr) }.map(own)
}

/// Runs a classifier program on a frame of its own. `skb` is the head of `struct __sk_buff`; what the frame became is
/// written to `after`. Returns the program's verdict, the length of that, and the nanoseconds of one run.
pub fn test_run(
    prog: BorrowedFd<'_>,
    frame: &[u8],
    skb: &[u32; 12],
    repeat: u32,
    after: &mut [u8],
) -> io::Result<(i32, usize, u32)> {
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut attr = TestRun {
        prog_fd: fd_number(prog),
        data_size_in: size(frame),
        data_in: address(frame),
        data_size_out: size(after),
        // No buffer: a size of 0 would mean "as much as there is".
        data_out: if after.is_empty() {
            0
        } else {
            after.as_mut_ptr() as u64
        },
        repeat,
        ctx_size_in: size_of_val(skb) as u32,
        ctx_in: address(skb),
        ..TestRun::default()
    };
    // SAFETY: frame and context are live slices of the sizes stated; `after` too, and the kernel writes at most its size.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attr) }?;
    Ok((
        attr.retval as i32,
        attr.data_size_out as usize,
        attr.duration,
    ))
}

/// Has the kernel time all eBPF programs of the machine for as long as the descriptor is open (Linux 5.8).
pub fn enable_stats() -> io::Result<OwnedFd> {
    // BPF_STATS_RUN_TIME
    let mut kind = 0u32;
    // SAFETY: the command's member is one number.
    unsafe { bpf(BPF_ENABLE_STATS, &mut kind) }.map(own)
}

/// Words of [`info`]: up to the run count of a program.
pub const INFO_WORDS: usize = 52;

/// The head of `struct bpf_{prog,map,link}_info`; asks for nothing that needs a buffer.
pub fn info(fd: BorrowedFd<'_>) -> io::Result<[u32; INFO_WORDS]> {
    let mut words = [0u32; INFO_WORDS];
    let mut attr = ObjInfo {
        bpf_fd: fd_number(fd),
        info_len: size_of_val(&words) as u32,
        info: words.as_mut_ptr() as u64,
    };
    // SAFETY: the kernel writes at most `info_len` octets to `words`. Zeroed input asks for no array to be filled.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(words)
}
