//! Harm at a chosen byte.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// What is done to a message at a byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Injury {
    /// The connection is reset before this byte.
    Cut,
    /// The connection is closed in order before this byte, as a server does that has said all.
    Truncate,
    /// This byte and all after it come so much later.
    Delay(Duration),
    /// This byte and what comes with it arrive twice. Of an answer they follow one another, and then the connection is closed; of a request, the second time is on a
    /// connection of its own, as by a proxy that repeats what it has not seen answered. From byte 0 on, the server acts twice.
    Duplicate,
}

/// Harm to a request or to its answer, at a byte counted from 0. A message that is shorter is not harmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Harm {
    pub(super) injury: Injury,
    pub(super) at: usize,
    pub(super) to_request: bool,
}

impl Harm {
    /// To the request.
    #[must_use]
    pub const fn request(injury: Injury, at: usize) -> Self {
        Self { injury, at, to_request: true }
    }

    /// To the answer.
    #[must_use]
    pub const fn answer(injury: Injury, at: usize) -> Self {
        Self { injury, at, to_request: false }
    }
}

/// Harm on its way: how much of the message has gone by.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) harm: Harm,
    seen: usize,
    /// Where in the last piece the byte is.
    pub(super) split: usize,
}

/// What has become of a piece.
pub(super) enum Passed {
    /// The harm is still to come.
    Unharmed,
    /// It is done, and the connection goes on.
    Harmed,
    /// It is done, and the connection ends.
    Ended,
}

impl Pending {
    pub(super) fn new(harm: Harm) -> Self {
        Self { harm, seen: 0, split: 0 }
    }

    /// Passes a piece on, with the harm if its byte is in it.
    pub(super) async fn pass(
        &mut self,
        piece: &[u8],
        from: &TcpStream,
        to: &mut TcpStream,
    ) -> Option<Passed> {
        let at = self.harm.at.saturating_sub(self.seen);
        self.seen = self.seen.saturating_add(piece.len());
        self.split = at;
        let Some((before, after)) = piece.split_at_checked(at).filter(|(_, after)| !after.is_empty()) else {
            to.write_all(piece).await.ok()?;
            return Some(Passed::Unharmed);
        };
        to.write_all(before).await.ok()?;
        match self.harm.injury {
            Injury::Cut => {
                // Whoever reads next sees a reset, not an end.
                let _reset = (from.set_zero_linger(), to.set_zero_linger());
                Some(Passed::Ended)
            }
            Injury::Truncate => {
                to.shutdown().await.ok()?;
                Some(Passed::Ended)
            }
            Injury::Delay(time) => {
                tokio::time::sleep(time).await;
                to.write_all(after).await.ok()?;
                Some(Passed::Harmed)
            }
            Injury::Duplicate if self.harm.to_request => {
                to.write_all(after).await.ok()?;
                Some(Passed::Harmed)
            }
            Injury::Duplicate => {
                to.write_all(after).await.ok()?;
                to.write_all(after).await.ok()?;
                Some(Passed::Ended)
            }
        }
    }
}
