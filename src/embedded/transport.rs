//! A client's socket, in plain text or behind TLS.

use super::link::Link;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

/// Reads and writes block until the socket's own timeouts.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(Arc<Link>),
    #[cfg(feature = "tls")]
    Tls(Arc<Link>, Box<rustls::ServerConnection>),
}

impl Transport {
    /// Reads what there is after the socket has become readable; 0 at the end of the stream, `WouldBlock` if there is no
    /// data in what came.
    pub(super) fn read_ready(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(link) => (&link.socket).read(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(link, tls) => {
                // One read only: the rest of a record may be long in coming.
                if tls.wants_read() && tls.read_tls(&mut &link.socket)? == 0 {
                    return Ok(0);
                }
                tls.process_new_packets().map_err(io::Error::other)?;
                tls.reader().read(buffer)
            }
        }
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(link) => (&link.socket).read(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(link, tls) => rustls::Stream::new(&mut **tls, &mut &link.socket).read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buffer)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(link) => (&link.socket).write_vectored(slices),
            #[cfg(feature = "tls")]
            Self::Tls(link, tls) => rustls::Stream::new(&mut **tls, &mut &link.socket).write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            #[cfg(feature = "tls")]
            Self::Tls(link, tls) => rustls::Stream::new(&mut **tls, &mut &link.socket).flush(),
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        #[cfg(feature = "tls")]
        if let Self::Tls(link, tls) = self {
            // So that the client does not take the end for a cut. A link that has ended takes no more bytes.
            tls.send_close_notify();
            let _ = tls.write_tls(&mut &link.socket);
        }
    }
}
