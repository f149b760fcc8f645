//! `packet-out`.

use rvs_flow::matching::{terms, MatchParser};
use rvs_flow::OfPort;
use rvs_openflow::message::PacketOut;
use rvs_openflow::text::{ParseError, Words};
use rvs_openflow::Message;

use super::input::Input;
use super::ports;
use super::session::Session;
use crate::failure::Failure;

/// Octets of a frame that a message can carry beside its actions.
const MAX_FRAME: usize = 60_000;

/// Sends packets given as `in_port=PORT,packet=HEX,actions=ACTIONS`, or as port, actions and packets.
pub fn send(s: &mut Session, arguments: &[String]) -> Result<(), Failure> {
    match arguments {
        [one] => s.change(&Input::argument(one), false, |text, words| {
            parse(text, words).map(|p| Message::PacketOut(Box::new(p)))
        }),
        [port, actions, packets @ ..] if !packets.is_empty() => {
            for packet in packets {
                s.change(&Input::argument(packet), false, |hex, words| {
                    let out = PacketOut::new(
                        ports::port(words, Some(port))?,
                        words.parse_actions(actions)?,
                        frame(hex)?,
                    );
                    Ok(Message::PacketOut(Box::new(out)))
                })?;
            }
            Ok(())
        }
        _ => Err(Failure::Usage(
            "packet-out takes in_port=PORT,packet=HEX,actions=ACTIONS, or PORT ACTIONS HEX..."
                .to_owned(),
        )),
    }
}

fn parse(text: &str, words: &Words<'_>) -> Result<PacketOut, ParseError> {
    let (head, actions) = split_actions(text)
        .ok_or_else(|| ParseError("a packet needs actions, at the end: actions=...".to_owned()))?;
    let mut matching = MatchParser::new();
    let mut data = None;
    for term in terms(head) {
        match term? {
            ("packet", Some(hex)) => data = Some(frame(hex)?),
            ("buffer_id" | "duration", _) => {
                return Err(ParseError("buffered packets are not supported".to_owned()))
            }
            (key, value) => {
                if !matching.take(key, value)? {
                    return Err(ParseError(format!(
                        "{key} is neither packet nor in_port nor another field of the pipeline"
                    )));
                }
            }
        }
    }
    let data =
        data.ok_or_else(|| ParseError("a packet needs its octets: packet=HEX".to_owned()))?;
    let mut metadata = matching.finish(words.ports)?;
    if metadata.mask().0.of_port == 0 {
        metadata.set_in_port(OfPort::ANY);
    }
    Ok(PacketOut {
        buffer_id: None,
        metadata,
        actions: words.parse_actions(actions)?,
        data,
    })
}

/// What stands before `actions=` and what after it.
fn split_actions(text: &str) -> Option<(&str, &str)> {
    text.split_once("actions=")
        .or_else(|| text.split_once("action="))
}

/// Pairs of hexadecimal digits, with anything from blanks to colons between them.
fn frame(hex: &str) -> Result<Vec<u8>, ParseError> {
    let bad = |why: &str| Err(ParseError(format!("packet: {why}")));
    let digits: String = hex
        .chars()
        .filter(|c| !matches!(c, ' ' | '\t' | ':' | '.'))
        .collect();
    if digits.is_empty() || digits.len() % 2 != 0 || !digits.bytes().all(|b| b.is_ascii_hexdigit())
    {
        return bad("it is written as pairs of hexadecimal digits");
    }
    let pairs = digits.as_bytes().chunks(2);
    let octets: Vec<u8> = pairs
        .filter_map(|p| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok())
        .collect();
    match octets.len() {
        0..14 => bad("it is shorter than an Ethernet header (14 octets)"),
        n if n > MAX_FRAME => bad("it does not fit a message"),
        _ => Ok(octets),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn packets_are_read_from_words() {
        let words = Words::default();
        let hex = "ffffffffffff0000000000010800";
        assert_eq!(frame("ff:ff:ff:ff:ff:ff 000000000001.0800"), frame(hex));
        let p = parse(
            &format!("in_port=2,packet={hex},actions=3,output:4"),
            &words,
        )
        .unwrap();
        assert_eq!(p.in_port(), OfPort(2));
        assert_eq!((p.data.len(), p.actions.len()), (14, 2));
        let p = parse(&format!("packet={hex} actions=TABLE"), &words);
        assert_eq!(p.unwrap().in_port(), OfPort::ANY);
        for bad in [
            "in_port=1,actions=2",
            "in_port=1,packet=00,actions=2",
            "in_port=1,packet=0x00,actions=2",
            "in_port=1,packet=ffffffffffff0000000000010800",
            "in_port=1,packet=ffffffffffff00000000000108001,actions=2",
            "frob=1,packet=ffffffffffff0000000000010800,actions=2",
        ] {
            assert!(parse(bad, &words).is_err(), "{bad}");
        }
    }
}
