//! What of a trace travels: the W3C trace context of a span as a text that fits into a header or a record, and
//! the way back. Does nothing while no traces are exported, and holds no secret.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header that carries it.
pub const HEADER: &str = "traceparent";

/// Where the current span stands in its trace; none while it is part of none.
pub fn current() -> Option<String> {
    let context = Span::current().context();
    let place = context.span().span_context().clone();
    place.is_valid().then(|| {
        let flags = place.trace_flags().to_u8();
        format!("00-{}-{}-{flags:02x}", place.trace_id(), place.span_id())
    })
}

/// Make a span that has not begun a child of the one that `parent` names. What is no trace context is passed
/// over: a trace is never worth a refusal.
pub fn continue_from(span: &Span, parent: &str) {
    let carrier = HashMap::from([(HEADER.to_owned(), parent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&carrier);
    if context.span().span_context().is_valid() {
        // It fails when nothing is exported, and then there is nothing to continue.
        let _not_exported = span.set_parent(context);
    }
}

/// Say in the span of a request how it was answered. Only a trace shows it: what the log keeps of a span is made into
/// text again with each field that is added.
pub fn answered(span: &Span, status: u16) {
    span.set_attribute("status", i64::from(status));
    if status >= 500 {
        span.set_status(Status::error(""));
    }
}

/// A span for work that is worth one only as part of a trace or of a line of the log: what looks at instances
/// every second is neither.
macro_rules! inner_span {
    ($($fields:tt)*) => {
        if tracing::Span::current().is_disabled() {
            tracing::Span::none()
        } else {
            tracing::debug_span!($($fields)*)
        }
    };
}
pub(crate) use inner_span;

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_span_continues_what_it_is_given_and_says_where_it_stands() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(current(), None);
            let span = tracing::info_span!("continued");
            continue_from(&span, GIVEN);
            let stands = span.in_scope(current).unwrap();
            assert!(stands.starts_with(&GIVEN[..36]), "{stands}");
            assert!(stands.ends_with("-01"), "{stands}");
            assert_ne!(stands, GIVEN);
            for nonsense in ["", "00-0-0-01", &GIVEN[..40], "no trace"] {
                let span = tracing::info_span!("on its own");
                continue_from(&span, nonsense);
                let stands = span.in_scope(current).unwrap();
                assert!(!stands.starts_with(&GIVEN[..36]), "{stands}");
            }
        });
    }

    #[test]
    fn without_an_export_there_is_nothing_to_tell() {
        let span = tracing::info_span!("plain");
        continue_from(&span, GIVEN);
        assert_eq!(span.in_scope(current), None);
    }
}
