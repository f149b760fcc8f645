//! What bpf(2) is told: the members of `union bpf_attr` (linux/bpf.h) as far as this crate uses them. The kernel takes a
//! member that is shorter than its own and reads the rest as zeros. Padding would be garbage there: zerocopy proves that
//! there is none.

use zerocopy::{FromBytes, IntoBytes};

/// `BPF_MAP_TYPE_ARRAY`.
pub(crate) const MAP_ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_PROG_ARRAY`.
pub(crate) const MAP_PROG_ARRAY: u32 = 3;
/// `BPF_F_MMAPABLE`: the elements of an array can be mapped.
pub(crate) const MMAPABLE: u32 = 1 << 10;
/// `BPF_PROG_TYPE_SCHED_CLS`.
pub(crate) const PROG_SCHED_CLS: u32 = 3;
/// `BPF_TCX_INGRESS` (Linux 6.6).
pub(crate) const TCX_INGRESS: u32 = 46;
/// `BPF_TCX_EGRESS` (Linux 6.6).
pub(crate) const TCX_EGRESS: u32 = 47;
/// `BPF_MPROG_MAX`: programs that one hook can hold.
pub(crate) const MPROG_MAX: usize = 64;

/// `BPF_MAP_CREATE`
#[repr(C)]
#[derive(Default, FromBytes, IntoBytes)]
pub(crate) struct MapCreate {
    pub map_type: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub map_flags: u32,
    pub inner_map_fd: u32,
    pub numa_node: u32,
    pub map_name: [u8; 16],
}

/// `BPF_MAP_*_ELEM`
#[repr(C)]
#[derive(Default, FromBytes, IntoBytes)]
pub(crate) struct Element {
    pub map_fd: u32,
    pub pad: u32,
    pub key: u64,
    pub value: u64,
    pub flags: u64,
}

/// `BPF_PROG_LOAD`
#[repr(C)]
#[derive(Default, FromBytes, IntoBytes)]
pub(crate) struct ProgLoad {
    pub prog_type: u32,
    pub insn_cnt: u32,
    pub insns: u64,
    pub license: u64,
    pub log_level: u32,
    pub log_size: u32,
    pub log_buf: u64,
    pub kern_version: u32,
    pub prog_flags: u32,
    pub prog_name: [u8; 16],
    pub prog_ifindex: u32,
    pub expected_attach_type: u32,
}

/// `BPF_LINK_CREATE` with its tcx arm
#[repr(C)]
#[derive(Default, FromBytes, IntoBytes)]
pub(crate) struct LinkCreate {
    pub prog_fd: u32,
    pub target_ifindex: u32,
    pub attach_type: u32,
    pub flags: u32,
    pub relative_fd: u32,
    pub pad: u32,
    pub expected_revision: u64,
}

/// `BPF_PROG_QUERY`
#[repr(C)]
#[derive(Default, FromBytes, IntoBytes)]
pub(crate) struct ProgQuery {
    pub target_ifindex: u32,
    pub attach_type: u32,
    pub query_flags: u32,
    pub attach_flags: u32,
    pub prog_ids: u64,
    pub count: u32,
    pub pad: u32,
    pub prog_attach_flags: u64,
    pub link_ids: u64,
    pub link_attach_flags: u64,
    pub revision: u64,
}

/// `BPF_PROG_TEST_RUN`
#[repr(C)]
#[derive(Default, FromBytes, IntoBytes)]
pub(crate) struct TestRun {
    pub prog_fd: u32,
    pub retval: u32,
    pub data_size_in: u32,
    pub data_size_out: u32,
    pub data_in: u64,
    pub data_out: u64,
    pub repeat: u32,
    /// Nanoseconds per run.
    pub duration: u32,
    pub ctx_size_in: u32,
    pub ctx_size_out: u32,
    pub ctx_in: u64,
    pub ctx_out: u64,
    pub flags: u32,
    pub cpu: u32,
    pub batch_size: u32,
    pub pad: u32,
}

/// `BPF_OBJ_GET_INFO_BY_FD`
#[repr(C)]
#[derive(Default, FromBytes, IntoBytes)]
pub(crate) struct ObjInfo {
    pub bpf_fd: u32,
    pub info_len: u32,
    pub info: u64,
}

/// `BPF_OBJ_PIN` and `BPF_OBJ_GET`
#[repr(C)]
#[derive(Default, FromBytes, IntoBytes)]
pub(crate) struct ObjPath {
    pub pathname: u64,
    pub bpf_fd: u32,
    pub file_flags: u32,
}

/// The 16 octets of an object's name, cut and ended by a NUL.
pub(crate) fn object_name(name: &str) -> [u8; 16] {
    let mut out = [0; 16];
    for (slot, byte) in out.iter_mut().take(15).zip(name.bytes()) {
        *slot = byte;
    }
    out
}
