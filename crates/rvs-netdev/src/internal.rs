//! Internal ports: a veth pair of which one end is the user's and the other the switch's.
//!
//! The user's end has the port's name, is made DOWN, and may be moved, renamed and configured at will. The switch's end is
//! hidden: its name is `rv-` and a hash of (database, port), it stays in the daemon's namespace, and it carries everything
//! (MTU 65535) and answers nothing (no ARP, no IPv6). The alias of the hidden end says whose it is, so that a daemon that
//! starts finds its ports again wherever the users' ends have gone to meanwhile, and touches nobody else's devices. It also
//! says which MTU the switch gave the user's end last: any other is its user's. A veth pair dies as a whole: when the user's
//! end or its namespace is deleted, the hidden end is gone too.

use rvs_packet::MacAddr;

use crate::rtnl::{Change, Link, LinkRef, NotAPort, Role, Rtnl, RtnlError, VethEnd};

/// Begins the alias of every hidden end; the rest is `DATABASE/PORT`, and [`GIVEN`] and a number where an MTU was given.
const MARK: &str = "rvswitch:";
/// No device's name has a space.
const GIVEN: &str = " mtu ";
/// Begins the name of every hidden end.
const PREFIX: &str = "rv-";
/// The hidden end carries whatever the user's end sends.
const HIDDEN_MTU: u32 = 65_535;

/// Which internal port is meant: the switch's database and the port's name in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InternalId {
    /// Identifies the database, so that two switches in one namespace never adopt each other's ports.
    pub database: String,
    /// Name of the port, and of the user's end when it is made.
    pub port: String,
}

/// What the user's end is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserEnd {
    pub mtu: u32,
    pub mac: MacAddr,
}

/// An internal port that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Internal {
    /// The switch's end, to be opened as a packet port.
    pub hidden: Link,
    /// Where the user's end is now: its index, and its namespace if it is another one.
    pub user: LinkRef,
}

/// Why an internal port can't be made or adopted.
#[derive(Debug, thiserror::Error)]
pub enum InternalError {
    /// The port's name belongs to another device.
    #[error("{name} is {role} already, and not one that the switch made; remove or rename it, or choose another name")]
    NameTaken { name: String, role: Role },
    /// The hidden end's name belongs to another device or another port: a collision of hashes, or somebody's joke.
    #[error(
        "{name}, the name of the hidden end of {port}, is {role} that belongs to somebody else"
    )]
    HiddenTaken {
        name: String,
        port: String,
        role: Role,
    },
    /// Somebody deleted it at this very moment; to be tried again.
    #[error("{0} was deleted while it was being made")]
    Vanished(String),
    #[error(transparent)]
    Rtnl(#[from] RtnlError),
}

impl InternalId {
    /// Name of the hidden end: stable over restarts, versions and machines.
    pub fn hidden_name(&self) -> String {
        format!("{PREFIX}{:012x}", self.hash("name") & 0xffff_ffff_ffff)
    }

    /// A stable address for the user's end: locally administered, unicast.
    pub fn stable_mac(&self) -> MacAddr {
        self.mac("user")
    }

    fn mac(&self, purpose: &str) -> MacAddr {
        let bits = self.hash(purpose) & 0x0000_ffff_ffff_ffff;
        MacAddr::from_u64(bits & !0x0100_0000_0000 | 0x0200_0000_0000)
    }

    fn alias(&self) -> String {
        format!("{MARK}{}/{}", self.database, self.port)
    }

    fn alias_with(&self, mtu: u32) -> String {
        format!("{}{GIVEN}{mtu}", self.alias())
    }

    fn from_alias(alias: &str) -> Option<Self> {
        let (database, rest) = alias.strip_prefix(MARK)?.split_once('/')?;
        let port = rest.split_once(GIVEN).map_or(rest, |(port, _)| port);
        Some(Self {
            database: database.to_owned(),
            port: port.to_owned(),
        })
    }

