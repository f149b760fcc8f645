//! Requests that came in several parts (OpenFlow 1.3 section 7.3.5).

use super::{MultipartRequest, Request};
use crate::error::{ErrorCode, OfError};

/// Octets of unfinished requests that a connection may have pending.
pub const MULTIPART_OCTETS: usize = 4 << 20;

/// Unfinished requests that a connection may have pending.
pub const MULTIPART_REQUESTS: usize = 16;

/// Nanoseconds after its first part until a request must be whole.
pub const MULTIPART_TIMEOUT: u64 = 1_000_000_000;

/// Puts the parts of multipart requests together, one [`Reassembly`] for a connection.
#[derive(Debug, Default)]
pub struct Reassembly {
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    xid: u32,
    octets: usize,
    body: Request,
    since: u64,
}

impl Reassembly {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a part of `octets` octets that came at `now` (nanoseconds of a clock that does not jump); gives the whole
    /// request with its last part.
    ///
    /// # Errors
    /// [`ErrorCode::BrcMultipartBufferOverflow`] when too much is pending, or when a part is of another kind than those
    /// before it. The request is then forgotten.
    pub fn push(
        &mut self,
        now: u64,
        xid: u32,
        octets: usize,
        part: MultipartRequest,
    ) -> Result<Option<Request>, OfError> {
        let overflow = |why: String| Err(ErrorCode::BrcMultipartBufferOverflow.because(why));
        let held: usize = self.pending.iter().map(|p| p.octets).sum();
        let Some(at) = self.pending.iter().position(|p| p.xid == xid) else {
            if !part.more {
                return Ok(Some(part.body));
            }
            if self.pending.len() >= MULTIPART_REQUESTS || held + octets > MULTIPART_OCTETS {
                return overflow(format!(
                    "{MULTIPART_REQUESTS} multipart requests or {MULTIPART_OCTETS} octets are unfinished already"
                ));
            }
            self.pending.push(Pending {
                xid,
                octets,
                body: part.body,
                since: now,
            });
            return Ok(None);
        };
        if self.pending[at].body.kind() != part.body.kind() {
            self.pending.swap_remove(at);
            return overflow(format!("parts of transaction {xid:#x} are of two kinds"));
        }
        if held + octets > MULTIPART_OCTETS {
            self.pending.swap_remove(at);
            return overflow(format!(
                "{MULTIPART_OCTETS} octets of unfinished multipart requests"
            ));
        }
        let p = &mut self.pending[at];
        p.octets += octets;
        p.body.append(part.body);
        if part.more {
            return Ok(None);
        }
        Ok(Some(self.pending.swap_remove(at).body))
    }

    /// Forgets the requests that are older than [`MULTIPART_TIMEOUT`] and gives their transaction ids: each is answered with
    /// [`ErrorCode::BrcMultipartRequestTimeout`].
    pub fn expire(&mut self, now: u64) -> Vec<u32> {
        let old = |p: &Pending| now.saturating_sub(p.since) > MULTIPART_TIMEOUT;
        let gone = self
            .pending
            .iter()
            .filter(|p| old(p))
            .map(|p| p.xid)
            .collect();
        self.pending.retain(|p| !old(p));
        gone
    }

    /// When [`Reassembly::expire`] should be called next.
    pub fn next_expiry(&self) -> Option<u64> {
        self.pending
            .iter()
            .map(|p| p.since + MULTIPART_TIMEOUT + 1)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::TableFeatures;

    fn part(n: u8, more: bool) -> MultipartRequest {
        MultipartRequest {
            more,
            body: Request::TableFeatures(vec![TableFeatures {
                table: crate::TableId(n),
                ..TableFeatures::default()
            }]),
        }
    }

    #[test]
    fn parts_of_two_requests_interleave() {
        let mut r = Reassembly::new();
        assert_eq!(r.push(0, 1, 80, part(1, true)), Ok(None));
        assert_eq!(r.push(0, 2, 80, part(7, true)), Ok(None));
        assert_eq!(
            r.push(0, 3, 8, MultipartRequest::new(Request::Desc)),
            Ok(Some(Request::Desc))
        );
        let Request::TableFeatures(t) = r.push(0, 1, 80, part(2, false)).unwrap().unwrap() else {
            panic!()
        };
        assert_eq!(t.iter().map(|t| t.table.0).collect::<Vec<_>>(), [1, 2]);
        let Request::TableFeatures(t) = r.push(0, 2, 80, part(8, false)).unwrap().unwrap() else {
            panic!()
        };
        assert_eq!(t.len(), 2);
        assert!(r.pending.is_empty());
    }

    #[test]
    fn requests_and_octets_are_bounded() {
        let mut r = Reassembly::new();
        for xid in 0..16 {
            assert_eq!(r.push(0, xid, 100, part(0, true)), Ok(None));
        }
        let err = r.push(0, 16, 100, part(0, true)).unwrap_err();
        assert_eq!(err.code, ErrorCode::BrcMultipartBufferOverflow);
        let mut r = Reassembly::new();
        let full = MULTIPART_OCTETS / 65535;
        for _ in 0..full {
            assert_eq!(r.push(0, 1, 65535, part(0, true)), Ok(None));
        }
        let err = r.push(0, 1, 65535, part(0, true)).unwrap_err();
        assert_eq!(err.code, ErrorCode::BrcMultipartBufferOverflow);
        assert!(r.pending.is_empty());
    }

    #[test]
    fn what_is_not_finished_in_a_second_is_forgotten() {
        let mut r = Reassembly::new();
        assert_eq!(r.push(5, 9, 100, part(0, true)), Ok(None));
        assert_eq!(r.expire(5 + MULTIPART_TIMEOUT), Vec::<u32>::new());
        assert_eq!(r.next_expiry(), Some(6 + MULTIPART_TIMEOUT));
        assert_eq!(r.expire(6 + MULTIPART_TIMEOUT), [9]);
        assert_eq!(r.next_expiry(), None);
    }

    #[test]
    fn parts_of_two_kinds_are_no_request() {
        let mut r = Reassembly::new();
        assert_eq!(r.push(0, 1, 100, part(0, true)), Ok(None));
        let err = r.push(0, 1, 100, MultipartRequest::new(Request::Desc));
        assert!(err.is_err());
        assert!(r.pending.is_empty());
    }
}
