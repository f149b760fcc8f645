//! What a switch refuses, in words: the constant of the specification and a sentence for people.

use rvs_openflow::{ErrorCode, ErrorMessage, Version};

/// `OFPBMC_BAD_PREREQ: a field is matched without those that it depends on ...`.
pub fn said(e: &ErrorMessage, version: Version) -> String {
    let Some(code) = e.known(version) else {
        return format!(
            "the switch refused it: error type {}, code {}{}",
            e.kind,
            e.code,
            match e.vendor {
                0 => String::new(),
                vendor => format!(", vendor {vendor:#x}"),
            }
        );
    };
    if matches!(code, ErrorCode::HfcIncompatible | ErrorCode::HfcEperm) {
        let text: String = String::from_utf8_lossy(&e.data)
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        return format!("{}: {text}", code.name());
    }
    format!("{}: {}", code.name(), sentence(code))
}

/// What the error means, and what to do about it where that can be said.
pub fn sentence(code: ErrorCode) -> String {
    match specific(code) {
        Some(s) => s.to_owned(),
        None => general(code),
    }
}

fn specific(code: ErrorCode) -> Option<&'static str> {
    use ErrorCode as E;
    Some(match code {
        E::BrcBadVersion => "the switch does not speak this version of OpenFlow on this connection",
        E::BrcBadType | E::BrcBadStat => {
            "the switch does not have this request in this version; try another with --protocols"
        }
        E::BrcBadVendor | E::BrcBadSubtype => {
            "the switch does not have this extension in this version; try another with --protocols"
        }
        E::BrcEperm => "the switch does not permit it",
        E::BrcIsSecondary => "this controller's role is secondary; it may not change anything",
        E::BrcBadPort => "there is no such port",
        E::BrcBadTableId => "there is no such table; they are 0 to 253",
        E::BacBadOutPort => "an action outputs to a port that there cannot be",
        E::BacBadOutGroup => "an action names a group that does not exist; add the group first",
        E::BacBadArgument => "an action has an argument that it cannot have",
        E::BacBadType => "the switch does not have this action in this version",
        E::BacBadSetType => "the switch cannot set this field",
        E::BacBadSetArgument => "an action sets a field to a value that it cannot have",
        E::BacMatchInconsistent => {
            "an action works on a layer that the match does not promise; match its protocol too"
        }
        E::BacBadMeter => "an action names a meter that does not exist; add the meter first",
        E::BacTooMany => "there are more actions than the switch takes",
        E::BicBadTableId => "goto_table may only go to a later table",
        E::BicUnsupInst => "the switch does not have this instruction",
        E::BmcBadField => "the switch cannot match this field",
        E::BmcBadPrereq => {
            "a field is matched without those that it depends on, such as tcp_dst without tcp"
        }
        E::BmcBadValue => "a field is matched against a value that it cannot have",
        E::BmcBadMask => "a field is matched under a mask that the switch does not take",
        E::BmcBadWildcards => "the switch cannot leave out this combination of fields",
        E::BmcDupField => "a field is matched twice",
        E::FmfcTableFull => "the table is full; delete flows or raise the table's limit",
        E::FmfcBadTableId => "there is no such table, or it takes no flows; they are 0 to 253",
        E::FmfcOverlap => {
            "another flow of the same priority overlaps this one, and check_overlap was asked for"
        }
        E::FmfcEperm => "the switch does not permit this flow",
        E::FmfcBadCommand => "the switch does not have this command in this version",
        E::FmfcBadFlags => "the switch does not have these flags in this version",
        E::GmfcGroupExists => "a group of this number exists; mod-group changes it",
        E::GmfcUnknownGroup => "there is no group of this number; add-group makes one",
        E::GmfcLoop => "the group would lead back to itself",
        E::GmfcChainedGroup => "another group leads to this group",
        E::GmfcInvalidGroup => "the group makes no sense as it is",
        E::GmfcOutOfGroups => "there are as many groups as the switch takes",
        E::GmfcOutOfBuckets => "there are more buckets than the switch takes",
        E::GmfcBadWatch => "a bucket watches a port or group that there cannot be",
        E::GmfcBucketExists => "a bucket of this number exists in the group",
        E::GmfcUnknownBucket => "there is no bucket of this number in the group",
        E::MmfcMeterExists => "a meter of this number exists; mod-meter changes it",
        E::MmfcUnknownMeter => "there is no meter of this number; add-meter makes one",
        E::MmfcInvalidMeter => "the switch does not take this number for a meter",
        E::MmfcBadRate => "the switch cannot meter at this rate",
        E::MmfcBadBurst => "the switch does not take this burst",
        E::MmfcBadBand => "the switch does not have this kind of band",
        E::MmfcBadFlags => {
            "the switch does not have this combination of kbps, pktps, burst and stats"
        }
        E::MmfcOutOfMeters => "there are as many meters as the switch takes",
        E::MmfcOutOfBands => "there are more bands than the switch takes",
        E::PmfcBadPort => "there is no such port",
        E::PmfcBadHwAddr => "the port has another MAC address",
        E::BfcMsgFailed => "a message of the bundle was refused, so nothing was changed",
        E::BfcTimeout => "the bundle lay idle for too long, so nothing was changed",
        E::BfcMsgTooMany => "the bundle has more messages than the switch takes",
        E::BfcMsgUnsup => "a bundle cannot hold this kind of message",
        _ => return None,
    })
}

/// What is refused, by the name's prefix, and why, by the rest of it.
fn general(code: ErrorCode) -> String {
    const SUBJECTS: [(&str, &str); 15] = [
        ("BRC_", "the request"),
        ("BAC_", "an action"),
        ("BIC_", "an instruction"),
        ("BMC_", "the match"),
        ("GMFC_", "the group"),
        ("PMFC_", "the port"),
        ("TMFC_", "the table"),
        ("MMFC_", "the meter"),
        ("QOFC_", "the queue"),
        ("SCFC_", "the switch configuration"),
        ("TFFC_", "the table features"),
        ("BPC_", "a property"),
        ("BFC_", "the bundle"),
        ("MOFC_", "the flow monitor"),
        ("FMFC_", "the flow"),
    ];
    let name = code.name();
    let found = SUBJECTS
        .iter()
        .find_map(|(prefix, subject)| Some((subject, name.split_once(prefix)?.1)));
    match found {
        Some((subject, rest)) => {
            let why = rest.replace('_', " ").to_lowercase();
            format!("{subject} was refused ({why})")
        }
        None => "the switch refused it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_sentence() {
        for code in ErrorCode::ALL {
            let s = sentence(*code);
            assert!(s.len() > 10 && !s.ends_with('.'), "{}: {s}", code.name());
        }
        assert_eq!(
            sentence(ErrorCode::TffcBadMaxEnt),
            "the table features was refused (bad max ent)"
        );
    }

    #[test]
    fn the_text_of_a_failed_hello_is_shown_without_control_characters() {
        let e = ErrorMessage::new(
            ErrorCode::HfcIncompatible,
            Version::Of13,
            b"only \x1b[1m1.3",
        );
        assert_eq!(said(&e, Version::Of13), "OFPHFC_INCOMPATIBLE: only [1m1.3");
        let unknown = ErrorMessage {
            vendor: 7,
            kind: 1,
            code: 2,
            data: Vec::new(),
        };
        assert!(said(&unknown, Version::Of13).contains("type 1, code 2, vendor 0x7"));
    }
}
