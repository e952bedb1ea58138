//! The encoding of URLs as ECMAScript has it (`encodeURI`, `decodeURI` and their kin for components).

/// Characters beside letters and digits that a component keeps.
pub(super) const KEPT_IN_COMPONENT: &str = "-_.!~*'()";
/// Characters beside letters and digits that a whole URL keeps.
pub(super) const KEPT_IN_URL: &str = "-_.!~*'();/?:@&=+$,#";
/// Characters with a meaning in URLs: decoding a whole URL leaves them encoded.
pub(super) const RESERVED: &str = ";/?:@&=+$,#";

/// The text with every byte of UTF-8 as `%XX` but for letters, digits and the characters kept.
pub(super) fn encode(text: &str, kept: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let character = char::from(byte);
        if character.is_ascii_alphanumeric() || byte.is_ascii() && kept.contains(character) {
            encoded.push(character);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The text with each `%XX` decoded but for those of the characters kept; `None` when it is malformed.
pub(super) fn decode(text: &str, kept: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            decoded.push(*first);
            rest = after;
            continue;
        }
        let byte = hexadecimal(after)?;
        if byte.is_ascii() && kept.contains(char::from(byte)) {
            decoded.extend(&rest[..3]);
        } else {
            decoded.push(byte);
        }
        rest = &rest[3..];
    }
    String::from_utf8(decoded).ok()
}

fn hexadecimal(text: &[u8]) -> Option<u8> {
    let digit = |index: usize| char::from(*text.get(index)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}
