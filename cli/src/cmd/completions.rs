//! `vldepot completions`: scripts that let a shell complete verbs and options.

use std::io::Write;

use clap::Args;
use clap_complete::{Shell, generate};

use super::Run;
use crate::failure::Failure;

/// Print a script that lets a shell complete verbs, options and their values.
///
/// bash: `vldepot completions bash > ~/.local/share/bash-completion/completions/vldepot`.
/// fish: `vldepot completions fish > ~/.config/fish/completions/vldepot.fish`.
/// zsh: `vldepot completions zsh > _vldepot`, in a folder of `$fpath`.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Run for Completions {
    fn json(&self) -> bool {
        false
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        // It cannot report errors, so it does not write to the output itself.
        let mut script = Vec::new();
        generate(self.shell, &mut crate::command(), "vldepot", &mut script);
        out.write_all(&script)?;
        Ok(())
    }
}
