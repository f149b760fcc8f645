//! Frames and the headers in them: the bottom of the house.
//!
//! A [`Frame`] owns its bytes, keeps headroom for tags that are pushed later, and carries the offload metadata
//! ([`Offload`]) that the kernel attached to it: a checksum still to be completed, or a super-frame still to be cut. The
//! metadata is part of the type so that every way out has to say what it does with it.
#![forbid(unsafe_code)]

pub mod addr;
pub mod csum;
pub mod edit;
pub mod frame;
pub mod gso;
pub mod layout;
pub mod offload;
pub mod time;
pub mod tunnel;
pub mod view;

pub use addr::{EtherType, IpProto, MacAddr, VlanId, VlanTci};
pub use frame::{Frame, FramePool};
pub use offload::{Csum, Gso, GsoKind, Offload};
pub use time::Now;
