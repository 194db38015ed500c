//! Packs: many records, then a sealed trailer that says what is where, then a footer in clear.
//!
//! ```text
//! header 32 B | records | trailer: salt[24] commit[32] ciphertext tag[16] | footer 56 B
//! ```
//! Whoever has the bytes can [`scrub`] a pack without a key; who holds the structure key of its
//! domain can [`open_trailer`] with one ranged read of its end.

mod frame;
mod len;
mod scrub;
mod seal;
mod trailer;

pub use frame::{
    FOOTER_LEN, Footer, HEADER_LEN, PackClass, PackHeader, TRAILER_LEN_MIN, TailParse, parse_tail,
};
pub use len::PackLen;
pub use scrub::{BodyHasher, Scrubber, scrub};
pub use seal::{OpenTrailer, PackContext, open_trailer, seal_trailer};
pub use trailer::{EXT_BASE, Ext, ROW_LEN, Row, Trailer};

#[cfg(test)]
mod tests;
