//! Who would miss a frame that does not leave by its device: packet sockets, and a device that is told to cut and to
//! checksum by itself.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{socket, AddressFamily, SockFlag, SockType};

use crate::sys::opt;

/// linux/ethtool.h
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_GTSO: u32 = 0x1e;

/// The devices that packet sockets of this thread's namespace listen on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    all: bool,
    devices: Vec<u32>,
}

impl Listeners {
    /// Asks the kernel (/proc/net/packet of packet(7)).
    ///
    /// # Errors
    /// There is no such file.
    pub fn now() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string(
            "/proc/thread-self/net/packet",
        )?))
    }

    /// Columns: socket, references, type, protocol (hexadecimal; 0 hears nothing), device (0 is every one), ... A line that
    /// is not of this form counts as one that listens everywhere.
    fn parse(table: &str) -> Self {
        let mut this = Self::default();
        for line in table.lines().skip(1) {
            let mut columns = line.split_whitespace().skip(3);
            let protocol = columns.next().map(|hex| u16::from_str_radix(hex, 16));
            let device = columns.next().map(str::parse::<u32>);
            match (protocol, device) {
                (Some(Ok(0)), Some(Ok(_))) => {}
                (Some(Ok(_)), Some(Ok(device))) if device != 0 => this.devices.push(device),
                _ => this.all = true,
            }
        }
        this.devices.sort_unstable();
        this
    }

    /// Whether a socket sees the frames of this device.
    pub fn on(&self, ifindex: u32) -> bool {
        self.all || self.devices.binary_search(&ifindex).is_ok()
    }
}

/// Whether the device takes super-frames without checksums as they are. Otherwise the kernel cuts and completes what leaves
/// by it (`ethtool -K DEVICE tx off`, `tso off`).
///
/// # Errors
/// No such device in this thread's namespace, or one that can't be asked.
pub fn takes_super_frames(name: &str) -> io::Result<bool> {
    let any = any_socket()?;
    let has = |what| opt::ethtool_value(any.as_fd(), name, what).map(|value| value != 0);
    Ok(has(ETHTOOL_GTXCSUM)? && has(ETHTOOL_GTSO)?)
}

/// How fast a device is, as its driver tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSpeed {
    /// Bits a second.
    pub bits: u64,
    pub full_duplex: bool,
}

/// The speed of the device `name` of this thread's namespace; `None` when it tells none, as without a carrier.
pub fn link_speed(name: &str) -> Option<LinkSpeed> {
    const UNKNOWN: [u32; 3] = [0, 0xffff, u32::MAX];
    let (megabits, duplex) = opt::ethtool_settings(any_socket().ok()?.as_fd(), name).ok()?;
    (!UNKNOWN.contains(&megabits)).then(|| LinkSpeed {
        bits: u64::from(megabits) * 1_000_000,
        full_duplex: duplex == 1,
    })
}

/// One to ask about devices with.
fn any_socket() -> io::Result<OwnedFd> {
    Ok(socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n";

    #[test]
    fn sockets_that_hear_are_told_from_those_that_only_send() {
        let of = |lines: &str| Listeners::parse(&format!("{HEAD}{lines}"));
        let some = of("00000000 3      3    0003   9     1 0      0      1234  \n\
                       00000000 3      3    0000   7     0 0      0      1235  \n\
                       00000000 3      3    88cc   4     1 0      0      1236  \n");
        assert_eq!([4, 7, 9].map(|i| some.on(i)), [true, false, true]);
        let everywhere = of("00000000 3      2    0003   0     1 0      0      1234  \n");
        assert!(everywhere.on(5));
        assert!(of("something else\n").on(5));
        assert_eq!(of(""), Listeners::default());
    }

    #[test]
    fn the_loopback_device_cuts_nothing() {
        assert!(takes_super_frames("lo").unwrap());
        assert!(takes_super_frames("no-such-device").is_err());
        assert!(Listeners::now().is_ok());
        assert_eq!(link_speed("lo"), None);
        assert_eq!(link_speed("no-such-device"), None);
    }
}