    /// FNV-1a, 64 bits: names on disk depend on it, so it must never change with a library.
    fn hash(&self, purpose: &str) -> u64 {
        [self.database.as_str(), self.port.as_str(), purpose]
            .iter()
            .flat_map(|s| s.bytes().chain([0]))
            .fold(0xcbf2_9ce4_8422_2325, |h, b| {
                (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
            })
    }
}

/// Finds the port if it exists, wherever its user's end is. Makes sure that the hidden end is as it should be and up.
pub fn adopt(rtnl: &mut Rtnl, id: &InternalId) -> Result<Option<Internal>, InternalError> {
    let name = id.hidden_name();
    let Some(hidden) = rtnl.link_by_name(&name)? else {
        return Ok(None);
    };
    let ours = match hidden.alias.as_deref() {
        Some(marked) => InternalId::from_alias(marked).as_ref() == Some(id),
        // Killed between making and marking: the address is as good as a signature.
        None => hidden.mac == Some(id.mac("hidden")),
    };
    if !ours || hidden.role() != Role::Veth {
        let role = hidden.role();
        return Err(InternalError::HiddenTaken {
            name,
            port: id.port.clone(),
            role,
        });
    }
    let alias = hidden.alias.clone().unwrap_or_else(|| id.alias());
    claim(rtnl, id, &alias, hidden).map(Some)
}

/// Makes the port. Its user's end is in this namespace and DOWN.
///
/// A device that has the port's name is refused, also when the port exists already (its user's end still has its name, or
/// somebody took the name after a rename): [`adopt`] first.
pub fn create(rtnl: &mut Rtnl, id: &InternalId, user: UserEnd) -> Result<Internal, InternalError> {
    if let Some(taken) = rtnl.link_by_name(&id.port)? {
        return Err(InternalError::NameTaken {
            name: id.port.clone(),
            role: taken.role(),
        });
    }
    let name = id.hidden_name();
    let hidden_end = VethEnd {
        name: &name,
        mac: id.mac("hidden"),
        mtu: HIDDEN_MTU,
        no_arp: true,
    };
    let user_end = VethEnd {
        name: &id.port,
        mac: user.mac,
        mtu: user.mtu,
        no_arp: false,
    };
    rtnl.create_veth(&hidden_end, &user_end)?;
    // From here on the pair exists: what fails now must not leave a half-made one behind.
    let hidden = rtnl.link_by_name(&name)?.ok_or_else(|| vanished(id))?;
    let index = hidden.index;
    let made = claim(rtnl, id, &id.alias_with(user.mtu), hidden);
    if made.is_err() {
        let _ = rtnl.delete(index);
    }
    made
}

/// Marks the hidden end as ours, makes it silent, wide and up.
fn claim(
    rtnl: &mut Rtnl,
    id: &InternalId,
    alias: &str,
    found: Link,
) -> Result<Internal, InternalError> {
    let hidden = hide(rtnl, alias, found)?.ok_or_else(|| vanished(id))?;
    let user = hidden.lower.ok_or_else(|| vanished(id))?;
    Ok(Internal { hidden, user })
}

/// Gives a device of ours its alias, makes it silent, wide and up. `None`: it is gone.
fn hide(rtnl: &mut Rtnl, alias: &str, found: Link) -> Result<Option<Link>, RtnlError> {
    if found.alias.as_deref() != Some(alias) {
        rtnl.change(
            found.index,
            &Change {
                alias: Some(alias),
                ..Change::default()
            },
        )?;
    }
    let quiet = Change {
        no_ipv6_address: true,
        ..Change::default()
    };
    match rtnl.change(found.index, &quiet) {
        // A kernel without IPv6 needs no silence.
        Err(e)
            if matches!(
                e.errno(),
                Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP | libc::EINVAL)
            ) => {}
        other => other?,
    }
    // Best effort beside the above: the file is missing without IPv6, or unwritable in a container.
    let _ = std::fs::write(
        format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", found.name),
        "1",
    );
    let mtu = (found.mtu != HIDDEN_MTU).then_some(HIDDEN_MTU);
    rtnl.change(
        found.index,
        &Change {
            up: Some(true),
            mtu,
            ..Change::default()
        },
    )?;
    let at = LinkRef {
        index: found.index,
        nsid: None,
    };
    rtnl.link(at)
}

/// The punt device: a veth pair of which both ends are the switch's. What the kernel's flow cache sends into the near end
/// comes out at the far one, where the daemon reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PuntPair {
    pub near: Link,
    pub far: Link,
}

impl PuntPair {
    /// Of a port without a name, which no other port has.
    fn id(database: &str) -> InternalId {
        InternalId {
            database: database.to_owned(),
            port: String::new(),
        }
    }

    fn name(id: &InternalId, end: &str) -> String {
        format!("{PREFIX}{:012x}", id.hash(end) & 0xffff_ffff_ffff)
    }

    /// Makes the pair, hidden as internal ports' ends are. One that a dead daemon of this database left is replaced.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create(rtnl: &mut Rtnl, database: &str) -> Result<Self, InternalError> {
        Self::remove_leftover(rtnl, database)?;
        let id = Self::id(database);
        let (near, far) = (Self::name(&id, "near"), Self::name(&id, "far"));
        let end = |name, mac| VethEnd {
            name,
            mac,
            mtu: HIDDEN_MTU,
            no_arp: true,
        };
        rtnl.create_veth(&end(&near, id.mac("near")), &end(&far, id.mac("far")))?;
        let made = Self::set_up(rtnl, &id, &far, &near);
        if made.is_err() {
            let _ = Self::remove_leftover(rtnl, database);
        }
        made
    }

    fn set_up(
        rtnl: &mut Rtnl,
        id: &InternalId,
        far: &str,
        near: &str,
    ) -> Result<Self, InternalError> {
        let mut end = |name: &str| {
            let found = rtnl.link_by_name(name)?.ok_or_else(|| vanished(id))?;
            hide(rtnl, &id.alias(), found)?.ok_or_else(|| vanished(id))
        };
        let far = end(far)?;
        let near = end(near)?;
        Ok(Self { near, far })
    }

    /// Removes the pair of this database; false when there is none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_leftover(rtnl: &mut Rtnl, database: &str) -> Result<bool, RtnlError> {
        let id = Self::id(database);
        let Some(link) = rtnl.link_by_name(&Self::name(&id, "near"))? else {
            return Ok(false);
        };
        let ours = link.alias == Some(id.alias()) || link.mac == Some(id.mac("near"));
        if !ours {
            // Making ours will say that the name is taken.
            return Ok(false);
        }
        match rtnl.delete(link.index) {
            Err(e) if e.errno() != Some(libc::ENODEV) => Err(e),
            _ => Ok(true),
        }
    }
}

