//! Stores from outside: the acceptance suite on each, what becomes of damaged folders, the commit thread.

mod damage;
mod folding;
mod power;
mod suite;
mod writing;
