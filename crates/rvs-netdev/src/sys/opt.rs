//! Socket options, addresses and ioctls of packet sockets and taps.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct packet_mreq`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct PacketMreq {
    pub ifindex: i32,
    pub kind: u16,
    pub alen: u16,
    pub address: [u8; 8],
}

/// `struct tpacket_stats`.
#[derive(FromBytes, IntoBytes, Default)]
#[repr(C)]
pub(crate) struct PacketStats {
    pub packets: u32,
    pub drops: u32,
}

const SIOCETHTOOL: libc::Ioctl = 0x8946;

fn check(rc: libc::c_int) -> io::Result<libc::c_int> {
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(rc)
    }
}

/// `setsockopt(2)` with a value that is plain bytes.
pub(crate) fn set<T: IntoBytes + Immutable>(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &T,
) -> io::Result<()> {
    let bytes = value.as_bytes();
    // SAFETY: pointer and length describe `bytes`, which outlives the call; the kernel only reads it.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            bytes.as_ptr().cast(),
            bytes.len() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// `getsockopt(2)` of a value for which any bytes are valid.
pub(crate) fn query<T: FromBytes + IntoBytes + Default>(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
) -> io::Result<T> {
    let mut value = T::default();
    let bytes = value.as_mut_bytes();
    let mut len = bytes.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` octets to `bytes`, and any octets make a valid `T` (FromBytes).
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            bytes.as_mut_ptr().cast(),
            &mut len,
        )
    })?;
    Ok(value)
}

/// Binds a packet socket to one interface: to all protocols, so that from here on it receives, or to none, so that it only
/// sends.
pub(crate) fn bind_packet(fd: BorrowedFd<'_>, ifindex: u32, receives: bool) -> io::Result<()> {
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut addr: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    addr.sll_family = libc::AF_PACKET as u16;
    let protocol = if receives { libc::ETH_P_ALL as u16 } else { 0 };
    addr.sll_protocol = protocol.to_be();
    addr.sll_ifindex = ifindex as i32;
    let len = std::mem::size_of_val(&addr) as libc::socklen_t;
    // SAFETY: pointer and length describe `addr`, which outlives the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const addr).cast(), len) }).map(drop)
}

/// Has a socket take no frame any more: a filter of one instruction, "keep 0 octets".
pub(crate) fn refuse_all(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut none = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut none,
    };
    let len = std::mem::size_of_val(&program) as libc::socklen_t;
    // SAFETY: pointer and length describe `program`, whose one instruction outlives the call; the kernel copies it.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            len,
        )
    })
    .map(drop)
}

/// The interface a packet socket is bound to: `None` when that device is gone.
pub(crate) fn bound_ifindex(fd: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut addr: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut len = std::mem::size_of_val(&addr) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` octets to `addr`, of which any are valid.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut addr).cast(), &mut len) })?;
    Ok(u32::try_from(addr.sll_ifindex).ok())
}

/// `SIOCETHTOOL` with a command that answers with one number, about the device `name` of the socket's namespace.
pub(crate) fn ethtool_value(fd: BorrowedFd<'_>, name: &str, command: u32) -> io::Result<u32> {
    // struct ethtool_value
    ethtool::<2>(fd, name, command).map(|value| value[1])
}

/// Speed in Mbit/s and duplex (0 half, 1 full) of the device `name`, as its driver tells them (`ETHTOOL_GSET`): all ones for
/// what it does not know.
pub(crate) fn ethtool_settings(fd: BorrowedFd<'_>, name: &str) -> io::Result<(u32, u8)> {
    const ETHTOOL_GSET: u32 = 1;
    // struct ethtool_cmd: `speed` and `duplex` are in its fourth word, `speed_hi` in its eighth.
    let words = ethtool::<11>(fd, name, ETHTOOL_GSET)?;
    let [a, b, duplex, _] = words[3].to_ne_bytes();
    let [c, d, ..] = words[7].to_ne_bytes();
    let speed = u32::from(u16::from_ne_bytes([c, d])) << 16 | u32::from(u16::from_ne_bytes([a, b]));
    Ok((speed, duplex))
}

/// `SIOCETHTOOL` with a command that reads its own number and writes a structure of `N` words at most, which is returned.
fn ethtool<const N: usize>(fd: BorrowedFd<'_>, name: &str, command: u32) -> io::Result<[u32; N]> {
    // SAFETY: all-zero is a valid ifreq.
    let mut req: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in req.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let mut value = [0u32; N];
    value[0] = command;
    req.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: SIOCETHTOOL reads one ifreq; the commands that this is called with write one structure of `N` words, which
    // is what `ifru_data` points to.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), SIOCETHTOOL, &raw mut req) })?;
    Ok(value)
}

/// `TUNSETIFF`: attaches an open `/dev/net/tun` to the device `name` (at most 15 octets), creating it if need be.
pub(crate) fn tun_attach(fd: BorrowedFd<'_>, name: &str, flags: i16) -> io::Result<()> {
    // SAFETY: all-zero is a valid ifreq.
    let mut req: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in req.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    req.ifr_ifru.ifru_flags = flags;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which `req` is.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut req) }).map(drop)
}

/// `TUNSETOFFLOAD`: which offloads the reader of the tap takes.
pub(crate) fn tun_offload(fd: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
    check(unsafe {
        libc::ioctl(
            fd.as_raw_fd(),
            libc::TUNSETOFFLOAD,
            libc::c_ulong::from(flags),
        )
    })
    .map(drop)
}
