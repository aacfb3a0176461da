use super::super::close;
use super::super::head::control_frame;
use super::*;

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const OUR_PING: &[u8] = b"longwire 7";

/// Rules without extensions, and no limit that matters.
fn rules(masked: bool) -> Rules {
    Rules { masked, max_frame: 1 << 20, rsv1: false, rsv23: false }
}

/// A frame of a server; `first` is its first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    encode(first, payload, None)
}

/// A frame, written independently of `head.rs`.
fn encode(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        length @ 0..126 => out.push(mask_bit | length as u8),
        length @ 126..0x1_0000 => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let key = mask.unwrap_or([0; 4]);
    out.extend(mask.iter().flatten());
    out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]));
    out
}

/// First byte and payload of each frame; the bytes end with a frame.
fn decode(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    fn front<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
        let (front, rest) = bytes.split_at(length);
        *bytes = rest;
        front
    }
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let first = front(&mut bytes, 1)[0];
        let second = front(&mut bytes, 1)[0];
        let length = match second & 0x7F {
            126 => front(&mut bytes, 2).iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            127 => front(&mut bytes, 8).iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            length => usize::from(length),
        };
        let key = if second & 0x80 == 0 { vec![0; 4] } else { front(&mut bytes, 4).to_vec() };
        let payload = front(&mut bytes, length);
        let payload = payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
        frames.push((first, payload));
    }
    frames
}

/// What came out of a tracker.
#[derive(Debug, PartialEq, Default)]
struct Run {
    /// What was passed, with `injected` at every boundary.
    passed: Vec<u8>,
    frames: Vec<(Opcode, bool, u64)>,
    our_pongs: usize,
    violation: Option<Violation>,
    at_boundary: bool,
    closed: Option<CloseFrame>,
}

fn run<'a>(rules: Rules, parts: impl IntoIterator<Item = &'a [u8]>, injected: &[u8]) -> Run {
    let mut tracker = Tracker::new(rules);
    let mut run = Run::default();
    'parts: for mut part in parts {
        loop {
            match tracker.next(&mut part, Some(OUR_PING)) {
                Ok(Item::Pass(bytes)) => {
                    assert!(!bytes.is_empty(), "a pass is never empty");
                    run.passed.extend_from_slice(bytes);
                }
                Ok(Item::Held(held)) => run.passed.extend_from_slice(held.as_slice()),
                Ok(Item::Frame { opcode, fin, length }) => run.frames.push((opcode, fin, length)),
                Ok(Item::OurPong) => run.our_pongs += 1,
                Ok(Item::More) => break,
                Err(violation) => {
                    assert_eq!(tracker.next(&mut part, None).unwrap_err(), violation, "again");
                    run.violation = Some(violation);
                    break 'parts;
                }
            }
        }
        assert!(part.is_empty(), "the input is used up");
        if tracker.at_boundary() {
            run.passed.extend_from_slice(injected);
        }
    }
    run.at_boundary = tracker.at_boundary();
    run.closed = tracker.closed();
    run
}

/// The same whole, byte by byte and cut in two anywhere.
fn run_every_cut(rules: Rules, bytes: &[u8]) -> Run {
    let whole = run(rules, [bytes], b"");
    assert_eq!(run(rules, bytes.chunks(1), b""), whole, "byte by byte: {bytes:02X?}");
    for cut in 0..=bytes.len() {
        let (front, back) = bytes.split_at(cut);
        assert_eq!(run(rules, [front, back], b""), whole, "cut at {cut}: {bytes:02X?}");
    }
    whole
}

#[test]
fn legal_frames_pass_byte_for_byte() {
    for (frames, count) in [
        (vec![], 0),
        (vec![frame(0x81, b"hello")], 1),
        (vec![frame(0x82, b"")], 1),
        (vec![frame(0x81, &[b'x'; 200])], 1),
        (vec![frame(0x01, b"a"), frame(0x00, b"b"), frame(0x80, b"")], 3),
        (vec![frame(0x89, b"theirs"), frame(0x8A, b"theirs")], 2),
        (vec![frame(0x89, OUR_PING)], 1),
        (vec![frame(0x8A, b""), frame(0x8A, &[b'x'; 125])], 2),
        (vec![frame(0x8A, b"longwire 8"), frame(0x8A, b"longwire 77")], 2),
        (vec![frame(0x01, b"a"), frame(0x89, b"p"), frame(0x8A, b"q"), frame(0x80, b"b")], 4),
        (vec![frame(0x81, b"bye"), frame(0x88, b"\x03\xE8bye")], 2),
    ] {
        let bytes = frames.concat();
        let run = run_every_cut(rules(false), &bytes);
        assert_eq!(run.passed, bytes);
        assert_eq!((run.frames.len(), run.our_pongs, run.violation), (count, 0, None));
        assert_eq!(run.at_boundary, run.closed.is_none(), "{bytes:02X?}");
    }
}

