//! One file a question: W1 to W9.

mod cold_open;
mod conversation;
mod crash;
mod disk;
mod fan_out;
mod idle;
mod rejoin;
mod saturation;

use crate::lab::Lab;
use crate::report::Figures;
use crate::target::{Kind, Target};
use anyhow::bail;

pub(crate) const ALL: [&str; 9] = ["w1", "w2", "w3", "w4", "w5", "w6", "w7", "w8", "w9"];

/// Runs one mode once against one target; None where the question does not make sense for it.
pub(crate) fn run(mode: &str, lab: &Lab, target: &Target) -> anyhow::Result<Option<Figures>> {
    let stores = target.kind.stores();
    Ok(match mode {
        "w1" => Some(fan_out::run(lab, target)?),
        "w2" => Some(saturation::run(lab, target)?),
        "w3" => Some(idle::run(lab, target)?),
        "w4" => Some(cold_open::run(lab, target)?),
        "w5" if stores => Some(rejoin::run(lab, target)?),
        "w6" if stores => Some(crash::run(lab, target)?),
        "w7" => target.kind.acks().then(|| disk::run(lab, target)).transpose()?,
        "w8" if stores && target.kind != Kind::Ywebsocket => Some(conversation::cold(lab, target)?),
        "w9" if target.kind == Kind::Syncline => Some(conversation::many(lab, target)?),
        "w5" | "w6" | "w8" | "w9" => None,
        _ => bail!("{mode} is none of w1 to w9 and all"),
    })
}
