//! Mutations of JSON. libFuzzer mutates bytes, and few of its payloads are still valid JSON.

use std::sync::LazyLock;

use serde_json::{Map, Value};

/// libFuzzer's own mutation. It takes a buffer, the size of the input in it, and the largest new size;
/// it returns the new size.
pub type OfBytes = fn(&mut [u8], usize, usize) -> usize;

/// The words of `fuzz/dictionary`: members by name, and values.
static WORDS: LazyLock<Words> = LazyLock::new(Words::read);

/// Values that count as absent, and the smallest of each type.
const EMPTY: [fn() -> Value; 5] = [
    || Value::Null,
    || Value::String(String::new()),
    || Value::Array(Vec::new()),
    || Value::Object(Map::new()),
    || 0.into(),
];

struct Words {
    names: Vec<String>,
    values: Vec<Value>,
}

impl Words {
    fn read() -> Self {
        let lines = include_str!("../dictionary").lines();
        // Words that are not UTF-8 are only for libFuzzer.
        let words = lines.filter_map(|line| serde_json::from_str::<String>(line).ok());
        let mut read = Self {
            names: Vec::new(),
            values: Vec::new(),
        };
        for word in words {
            if let Some((name, value)) = word.split_once("\":") {
                read.names.push(name.trim_start_matches('"').to_owned());
                read.values.extend(serde_json::from_str(value));
            } else {
                let value = serde_json::from_str(&word);
                read.values.push(value.unwrap_or(Value::String(word)));
            }
        }
        read
    }
}

/// Mutates an input: half the time one value of its JSON, otherwise its bytes.
pub fn mutate(data: &mut [u8], size: usize, most: usize, seed: u32, of_bytes: OfBytes) -> usize {
    let mut mutation = Mutation {
        state: seed.into(),
        of_bytes,
    };
    let changed = (mutation.below(2) == 0)
        .then(|| serde_json::from_slice::<Value>(data.get(..size)?).ok())
        .flatten()
        .map(|mut value| {
            mutation.change(&mut value);
            value.to_string()
        })
        .filter(|text| text.len() <= most);
    match changed {
        Some(text) => {
            data[..text.len()].copy_from_slice(text.as_bytes());
            text.len()
        }
        None => of_bytes(data, size, most),
    }
}

struct Mutation {
    state: u64,
    of_bytes: OfBytes,
}

impl Mutation {
    /// Returns a random number below a bound, which must not be zero (SplitMix64).
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap_or_default()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Changes one place of a value.
    fn change(&mut self, root: &mut Value) {
        let places = count(root);
        let other = nth(root, &mut self.below(places)).cloned();
        let mut index = self.below(places);
        let Some(place) = nth(root, &mut index) else {
            return;
        };
        // A string may contain JSON, such as the body of a message.
        if let Value::String(text) = place
            && let Ok(mut inner @ Value::Object(_)) = serde_json::from_str(text)
            && self.below(8) > 0
        {
            for _ in 0..=self.below(2) {
                self.change(&mut inner);
            }
            *text = inner.to_string();
            return;
        }
        let value = match self.below(4) {
            0 => other.unwrap_or_default(),
            1 => self.one(&EMPTY)(),
            _ => self.one(&WORDS.values).clone(),
        };
        match (place, self.below(8)) {
            (Value::String(text), 3..) => *text = self.change_text(text),
            (place, 1) => *place = Value::String(place.to_string()),
            (Value::Object(members), 2..) => self.change_members(members, value),
            (Value::Array(items), 2..) => self.change_items(items, value),
            (Value::Number(number), 4..) => *number = self.below(1_000_000).into(),
            (place, _) => *place = value,
        }
    }

    fn change_members(&mut self, members: &mut Map<String, Value>, value: Value) {
        let names: Vec<String> = members.keys().cloned().collect();
        let name = self.one(&WORDS.names).clone();
        if names.is_empty() {
            members.insert(name, value);
            return;
        }
        let old = self.one(&names);
        match self.below(4) {
            0 => drop(members.remove(old)),
            1 => drop(members.insert(old.clone(), value)),
            2 => drop(members.insert(name, value)),
            _ => {
                let kept = members.remove(old).unwrap_or_default();
                members.insert(name, kept);
            }
        }
    }

    fn change_items(&mut self, items: &mut Vec<Value>, value: Value) {
        let index = self.below(items.len() + 1);
        match (self.below(3), items.get(index).cloned()) {
            (0, Some(_)) => drop(items.remove(index)),
            (1, Some(item)) => items.push(item),
            _ => items.insert(index, value),
        }
    }

    fn change_text(&mut self, text: &str) -> String {
        let most = text.len() + 16;
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(most, 0);
        let size = (self.of_bytes)(&mut bytes, text.len(), most);
        bytes.truncate(size);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// Returns the place with this number, in the order of the text.
fn nth<'a>(value: &'a mut Value, number: &mut usize) -> Option<&'a mut Value> {
    if *number == 0 {
        return Some(value);
    }
    *number -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, number)),
        Value::Object(members) => members.values_mut().find_map(|member| nth(member, number)),
        _ => None,
    }
}
