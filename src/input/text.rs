//! JSON text, and the parts of it that are this function's.
//!
//! An object's members are kept as slices of the payload's text, and only under names that this function knows. A value
//! that is not ours is skipped: it is checked to be JSON, and nothing is built of it. So the memory for a payload depends
//! on what is ours in it, whatever its size and shape.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::names::{self, near_miss};

/// The deepest nesting of a payload (docs/payloads.md#refused-payloads).
pub(super) const MAX_NESTING: usize = 128;

/// How many levels may enclose a payload of the deepest nesting. Each record around it adds a few levels. A payload that
/// was accepted once must be accepted again when it comes from the dead-letter queue.
const MAX_WRAPPING: usize = 16;

/// The most unknown names of an object that are compared with the members of a request. Nobody misspells a member of a
/// larger object by hand, and a payload may have a million names.
const MAX_COMPARED: usize = 1_000;

/// The most names that a refusal lists.
pub(super) const MAX_LISTED: usize = 10;

/// The most characters of a name from a payload that are kept.
const MAX_NAME: usize = 64;

/// Returns a text as it is parsed: without a byte order mark, and with U+FFFD for each escape of a lone surrogate, which
/// JSON allows and a Rust string cannot hold.
pub(super) fn cleaned(text: &str) -> Cow<'_, str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut cleaned = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        let begin = at + found;
        let Some(unit) = escaped_unit(text, begin) else {
            // The next character is escaped, and may be a backslash. It may have several bytes.
            at = text.ceil_char_boundary(begin + 2);
            continue;
        };
        at = begin + ESCAPE;
        let is_paired = matches!(unit, 0xd800..=0xdbff)
            && matches!(escaped_unit(text, at), Some(0xdc00..=0xdfff));
        if is_paired {
            at += ESCAPE;
        } else if matches!(unit, 0xd800..=0xdfff) {
            cleaned.push_str(text.get(copied..begin).unwrap_or_default());
            cleaned.push('\u{fffd}');
            copied = at;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    cleaned.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(cleaned)
}

/// The length of an escape such as `\ud83d`.
const ESCAPE: usize = 6;

/// Returns the UTF-16 code unit of the escape that begins here, if one does.
fn escaped_unit(text: &str, begin: usize) -> Option<u16> {
    let escape = text.get(begin..begin + ESCAPE)?;
    let digits = escape.strip_prefix("\\u")?;
    // `from_str_radix` takes a sign too.
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u16::from_str_radix(digits, 16).ok())?
}

/// Checks the nesting of a text with what encloses the payload in it. The error is the predicate of a sentence.
pub(super) fn check_wrapped_nesting(text: &str) -> Result<(), String> {
    check(text, MAX_NESTING + MAX_WRAPPING)
}

/// Checks the nesting of a payload. The error is the predicate of a sentence.
pub(super) fn check_nesting(text: &str) -> Result<(), String> {
    check(text, MAX_NESTING)
}

fn check(text: &str, most: usize) -> Result<(), String> {
    match nesting(text) > most {
        true => Err(format!(
            "is nested deeper than {MAX_NESTING} levels: send a flatter payload"
        )),
        false => Ok(()),
    }
}

/// Returns the largest number of brackets outside strings that are open at once. For a text that is not JSON the number
/// means nothing, and the parser refuses the text.
fn nesting(text: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A JSON value, as a slice of the payload's text.
#[derive(Clone, Copy)]
pub(super) struct Raw<'t>(&'t str);

/// What a JSON value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    List,
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::List => "a list",
            Self::Object => "an object",
        })
    }
}

impl<'t> Raw<'t> {
    /// Reads a text, which must be one JSON value. The error is the predicate of a sentence.
    pub(super) fn read(text: &'t str) -> Result<Self, String> {
        check_wrapped_nesting(text)?;
        let raw: &RawValue =
            serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
        Ok(Self(raw.get()))
    }

    /// The text.
    pub(super) fn text(self) -> &'t str {
        self.0
    }

    pub(super) fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::List,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// Returns the string, if it is one.
    pub(super) fn string(self) -> Option<String> {
        serde_json::from_str(self.0).ok()
    }

    /// Returns the boolean, if it is one.
    pub(super) fn boolean(self) -> Option<bool> {
        serde_json::from_str(self.0).ok()
    }

    /// Returns the integer, if it is one from 0 to 2^64 - 1.
    pub(super) fn integer(self) -> Option<u64> {
        serde_json::from_str(self.0).ok()
    }

    /// Returns the object, if it is one.
    pub(super) fn object(self) -> Option<Object<'t>> {
        let mut deserializer = serde_json::Deserializer::from_str(self.0);
        Object::deserialize(&mut deserializer).ok()
    }

    /// Returns the items of a list, if it is one: the first ones, and how many there are.
    pub(super) fn items(self, most: usize) -> Option<Items<'t>> {
        let mut deserializer = serde_json::Deserializer::from_str(self.0);
        deserializer.deserialize_seq(ItemsVisitor { most }).ok()
    }
}

/// The predicate of a sentence about a text that is not valid JSON.
pub(super) fn invalid(reason: &str) -> String {
    format!("is not valid JSON: {reason}: send a JSON object")
}

/// The items of a list.
pub(super) struct Items<'t> {
    /// The first ones.
    pub(super) first: Vec<Raw<'t>>,
    /// How many there are.
    pub(super) count: usize,
}

