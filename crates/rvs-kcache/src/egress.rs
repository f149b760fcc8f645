//! Who works on what leaves a device: tcx programs, filters, netfilter chains. Frames that go straight into the namespace
//! behind a veth pass them by, so while there is one they must not.

use std::fs;
use std::io;

use crate::attr::TCX_EGRESS;
use crate::foreign;
use crate::netlink::{attr, u32_at, Netlink};
use crate::tc;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFPROTO_NETDEV: u8 = 5;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_HOOK_HOOKNUM: u16 = 1;
/// Of the family netdev; ingress is 0.
const EGRESS: u32 = 1;
/// `struct nfgenmsg`
const NFGENMSG: usize = 4;

/// What there was on the egress of this thread's namespace when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EgressHooks {
    /// Some device has a netfilter chain; which one is not asked.
    netfilter: bool,
}

impl EgressHooks {
    /// Asks netfilter.
    ///
    /// # Errors
    /// Netlink's.
    pub fn now() -> io::Result<Self> {
        Ok(Self {
            netfilter: netfilter()?,
        })
    }

    /// Whether something works on the egress of the device.
    ///
    /// # Errors
    /// No such device, no privilege to ask.
    pub fn on(&self, ifindex: u32) -> io::Result<bool> {
        Ok(self.netfilter
            || !foreign::tcx_programs(ifindex, TCX_EGRESS)?.is_empty()
            || !tc::filters(&Netlink::open()?, ifindex, tc::EGRESS)?.is_empty())
    }
}

fn netfilter() -> io::Result<bool> {
    if !may_have_tables() {
        return Ok(false);
    }
    let nl = match Netlink::netfilter() {
        Err(e) if e.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return Ok(false),
        other => other?,
    };
    let chains = match nl.dump(
        NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN,
        &[NFPROTO_NETDEV, 0, 0, 0],
    ) {
        // This kernel has no nf_tables.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return Ok(false),
        other => other?,
    };
    Ok(chains.iter().any(|chain| is_egress(chain)))
}

/// A chain that is called from no hook, or from ingress, is none of ours.
fn is_egress(chain: &[u8]) -> bool {
    let attrs = chain.get(NFGENMSG..).unwrap_or(&[]);
    attr(attrs, NFTA_CHAIN_HOOK)
        .and_then(|hook| attr(hook, NFTA_HOOK_HOOKNUM))
        .and_then(|n| u32_at(n, 0))
        .is_some_and(|n| u32::from_be(n) == EGRESS)
}

/// Whether nf_tables can have been loaded. Asking a kernel that has it as a module would load it.
fn may_have_tables() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let builtin = format!("/lib/modules/{}/modules.builtin", release.trim());
    fs::metadata("/sys/module/nf_tables").is_ok()
        || fs::read_to_string(builtin).map_or(true, |list| list.contains("/nf_tables.ko"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::netlink::put_attr;

    #[test]
    fn egress_chains_are_told_from_others() {
        let chain = |hook: Option<u32>| {
            let mut body = vec![NFPROTO_NETDEV, 0, 0, 0];
            put_attr(&mut body, 3, b"c\0");
            if let Some(hook) = hook {
                let mut nested = Vec::new();
                put_attr(&mut nested, NFTA_HOOK_HOOKNUM, &hook.to_be_bytes());
                put_attr(
                    &mut body,
                    NFTA_CHAIN_HOOK | libc::NLA_F_NESTED as u16,
                    &nested,
                );
            }
            body
        };
        assert!(is_egress(&chain(Some(1))));
        assert!(!is_egress(&chain(Some(0))) && !is_egress(&chain(None)));
        assert!(!is_egress(&[]));
    }

    #[test]
    fn nothing_works_on_the_egress_of_the_loopback_device() {
        let hooks = EgressHooks::now().unwrap();
        assert!(hooks.netfilter || !hooks.on(1).unwrap());
    }
}
