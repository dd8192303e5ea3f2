//! Who may see what.
//!
//! A handler gets data only through a [`Scope`], a [`House`] or a [`Machine`]; axum makes them from the request's token and path, or
//! refuses. A cooperative that the token does not open is answered exactly like one that does not exist.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use furrow_ingest_core::GatewayKey;
use furrow_wire::{CooperativeId, GreenhouseId};
use sha2::{Digest, Sha256};

use super::answer::ApiError;
use super::{Api, CooperativeAccess};

/// The cookie that bears a token.
pub(super) const COOKIE_NAME: &str = "furrow_token";
/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 512;

/// Cooperatives that a request's token opens, with the token's number there; at least one.
#[derive(Debug)]
pub(super) struct Grants(Vec<(usize, usize)>);

/// One cooperative, opened.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) api: Arc<Api>,
    pub(super) index: usize,
    token: usize,
}

/// One gateway of an opened cooperative. What changes something gets it only if no other site's page
/// asks.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) scope: Scope,
    pub(super) key: GatewayKey,
    /// Whose token it is.
    pub(super) by: String,
}

/// One greenhouse of an opened cooperative.
#[derive(Debug)]
pub(super) struct House {
    pub(super) scope: Scope,
    pub(super) id: GreenhouseId,
}

impl Grants {
    /// What a token opens; `None`: nothing.
    pub(super) fn of_token(api: &Api, token: &str) -> Option<Self> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let opened = api
            .cooperatives
            .iter()
            .enumerate()
            .filter_map(|(index, cooperative)| {
                // All are compared, so that time does not tell which one matched.
                let tokens = cooperative.tokens.iter().enumerate();
                let matching = tokens.fold(None, |found, (n, token)| {
                    same(&token.sha256, &digest).then_some(n).or(found)
                });
                Some((index, matching?))
            });
        let opened: Vec<(usize, usize)> = opened.collect();
        (!opened.is_empty()).then_some(Self(opened))
    }

    /// The opened cooperatives.
    pub(super) fn cooperatives<'a>(
        &'a self,
        api: &'a Api,
    ) -> impl Iterator<Item = &'a CooperativeAccess> {
        self.0
            .iter()
            .filter_map(|(index, _)| api.cooperatives.get(*index))
    }
}

impl Scope {
    pub(super) fn access(&self) -> Result<&CooperativeAccess, ApiError> {
        self.api
            .cooperatives
            .get(self.index)
            .ok_or(ApiError::NotFound("cooperative"))
    }

    pub(super) fn cooperative(&self) -> Result<CooperativeId, ApiError> {
        Ok(self.access()?.id.clone())
    }
}

impl FromRequestParts<Arc<Api>> for Grants {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let grants = token_of(&parts.headers).and_then(|token| Grants::of_token(api, token));
        grants.ok_or_else(|| {
            api.refused.increment();
            ApiError::Unauthorised
        })
    }
}

impl FromRequestParts<Arc<Api>> for Scope {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let grants = Grants::from_request_parts(parts, api).await?;
        let wanted = path_part(parts, api, "cooperative").await;
        let opened = grants.0.into_iter().find(|(index, _)| {
            let access = api.cooperatives.get(*index);
            access.is_some_and(|access| Some(access.id.as_str()) == wanted.as_deref())
        });
        let (index, token) = opened.ok_or(ApiError::NotFound("cooperative"))?;
        Ok(Scope {
            api: Arc::clone(api),
            index,
            token,
        })
    }
}

impl FromRequestParts<Arc<Api>> for House {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let scope = Scope::from_request_parts(parts, api).await?;
        let wanted = path_part(parts, api, "greenhouse").await;
        let id: GreenhouseId = wanted
            .and_then(|text| text.parse().ok())
            .ok_or(ApiError::NotFound("greenhouse"))?;
        let assigned = scope
            .access()?
            .gateways
            .iter()
            .any(|(_, greenhouse)| *greenhouse == id);
        let cooperative = scope.cooperative()?;
        if !assigned && api.reader.latest(&cooperative, &id)?.is_empty() {
            return Err(ApiError::NotFound("greenhouse"));
        }
        Ok(House { scope, id })
    }
}

impl FromRequestParts<Arc<Api>> for Machine {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let scope = Scope::from_request_parts(parts, api).await?;
        if !parts.method.is_safe() && is_cross_site(&parts.headers) {
            return Err(ApiError::Forbidden("another site's page asks"));
        }
        let wanted = path_part(parts, api, "gateway").await;
        let access = scope.access()?;
        let mut gateways = access.gateways.iter().map(|(gateway, _)| gateway);
        let gateway = gateways
            .find(|gateway| Some(gateway.as_str()) == wanted.as_deref())
            .ok_or(ApiError::NotFound("gateway"))?;
        let key = GatewayKey {
            cooperative: access.id.clone(),
            gateway: gateway.clone(),
        };
        let token = access.tokens.get(scope.token);
        let by = token.map(|token| token.name.clone()).unwrap_or_default();
        Ok(Machine { scope, key, by })
    }
}

/// A named part of the path, decoded.
pub(super) async fn path_part(parts: &mut Parts, api: &Arc<Api>, name: &str) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, api).await.ok()?;
    params
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

fn token_of(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if let Some(token) = bearer.and_then(|value| value.strip_prefix("Bearer ")) {
        return Some(token.trim());
    }
    let cookies = headers
        .get_all(COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| value)
}

/// Whether a browser sent this from another site's page, or from a sibling's, with the cookie that it
/// keeps for this one. The cookie's `SameSite` forbids that too; not every browser knows it, and siblings
/// count as the same site there. A token that a program sends by itself is nobody else's.
fn is_cross_site(headers: &HeaderMap) -> bool {
    if headers.contains_key(AUTHORIZATION) {
        return false;
    }
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(ORIGIN) else {
        // Every browser says where a request that changes something comes from: this is none.
        return false;
    };
    let own = headers.get(HOST).map(HeaderValue::as_bytes);
    let of_origin = origin.as_bytes();
    let host = [&b"https://"[..], b"http://"]
        .iter()
        .find_map(|scheme| of_origin.strip_prefix(*scheme));
    host.is_none() || host != own
}

/// Whether two hashes are the same, in a time that does not depend on where they differ.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let differing = a.iter().zip(b).fold(0u8, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(differing) == 0
}
