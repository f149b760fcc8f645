//! A network device as rtnetlink describes it, and what it is good for.

use std::fmt;

use rvs_packet::MacAddr;

use super::wire::{self, attrs, string, u32_at, u64_at};

const ARPHRD_ETHER: u16 = 1;
/// `XDP_ATTACHED_NONE` (0) or a mode.
const IFLA_XDP_ATTACHED: u16 = 2;
const IF_OPER_UP: u8 = 6;
const IF_OPER_UNKNOWN: u8 = 0;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Number of the device, unique in its namespace while it exists.
    pub index: u32,
    /// Id of its namespace as the asking namespace knows it; `None` is the asking namespace itself.
    pub nsid: Option<i32>,
    pub name: String,
    /// What the kernel calls its driver (`veth`, `bridge`, `tun` ...); `None` for hardware and loopback.
    pub kind: Option<String>,
    /// ARPHRD_*: what its frames look like.
    pub layer: u16,
    /// IFF_*.
    pub flags: u32,
    pub mtu: u32,
    /// `None` when the device has no six-octet address.
    pub mac: Option<MacAddr>,
    /// Free text (`ip link set alias`).
    pub alias: Option<String>,
    /// Index of the bridge, bond, team, VRF or datapath that the device belongs to.
    pub master: Option<u32>,
    /// The lower device, or for a veth the other end.
    pub lower: Option<LinkRef>,
    /// True when the device says that it can carry frames (RFC 2863 operational status up, or none kept).
    pub operational: bool,
    /// The root queueing discipline (`noqueue`, `fq_codel`, `mq` ...).
    pub qdisc: Option<String>,
    /// How many want it promiscuous, a port's own socket included.
    pub promiscuity: u32,
    /// An XDP program works on what arrives.
    pub has_xdp: bool,
    pub stats: LinkStats,
}

/// Names a device, perhaps in another namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkRef {
    pub index: u32,
    /// `None`: the namespace that was asked.
    pub nsid: Option<i32>,
}

/// The kernel's counters of a device (`struct rtnl_link_stats64`), seen from the device's own stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub multicast: u64,
    pub collisions: u64,
    pub rx_length_errors: u64,
    pub rx_over_errors: u64,
    pub rx_crc_errors: u64,
    pub rx_frame_errors: u64,
    pub rx_fifo_errors: u64,
    pub rx_missed_errors: u64,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Loopback,
    /// A Linux bridge.
    Bridge,
    /// A bond or team that joins others.
    Aggregate(String),
    /// A tap: Ethernet frames to and from a program.
    Tap,
    /// A tunnel or other device without Ethernet frames, with its driver or its ARPHRD number.
    NotEthernet(String),
    Veth,
    /// Stacked on another device: `vlan`, `macvlan`, `ipvlan`, `macvtap` ...
    Stacked(String),
    /// A tunnel that carries Ethernet: `vxlan`, `geneve`, `gretap` ...
    Tunnel(String),
    /// Hardware, or a virtual machine's idea of it.
    Hardware,
    /// Anything else, with its driver.
    Other(String),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("the loopback device"),
            Self::Bridge => f.write_str("a Linux bridge"),
            Self::Tap => f.write_str("a tap device"),
            Self::NotEthernet(what) => write!(f, "a device without Ethernet frames ({what})"),
            Self::Veth => f.write_str("one end of a veth pair"),
            Self::Hardware => f.write_str("a network card"),
            Self::Aggregate(kind)
            | Self::Stacked(kind)
            | Self::Tunnel(kind)
            | Self::Other(kind) => {
                write!(f, "a {kind} device")
            }
        }
    }
}

/// Why a device can't be a port of the switch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPort {
    #[error("it is the loopback device")]
    Loopback,
    #[error("it is a Linux bridge itself")]
    Bridge,
    #[error("it has no Ethernet frames ({0})")]
    NotEthernet(String),
    /// Frames would go to its master and to us. The index is the master's.
    #[error(
        "it belongs to the device with index {0}; take it out first (ip link set NAME nomaster)"
    )]
    HasMaster(u32),
    #[error("it is the switch's own end of an internal port")]
    Hidden,
}

