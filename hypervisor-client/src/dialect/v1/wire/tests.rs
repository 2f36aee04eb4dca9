//! What is decoded, without a server.
