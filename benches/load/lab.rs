//! What every mode works with: the arguments, temporary folders, and updates made once for all targets.

use crate::Arguments;
use crate::fleet::Cast;
use crate::report::Figures;
use crate::stats::Stats;
use crate::target::{Address, Target};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use syncline_benches::histogram::Histogram;
use syncline_benches::traffic::{MESSAGE_BYTES, Stream};
use syncline_benches::wire::Dialect;

/// The streams of one document's devices, for each variant.
pub(crate) type Variants = Arc<Vec<Vec<Arc<Stream>>>>;

pub(crate) struct Lab {
    pub(crate) arguments: Arguments,
    root: PathBuf,
    folders: RefCell<usize>,
    variants: RefCell<HashMap<(usize, usize, usize), Variants>>,
}

/// A folder that goes away with its run.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over lies in the system's temporary folder.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Empty by now: each run has taken its own folder away.
        let _left = std::fs::remove_dir(&self.root);
    }
}

impl Lab {
    pub(crate) fn new(arguments: Arguments) -> Self {
        let base = arguments.data_root.clone().unwrap_or_else(std::env::temp_dir);
        let root = base.join(format!("syncline-load-{}", std::process::id()));
        Self { arguments, root, folders: RefCell::default(), variants: RefCell::default() }
    }

    pub(crate) fn folder(&self) -> anyhow::Result<Folder> {
        *self.folders.borrow_mut() += 1;
        let folder = Folder(self.root.join(self.folders.borrow().to_string()));
        std::fs::create_dir_all(&folder.0)?;
        Ok(folder)
    }

    /// Makes `count` updates for each of `devices` devices, in `variants` versions.
    pub(crate) fn traffic(&self, variants: usize, devices: usize, count: usize) -> Variants {
        let mut cache = self.variants.borrow_mut();
        let entry = cache.entry((variants, devices, count)).or_insert_with(|| {
            let of_document = |document: usize| {
                let of_device = |device: usize| {
                    // Real client ids are random 32-bit numbers, which take five bytes.
                    let number = (document * devices + device) as u64;
                    let client = 0x8000_0000 + number.wrapping_mul(0x9e37_79b1) % 0x7fff_ffff;
                    Arc::new(Stream::make(client, count, self.arguments.seed ^ (number << 8), MESSAGE_BYTES))
                };
                (0..devices).map(of_device).collect()
            };
            Arc::new((0..variants).map(of_document).collect())
        });
        Arc::clone(entry)
    }

    /// The dialects of a document's devices.
    pub(crate) fn dialects(&self, target: &Target) -> anyhow::Result<Vec<Dialect>> {
        Ok(match self.arguments.dialects.as_str() {
            "mixed" => target.kind.dialects().to_vec(),
            "plain" => vec![Dialect::Plain],
            "ysweet" => vec![Dialect::Ysweet],
            "hocuspocus" => vec![Dialect::Hocuspocus],
            other => anyhow::bail!("{other} is none of mixed, plain, ysweet, hocuspocus"),
        })
    }

    /// 200 users with 3 devices each, unless the arguments say otherwise.
    pub(crate) fn users(
        &self,
        target: &Target,
        address: Address,
        variants: Variants,
    ) -> anyhow::Result<Cast> {
        let documents = self.arguments.users;
        Ok(Cast {
            address,
            documents,
            devices: documents * 3,
            dialects: self.dialects(target)?,
            variants,
            read_buffer: 16 * 1024,
            concurrency: 32,
            acks: target.kind.acks(),
        })
    }
}

/// Adds what every load tells about itself: whether all arrived, and whether the generator kept up.
pub(crate) fn add_health(figures: &mut Figures, stats: &Stats, receivers: u64) {
    let expected = stats.sent * receivers;
    figures.add("delivered %", stats.deliveries as f64 * 100.0 / expected.max(1) as f64);
    if stats.acks > 0 {
        figures.add("acked %", stats.acks as f64 * 100.0 / stats.sent.max(1) as f64);
    }
    figures.add("updates a frame", stats.deliveries as f64 / stats.frames.max(1) as f64);
    figures.add_some("generator lag p99 us", stats.lag.quantile_us(0.99));
    for (name, count) in [
        ("refused", stats.refused),
        ("garbled frames", stats.garbled),
        ("lost sockets", stats.closed),
        ("generator ran out of updates", u64::from(stats.exhausted)),
        ("overloaded", u64::from(stats.overloaded)),
    ] {
        if count > 0 {
            figures.add(name, count as f64);
        }
    }
}

/// The median and the least of a quantile over windows.
pub(crate) fn over_windows<'a>(
    windows: impl Iterator<Item = &'a Histogram>,
    share: f64,
) -> Option<(f64, f64)> {
    let mut values: Vec<f64> = windows.filter_map(|window| window.quantile_us(share)).collect();
    values.sort_by(f64::total_cmp);
    Some((*values.get(values.len() / 2)?, *values.first()?))
}

/// The value in the middle; 0 where there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
