//! What strangers do to a listener. Beside each attack there is a client that behaves: it must hardly notice, the
//! server's memory has a bound, and afterwards the server answers as before.

mod beside;
mod bodies;
mod connections;
mod frames;
mod headers;
mod http2;
mod overload;
mod readers;
