//! One policy under one traffic.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use longwire::clock;
use longwire::config::model::Balance;
use longwire::upstream::balance::{Balancer, Candidate, eased, hash_key};

use super::traffic::Traffic;

/// Until as many streams end as begin: hardly any takes longer. What comes then counts.
const WARM_UP: Duration = Duration::from_secs(3600);
/// For how long after the warm-up the picks of the late one are counted.
const NEW_FOR: Duration = Duration::from_secs(10);
/// How much longer a stream takes at the slow one.
const SLOWNESS: f64 = 4.0;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// Of each endpoint.
    pub(crate) weights: &'static [u32],
    /// Open streams on average, per endpoint.
    pub(crate) streams_each: f64,
    /// The first one is slow.
    pub(crate) slow: bool,
    /// The last one joins at the end of the warm-up.
    pub(crate) late: bool,
    /// As in the configuration.
    pub(crate) slow_start: Option<Duration>,
    /// How long to go on after the warm-up.
    pub(crate) measured: Duration,
    /// Of the traffic.
    pub(crate) seed: u64,
}

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Streams at the fullest endpoint over its fair share, each second.
    fullest: Vec<f64>,
    /// Picks over what they should be by weight, for each endpoint.
    shares: Vec<f64>,
    /// Turns after a conversation's first, and those that found the endpoint again.
    pub(crate) turns: usize,
    pub(crate) again: usize,
    /// All picks while the late one was new, and those of it.
    pub(crate) while_new: usize,
    pub(crate) newcomer: usize,
}

impl Outcome {
    pub(crate) fn mean(&self) -> f64 {
        self.fullest.iter().sum::<f64>() / self.fullest.len() as f64
    }

    pub(crate) fn p99(&self) -> f64 {
        let mut sorted = self.fullest.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() * 99 / 100]
    }

    /// The furthest from 1 that a share is.
    pub(crate) fn share_error(&self) -> f64 {
        self.shares.iter().map(|share| (share - 1.0).abs()).fold(0.0, f64::max)
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Counts what is open.
    Look,
    /// A new conversation.
    Come,
    /// A stream ends at that endpoint.
    End(usize),
    /// A question, with the number of its conversation.
    Ask(usize),
}

struct Conversation {
    turns_left: usize,
    endpoint: Option<usize>,
}

struct World<'a> {
    case: &'a Case,
    traffic: Traffic,
    balancer: Balancer,
    endpoints: Vec<Candidate>,
    conversations: Vec<Conversation>,
    events: BinaryHeap<Reverse<(Duration, Event)>>,
    picks: Vec<usize>,
    outcome: Outcome,
}

/// Simulates the warm-up and what is measured.
pub(crate) fn run(policy: &Balance, case: &Case) -> Outcome {
    let weights = case.weights.iter().enumerate();
    let total: u32 = case.weights.iter().sum();
    let mut world = World {
        case,
        traffic: Traffic::new(case.streams_each * case.weights.len() as f64, case.seed),
        balancer: Balancer::new(policy, 1),
        endpoints: weights.map(|(n, &weight)| super::endpoint(n, f64::from(weight))).collect(),
        conversations: Vec::new(),
        events: BinaryHeap::from([
            Reverse((WARM_UP, Event::Look)),
            Reverse((Duration::ZERO, Event::Come)),
        ]),
        picks: vec![0; case.weights.len()],
        outcome: Outcome::default(),
    };
    while let Some(Reverse((now, event))) = world.events.pop()
        && now < WARM_UP + case.measured
    {
        world.happen(event, now);
    }
    let all: usize = world.picks.iter().sum();
    let fair = |weight: &u32| all as f64 * f64::from(*weight) / f64::from(total);
    let picks = world.picks.iter().zip(case.weights);
    world.outcome.shares = picks.map(|(&picks, weight)| picks as f64 / fair(weight)).collect();
    world.outcome
}

impl World<'_> {
    fn happen(&mut self, event: Event, now: Duration) {
        match event {
            Event::Look => {
                self.look();
                self.at(now, 1.0, Event::Look);
            }
            Event::Come => {
                let turns_left = self.traffic.turns();
                self.conversations.push(Conversation { turns_left, endpoint: None });
                self.at(now, 0.0, Event::Ask(self.conversations.len() - 1));
                let gap = self.traffic.gap();
                self.at(now, gap, Event::Come);
            }
            Event::End(index) => self.endpoints[index].streams -= 1,
            Event::Ask(number) => self.ask(number, now),
        }
    }

    fn at(&mut self, now: Duration, secs: f64, event: Event) {
        self.events.push(Reverse((now + Duration::from_secs_f64(secs), event)));
    }

    fn look(&mut self) {
        let open: usize = self.endpoints.iter().map(|one| one.streams).sum();
        let weight: f64 = self.endpoints.iter().map(|one| one.weight).sum();
        if open == 0 {
            return;
        }
        let over = |one: &Candidate| one.streams as f64 * weight / (open as f64 * one.weight);
        let fullest = self.endpoints.iter().map(over).fold(0.0, f64::max);
        self.outcome.fullest.push(fullest);
    }

    fn ask(&mut self, number: usize, now: Duration) {
        let key = hash_key(&number.to_le_bytes());
        let candidates = self.candidates(now);
        let index = self.balancer.pick(&candidates, Some(key)).expect("there are endpoints");
        self.endpoints[index].streams += 1;
        self.count(number, index, now);
        let mut length = self.traffic.length();
        let pause = self.traffic.pause();
        if self.case.slow && index == 0 {
            length *= SLOWNESS;
        }
        self.at(now, length, Event::End(index));
        let conversation = &mut self.conversations[number];
        conversation.endpoint = Some(index);
        conversation.turns_left -= 1;
        if conversation.turns_left > 0 {
            self.at(now, length + pause, Event::Ask(number));
        }
    }

    /// Those that are there, in the order of `endpoints`.
    fn candidates(&self, now: Duration) -> Vec<Candidate> {
        let mut candidates = self.endpoints.clone();
        if !self.case.late {
            return candidates;
        }
        let late = candidates.len() - 1;
        let Some(age) = now.checked_sub(WARM_UP) else {
            candidates.pop();
            return candidates;
        };
        let joined = clock::now();
        let weight = self.case.weights[late];
        candidates[late].weight = eased(weight, Some(joined), self.case.slow_start, joined + age);
        candidates
    }

    fn count(&mut self, number: usize, index: usize, now: Duration) {
        if now < WARM_UP {
            return;
        }
        self.picks[index] += 1;
        if let Some(before) = self.conversations[number].endpoint {
            self.outcome.turns += 1;
            self.outcome.again += usize::from(before == index);
        }
        if now < WARM_UP + NEW_FOR {
            self.outcome.while_new += 1;
            self.outcome.newcomer += usize::from(index == self.endpoints.len() - 1);
        }
    }
}
