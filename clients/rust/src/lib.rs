//! CLIP, DINO and SAM2 features and masks as `ndarray` arrays, from a featsvc server.
//!
//! [`Client::connect`] gives a client, whose fields are the services; their methods are the rpcs of the contract. Requests and
//! replies are the messages of [`proto`], which document every field. What this crate adds is around them: pictures from files
//! ([`picture_file`]), tensors and masks as arrays ([`features`], [`vectors`], [`floats`], [`decode`], [`mask`], [`prompt_masks`]), errors
//! with the bad fields ([`Error`]), and another try where that may help ([`RetryPolicy`]).
//!
//! Large features should be asked for by [`Clip::extract_features_chunked`] and [`Dino::extract_features_chunked`], which
//! receive them in pieces, and many pictures by the methods that give [`Answers`], which keep a few of them under way.
#![warn(missing_docs)]

mod chunked;
mod client;
mod errors;
mod masks;
mod picture;
mod retry;
mod services;
mod stream;
mod tensor;
mod window;

/// The messages of the contract.
#[allow(missing_docs, clippy::all, rustdoc::all)]
#[rustfmt::skip]
#[path = "../gen/featsvc.v1.rs"]
pub mod proto;

#[cfg(test)]
mod tests;

pub use client::{Client, DEFAULT_KEY, Options, Tls};
pub use errors::Error;
pub use masks::{mask, prompt_masks, run_lengths};
pub use picture::{picture, picture_file};
pub use retry::RetryPolicy;
pub use services::{Clip, Dino, Estimates, Models, Objects, Sam2};
pub use stream::{Answer, Answers};
pub use tensor::{Element, FeatureReply, decode, features, floats, vectors};
pub use tonic::Code;
