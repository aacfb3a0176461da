//! The machine with made-up time.

use super::*;
use crate::config::model::DrainClose;
use crate::ws::tracker::Rules as Frames;

const PONG: Duration = Duration::from_secs(10);

fn rules(ping: Option<u64>, idle: Option<u64>) -> Rules {
    Rules {
        ping: ping.map(Duration::from_secs),
        pong_timeout: PONG,
        idle: idle.map(Duration::from_secs),
        max_frame: 1024,
        origins: Vec::new(),
        drain_close: DrainClose { code: 1001, reason: String::new() },
    }
}

fn machine(now: Instant) -> WebSocket {
    let tracker =
        |masked| Tracker::new(Frames { masked, max_frame: 1024, rsv1: false, rsv23: false });
    WebSocket::new(tracker(true), tracker(false), 7, now, now)
}

fn frame(side: Side, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    control_frame(&mut out, opcode, payload, (side == Side::Client).then_some([1, 2, 3, 4]));
    out
}

fn read(machine: &mut WebSocket, side: Side, bytes: &[u8], now: Instant) -> Vec<u8> {
    let mut out = Vec::new();
    machine.read(side, bytes, now, &mut out, |_| {}).unwrap();
    out
}

#[test]
fn a_silent_websocket_lives_for_hours_on_pings() {
    let rules = rules(Some(30), None);
    let began = crate::clock::now();
    let mut machine = machine(began);
    let (mut now, mut pings) = (began, 0);
    while now < began + Duration::from_secs(6 * 3600) {
        now = machine.next(&rules, None).unwrap();
        let Due::Ping(side) = machine.due(&rules, None, now) else { panic!("not a ping") };
        let mut out = Vec::new();
        assert!(machine.push_ping(side, now, &mut out));
        pings += 1;
        // It answers after a second; the answer goes no further.
        let pong = frame(side, Opcode::Pong, &machine.ping.clone());
        now += Duration::from_secs(1);
        assert!(read(&mut machine, side, &pong, now).is_empty(), "our pong went on");
    }
    assert!((1390..=1440).contains(&pings), "{pings} pings in six hours, both sides");
}

#[test]
fn a_side_that_does_not_answer_is_gone() {
    let rules = rules(Some(30), None);
    let began = crate::clock::now();
    for silent in [Side::Client, Side::Upstream] {
        let mut machine = machine(began);
        let now = loop {
            let now = machine.next(&rules, None).unwrap();
            match machine.due(&rules, None, now) {
                Due::Ping(side) => {
                    assert!(machine.push_ping(side, now, &mut Vec::new()));
                    if side != silent {
                        let pong = frame(side, Opcode::Pong, &machine.ping.clone());
                        read(&mut machine, side, &pong, now);
                    }
                }
                due => {
                    assert_eq!(due, Due::End(CloseReason::PongTimeout));
                    break now;
                }
            }
        };
        assert_eq!(now, began + Duration::from_secs(40), "ping + pong_timeout");
        assert_eq!(machine.silent_side(&rules, now), Some(silent));
    }
}

#[test]
fn only_data_frames_are_not_idle() {
    let rules = rules(Some(30), Some(100));
    let began = crate::clock::now();
    let mut machine = machine(began);
    for seconds in (10..100).step_by(10) {
        let ping = frame(Side::Client, Opcode::Ping, b"theirs");
        let now = began + Duration::from_secs(seconds);
        assert_eq!(read(&mut machine, Side::Client, &ping, now), ping, "theirs pass");
        read(&mut machine, Side::Upstream, &frame(Side::Upstream, Opcode::Pong, b""), now);
    }
    let end = began + Duration::from_secs(100);
    assert_eq!(machine.due(&rules, None, end), Due::End(CloseReason::IdleTimeout));
    read(&mut machine, Side::Upstream, b"\x81\x01a", began + Duration::from_secs(99));
    assert_eq!(machine.due(&rules, None, end), Due::Nothing);
}

#[test]
fn a_side_that_is_not_read_cannot_miss_a_pong() {
    let rules = rules(Some(30), None);
    let began = crate::clock::now();
    let mut machine = machine(began);
    assert!(machine.push_ping(Side::Client, began, &mut Vec::new()));
    machine.pause(Side::Client, true, began);
    let later = began + Duration::from_secs(25);
    assert_eq!(machine.due(&rules, None, later), Due::Nothing);
    machine.pause(Side::Client, false, later);
    assert_eq!(
        machine.due(&rules, None, later + Duration::from_secs(9)),
        Due::Ping(Side::Upstream)
    );
    let late = later + PONG;
    assert_eq!(machine.silent_side(&rules, late), Some(Side::Client), "its time begins anew");
}

#[test]
fn when_we_end_it_both_hear_it_once_and_nothing_follows() {
    let began = crate::clock::now();
    let mut machine = machine(began);
    let (mut client, mut upstream) = (Vec::new(), Vec::new());
    machine.end(CloseReason::Drained, 1001, "bye", began, (&mut client, &mut upstream));
    assert_eq!(client, b"\x88\x05\x03\xe9bye");
    assert_eq!((upstream[0], upstream[1]), (0x88, 0x85), "masked, as a client's frames are");
    let before = client.len();
    machine.end(CloseReason::IdleTimeout, 1001, "", began, (&mut client, &mut upstream));
    assert_eq!((client.len(), machine.ending()), (before, Some(CloseReason::Drained)));
    assert!(read(&mut machine, Side::Upstream, b"\x81\x01a", began).is_empty(), "data after it");
    let rules = rules(Some(30), None);
    assert_eq!(machine.due(&rules, None, began + CLOSE_WAIT), Due::Cut);
}

#[test]
fn nothing_is_put_into_a_frame() {
    let began = crate::clock::now();
    let mut machine = machine(began);
    // The upstream stops in the middle of a frame.
    assert_eq!(read(&mut machine, Side::Upstream, b"\x81\x05he", began), b"\x81\x05he");
    let (mut client, mut upstream) = (Vec::new(), Vec::new());
    assert!(!machine.push_ping(Side::Client, began, &mut client), "a ping inside a frame");
    assert!(machine.push_ping(Side::Upstream, began, &mut upstream), "the other way is free");
    machine.end(CloseReason::Drained, 1001, "", began, (&mut client, &mut upstream));
    assert!(client.is_empty(), "a close frame inside a frame");
}
