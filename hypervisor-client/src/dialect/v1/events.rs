//! What happens, over a WebSocket of an extended gateway.

use async_trait::async_trait;
use futures::StreamExt as _;
use hypervisor_core::http::{Message, WebSocket, decode};
use hypervisor_core::model::{Event, EventQuery, EventStream};
use hypervisor_core::{Error, ErrorKind, Events, Operation as O, Result};
use serde::Deserialize;

use super::V1;
use super::call::json;

/// A text frame.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Frame {
    Event(Event),
    Error(Error),
}

#[async_trait]
impl Events for V1 {
    async fn watch(&self, query: &EventQuery) -> Result<EventStream> {
        self.needs(O::Watch, &[])?;
        let request = self.request(O::Watch, &[])?.query("query", json("query", query)?);
        let socket = self.link.websocket(request).await?;
        Ok(events(socket).boxed())
    }
}

/// Whether it is a frame, for [`crate::fuzzing`].
#[cfg(any(test, fuzzing))]
pub(crate) fn frame(text: &str) -> bool {
    match decode(text.as_bytes()) {
        Ok(Frame::Event(event)) => crate::fuzzing::again(&event),
        Ok(Frame::Error(error)) => crate::fuzzing::again(&error),
        Err(_) => return false,
    }
    true
}

/// The events of a socket. Its end is an error: a watch has none of its own, and the caller has to begin another.
fn events(socket: WebSocket) -> impl futures::Stream<Item = Result<Event>> + Send {
    futures::stream::unfold(Some(socket), |socket| async move {
        let mut socket = socket?;
        loop {
            let error = match socket.next().await {
                Some(Ok(Message::Text(text))) => match decode(text.as_bytes()) {
                    Ok(Frame::Event(event)) => return Some((Ok(event), Some(socket))),
                    Ok(Frame::Error(error)) | Err(error) => error,
                },
                Some(Ok(_)) => continue,
                Some(Err(error)) => error,
                None => Error::new(ErrorKind::Transport, "the gateway has closed the stream of events"),
            };
            return Some((Err(error.with_operation(O::Watch)), None));
        }
    })
}
