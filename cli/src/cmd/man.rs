//! `vldepot man`: man pages.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Run;
use crate::failure::Failure;
use crate::{progress, text};

/// Write man pages: one for the command and one for each verb to a folder, or the first alone to standard
/// output.
///
/// `vldepot man | man -l -` shows it.
#[derive(Args)]
pub(crate) struct Man {
    /// The folder, which is made if it is missing. Without one, the page of the command is printed.
    dir: Option<PathBuf>,
}

impl Run for Man {
    fn json(&self) -> bool {
        false
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut command = crate::command();
        command.build();
        let Some(folder) = &self.dir else {
            return Ok(clap_mangen::Man::new(command).render(&mut &mut *out)?);
        };
        fs::create_dir_all(folder).map_err(|error| failed(folder, "make the folder", &error))?;
        let mut pages = 0;
        let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
        for page in verbs.chain([&command]) {
            let name = page.get_display_name().unwrap_or("vldepot").replace(' ', "-");
            let mut bytes = Vec::new();
            clap_mangen::Man::new(page.clone().display_name(&name)).render(&mut bytes)?;
            let path = folder.join(format!("{name}.1"));
            fs::write(&path, bytes).map_err(|error| failed(&path, "write the page", &error))?;
            pages += 1;
        }
        progress::tell(out, format_args!("{}: {}", text::path(folder), text::count(pages, "page")))
    }
}

fn failed(path: &Path, action: &str, error: &std::io::Error) -> Failure {
    Failure::other(format!("{}: cannot {action}: {error}", text::path(path)))
}
