//! The rules of CONTRACT §3, a sentence each: first the paragraphs before its table, then its rows.

mod bench;
mod cancel;
mod clocks;
mod ending;
mod facts;
mod giving_up;
mod keys;
mod lapse;
mod timers;
mod who_wins;
mod working;
