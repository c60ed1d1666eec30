//! The verbs, one file each: the arguments, and what the verb does with them.

mod add;
mod bench;
mod cat;
mod compact;
mod completions;
mod convert;
mod create;
mod diff;
mod du;
mod export;
mod extract;
mod find;
mod import;
mod info;
mod list;
mod man;
mod merge;
#[cfg(all(feature = "mount", target_os = "linux"))]
mod mount;
mod mv;
mod repair;
mod report;
mod reshard;
mod rm;
mod stat;
mod subset;
mod sync;
mod tree;
mod truncate;
mod verify;
mod view;

use std::io::Write;

use crate::failure::Failure;

/// What a verb can do.
trait Run {
    /// Whether errors are printed as JSON too.
    fn json(&self) -> bool;

    /// Whether the output is all JSON.
    fn prints_json(&self) -> bool {
        self.json()
    }

    /// Runs the verb. The caller flushes `out`.
    fn run(&self, out: &mut dyn Write) -> Result<(), Failure>;
}

macro_rules! verbs {
    ($($(#[$only:meta])* $file:ident::$verb:ident),* $(,)?) => {
        /// What to do.
        #[derive(clap::Subcommand)]
        pub(crate) enum Verb {
            $(
                $(#[$only])*
                #[allow(missing_docs, reason = "the help is that of the arguments")]
                $verb($file::$verb),
            )*
        }

        impl Verb {
            fn verb(&self) -> &dyn Run {
                match self {
                    $($(#[$only])* Self::$verb(verb) => verb,)*
                }
            }
        }
    };
}

// A new verb is a file, and a line here.
verbs![
    info::Info,
    list::List,
    cat::Cat,
    verify::Verify,
    repair::Repair,
    reshard::Reshard,
    compact::Compact,
    truncate::Truncate,
    create::Create,
    add::Add,
    extract::Extract,
    find::Find,
    du::Du,
    tree::Tree,
    stat::Stat,
    rm::Rm,
    mv::Mv,
    diff::Diff,
    subset::Subset,
    merge::Merge,
    sync::Sync,
    bench::Bench,
    completions::Completions,
    man::Man,
    convert::Convert,
    import::Import,
    export::Export,
    #[cfg(all(feature = "mount", target_os = "linux"))]
    mount::Mount,
    report::Report,
    view::View,
];

impl Verb {
    /// Whether errors are printed as JSON too.
    pub(crate) fn json(&self) -> bool {
        self.verb().json()
    }

    /// Whether the output is all JSON.
    pub(crate) fn prints_json(&self) -> bool {
        self.verb().prints_json()
    }

    /// Runs the verb. The caller flushes `out`.
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        self.verb().run(out)
    }
}