#[test]
fn frames_are_told_with_opcode_fin_and_length() {
    let bytes = [frame(0x01, b"abc"), frame(0x89, b""), frame(0x80, &[0; 300])].concat();
    let frames = run_every_cut(rules(false), &bytes).frames;
    let expected =
        [(Opcode::Text, false, 3), (Opcode::Ping, true, 0), (Opcode::Continuation, true, 300)];
    assert_eq!(frames, expected);
}

#[test]
fn a_large_payload_passes_as_one_slice_with_its_head() {
    let bytes = frame(0x82, &[7; 70_000]);
    let mut tracker = Tracker::new(rules(false));
    let mut input = &bytes[..];
    assert!(matches!(tracker.next(&mut input, None), Ok(Item::Frame { length: 70_000, .. })));
    let Ok(Item::Pass(passed)) = tracker.next(&mut input, None) else { panic!("a slice") };
    assert!(std::ptr::eq(passed, &bytes[..]), "not a copy");
    assert!(tracker.at_boundary());
}

#[test]
fn our_pong_is_swallowed_at_any_split() {
    for masked in [false, true] {
        let mask = masked.then_some(KEY);
        let before = encode(0x01, b"one", mask);
        let theirs = encode(0x8A, b"longwire 6", mask);
        let after = encode(0x80, b"two", mask);
        let mut ours = Vec::new();
        control_frame(&mut ours, Opcode::Pong, OUR_PING, mask);
        let bytes = [&before[..], &ours, &theirs, &after, &ours].concat();
        let run = run_every_cut(rules(masked), &bytes);
        assert_eq!(run.passed, [before, theirs, after].concat(), "masked {masked}");
        assert_eq!((run.frames.len(), run.our_pongs, run.violation), (3, 2, None));
    }
}

#[test]
fn without_a_ping_of_ours_every_pong_passes() {
    let bytes = [frame(0x8A, OUR_PING), frame(0x8A, b"")].concat();
    let mut tracker = Tracker::new(rules(false));
    let (mut input, mut passed) = (&bytes[..], Vec::new());
    loop {
        match tracker.next(&mut input, None).unwrap() {
            Item::Pass(bytes) => passed.extend_from_slice(bytes),
            Item::More => break,
            item => assert!(matches!(item, Item::Frame { .. }), "{item:?}"),
        }
    }
    assert_eq!(passed, bytes);
}

#[test]
fn every_prefix_needs_more_and_passes_nothing_unknown() {
    let text = encode(0x81, &[b'x'; 200], Some(KEY));
    for cut in 0..text.len() {
        let run = run(rules(true), [&text[..cut]], b"");
        assert_eq!((run.violation, run.closed), (None, None), "cut at {cut}");
        let head = 8;
        assert_eq!(run.passed.len(), if cut < head { 0 } else { cut }, "cut at {cut}");
        assert_eq!(run.at_boundary, cut < head, "cut at {cut}");
    }
    let ping = encode(0x89, &[b'x'; 125], Some(KEY));
    assert_eq!(ping.len(), MAX_HELD);
    for cut in 0..ping.len() {
        let run = run(rules(true), [&ping[..cut]], b"");
        assert!(run.passed.is_empty() && run.at_boundary, "a control frame is held: {cut}");
    }
}

#[test]
fn a_close_frame_ends_the_direction() {
    let code = |code| Some(CloseFrame { code });
    for masked in [false, true] {
        let mask = masked.then_some(KEY);
        for (payload, closed) in [
            (vec![], code(None)),
            (close::payload(close::NORMAL, ""), code(Some(1000))),
            (close::payload(close::SERVICE_RESTART, "back soon"), code(Some(1012))),
            (close::payload(4999, &"x".repeat(123)), code(Some(4999))),
        ] {
            let close = encode(0x88, &payload, mask);
            let bytes = [&close[..], &encode(0x81, b"late", mask), b"\xFF\xFF"].concat();
            let run = run_every_cut(rules(masked), &bytes);
            assert_eq!(run.passed, close, "what comes behind it is dropped");
            assert_eq!((run.closed, run.violation, run.frames.len()), (closed, None, 1));
            assert!(!run.at_boundary, "nothing may follow a close frame");
        }
    }
}

#[test]
fn closed_is_told_when_the_frame_has_passed() {
    let bytes = frame(0x88, b"\x03\xE8");
    let mut tracker = Tracker::new(rules(false));
    let mut input = &bytes[..];
    assert!(matches!(tracker.next(&mut input, None), Ok(Item::Frame { .. })));
    assert_eq!(tracker.closed(), None);
    assert!(matches!(tracker.next(&mut input, None), Ok(Item::Pass(_))));
    assert_eq!(tracker.closed(), Some(CloseFrame { code: Some(1000) }));
}

