//! Connections: in order and without loss as TCP is, until they are cut; then the tail is lost, both ways.

use std::collections::VecDeque;

use bytes::Bytes;

/// What travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parcel {
    /// A frame.
    Frame(Bytes),
    /// The other side closed.
    Close,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    queue: VecDeque<Parcel>,
    /// Bytes that are on their way.
    pub(crate) bytes: usize,
    /// The delivery of its first parcel is scheduled.
    pub(crate) moving: bool,
    cut: bool,
}

impl Pipe {
    /// Sends something; what is sent into a cut pipe vanishes.
    pub(crate) fn push(&mut self, parcel: Parcel) {
        if self.cut {
            return;
        }
        if let Parcel::Frame(frame) = &parcel {
            self.bytes += frame.len();
        }
        self.queue.push_back(parcel);
    }

    /// Takes what arrives next.
    pub(crate) fn pop(&mut self) -> Option<Parcel> {
        let parcel = self.queue.pop_front()?;
        if let Parcel::Frame(frame) = &parcel {
            self.bytes -= frame.len();
        }
        Some(parcel)
    }

    /// Loses all but the first `kept` parcels, and takes no more.
    pub(crate) fn cut(&mut self, kept: usize) {
        while self.queue.len() > kept {
            if let Some(Parcel::Frame(frame)) = self.queue.pop_back() {
                self.bytes -= frame.len();
            }
        }
        self.cut = true;
    }

    /// Ends the stream: what was sent before still arrives, nothing after.
    pub(crate) fn close(&mut self) {
        if !self.cut {
            self.queue.push_back(Parcel::Close);
        }
        self.cut = true;
    }

    /// Counts what is on its way.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// One connection of a device.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) device: usize,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    /// The server still holds its end.
    pub(crate) served: bool,
    /// Its reader is slow: what is sent to it piles up.
    pub(crate) slow: bool,
}

impl Connection {
    pub(crate) fn new(device: usize, slow: bool) -> Self {
        Self { device, up: Pipe::default(), down: Pipe::default(), served: true, slow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_loses_the_tail_and_keeps_the_order() {
        let mut pipe = Pipe::default();
        for n in 0..4_u8 {
            pipe.push(Parcel::Frame(Bytes::copy_from_slice(&[n])));
        }
        pipe.cut(2);
        pipe.push(Parcel::Frame(Bytes::from_static(b"late")));
        assert_eq!(pipe.bytes, 2);
        assert_eq!(pipe.pop(), Some(Parcel::Frame(Bytes::from_static(&[0]))));
        assert_eq!(pipe.pop(), Some(Parcel::Frame(Bytes::from_static(&[1]))));
        assert_eq!(pipe.pop(), None);
    }
}
