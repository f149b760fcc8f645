//! The manual page. Every command is described in it: there are no pages of single commands.

use std::io::{self, Write};

use clap::{Arg, Command};
use clap_mangen::roff::{bold, italic, roman, Inline, Roff};
use clap_mangen::Man;

/// Renders `rvs-ctl(8)`.
///
/// # Errors
/// `out` can't be written.
pub fn render(cli: Command, out: &mut dyn Write) -> io::Result<()> {
    // An empty date would be left out, and what follows it taken for it.
    let man = Man::new(cli.clone())
        .title("RVS-CTL")
        .section("8")
        .date(" ")
        .manual("System Administration");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    let mut roff = Roff::default();
    roff.control("SH", ["COMMANDS"]);
    for command in cli.get_subcommands().filter(|c| !c.is_hide_set()) {
        describe(&mut roff, command);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("rvswitchd"), roman("(8)")]);
    roff.to_writer(out)
}

/// One command: how it is called, what it does, its own options.
fn describe(roff: &mut Roff, command: &Command) {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    roff.control("TP", []);
    let (name, rest) = usage.split_once(' ').unwrap_or((usage, ""));
    let mut words = vec![bold(name)];
    if !rest.is_empty() {
        words.push(roman(format!(" {rest}")));
    }
    roff.text(words);
    let about = command.get_long_about().or(command.get_about());
    roff.text([roman(about.map(ToString::to_string).unwrap_or_default())]);
    let has_own = |a: &&Arg| !a.is_global_set() && !a.is_hide_set();
    let own = || command.get_arguments().filter(has_own);
    // What needs no words has only its name.
    for arg in own().filter(|a| a.get_help().is_none() && !a.is_positional()) {
        let mut words = vec![roman("Takes ")];
        words.extend(spelling(arg));
        words.push(roman("."));
        roff.text(words);
    }
    let described = own().filter_map(|a| Some((a, a.get_help()?)));
    let mut described = described.peekable();
    if described.peek().is_none() {
        return;
    }
    roff.control("RS", []);
    for (arg, help) in described {
        roff.control("TP", []);
        roff.text(spelling(arg));
        roff.text([roman(help.to_string())]);
    }
    roff.control("RE", []);
}

/// An argument as it is written: `--clean`, `-O VERSIONS`, `PORT`.
fn spelling(arg: &Arg) -> Vec<Inline> {
    let mut words = Vec::new();
    if let Some(c) = arg.get_short() {
        words.push(bold(format!("-{c}")));
    }
    if let Some(long) = arg.get_long() {
        if !words.is_empty() {
            words.push(roman(", "));
        }
        words.push(bold(format!("--{long}")));
    }
    if arg.is_positional() || arg.get_action().takes_values() {
        let value = arg.get_value_names().and_then(|names| names.first());
        let value = value.map_or_else(|| arg.get_id().to_string(), ToString::to_string);
        if !words.is_empty() {
            words.push(roman(" "));
        }
        words.push(italic(value));
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_is_in_the_page_and_no_other_page_is_named() {
        let mut page = Vec::new();
        render(crate::args::Cli::command(), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains(".TH RVS-CTL 8"), "{page}");
        for command in crate::args::Cli::command().get_subcommands() {
            let name = command.get_name().replace('-', "\\-");
            assert!(page.contains(&format!("\n\\fB{name}\\fR")), "no {name}");
        }
        // A command's own options too, without those of all commands again.
        for option in ["clean", "may\\-exist"] {
            assert!(page.contains(&format!("\\fB\\-\\-{option}\\fR")), "{page}");
        }
        assert_eq!(page.matches("Run directory of the daemon").count(), 1);
        assert_eq!(page.matches("(1)").count(), 0, "{page}");
    }
}
