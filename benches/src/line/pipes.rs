//! Where the bytes under way lie: pipes, filled from one socket and drained to the other by splice(2).

use super::{Line, PART_LEN_MAX, PART_TIME};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

/// What a pipe holds: at most 1 MiB without privileges, and all pipes of such a user 64 MiB.
const PIPE_LEN: usize = 2 * PART_LEN_MAX;
/// How many pipes a direction may have, besides two of each connection: 128 MiB in full ones are under way at most.
const PIPES_MAX: usize = 256;

/// Holds bytes in the kernel: reading end and writing end.
pub(super) struct Pipe(OwnedFd, OwnedFd);

impl Pipe {
    pub(super) fn new() -> std::io::Result<Self> {
        let (reading, writing) = pipe_with(PipeFlags::CLOEXEC)?;
        // a user who has many gets no larger ones: it then takes more of them
        let _ = fcntl_setpipe_size(&writing, PIPE_LEN);
        Ok(Pipe(reading, writing))
    }

    /// Takes up to `len` of the bytes that have come, of which there are some. `None`: the pipe is full.
    pub(super) fn fill(&self, from: &TcpStream, len: usize) -> std::io::Result<Option<usize>> {
        match splice(from, None, &self.1, None, len, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            taken => Ok(Some(taken?)),
        }
    }

    /// Hands on the oldest `len` bytes.
    pub(super) fn drain(&self, to: &TcpStream, mut len: usize) -> std::io::Result<()> {
        while len > 0 {
            match splice(&self.0, None, to, None, len, SpliceFlags::MOVE)? {
                0 => return Err(std::io::ErrorKind::WriteZero.into()),
                given => len = len.saturating_sub(given),
            }
        }
        Ok(())
    }
}

/// So many bytes of a pipe.
pub(super) type Part = (Arc<Pipe>, usize);

/// How many pipes there are of one direction of a connection, and of all of them.
pub(super) struct Count<'a> {
    made: AtomicUsize,
    /// Drained and not filled again.
    back: AtomicUsize,
    all: &'a AtomicUsize,
}

impl<'a> Count<'a> {
    pub(super) fn new(all: &'a AtomicUsize) -> Self {
        Count { made: AtomicUsize::new(0), back: AtomicUsize::new(0), all }
    }

    /// Gives a drained pipe back, unless one waits there already: a connection that rests keeps none from the others.
    pub(super) fn give_back(&self, pipe: Arc<Pipe>, drained: &Sender<Arc<Pipe>>) {
        if self.back.fetch_add(1, Ordering::SeqCst) == 0 {
            let _ = drained.send(pipe);
        } else {
            self.back.fetch_sub(1, Ordering::SeqCst);
            self.made.fetch_sub(1, Ordering::SeqCst);
            self.all.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.made.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// The pipes of one direction of a connection. Bytes leave in the order in which they came, so a pipe takes many
/// parts; but not once its first is due, for a pipe is locked while a slow receiver takes from it.
pub(super) struct Pipes<'a> {
    filling: Option<Filling>,
    count: &'a Count<'a>,
    drained: Receiver<Arc<Pipe>>,
}

struct Filling {
    pipe: Arc<Pipe>,
    room: usize,
    until: Instant,
}

impl<'a> Pipes<'a> {
    pub(super) fn new(count: &'a Count<'a>, drained: Receiver<Arc<Pipe>>) -> Self {
        Pipes { filling: None, count, drained }
    }

    /// Takes a part of those bytes that have come, of which there are some.
    pub(super) fn take(&mut self, from: &TcpStream, line: Line) -> std::io::Result<Part> {
        let part_len = line.part_len();
        loop {
            let now = Instant::now();
            // a pipe with less room would cut parts short, down to single pages
            let filling =
                self.filling.take().filter(|filling| filling.room >= part_len && now < filling.until);
            let mut filling = match filling {
                Some(filling) => filling,
                None => {
                    let pipe = self.another()?;
                    Filling {
                        pipe,
                        room: PIPE_LEN,
                        until: now + (line.round_trip / 2).saturating_sub(PART_TIME),
                    }
                }
            };
            // a pipe also has places for so many pieces, be they as small as they may
            let Some(len) = filling.pipe.fill(from, part_len)? else { continue };
            let pipe = Arc::clone(&filling.pipe);
            filling.room = filling.room.saturating_sub(len);
            self.filling = Some(filling);
            return Ok((pipe, len));
        }
    }

    /// One that came back, a new one, or one that comes back. One does if there are two: the deliverer keeps only the
    /// last.
    fn another(&mut self) -> std::io::Result<Arc<Pipe>> {
        let come = self.drained.try_recv().ok();
        let few = self.count.made.load(Ordering::SeqCst) < 2;
        let pipe = match come {
            Some(pipe) => pipe,
            None if few || self.count.all.load(Ordering::SeqCst) < PIPES_MAX => match Pipe::new() {
                Ok(pipe) => {
                    self.count.made.fetch_add(1, Ordering::SeqCst);
                    self.count.all.fetch_add(1, Ordering::SeqCst);
                    return Ok(Arc::new(pipe));
                }
                Err(error) if few => return Err(error),
                Err(error) => self.drained.recv().map_err(|_| error)?,
            },
            None => self.drained.recv().map_err(|_| std::io::ErrorKind::BrokenPipe)?,
        };
        self.count.back.fetch_sub(1, Ordering::SeqCst);
        Ok(pipe)
    }
}
