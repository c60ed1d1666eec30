//! Names for the variants of an enum, as options print and parse them.

/// Implements `Display` and `FromStr` for an enum, with the names of its variants in files and options.
macro_rules! named {
    ($type:ident, $what:literal: $($variant:ident => $name:literal),+) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $name),+ })
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::error::Error;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(crate::error::Error::invalid_options(format!(
                        "no {} is called {name:?}; there are {}", $what, [$($name),+].join(", ")
                    ))),
                }
            }
        }
    };
}
pub(crate) use named;