impl Link {
    pub fn role(&self) -> Role {
        if self.flags & libc::IFF_LOOPBACK as u32 != 0 {
            return Role::Loopback;
        }
        let kind = self.kind.as_deref().unwrap_or_default();
        if self.layer != ARPHRD_ETHER {
            return Role::NotEthernet(if kind.is_empty() {
                format!("ARPHRD {}", self.layer)
            } else {
                kind.to_owned()
            });
        }
        match kind {
            "" => Role::Hardware,
            "bridge" => Role::Bridge,
            "bond" | "team" => Role::Aggregate(kind.to_owned()),
            "tun" => Role::Tap,
            "veth" => Role::Veth,
            "vlan" | "macvlan" | "macvtap" | "ipvlan" | "ipvtap" | "macsec" | "hsr" => {
                Role::Stacked(kind.to_owned())
            }
            "vxlan" | "geneve" | "gretap" | "ip6gretap" | "erspan" | "ip6erspan" | "bareudp" => {
                Role::Tunnel(kind.to_owned())
            }
            other => Role::Other(other.to_owned()),
        }
    }

    /// Says what is in the way of making this device a port.
    pub fn can_be_port(&self) -> Result<(), NotAPort> {
        match self.role() {
            Role::Loopback => Err(NotAPort::Loopback),
            Role::Bridge => Err(NotAPort::Bridge),
            Role::NotEthernet(what) => Err(NotAPort::NotEthernet(what)),
            _ => self.master.map_or(Ok(()), |m| Err(NotAPort::HasMaster(m))),
        }
    }

    /// Set up by the administrator.
    pub fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }

    /// Up, and frames can leave it.
    pub fn has_carrier(&self) -> bool {
        self.is_up() && self.flags & libc::IFF_LOWER_UP as u32 != 0 && self.operational
    }

    /// Reads the body of RTM_NEWLINK or RTM_DELLINK. `None`: not about a device as such (a bridge tells its ports'
    /// changes, and wireless events come, in messages of the same type).
    pub(crate) fn parse(body: &[u8], nsid: Option<i32>) -> Option<Self> {
        if *body.first()? != libc::AF_UNSPEC as u8 {
            return None;
        }
        let mut link = Self {
            index: u32_at(body, 4)?,
            nsid,
            name: String::new(),
            kind: None,
            layer: wire::u16_at(body, 2)?,
            flags: u32_at(body, 8)?,
            mtu: 0,
            mac: None,
            alias: None,
            master: None,
            lower: None,
            operational: true,
            qdisc: None,
            promiscuity: 0,
            has_xdp: false,
            stats: LinkStats::default(),
        };
        let (mut lower, mut lower_nsid) = (None, None);
        for (kind, value) in attrs(body.get(wire::IFINFO..)?) {
            match kind {
                libc::IFLA_IFNAME => link.name = string(value),
                libc::IFLA_MTU => link.mtu = u32_at(value, 0).unwrap_or(0),
                libc::IFLA_ADDRESS => link.mac = value.try_into().ok().map(MacAddr),
                libc::IFLA_IFALIAS => link.alias = Some(string(value)),
                libc::IFLA_MASTER => link.master = u32_at(value, 0).filter(|m| *m != 0),
                libc::IFLA_LINK => lower = u32_at(value, 0).filter(|l| *l != 0),
                libc::IFLA_LINK_NETNSID => lower_nsid = u32_at(value, 0).map(|n| n as i32),
                libc::IFLA_OPERSTATE => {
                    link.operational = matches!(value, [IF_OPER_UP | IF_OPER_UNKNOWN, ..]);
                }
                libc::IFLA_QDISC => link.qdisc = Some(string(value)),
                libc::IFLA_PROMISCUITY => link.promiscuity = u32_at(value, 0).unwrap_or(0),
                libc::IFLA_XDP => {
                    link.has_xdp = attrs(value).any(|(k, v)| k == IFLA_XDP_ATTACHED && v != [0]);
                }
                libc::IFLA_STATS64 => link.stats = LinkStats::parse(value),
                libc::IFLA_LINKINFO => {
                    link.kind = attrs(value)
                        .find(|(k, _)| *k == libc::IFLA_INFO_KIND)
                        .map(|(_, v)| string(v));
                }
                _ => {}
            }
        }
        link.lower = lower.map(|index| LinkRef {
            index,
            nsid: lower_nsid,
        });
        (!link.name.is_empty()).then_some(link)
    }
}

