//! Text from depots inside a page. Names are hostile: they hold markup, quotes, controls, and bytes that are
//! no text.

use std::fmt::Write;

use serde_json::Value;

use crate::text;

/// Text as it may stand between tags and in quoted attributes. Controls become `\u....`.
pub(crate) fn html(text: &str) -> String {
    let text = text::without_controls(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The same for text of several lines.
pub(crate) fn html_lines(text: &str) -> String {
    text.lines().map(html).collect::<Vec<_>>().join("\n")
}

/// JSON as it may stand in a `script` element: nothing in it ends the element, or begins a comment.
pub(crate) fn json(value: &Value) -> String {
    let json = value.to_string();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // All of these stand in strings alone, where an escape means the same.
        if matches!(c, '<' | '>' | '&' | '\u{7f}' | '\u{2028}' | '\u{2029}') {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// RFC 4648, section 4.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for nth in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * nth) & 63) as usize];
            out.push(if nth <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Reads the escapes back.
    fn unescaped(html: &str) -> String {
        let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
        named.into_iter().fold(html.to_owned(), |html, (name, c)| html.replace(name, c))
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_place(text in "\\PC*|(<|>|\"|'|&|/|script|!--|\\]|\u{0}|\u{202e}|\n){0,20}") {
            let shown = html(&text);
            prop_assert!(!shown.contains(['<', '>', '"', '\'']));
            prop_assert!(!shown.contains(text::is_control));
            prop_assert_eq!(unescaped(&shown), text::without_controls(&text));
            let data = json(&json!({ text.clone(): [text.clone()] }));
            let stays = !data.contains(['<', '>', '&', '\n', '\u{2028}']);
            prop_assert!(stays);
            let read: Value = serde_json::from_str(&data).unwrap();
            prop_assert_eq!(read, json!({ text.clone(): [text] }));
        }
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        // Section 10 of RFC 4648.
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfb]), "//77");
    }
}
