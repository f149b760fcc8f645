//! UUIDs, the names of rows, and where new ones come from.
//!
//! The crate reads no random source of its own: a [`UuidGenerator`] is seeded by its owner, so that
//! a test with one seed sees one run and a daemon with 16 random bytes gets unpredictable UUIDs.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use sha1::{Digest, Sha1};

/// A 128-bit row identifier (RFC 7047 section 3.1, RFC 4122 text form).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// The all-zero UUID: the default of a mandatory `uuid` column and the "no transaction" identifier.
    pub const ZERO: Uuid = Uuid([0; 16]);

    /// A UUID of exactly these bytes, in the order of the text form.
    pub const fn from_bytes(bytes: [u8; 16]) -> Uuid {
        Uuid(bytes)
    }

    /// The bytes in the order of the text form.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// The text is not 8-4-4-4-12 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID (expected 8-4-4-4-12 hexadecimal digits)")]
pub struct NotAUuid;

impl FromStr for Uuid {
    type Err = NotAUuid;

    fn from_str(text: &str) -> Result<Uuid, NotAUuid> {
        let text = text.as_bytes();
        if text.len() != 36 {
            return Err(NotAUuid);
        }
        let mut bytes = [0u8; 16];
        let mut digits = 0;
        for (position, &c) in text.iter().enumerate() {
            if matches!(position, 8 | 13 | 18 | 23) {
                if c != b'-' {
                    return Err(NotAUuid);
                }
                continue;
            }
            let digit = (c as char).to_digit(16).ok_or(NotAUuid)? as u8;
            let byte = bytes.get_mut(digits / 2).ok_or(NotAUuid)?;
            *byte = *byte << 4 | digit;
            digits += 1;
        }
        Ok(Uuid(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        f.pad(
            std::str::from_utf8(&text).expect("invariant: hexadecimal digits and dashes are ASCII"),
        )
    }
}

/// As its text.
impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A stream of version-4 UUIDs: SHA-1 of a seed and a counter.
///
/// Two generators with one seed give one stream; without the seed the stream is unpredictable.
#[derive(Clone, Debug)]
pub struct UuidGenerator {
    seed: [u8; 16],
    counter: u64,
}

impl UuidGenerator {
    /// A generator; the daemon passes 16 random bytes, a test passes a constant.
    pub fn new(seed: [u8; 16]) -> UuidGenerator {
        UuidGenerator { seed, counter: 0 }
    }

    /// The next UUID of the stream.
    pub fn generate(&mut self) -> Uuid {
        let mut hash = Sha1::new();
        hash.update(self.seed);
        hash.update(self.counter.to_be_bytes());
        self.counter += 1;
        let digest = hash.finalize();
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Uuid(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn text_round_trip() {
        let mut gen = UuidGenerator::new([7; 16]);
        for _ in 0..100 {
            let uuid = gen.generate();
            assert_eq!(uuid.to_string().parse::<Uuid>().unwrap(), uuid);
            assert_eq!(
                uuid.to_string().to_uppercase().parse::<Uuid>().unwrap(),
                uuid
            );
        }
    }

    #[test]
    fn malformed_text_is_refused() {
        let good = "0123abcd-4567-489a-8cde-0123456789ab";
        assert!(good.parse::<Uuid>().is_ok());
        for bad in [
            "",
            "x",
            &good[..35],
            &format!("{good}0"),
            &good.replace('-', "0"),
            &good.replace('a', "g"),
        ] {
            assert_eq!(bad.parse::<Uuid>(), Err(NotAUuid), "{bad}");
        }
    }

    #[test]
    fn one_seed_one_stream() {
        let (mut a, mut b) = (UuidGenerator::new([1; 16]), UuidGenerator::new([2; 16]));
        let first = a.generate();
        assert_ne!(first, a.generate());
        assert_ne!(first, b.generate());
        assert_eq!(first, UuidGenerator::new([1; 16]).generate());
    }
}