fn vanished(id: &InternalId) -> InternalError {
    InternalError::Vanished(id.port.clone())
}

impl Internal {
    /// The user's end as it is now, in whatever namespace. `None`: it is gone (and the hidden end with it), or its
    /// namespace can't be looked into.
    pub fn user_link(&self, rtnl: &mut Rtnl) -> Result<Option<Link>, RtnlError> {
        rtnl.link(self.user)
    }

    /// The MTU that the user's end was given last; `None`: nobody has noted it.
    pub fn given_mtu(&self) -> Option<u32> {
        let (_, mtu) = self.hidden.alias.as_deref()?.split_once(GIVEN)?;
        mtu.parse().ok()
    }

    /// Notes which MTU the user's end was given.
    ///
    /// # Errors
    /// The kernel's.
    pub fn note_given_mtu(
        &self,
        rtnl: &mut Rtnl,
        id: &InternalId,
        mtu: u32,
    ) -> Result<(), RtnlError> {
        let change = Change {
            alias: Some(&id.alias_with(mtu)),
            ..Change::default()
        };
        rtnl.change(self.hidden.index, &change)
    }

    /// Deletes the pair.
    pub fn destroy(self, rtnl: &mut Rtnl) -> Result<(), RtnlError> {
        match rtnl.delete(self.hidden.index) {
            Err(e) if e.errno() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }
}

/// The internal ports of `database` among `links`, also those that the configuration has forgotten.
pub fn find_all(links: &[Link], database: &str) -> Vec<(InternalId, Internal)> {
    links
        .iter()
        .filter_map(|l| {
            let id = InternalId::from_alias(l.alias.as_deref()?)?;
            let ours = id.database == database && id.hidden_name() == l.name;
            let user = l.lower.filter(|_| ours && l.role() == Role::Veth)?;
            Some((
                id,
                Internal {
                    hidden: l.clone(),
                    user,
                },
            ))
        })
        .collect()
}

/// Says whether `link` is a hidden end of some switch, which is not for users to make a port of.
pub fn is_hidden(link: &Link) -> bool {
    link.name.starts_with(PREFIX) && link.alias.as_deref().is_some_and(|a| a.starts_with(MARK))
}

/// [`Link::can_be_port`], and hidden ends refused.
pub fn can_be_port(link: &Link) -> Result<(), NotAPort> {
    if is_hidden(link) {
        Err(NotAPort::Hidden)
    } else {
        link.can_be_port()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(database: &str, port: &str) -> InternalId {
        InternalId {
            database: database.into(),
            port: port.into(),
        }
    }

    #[test]
    fn names_fit_differ_and_never_change() {
        let a = id("db", "tap1a");
        assert_eq!(a.hidden_name().len(), 15);
        assert!(a.hidden_name().starts_with("rv-"));
        // Devices that outlive a daemon carry these names.
        assert_eq!(a.hidden_name(), "rv-ece4045d6f6d");
        assert_ne!(a.hidden_name(), id("db", "tap1b").hidden_name());
        assert_ne!(a.hidden_name(), id("db2", "tap1a").hidden_name());
        assert_ne!(id("a", "bc").hidden_name(), id("ab", "c").hidden_name());
    }

    #[test]
    fn addresses_are_local_and_unicast() {
        for port in ["br1", "tap1a", "x"] {
            let i = id("db", port);
            for mac in [i.stable_mac(), i.mac("hidden")] {
                assert_eq!(mac.0[0] & 3, 2);
            }
            assert_ne!(i.stable_mac(), i.mac("hidden"));
        }
    }

    #[test]
    fn the_alias_is_read_back() {
        let i = id("5f0e-41", "s1-eth1.0");
        assert_eq!(InternalId::from_alias(&i.alias()).as_ref(), Some(&i));
        assert_eq!(InternalId::from_alias(&i.alias_with(9000)), Some(i));
        assert_eq!(InternalId::from_alias("uplink to rack 3"), None);
    }
}
