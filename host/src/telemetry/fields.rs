//! What a line of the log shows of a span's fields.
//!
//! Every request has a span, whose fields are made into text though hardly any request says a word: that was the
//! twentieth part of a read. Here plain words are copied; whatever else there is, is left to tracing's own formatter,
//! and reads the same.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

pub struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        if writer.has_ansi_escapes() {
            return DefaultFields::new().format_fields(writer, fields);
        }
        let mut words = Words(Some(String::with_capacity(128)));
        fields.record(&mut words);
        match words.0 {
            Some(text) => writer.write_str(&text),
            None => DefaultFields::new().format_fields(writer, fields),
        }
    }
}

/// Fields as text, until one comes that is not plain.
struct Words(Option<String>);

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if field.name() == "message" || !value.bytes().all(plain) {
            self.0 = None;
        }
        if let Some(text) = &mut self.0 {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(field.name());
            text.push_str("=\"");
            text.push_str(value);
            text.push('"');
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Lines within spans of all sorts, as they are said with these fields.
    fn said<F>(fields: F) -> String
    where
        F: for<'writer> FormatFields<'writer> + Send + Sync + 'static,
    {
        let said = Said::default();
        let writer = said.clone();
        let lines = tracing_subscriber::fmt::layer()
            .without_time()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .fmt_fields(fields);
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let request = tracing::error_span!("request", id = "a-1", route = "/x/{id}");
            let odd = tracing::error_span!("odd", name = "a \"b\"\n", n = 7, word = "plain");
            let message = tracing::error_span!("said", message = "words", more = "of it");
            let empty = tracing::error_span!("empty", word = "");
            for span in [request, odd, message, empty] {
                span.in_scope(|| tracing::error!(word = "said", count = 3, "it happened"));
            }
        });
        String::from_utf8(said.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn it_reads_as_if_tracing_had_written_it() {
        let ours = said(Fields);
        assert_eq!(ours, said(DefaultFields::new()));
        assert!(
            ours.contains("request{id=\"a-1\" route=\"/x/{id}\"}"),
            "{ours}"
        );
    }
}
