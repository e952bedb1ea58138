//! Pages of lists: sizes, and tokens that say where the next page starts. Hides what a token is made of.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    api::{Page, PageRequest},
    error::{Code, Error},
    limits::{PAGE_DEFAULT, PAGE_MAX},
};

/// Items that a page shall hold.
pub(crate) fn size(request: &PageRequest) -> u32 {
    match request.max_results {
        0 => PAGE_DEFAULT,
        wanted => wanted.min(PAGE_MAX),
    }
}

/// The token of a position.
pub(crate) fn token(position: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("1.{position}"))
}

/// The position of the request's token, if it has one; a token that this server did not make is refused.
pub(crate) fn position(request: &PageRequest) -> Result<Option<String>, Error> {
    let Some(token) = &request.next_token else {
        return Ok(None);
    };
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    text.strip_prefix("1.")
        .map(|position| Some(position.to_owned()))
        .ok_or_else(invalid)
}

/// The position of the request's token as a number.
pub(crate) fn number(request: &PageRequest) -> Result<Option<u64>, Error> {
    position(request)?
        .map(|position| position.parse().map_err(|_| invalid()))
        .transpose()
}

/// The same page of other items.
pub(crate) fn try_map<A, B>(
    page: Page<A>,
    change: impl FnMut(A) -> Result<B, Error>,
) -> Result<Page<B>, Error> {
    let items = page
        .items
        .into_iter()
        .map(change)
        .collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        next_token: page.next_token,
    })
}

/// Cuts what was read with one item more than the page holds, and names the next page by its last item.
pub(crate) fn cut<T>(mut items: Vec<T>, size: u32, position: impl Fn(&T) -> String) -> Page<T> {
    let size = size as usize;
    let more = items.len() > size;
    items.truncate(size);
    let next_token = items
        .last()
        .filter(|_| more)
        .map(|last| token(&position(last)));
    Page { items, next_token }
}

fn invalid() -> Error {
    Error::rejected(Code::InvalidToken, "Invalid Token: 'Invalid token'")
}