/// A good frame, then a bad one: the good one passes, of the bad one nothing.
fn violation(rules: Rules, bad: &[u8]) -> Violation {
    let mask = rules.masked.then_some(KEY);
    let good = encode(0x81, b"good", mask);
    let run = run_every_cut(rules, &[&good, bad].concat());
    assert_eq!(run.passed, good, "nothing of a violating frame passes: {bad:02X?}");
    assert!(run.at_boundary, "our close frame still fits");
    run.violation.unwrap_or_else(|| panic!("no violation in {bad:02X?}"))
}

#[test]
fn every_broken_rule_is_a_violation() {
    let start = frame(0x01, b"");
    for (bad, rule) in [
        (frame(0x83, b""), "§5.2: reserved opcode"),
        (frame(0x8B, b""), "§5.2: reserved opcode"),
        (frame(0xC1, b""), "§5.2: RSV1 without"),
        (frame(0xA1, b""), "§5.2: RSV2 or RSV3"),
        (frame(0x91, b""), "§5.2: RSV2 or RSV3"),
        (b"\x81\x7E\x00\x7D".to_vec(), "§5.2: payload length not in its minimal form"),
        (b"\x81\x7F\0\0\0\0\0\0\xFF\xFF".to_vec(), "§5.2: payload length not in its minimal form"),
        (b"\x81\x7F\x80\0\0\0\0\0\0\0".to_vec(), "§5.2: payload length of 64 bits"),
        (frame(0x09, b""), "§5.5: fragmented"),
        (frame(0x08, b""), "§5.5: fragmented"),
        (frame(0x8A, &[0; 126]), "§5.5: control frame longer"),
        (frame(0x80, b"a"), "§5.4: continuation of nothing"),
        (frame(0x00, b"a"), "§5.4: continuation of nothing"),
        (encode(0x81, b"a", Some(KEY)), "§5.1: masked frame from a server"),
        (encode(0x88, b"", Some(KEY)), "§5.1: masked frame from a server"),
        (frame(0x88, b"\x03"), "§5.5.1: half a close code"),
        (frame(0x88, b"\x03\xED"), "§7.4: a close code"),
        (frame(0x88, b"\x00\x00reason"), "§7.4: a close code"),
        (frame(0x88, b"\x13\x88"), "§7.4: a close code"),
    ] {
        let found = violation(rules(false), &bad);
        let Violation::Protocol(text) = found else { panic!("{found:?}") };
        assert!(text.contains(rule), "expected {rule}, found {text}");
    }
    for bad in [frame(0x81, b""), frame(0x02, b"")] {
        let run = run_every_cut(rules(false), &[&start[..], &bad].concat());
        let rule = "RFC 6455 §5.4: new message inside a fragmented one";
        assert_eq!((run.violation, run.passed), (Some(Violation::Protocol(rule)), start.clone()));
    }
    let unmasked = Violation::Protocol("RFC 6455 §5.1: unmasked frame from a client");
    assert_eq!(violation(rules(true), &frame(0x81, b"a")), unmasked);
    assert_eq!(violation(rules(true), &frame(0x8A, OUR_PING)), unmasked);
    let bad_code = violation(rules(true), &encode(0x88, b"\x03\xEE", Some(KEY)));
    assert_eq!(bad_code.close_code(), 1002, "the code of a client is read through its mask");
}

#[test]
fn a_data_frame_beyond_the_limit_is_too_big() {
    let limited = Rules { max_frame: 10, ..rules(false) };
    assert_eq!(violation(limited, &frame(0x82, &[0; 11])), Violation::TooBig);
    assert_eq!(violation(limited, b"\x82\x7F\x7F\0\0\0\0\0\0\0"), Violation::TooBig);
    let fits = [frame(0x82, &[0; 10]), frame(0x89, &[0; 125])].concat();
    assert_eq!(run_every_cut(limited, &fits).passed, fits, "control frames have a limit already");
    let fragments = [frame(0x02, &[0; 10]), frame(0x80, &[0; 10])].concat();
    assert_eq!(run_every_cut(limited, &fragments).passed, fragments, "frames, not messages");
}

