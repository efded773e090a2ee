//! The tables of malformed messages (tests/golden/malformed).

/// Each character stands for one byte; `[text, n]` is a text so many times.
#[derive(serde::Deserialize)]
#[serde(untagged)]
pub enum Text {
    Plain(String),
    Times(String, usize),
    Parts(Vec<Text>),
}

impl Text {
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Plain(text) => text.chars().map(|c| u8::try_from(c).expect("a byte")).collect(),
            Self::Times(text, n) => text.repeat(*n).into_bytes(),
            Self::Parts(parts) => parts.iter().flat_map(Self::bytes).collect(),
        }
    }
}

pub fn rows<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let path = format!("{}/../tests/golden/malformed/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("the table")).expect("rows")
}
