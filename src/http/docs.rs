//! `GET /openapi.json`, and `GET /docs`, a page to try it.

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::middleware::{self, Next};
use axum::response::Response;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_swagger_ui::SwaggerUi;

use super::Api;

/// The head of the document; the paths come from the routes.
pub(super) fn info() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        info(
            title = "codex-agent",
            description = "Accepts agent jobs, runs them with three tools, and records every step."
        ),
        tags(
            (name = "tasks", description = "Jobs: submit, watch, stop, download."),
            (name = "service", description = "The service itself."),
        ),
        security((), ("token" = [])),
    )]
    struct Document;
    let mut document = Document::openapi();
    document.info.license = None;
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme("token", token);
    document
}

/// Both pages. The page's parts are inside the program: it works without a network.
pub(super) fn router(document: OpenApi) -> Router<Api> {
    let pages: Router<Api> = SwaggerUi::new("/docs").url("/openapi.json", document).into();
    pages.layer(middleware::from_fn(own_parts_only))
}

/// The page loads nothing from elsewhere, and no other page may show it in a frame.
async fn own_parts_only(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
