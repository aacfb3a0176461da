//! Spans as a message of OTLP. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Inner;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    self as otlp, ResourceSpans, ScopeSpans, Status, span,
};
use prost::Message as _;

use super::resource::Attributes;
use crate::telemetry::span::{Attribute, Event, Span, Value};

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`: whether the parent is another process is known.
const HAS_IS_REMOTE: u32 = 0x100;

/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: it is one.
const IS_REMOTE: u32 = 0x200;

/// The bytes of a request that exports these spans.
pub(super) fn encode(resource: &Attributes, spans: &[Span]) -> Vec<u8> {
    let attributes = resource.iter().map(|(name, value)| KeyValue {
        key: name.clone(),
        value: Some(AnyValue { value: Some(Inner::StringValue(value.clone())) }),
        ..KeyValue::default()
    });
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = ScopeSpans {
        scope: Some(scope),
        spans: spans.iter().map(of_span).collect(),
        ..ScopeSpans::default()
    };
    let spans = ResourceSpans {
        resource: Some(Resource { attributes: attributes.collect(), ..Resource::default() }),
        scope_spans: vec![spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec()
}

fn of_span(span: &Span) -> otlp::Span {
    let Span { trace, name, started, duration, attributes, events, error } = span;
    let remote = if trace.parent.is_some() { IS_REMOTE } else { 0 };
    otlp::Span {
        trace_id: trace.id.bytes().to_vec(),
        span_id: trace.span.bytes().to_vec(),
        parent_span_id: trace.parent.map(|span| span.bytes().to_vec()).unwrap_or_default(),
        flags: u32::from(trace.flags()) | HAS_IS_REMOTE | remote,
        name: name.clone(),
        kind: span::SpanKind::Server.into(),
        start_time_unix_nano: nanos(*started, Duration::ZERO),
        end_time_unix_nano: nanos(*started, *duration),
        attributes: attributes.iter().map(of_attribute).collect(),
        events: events.iter().map(|event| of_event(*started, event)).collect(),
        status: error.map(|text| Status {
            code: otlp::status::StatusCode::Error.into(),
            message: text.to_owned(),
        }),
        ..otlp::Span::default()
    }
}

fn of_event(started: SystemTime, event: &Event) -> span::Event {
    span::Event {
        time_unix_nano: nanos(started, event.at),
        name: event.name.to_owned(),
        attributes: event.attributes.iter().map(of_attribute).collect(),
        ..span::Event::default()
    }
}

fn of_attribute((name, value): &Attribute) -> KeyValue {
    let value = match value {
        Value::Text(text) => Inner::StringValue(text.clone()),
        Value::Integer(number) => Inner::IntValue(*number),
        Value::Number(number) => Inner::DoubleValue(*number),
    };
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: (*name).to_owned(), value, ..KeyValue::default() }
}

/// Nanoseconds since 1970: enough until the year 2554.
fn nanos(started: SystemTime, after: Duration) -> u64 {
    let since = started.duration_since(UNIX_EPOCH).unwrap_or_default() + after;
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
