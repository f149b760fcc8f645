//! Debian's `ovs-ofctl` against the management socket: every command, every version, the text that programs parse, and the errors
//! that it prints for wrong input. By theme in `ofctl/`.

mod descriptions;
mod flows;
mod full;
mod groups;
mod packets;
mod rare;
mod refusals;

pub use descriptions::descriptions;
pub use flows::flows;
pub use full::full_tables;
pub use groups::groups_and_meters;
pub use packets::monitors;
pub use rare::rare_commands;
pub use refusals::refusals;

const VERSIONS: [&str; 7] = ["", "10", "11", "12", "13", "14", "15"];
/// Those with groups in the protocol itself.
const WITH_GROUPS: [&str; 5] = ["11", "12", "13", "14", "15"];
const WITH_METERS: [&str; 3] = ["13", "14", "15"];

fn has(what: &str, text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{what}: no \"{word}\" in\n{text}");
    }
}
