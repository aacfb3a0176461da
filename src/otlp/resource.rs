//! Who sends spans: the attributes of this process. Pure, except that [`of_process`] reads the
//! environment.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use percent_encoding::percent_decode_str;

/// Names and values, by name.
pub(super) type Attributes = BTreeMap<String, String>;

/// What OpenTelemetry has for whoever runs a process and did not write it (the specification's
/// "Environment Variable Specification").
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// The same for `service.name` alone; it has the last word.
const NAME: &str = "OTEL_SERVICE_NAME";

/// Those of this process.
pub(super) fn of_process() -> Attributes {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let attributes = variable(ATTRIBUTES);
    let parsed = attributes.as_deref().map(parse);
    if parsed == Some(None) {
        tracing::warn!("{ATTRIBUTES} is not a list of name=value, and is ignored");
    }
    let keys = RandomState::new();
    let instance = instance(keys.hash_one(0), keys.hash_one(1));
    resource(instance, parsed.flatten().unwrap_or_default(), variable(NAME))
}

fn resource(instance: String, given: Attributes, name: Option<String>) -> Attributes {
    let mut all = Attributes::from(
        [
            ("service.name", "longwire".to_owned()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", instance),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    all.extend(given);
    all.extend(name.map(|name| ("service.name".to_owned(), name)));
    all
}

/// "All attribute values MUST be considered strings and characters outside the `baggage-octet`
/// range MUST be percent-encoded. … In case of any error … the entire environment variable value
/// SHOULD be discarded".
fn parse(text: &str) -> Option<Attributes> {
    let decoded =
        |text: &str| Some(percent_decode_str(text.trim()).decode_utf8().ok()?.into_owned());
    let members = text.split(',').filter(|member| !member.trim().is_empty());
    members
        .map(|member| {
            let (name, value) = member.split_once('=')?;
            let name = decoded(name).filter(|name| !name.is_empty())?;
            Some((name, decoded(value)?))
        })
        .collect()
}

/// A random UUID (RFC 9562 §5.4), as the conventions recommend.
fn instance(high: u64, low: u64) -> String {
    let (high, low) = (high & !0xf000 | 0x4000, low & !(0b11 << 62) | 0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_runs_it_has_the_last_word() {
        let of = |given: &str, name: Option<&str>| {
            let given = parse(given).unwrap();
            resource("i".to_owned(), given, name.map(str::to_owned))
        };
        let plain = of("", None);
        assert_eq!(plain["service.name"], "longwire");
        assert_eq!(plain["service.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(plain["service.instance.id"], "i");
        let given = of("service.name=a, deployment.environment.name = te%73t%2C1 ,", None);
        assert_eq!(given["service.name"], "a");
        assert_eq!(given["deployment.environment.name"], "test,1");
        assert_eq!(of("service.name=a", Some("b"))["service.name"], "b");
    }

    #[test]
    fn what_is_no_list_counts_for_nothing() {
        for bad in ["a", "a=1,b", "=1", "a=%ff"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_instance_has_a_uuid() {
        assert_eq!(instance(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(instance(0, 1), "00000000-0000-4000-8000-000000000001");
    }
}
