//! The end of a switched exchange by somebody's order: the drain's, or an operator's.

use std::ops::ControlFlow::{self, Break, Continue};
use std::task::Context;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Duplex;
use crate::clock;
use crate::live::farewell::Farewells;
use crate::live::reason::CloseReason;
use crate::live::registry::Order;
use crate::live::stream::STALLED_AFTER;
use crate::relay::websocket::WebSocket;
use crate::ws::close;

impl<U: AsyncRead + AsyncWrite + Unpin> Duplex<'_, U> {
    /// Does what the exchange was told to do.
    pub(super) fn obey(&mut self, cx: &mut Context<'_>) -> ControlFlow<CloseReason> {
        match self.around.entry.poll_order(cx) {
            Order::RunOn => {}
            Order::Drain(farewells) => self.plan_farewell(&farewells),
            Order::Kill => {
                // Told both already, or nothing can be told, or not to a client that reads nothing.
                let is_stuck =
                    self.to_client.stalled_at.is_some_and(|at| at + STALLED_AFTER <= clock::now());
                match self.machine.as_ref().map(WebSocket::ending) {
                    Some(None) if !is_stuck => {
                        self.end(CloseReason::Killed, close::POLICY, "ended by an operator");
                    }
                    Some(Some(_)) if !is_stuck => {}
                    _ => return Break(CloseReason::Killed),
                }
            }
            Order::End { farewell: false } => return Break(CloseReason::Drained),
            Order::End { farewell: true } => match self.machine.as_ref().map(WebSocket::ending) {
                // Told already, or nothing can be told.
                Some(Some(reason)) if !self.last_call => return Break(reason),
                None => return Break(CloseReason::Drained),
                Some(_) => {
                    self.last_call = true;
                    self.farewell();
                }
            },
        }
        Continue(())
    }

    fn plan_farewell(&mut self, farewells: &Farewells) {
        if self.farewell_at.is_none() && self.machine.as_ref().is_some_and(|m| m.ending().is_none())
        {
            self.farewell_at = Some(farewells.endless(self.around.entry.fraction()));
            self.arm_earlier();
        }
    }

    pub(super) fn farewell(&mut self) {
        let close = &self.around.rules.websocket.drain_close;
        self.end(CloseReason::Drained, close.code, &close.reason);
    }
}
