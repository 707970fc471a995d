//! `limit` and `cursor`, and the `Link` header that names the next page.

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::input::Params;
use super::json::Json;

/// Most items a page may be asked to have. Without a limit a list is whole.
const LARGEST_PAGE: usize = 1000;

pub fn limit(params: &mut Params) -> Option<usize> {
    let help = format!("a whole number from 1 to {LARGEST_PAGE}");
    params.parsed("limit", &help, |text| {
        let limit = text.parse().ok()?;
        (1..=LARGEST_PAGE).contains(&limit).then_some(limit)
    })
}

/// A page, with the address of the next one when there is one.
pub fn with_next<T: Serialize>(uri: &Uri, next: Option<String>, body: &T) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(link) = next.and_then(|cursor| link(uri, &cursor)) {
        headers.insert(header::LINK, link);
    }
    (headers, Json(body)).into_response()
}

/// The same request with another cursor. Cursors need no escaping.
fn link(uri: &Uri, cursor: &str) -> Option<HeaderValue> {
    let kept = uri.query().unwrap_or_default().split('&');
    let mut query: String = kept
        .filter(|part| !part.is_empty() && !part.starts_with("cursor="))
        .flat_map(|part| [part, "&"])
        .collect();
    query.push_str("cursor=");
    query.push_str(cursor);
    HeaderValue::try_from(format!("<{}?{query}>; rel=\"next\"", uri.path())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_keeps_the_filters() {
        let uri: Uri = "/api/v1/databases?status=running&cursor=old&limit=2"
            .parse()
            .unwrap();
        let link = link(&uri, "new").unwrap();
        assert_eq!(
            link,
            "</api/v1/databases?status=running&limit=2&cursor=new>; rel=\"next\""
        );
    }
}