#[test]
fn rfc7692_6_rsv1_is_on_the_first_frame_of_a_message() {
    let deflate = Rules { rsv1: true, ..rules(false) };
    let unknown = Rules { rsv1: true, rsv23: true, ..rules(false) };
    let good = [frame(0x41, b"a"), frame(0x89, b""), frame(0x80, b"b"), frame(0xC2, b"")].concat();
    assert_eq!(run_every_cut(deflate, &good).passed, good);
    for (before, bad) in [(b"".to_vec(), frame(0xC9, b"")), (frame(0x41, b"a"), frame(0xC0, b""))] {
        let bytes = [before.clone(), bad].concat();
        let run = run_every_cut(deflate, &bytes);
        let rule = "RFC 7692 §6: RSV1 on a frame that is not the first of a message";
        assert_eq!((run.violation, run.passed), (Some(Violation::Protocol(rule)), before));
        assert_eq!(run_every_cut(unknown, &bytes).passed, bytes, "who knows");
    }
    assert!(matches!(violation(deflate, &frame(0xA1, b"")), Violation::Protocol(_)));
    let any = frame(0xF1, b"");
    assert_eq!(run_every_cut(unknown, &any).passed, any);
}

/// xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = [0, 1, 5, 125, 126, 300, 65_535, 65_536];
        let choices = if self.below(20) == 0 { length.len() } else { 6 };
        let length = length[self.below(choices)];
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    /// A legal direction: messages in fragments, control frames anywhere, our pongs among them.
    fn frames(&mut self, masked: bool) -> Vec<Vec<u8>> {
        let (mut frames, mut in_message) = (Vec::new(), false);
        for _ in 0..self.below(8) {
            let mask = masked.then(|| [(); 4].map(|()| self.below(256) as u8));
            let fin = if self.below(2) == 0 { 0x80 } else { 0 };
            let mut payload = self.payload();
            let first = match self.below(5) {
                0 | 1 => {
                    let opcode = if in_message { 0 } else { 1 + self.below(2) as u8 };
                    in_message = fin == 0;
                    fin | opcode
                }
                2 => {
                    payload = OUR_PING.to_vec();
                    0x8A
                }
                control => {
                    payload.truncate(125);
                    // 3 is a ping, 4 a pong that is not ours.
                    0x86 + control as u8
                }
            };
            frames.push(encode(first, &payload, mask));
        }
        if self.below(3) == 0 {
            frames.push(encode(0x88, b"\x03\xE8bye", masked.then_some(KEY)));
        }
        frames
    }

    /// Mostly small cuts at the front, where the heads are.
    fn cut<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let most = [1, 3, 20, 1000, 100_000][self.below(5)];
            let length = (1 + self.below(most)).min(bytes.len());
            let (part, rest) = bytes.split_at(length);
            parts.push(part);
            bytes = rest;
        }
        parts
    }
}

#[test]
fn random_frames_at_random_cuts_with_pings_at_every_boundary() {
    const SEED: u64 = 0x2545_F491_4F6C_DD1D;
    const INJECTED: &[u8] = b"injected";
    let mut random = Random(SEED);
    for round in 0..3_000 {
        let masked = round % 2 == 1;
        let mut ping = Vec::new();
        control_frame(&mut ping, Opcode::Ping, INJECTED, masked.then_some(KEY));
        let bytes = random.frames(masked).concat();
        let (ours, expected): (Vec<_>, Vec<_>) =
            decode(&bytes).into_iter().partition(|frame| *frame == (0x8A, OUR_PING.to_vec()));
        let whole = run(rules(masked), [&bytes[..]], b"");
        assert_eq!(whole.violation, None, "round {round}, seed {SEED:X}");
        assert_eq!(whole.our_pongs, ours.len(), "round {round}, seed {SEED:X}");
        let cut = run(rules(masked), random.cut(&bytes), b"");
        assert_eq!(cut, whole, "round {round}, seed {SEED:X}");
        let parts = if round % 4 < 2 { bytes.chunks(1).collect() } else { random.cut(&bytes) };
        let injected = run(rules(masked), parts, &ping);
        let (pings, frames): (Vec<_>, Vec<_>) = decode(&injected.passed)
            .into_iter()
            .partition(|frame| *frame == (0x89, INJECTED.to_vec()));
        assert_eq!(frames, expected, "round {round}, seed {SEED:X}");
        if !bytes.is_empty() && injected.closed.is_none() {
            assert!(!pings.is_empty(), "the end is a boundary: round {round}, seed {SEED:X}");
        }
    }
}

#[test]
fn cuts_change_nothing() {
    // Bytes that mean something in a head, so that frames are legal often enough.
    const ALPHABET: &[u8] = b"\x00\x01\x80\x81\x82\x88\x89\x8A\xC1\x7E\x7F\xFE\x02\x03\xE8\x04";
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for round in 0..20_000 {
        let data: Vec<_> =
            (0..round % 32).map(|_| ALPHABET[random.below(ALPHABET.len())]).collect();
        fuzz_split(&data);
    }
}