impl LinkStats {
    /// What is missing at the end (an older kernel) is zero.
    fn parse(value: &[u8]) -> Self {
        let n = |i: usize| u64_at(value, 8 * i).unwrap_or(0);
        Self {
            rx_packets: n(0),
            tx_packets: n(1),
            rx_bytes: n(2),
            tx_bytes: n(3),
            rx_errors: n(4),
            tx_errors: n(5),
            rx_dropped: n(6),
            tx_dropped: n(7),
            multicast: n(8),
            collisions: n(9),
            rx_length_errors: n(10),
            rx_over_errors: n(11),
            rx_crc_errors: n(12),
            rx_frame_errors: n(13),
            rx_fifo_errors: n(14),
            rx_missed_errors: n(15),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Request;
    use super::*;

    fn body(family: u8, layer: u16, flags: u32, attrs: impl FnOnce(&mut Request)) -> Vec<u8> {
        let mut r = Request::new(libc::RTM_NEWLINK, 0);
        r.ifinfo(5, flags, 0);
        attrs(&mut r);
        let mut b = r.finish(0).split_off(16);
        b[0] = family;
        b[2..4].copy_from_slice(&layer.to_ne_bytes());
        b
    }

    fn link(layer: u16, flags: i32, kind: &str, master: u32) -> Link {
        let b = body(0, layer, flags as u32, |r| {
            r.attr_str(libc::IFLA_IFNAME, "x0");
            if !kind.is_empty() {
                let nest = r.nest(libc::IFLA_LINKINFO);
                r.attr_str(libc::IFLA_INFO_KIND, kind);
                r.end(nest);
            }
            r.attr_u32(libc::IFLA_MASTER, master);
        });
        Link::parse(&b, None).unwrap()
    }

    #[test]
    fn what_can_be_a_port() {
        for kind in [
            "", "veth", "tun", "vlan", "macvlan", "bond", "vxlan", "dummy", "netkit",
        ] {
            assert_eq!(link(1, 0, kind, 0).can_be_port(), Ok(()), "{kind}");
        }
        assert_eq!(
            link(772, libc::IFF_LOOPBACK, "", 0).can_be_port(),
            Err(NotAPort::Loopback)
        );
        assert_eq!(link(1, 0, "bridge", 0).can_be_port(), Err(NotAPort::Bridge));
        assert_eq!(
            link(1, 0, "veth", 9).can_be_port(),
            Err(NotAPort::HasMaster(9))
        );
        let tun = link(0xfffe, 0, "tun", 0);
        assert_eq!(tun.can_be_port(), Err(NotAPort::NotEthernet("tun".into())));
        assert!(link(768, 0, "ipip", 0).can_be_port().is_err());
    }

    #[test]
    fn bridge_port_messages_and_nameless_ones_are_not_links() {
        let b = body(libc::AF_BRIDGE as u8, 1, 0, |r| {
            r.attr_str(libc::IFLA_IFNAME, "x0")
        });
        assert_eq!(Link::parse(&b, None), None);
        assert_eq!(Link::parse(&body(0, 1, 0, |_| {}), None), None);
        assert_eq!(Link::parse(&[], None), None);
    }

    #[test]
    fn carrier_needs_all_three_signs() {
        let up = libc::IFF_UP | libc::IFF_LOWER_UP;
        let with = |flags: i32, oper: u8| {
            let b = body(0, 1, flags as u32, |r| {
                r.attr_str(libc::IFLA_IFNAME, "x0");
                r.attr(libc::IFLA_OPERSTATE, &[oper]);
            });
            Link::parse(&b, None).unwrap().has_carrier()
        };
        assert!(with(up, IF_OPER_UP) && with(up, IF_OPER_UNKNOWN));
        assert!(!with(up, 2) && !with(libc::IFF_UP, IF_OPER_UP) && !with(libc::IFF_LOWER_UP, 6));
    }

    #[test]
    fn short_attributes_cost_themselves_only() {
        let b = body(0, 1, 0, |r| {
            r.attr(libc::IFLA_MTU, &[1]);
            r.attr(libc::IFLA_ADDRESS, &[1, 2, 3]);
            r.attr(libc::IFLA_STATS64, &[1, 0, 0, 0, 0, 0, 0, 0, 9]);
            r.attr_str(libc::IFLA_IFNAME, "x0");
        });
        let l = Link::parse(&b, Some(3)).unwrap();
        assert_eq!((l.mtu, l.mac, l.nsid), (0, None, Some(3)));
        assert_eq!((l.stats.rx_packets, l.stats.tx_packets), (1, 0));
    }
}
