//! Bytes in flight over all connections: bodies of requests from when they are read until they are served, and answers
//! until their clients have taken them. Hides whose they are, and that an answer is given in pieces.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::limits::{ANSWER_PIECE_BYTES, IN_FLIGHT_FREE_BYTES, IN_FLIGHT_SHARE_MAX};

/// How many bytes there may be at a time, and whose they are. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct InFlight(Arc<Inner>);

struct Inner {
    most: usize,
    of_one: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Without those who have none.
    by_account: HashMap<Arc<str>, usize>,
}

/// There is no room for these bytes at present.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl InFlight {
    /// At most so many bytes, and a part of them for one account.
    pub(crate) fn new(most: usize) -> InFlight {
        InFlight(Arc::new(Inner {
            most,
            of_one: most.div_ceil(IN_FLIGHT_SHARE_MAX),
            taken: Mutex::default(),
        }))
    }

    /// A place of an account, without bytes as yet.
    pub(crate) fn place(&self, account: &Arc<str>) -> Place {
        Place(Some(Held {
            in_flight: self.clone(),
            account: account.clone(),
            bytes: 0,
        }))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        let taken = self.0.taken.lock();
        taken.unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one request or answer holds; given back when it is dropped.
pub(crate) struct Place(Option<Held>);

struct Held {
    in_flight: InFlight,
    account: Arc<str>,
    bytes: usize,
}

impl Place {
    /// Of what is counted elsewhere.
    pub(crate) fn nowhere() -> Place {
        Place(None)
    }

    /// Holds so many bytes in all from now on, or as many as before when there is no room. What is small is not counted.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), NoRoom> {
        match &mut self.0 {
            Some(held) => held.set(counted(bytes), true),
            None => Ok(()),
        }
    }

    /// The same whether there is room or not: the answer tells of what was done.
    pub(crate) fn hold_anyway(&mut self, bytes: usize) {
        if let Some(held) = &mut self.0 {
            // It is not asked whether there is room.
            let _ = held.set(counted(bytes), false);
        }
    }
}

/// What is small is not counted.
fn counted(bytes: usize) -> usize {
    if bytes > IN_FLIGHT_FREE_BYTES {
        bytes
    } else {
        0
    }
}

impl Held {
    /// Counts so many bytes in place of those before; refused, when asked for, where more find no room.
    fn set(&mut self, bytes: usize, within: bool) -> Result<(), NoRoom> {
        if bytes == self.bytes {
            return Ok(());
        }
        let Inner { most, of_one, .. } = *self.in_flight.0;
        let mut taken = self.in_flight.taken();
        let moved = |taken: usize| taken.saturating_sub(self.bytes).saturating_add(bytes);
        let all = moved(taken.all);
        let own = moved(taken.by_account.get(&self.account).copied().unwrap_or(0));
        if within && bytes > self.bytes && (all > most || own > of_one) {
            return Err(NoRoom);
        }
        taken.all = all;
        if own == 0 {
            taken.by_account.remove(&self.account);
        } else {
            taken.by_account.insert(self.account.clone(), own);
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // To give back always succeeds.
        let _ = self.set(0, false);
    }
}

/// An answer's body, which gives back its place piece by piece, as its client takes it.
pub(crate) fn body(text: Vec<u8>, place: Place) -> Body {
    if text.len() <= ANSWER_PIECE_BYTES {
        return Body::from(text);
    }
    let left = text.len();
    // Slices of one buffer would keep all of it until the last one is gone.
    let pieces = text.chunks(ANSWER_PIECE_BYTES).map(Bytes::copy_from_slice);
    let pieces = pieces.collect();
    Body::new(Pieces {
        pieces,
        left,
        place,
    })
}

struct Pieces {
    pieces: VecDeque<Bytes>,
    /// Bytes in them.
    left: usize,
    place: Place,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(piece) = self.pieces.pop_front() else {
            return Poll::Ready(None);
        };
        self.left -= piece.len();
        let left = self.left;
        self.place.hold_anyway(left);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const KB: usize = 1_024;

    fn account(name: &str) -> Arc<str> {
        name.into()
    }

    fn taken(in_flight: &InFlight) -> usize {
        in_flight.taken().all
    }

    #[test]
    fn one_account_leaves_the_others_their_part() {
        let in_flight = InFlight::new(1_000 * KB);
        let (a, b) = (account("a"), account("b"));
        let mut first = in_flight.place(&a);
        assert_eq!(first.hold(400 * KB), Ok(()));
        let mut second = in_flight.place(&a);
        assert_eq!(second.hold(101 * KB), Err(NoRoom));
        assert_eq!(second.hold(100 * KB), Ok(()));
        assert_eq!(first.hold(401 * KB), Err(NoRoom), "it grows no more");
        let mut other = in_flight.place(&b);
        assert_eq!(other.hold(500 * KB), Ok(()));
        let mut third = in_flight.place(&account("c"));
        assert_eq!(third.hold(100 * KB), Err(NoRoom), "all are taken");
        assert_eq!(third.hold(IN_FLIGHT_FREE_BYTES), Ok(()), "what is small");
        drop(first);
        assert_eq!(third.hold(100 * KB), Ok(()));
        drop((second, other, third));
        assert_eq!(taken(&in_flight), 0);
        assert!(in_flight.taken().by_account.is_empty());
    }

    #[tokio::test]
    async fn an_answer_gives_back_what_was_taken_of_it() {
        let in_flight = InFlight::new(10_000 * KB);
        let mut place = in_flight.place(&account("a"));
        let text: Vec<u8> = (0..3_000 * KB).map(|at| (at % 251) as u8).collect();
        place.hold(text.len()).expect("room");
        let mut body = body(text.clone(), place);
        assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
        let mut came = Vec::new();
        while let Some(frame) = body.frame().await {
            let piece = frame.expect("no error").into_data().expect("data");
            came.extend_from_slice(&piece);
            let left = text.len() - came.len();
            assert_eq!(taken(&in_flight), counted(left));
        }
        assert!(came == text, "the answer is another one");
        let mut place = in_flight.place(&account("a"));
        place.hold(text.len()).expect("room");
        // A client that goes away.
        drop(super::body(text, place));
        assert_eq!(taken(&in_flight), 0);
    }

    #[test]
    fn what_was_done_is_told_and_counted() {
        let in_flight = InFlight::new(100 * KB);
        let mut place = in_flight.place(&account("a"));
        place.hold_anyway(200 * KB);
        assert_eq!(taken(&in_flight), 200 * KB);
        let mut other = in_flight.place(&account("b"));
        assert_eq!(other.hold(65 * KB), Err(NoRoom));
        drop(place);
        assert_eq!(taken(&in_flight), 0);
    }

    #[test]
    fn what_is_counted_elsewhere_has_room() {
        assert_eq!(Place::nowhere().hold(usize::MAX), Ok(()));
    }
}
