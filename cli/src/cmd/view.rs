//! `vldepot view`: the page of `vldepot report` in a browser, with every frame.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::Run;
use super::report::Check;
use crate::failure::Failure;
use crate::report::data::{self, Data, Wanted};
use crate::report::page::{self, Live};
use crate::report::serve::Server;

/// Show the page of `report` in a browser on this machine, with every frame of the depot.
///
/// Frames are read when they are looked at. The address that is printed holds a secret, so that other users
/// of the machine do not see the depot. It ends with the command.
#[derive(Args)]
pub(crate) struct View {
    /// The depot.
    file: PathBuf,
    /// The port. Without one, any that is free.
    #[arg(long, short, value_name = "N", default_value_t = 0, hide_default_value = true)]
    port: u16,
    #[command(flatten)]
    check: Check,
}

impl Run for View {
    fn json(&self) -> bool {
        false
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let depot = data::open(&self.file)?;
        let failed =
            |error: &std::io::Error| Failure::other(format!("127.0.0.1, port {}: {error}", self.port));
        let server = Server::new(self.port).map_err(|error| failed(&error))?;
        let (mut data, depot) = Data::read(depot, &Wanted { frames: 1, is_live: true })?;
        self.check.run(&self.file, &mut data);
        let nonce = page::secret();
        let live = Live { frames: format!("{}frames/", server.root()) };
        let page = page::page(&data, &nonce, Some(&live));
        // The address is the output, also for programs that open it.
        writeln!(out, "{}", server.address())?;
        out.flush()?;
        server.run(depot, page, page::policy(&nonce, true)).map_err(|error| failed(&error))
    }
}
