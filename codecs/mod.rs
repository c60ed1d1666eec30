//! The built-in codecs, one folder each.
