use super::*;

const TRACE: &str = "12345678901234567890123456789012";
const SPAN: &str = "1234567890123456";

fn fields(list: &[(&'static str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in list {
        fields.append(*name, value);
    }
    fields
}

/// Numbers from 1.
fn counted() -> impl FnMut() -> u64 {
    let mut count = 0;
    move || {
        count += 1;
        count
    }
}

/// Nobody records.
fn nothing(_: TraceId) -> bool {
    false
}

/// What goes on of a request with these fields.
fn through(list: &[(&'static str, &str)]) -> (String, String) {
    let mut fields = fields(list);
    Trace::of(&fields, counted(), nothing).write(&mut fields);
    let all = |name| {
        let all: Vec<_> = fields.all(name).map(|value| String::from_utf8_lossy(value)).collect();
        all.join(",")
    };
    (all(PARENT), all(STATE))
}

fn continued(value: &str) -> bool {
    let (parent, _) = through(&[(PARENT, value)]);
    let mut parts = parent.split('-');
    let (version, trace, span) = (parts.next(), parts.next(), parts.next());
    assert_eq!((version, span), (Some("00"), Some("0000000000000001")), "{parent}");
    assert_eq!(parent.len(), PARENT_BYTES);
    trace == Some(TRACE)
}

/// After `test_traceparent_*` of the specification's own suite.
#[test]
fn what_can_be_read_is_continued() {
    let known = format!("00-{TRACE}-{SPAN}-01");
    assert_eq!(known.len(), PARENT_BYTES);
    let future = format!("cc-{TRACE}-{SPAN}-01");
    for good in
        [&known, &future, &format!("{future}-what-the-future-will-be-like"), &format!("{future}-")]
    {
        assert!(continued(good), "{good}");
    }
    for bad in [
        String::new(),
        format!("{known}.what-the-future-will-not-be-like"),
        format!("{known}-what-the-future-will-be-like"),
        format!("{future}.what-the-future-will-not-be-like"),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!(".0-{TRACE}-{SPAN}-01"),
        format!("0.-{TRACE}-{SPAN}-01"),
        format!("000-{TRACE}-{SPAN}-01"),
        format!("0000-{TRACE}-{SPAN}-01"),
        format!("0-{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("00-.{}-{SPAN}-01", &TRACE[1..]),
        format!("00-{}.-{SPAN}-01", &TRACE[..31]),
        format!("00-{TRACE}3-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", &TRACE[1..]),
        format!("00-{}-{SPAN}-01", "A".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{TRACE}-.{}-01", &SPAN[1..]),
        format!("00-{TRACE}-{}.-01", &SPAN[..15]),
        format!("00-{TRACE}-{SPAN}7-01"),
        format!("00-{TRACE}-{}-01", &SPAN[1..]),
        format!("00-{TRACE}-{SPAN}-.0"),
        format!("00-{TRACE}-{SPAN}-0."),
        format!("00-{TRACE}-{SPAN}-001"),
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00-{TRACE}-{SPAN}"),
        format!("00_{TRACE}_{SPAN}_01"),
        known.repeat(1000),
    ] {
        assert!(!continued(&bad), "{bad}");
    }
}

#[test]
fn every_prefix_and_every_other_byte_is_refused() {
    let known = format!("00-{TRACE}-{SPAN}-01");
    for length in 0..known.len() {
        assert_eq!(Parent::parse(&known.as_bytes()[..length]), None, "{length}");
    }
    for at in 0..known.len() {
        let mut bytes = known.clone().into_bytes();
        for other in [b'g', b' ', b'+', 0, 0xff] {
            bytes[at] = other;
            assert_eq!(Parent::parse(&bytes), None, "{other} at {at}");
        }
    }
}

#[test]
fn only_the_flags_that_are_known_go_on() {
    for (came, goes) in [("00", "00"), ("01", "01"), ("02", "02"), ("ff", "03"), ("fc", "00")] {
        let value = format!("00-{TRACE}-{SPAN}-{came}");
        let (parent, _) = through(&[(PARENT, &value)]);
        assert_eq!(parent, format!("00-{TRACE}-0000000000000001-{goes}"));
        let trace = Trace::of(&fields(&[(PARENT, &value)]), counted(), nothing);
        assert_eq!(trace.is_sampled(), goes.ends_with(['1', '3']));
        assert_eq!(trace.parent.map(|span| span.to_string()).as_deref(), Some(SPAN));
    }
}

#[test]
fn without_a_parent_a_trace_begins_and_is_not_sampled() {
    let begun = format!("00-{:016x}{:016x}-{:016x}-02", 2, 3, 1);
    let known = format!("00-{TRACE}-{SPAN}-01");
    let cases: [&[(&'static str, &str)]; 4] = [
        &[],
        &[(STATE, "foo=1")],
        &[(PARENT, "00-0-0-0"), (STATE, "foo=1")],
        &[(PARENT, &known), ("TraceParent", &known), (STATE, "foo=1")],
    ];
    for case in cases {
        let (parent, state) = through(case);
        assert_eq!((parent.as_str(), state.as_str()), (begun.as_str(), ""), "{case:?}");
    }
    let trace = Trace::of(&Fields::default(), || 0, nothing);
    assert_ne!((trace.id.0, trace.span.0), (0, 0), "zero is no id");
    assert_eq!(trace.parent, None);
}

#[test]
fn who_records_decides_about_traces_that_begin_here_and_about_no_other() {
    let begun = |samples: bool| Trace::of(&Fields::default(), counted(), |_| samples);
    assert_eq!(begun(true).flags(), SAMPLED | RANDOM);
    assert!(begun(true).is_sampled() && !begun(false).is_sampled());
    let all = Trace::of(&Fields::default(), counted(), |id| {
        assert_eq!((id.low(), id.bytes()), (3, (2_u128 << 64 | 3).to_be_bytes()));
        true
    });
    assert_eq!(all.span.bytes(), [0, 0, 0, 0, 0, 0, 0, 1]);
    for flags in ["00", "01"] {
        let value = format!("00-{TRACE}-{SPAN}-{flags}");
        let trace = Trace::of(&fields(&[(PARENT, &value)]), counted(), |_| panic!("it was asked"));
        assert_eq!(trace.is_sampled(), flags == "01", "its parent decides");
    }
}

#[test]
fn a_good_state_goes_on_as_it_came_and_a_bad_one_not_at_all() {
    let known = format!("00-{TRACE}-{SPAN}-01");
    let (_, state) = through(&[(PARENT, &known), (STATE, "foo=1,bar=2"), (STATE, "baz=3")]);
    assert_eq!(state, "foo=1,bar=2,baz=3");
    let (parent, state) = through(&[(PARENT, &known), (STATE, "foo=1"), (STATE, "FOO=1")]);
    assert_eq!(state, "");
    assert!(parent.contains(TRACE), "the trace goes on without it");
}
