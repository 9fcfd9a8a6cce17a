//! Text from outside, as a log line, a message or an outcome event may have it: bounded, and without characters that a
//! terminal or a viewer acts on.

use std::borrow::Cow;

/// The most characters of an id.
const MAX_ID: usize = 128;

/// The most characters of another text. An outcome event has at most 256 KB, and a proxy's error page may be longer.
const MAX_TEXT: usize = 1_000;

/// Returns a text in which line breaks are spaces, and other control, format and bidirectional characters are escaped.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' | '\r' => escaped.push(' '),
            _ if is_unprintable(character) => escaped.extend(character.escape_unicode()),
            _ => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

/// Returns whether a character has no glyph of its own: the Unicode categories Cc and Cf, and the separators of lines and
/// paragraphs.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0001}'..='\u{e007f}'
        )
}

/// Returns an id with `?` for each character that no id of AWS has, and cut.
pub fn id(text: &str) -> String {
    let printable = |character: char| match character {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | ':' | '/' | '-' => character,
        _ => '?',
    };
    text.chars().take(MAX_ID).map(printable).collect()
}

/// Returns a text cut to the length that a message has room for, and escaped.
pub fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let start: String = characters.by_ref().take(MAX_TEXT).collect();
    let more = if characters.next().is_some() {
        "…"
    } else {
        ""
    };
    escaped(&start).into_owned() + more
}

/// Returns a service's message. A refusal of IAM keeps the action and the reason. Who asked, and for which resource, is not
/// for everybody who reads outcome events.
pub fn refusal(message: &str) -> String {
    if !message.contains("not authorized to perform") {
        return shortened(message);
    }
    let mut kept: Vec<&str> = Vec::new();
    for word in message.split_whitespace() {
        let is_user = kept.last() == Some(&"User:");
        let is_resource = kept.ends_with(&["on", "resource:"]);
        if !(is_user || is_resource || word.contains("arn:")) {
            kept.push(word);
            continue;
        }
        let introduction = usize::from(is_user) + 2 * usize::from(is_resource);
        kept.truncate(kept.len() - introduction);
    }
    shortened(&kept.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_glyph_is_escaped() {
        for (text, expected) in [
            ("a plain é text 😀", "a plain é text 😀"),
            ("two\r\nlines", "two  lines"),
            ("\u{1b}[31mred\u{7}", "\\u{1b}[31mred\\u{7}"),
            ("\u{202e}a\u{2066}\u{feff}", "\\u{202e}a\\u{2066}\\u{feff}"),
            ("\u{9b}31m\u{2028}\u{200d}", "\\u{9b}31m\\u{2028}\\u{200d}"),
            ("\u{e0041}\u{ad}", "\\u{e0041}\\u{ad}"),
        ] {
            assert_eq!(escaped(text), expected);
            assert_eq!(shortened(text), expected);
        }
    }

    #[test]
    fn ids_and_texts_are_bounded() {
        assert_eq!(id("Az09._:/-"), "Az09._:/-");
        assert_eq!(id("a b\u{1b}é\""), "a?b????"[..6].to_owned());
        assert_eq!(id(&"x".repeat(5_000_000)).len(), 128);
        assert_eq!(shortened(&"é".repeat(1_000)), "é".repeat(1_000));
        assert_eq!(shortened(&"é".repeat(1_001)), "é".repeat(1_000) + "…");
    }

    #[test]
    fn a_refusal_of_iam_names_the_action_and_neither_user_nor_resource() {
        let message = "User: arn:aws:sts::123456789012:assumed-role/populator/x is not authorized to perform: \
                       cleanrooms:GetIdMappingTable on resource: arn:aws:cleanrooms:eu-west-1:123456789012:membership/m \
                       because no identity-based policy allows the cleanrooms:GetIdMappingTable action";
        let expected = "is not authorized to perform: cleanrooms:GetIdMappingTable because no identity-based policy allows the \
                        cleanrooms:GetIdMappingTable action";
        assert_eq!(refusal(message), expected);
        for message in [
            "User: AROAEXAMPLE:session is not authorized to perform: a:B on resource: membership/m because",
            "User \"arn:aws:iam::1:role/r\" is not authorized to perform: a:B on (arn:aws:x)",
        ] {
            let cut = refusal(message);
            assert!(cut.contains("not authorized to perform: a:B"), "{cut}");
            let hidden = ["AROA", "arn:", "membership"];
            assert!(!hidden.iter().any(|hidden| cut.contains(hidden)), "{cut}");
        }
        assert_eq!(
            refusal("the bucket arn:aws:s3:::b is empty"),
            "the bucket arn:aws:s3:::b is empty"
        );
    }
}
