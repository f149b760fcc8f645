//! What the parameters of a trace say.

/// What the parameters ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked<'t> {
    /// A bridge, or the datapath; a flow in the datapath's words needs none.
    pub bridge: Option<&'t str>,
    pub flow: &'t str,
    /// Octets of the frame; the flow then only says where it comes in.
    pub packet: Option<Vec<u8>>,
    pub names: bool,
    /// There is a frame, not only a flow that might be one's: addresses and flows are to be learned from it.
    pub teaches: bool,
    /// What Open vSwitch's daemon would say, and nothing else.
    pub stock: bool,
}

impl<'t> Asked<'t> {
    pub fn parse(params: &'t [String], stock: bool) -> Result<Self, String> {
        let mut asked = Self {
            stock,
            ..Self::default()
        };
        let mut words = Vec::new();
        for p in params {
            match p.as_str() {
                "--names" => asked.names = true,
                "--no-names" => asked.names = false,
                "-generate" | "--generate" => asked.teaches = stock,
                option if option.starts_with('-') => {
                    return Err(format!("trace has no option {option}"));
                }
                word => words.push(word),
            }
        }
        if words.len() > 1 {
            asked.packet = words.last().and_then(|w| octets(w));
            words.truncate(words.len() - usize::from(asked.packet.is_some()));
        }
        match words[..] {
            [flow] if stock || flow.contains('(') => asked.flow = flow,
            [bridge, flow] => (asked.bridge, asked.flow) = (Some(bridge), flow),
            [_, _, _] if stock && asked.packet.is_none() => {
                return Err("Trailing garbage in packet data".to_owned())
            }
            [_, _, packet] if asked.packet.is_none() => {
                return Err(format!(
                    "the packet {packet} is not an Ethernet frame in hexadecimal digits"
                ))
            }
            _ => {
                return Err(
                    "trace takes BRIDGE FLOW [PACKET], the flow in the words of add-flow: \
                            in_port=1,tcp,nw_dst=10.0.0.1"
                        .to_owned(),
                )
            }
        }
        asked.teaches |= stock && asked.packet.is_some();
        Ok(asked)
    }
}

pub fn octets(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    let octet = |p: &[u8]| match p {
        [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
            u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok()
        }
        _ => None,
    };
    let all: Option<Vec<u8>> = pairs.map(octet).collect();
    all.filter(|o| o.len() >= 14)
}