struct ItemsVisitor {
    most: usize,
}

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Items<'de>, A::Error> {
        let mut first = Vec::new();
        while first.len() < self.most {
            match items.next_element::<&RawValue>()? {
                Some(item) => first.push(Raw(item.get())),
                None => break,
            }
        }
        let mut count = first.len();
        while items.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Items { first, count })
    }
}

/// An object: its members with names that this function knows, and what is said about the others.
pub(super) struct Object<'t> {
    members: Vec<Member<'t>>,
    repeated: Vec<(&'static str, usize)>,
    /// The first names that this function does not know, with their places.
    pub(super) unknown: Names<String>,
    /// The first of these that are nearly a member of a request object, with that member.
    pub(super) near_misses: Names<(String, &'static str)>,
}

/// Some names, and how many there are in all.
pub(super) struct Names<N> {
    pub(super) first: Vec<(N, usize)>,
    pub(super) count: usize,
}

impl<N> Names<N> {
    const fn new() -> Self {
        Self {
            first: Vec::new(),
            count: 0,
        }
    }

    fn add(&mut self, name: impl FnOnce() -> N, place: usize) {
        self.count += 1;
        if self.first.len() < MAX_LISTED {
            self.first.push((name(), place));
        }
    }
}

struct Member<'t> {
    name: &'static str,
    place: usize,
    value: Raw<'t>,
}

impl<'t> Object<'t> {
    /// Returns a member with its place. Returns `None` if it is missing or `null`.
    pub(super) fn get(&self, name: &str) -> Option<(Raw<'t>, usize)> {
        let member = self.members.iter().find(|member| member.name == name)?;
        (member.value.kind() != Kind::Null).then_some((member.value, member.place))
    }

    /// Returns whether there is a member that is not `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns whether a member has a name that is nearly this one.
    pub(super) fn has_near_miss_of(&self, name: &str) -> bool {
        let mut near = self.near_misses.first.iter();
        near.any(|((_, member), _)| *member == name)
    }

    /// The members that this function knows, with their places and whether they are `null`.
    pub(super) fn known(&self) -> impl Iterator<Item = (&'static str, usize, bool)> {
        let members = self.members.iter();
        members.map(|member| (member.name, member.place, member.value.kind() == Kind::Null))
    }

    /// The members that came more than once, with the place of each repetition.
    pub(super) fn repeated(&self) -> &[(&'static str, usize)] {
        &self.repeated
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut object = Object {
                    members: Vec::new(),
                    repeated: Vec::new(),
                    unknown: Names::new(),
                    near_misses: Names::new(),
                };
                let mut place = 0;
                while let Some(name) = map.next_key::<Name>()? {
                    match name {
                        Name::Known(name)
                            if object.members.iter().any(|member| member.name == name) =>
                        {
                            map.next_value::<IgnoredAny>()?;
                            if object.repeated.len() < MAX_LISTED {
                                object.repeated.push((name, place));
                            }
                        }
                        Name::Known(name) => {
                            let value: &RawValue = map.next_value()?;
                            let value = Raw(value.get());
                            object.members.push(Member { name, place, value });
                        }
                        Name::OfAPlatform => {
                            map.next_value::<IgnoredAny>()?;
                        }
                        Name::Unknown(name) => {
                            map.next_value::<IgnoredAny>()?;
                            if object.unknown.count < MAX_COMPARED
                                && let Some(member) = near_miss(&name)
                            {
                                object.near_misses.add(|| (name.clone(), member), place);
                            }
                            object.unknown.add(|| name, place);
                        }
                    }
                    place += 1;
                }
                Ok(object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// The name of a member.
enum Name {
    /// A name that this function reads somewhere.
    Known(&'static str),
    /// A name that a platform adds to a payload on its way.
    OfAPlatform,
    /// Another name, of which the beginning is kept.
    Unknown(String),
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(match names::known(name) {
                    Some(known) => Name::Known(known),
                    None if names::is_of_a_platform(name) => Name::OfAPlatform,
                    None => Name::Unknown(name.chars().take(MAX_NAME + 1).collect()),
                })
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

/// The place of a value in a payload. It is displayed as a JSONPath (RFC 9535). A string that contains JSON (an SQS
/// body, a string `detail`) is treated like an object.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    /// The payload.
    Root,
    /// A member of an object, and how many members are before it.
    Member(&'a Path<'a>, &'a str, usize),
    /// An item of a list.
    Item(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    pub(super) fn member(&'a self, name: &'a str, place: usize) -> Self {
        Self::Member(self, name, place)
    }

    /// A member that is missing: after all that are there.
    pub(super) fn missing(&'a self, name: &'a str) -> Self {
        Self::Member(self, name, usize::MAX)
    }

    pub(super) fn item(&'a self, index: usize) -> Self {
        Self::Item(self, index)
    }

    /// Returns what sorts paths in the order of the payload.
    pub(super) fn order(&self) -> Vec<usize> {
        let (parent, place) = match self {
            Self::Root => return Vec::new(),
            Self::Member(parent, _, place) | Self::Item(parent, place) => (parent, place),
        };
        let mut order = parent.order();
        order.push(*place);
        order
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("$"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
            Self::Member(parent, name, _) if is_plain(name) => write!(f, "{parent}.{name}"),
            Self::Member(parent, name, _) => {
                // A name from a payload may have any length and any characters, so it is cut and escaped.
                let shown: String = name.chars().take(MAX_NAME).collect();
                let more = if shown.len() < name.len() { "…" } else { "" };
                write!(f, "{parent}['{}{more}']", shown.escape_debug())
            }
        }
    }
}

fn is_plain(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests;
