//! Empty pages, whose memory is used again: a page costs no allocation where others came back.

use hintstore_env::sync::Mutex;
use hintstore_format::TargetId;
use hintstore_reader::Page;

/// This many are kept.
const SPARE_MAX: usize = 4;

/// Empty pages.
#[derive(Debug, Default)]
pub(crate) struct SparePages(Mutex<Vec<Page>>);

impl SparePages {
    pub(crate) fn take(&self, target: TargetId) -> Page {
        let spare = self.0.lock().pop();
        spare.map_or_else(|| Page::new(target), |page| page.again_for(target))
    }

    /// A page is used no more.
    pub(crate) fn give(&self, page: Page) {
        // Before the lock: it lets go of maps.
        let page = page.again_for(TargetId::from_u128(0));
        let mut spare = self.0.lock();
        if spare.len() < SPARE_MAX {
            spare.push(page);
        }
    }
}
