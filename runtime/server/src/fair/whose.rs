//! Whose a request is before it has proved anything. What it hides: that a key's id is no secret, so that only a connection on
//! which it was proved before is believed it.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::http::{HeaderMap, header};

/// Bits of an IPv6 address that tell its holder: a network has the rest to itself.
const IPV6_PREFIX_BITS: u32 = 64;

/// On whose behalf something is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    Account(Arc<str>),
    /// Of somebody who has not proved anything yet.
    Address(IpAddr),
}

impl Whose {
    /// Of whoever asks from there.
    pub(crate) fn stranger(address: Option<IpAddr>) -> Whose {
        Whose::Address(match address {
            Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
                Some(address) => IpAddr::V4(address),
                None => {
                    let bits = address.to_bits() >> IPV6_PREFIX_BITS << IPV6_PREFIX_BITS;
                    IpAddr::V6(Ipv6Addr::from_bits(bits))
                }
            },
            Some(address) => address,
            None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        })
    }
}

/// What a connection has proved: the last key that a request on it was signed with, and whose that is.
#[derive(Clone, Default)]
pub(crate) struct Known(Arc<Mutex<Option<Proved>>>);

struct Proved {
    key_id: Box<str>,
    account: Arc<str>,
}

impl Known {
    /// The account of a key that was proved on this connection.
    pub(crate) fn account(&self, key_id: &str) -> Option<Arc<str>> {
        let proved = self.proved();
        let proved = proved.as_ref().filter(|proved| *proved.key_id == *key_id);
        proved.map(|proved| proved.account.clone())
    }

    /// A request was proved to be signed with that key.
    pub(crate) fn prove(&self, key_id: &str, account: &Arc<str>) {
        if self.account(key_id).is_none_or(|known| known != *account) {
            *self.proved() = Some(Proved {
                key_id: key_id.into(),
                account: account.clone(),
            });
        }
    }

    /// A request proved nothing.
    pub(crate) fn forget(&self) {
        *self.proved() = None;
    }

    fn proved(&self) -> MutexGuard<'_, Option<Proved>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of the key that a request says to be signed with: `Credential=ID/…`.
pub(crate) fn claimed_key(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (_, credential) = authorization.split_once("Credential=")?;
    credential.split('/').next().filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_proved_on_a_connection_is_believed() {
        let known = Known::default();
        assert_eq!(known.account("AKIA1"), None);
        known.prove("AKIA1", &"111111111111".into());
        assert_eq!(known.account("AKIA1").as_deref(), Some("111111111111"));
        assert_eq!(known.account("AKIA2"), None);
        known.prove("AKIA2", &"222222222222".into());
        assert_eq!(known.account("AKIA1"), None);
        known.forget();
        assert_eq!(known.account("AKIA2"), None);
    }

    #[test]
    fn a_network_of_ipv6_is_one_stranger() {
        let of = |text: &str| Whose::stranger(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn the_claimed_key_is_read_off_the_header() {
        for (value, key) in [
            (
                "AWS4-HMAC-SHA256 Credential=AKIA1/20260131/us-east-1/states/aws4_request, SignedHeaders=host",
                Some("AKIA1"),
            ),
            ("AWS4-HMAC-SHA256 SignedHeaders=host", None),
            ("AWS4-HMAC-SHA256 Credential=/x", None),
            ("Basic QQ==", None),
        ] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(claimed_key(&headers), key, "{value}");
        }
        assert_eq!(claimed_key(&HeaderMap::new()), None);
    }
}
