//! What is in a volume: sparse blocks, cheap to copy, on top of another content where the volume has a backing one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

const BLOCK: u64 = 64 * 1024;
const BLOCK_LEN: usize = 64 * 1024;

#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    blocks: BTreeMap<u64, Bytes>,
    base: Option<Arc<Content>>,
}

impl Content {
    /// Starts from `base` and keeps the differences.
    pub(super) fn on(base: Content) -> Self {
        Self { blocks: BTreeMap::new(), base: Some(Arc::new(base)) }
    }

    fn block(&self, index: u64) -> Option<&Bytes> {
        let mut layer = self;
        loop {
            if let Some(block) = layer.blocks.get(&index) {
                return Some(block);
            }
            layer = layer.base.as_deref()?;
        }
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let index = at / BLOCK;
            let within = usize::try_from(at % BLOCK).unwrap_or(0);
            let (now, later) = rest.split_at(rest.len().min(BLOCK_LEN - within));
            let mut block = self.block(index).map_or_else(|| vec![0; BLOCK_LEN], |old| old.to_vec());
            if let Some(slot) = block.get_mut(within..within + now.len()) {
                slot.copy_from_slice(now);
            }
            // A block of zeroes is a hole, unless it has to hide what lies below.
            if self.base.is_none() && block.iter().all(|byte| *byte == 0) {
                self.blocks.remove(&index);
            } else {
                self.blocks.insert(index, Bytes::from(block));
            }
            at = at.saturating_add(u64::try_from(now.len()).unwrap_or(u64::MAX));
            rest = later;
        }
    }

    /// Replaces the first `length` bytes by those of `other`; without a base, holes stay holes.
    pub(super) fn overwrite(&mut self, other: &Content, length: u64) {
        let mut at = 0;
        while at < length {
            let take = (length - at).min(BLOCK);
            let known = self.block(at / BLOCK).is_some() || other.block(at / BLOCK).is_some();
            if known {
                self.write(at, &other.read(at, usize::try_from(take).unwrap_or(0)));
            }
            at += take;
        }
    }

    pub(super) fn read(&self, offset: u64, length: usize) -> Bytes {
        let mut out = BytesMut::with_capacity(length);
        let mut at = offset;
        while out.len() < length {
            let within = usize::try_from(at % BLOCK).unwrap_or(0);
            let take = (length - out.len()).min(BLOCK_LEN - within);
            match self.block(at / BLOCK).and_then(|block| block.get(within..within + take)) {
                Some(part) => out.extend_from_slice(part),
                None => out.resize(out.len() + take, 0),
            }
            at = at.saturating_add(u64::try_from(take).unwrap_or(u64::MAX));
        }
        out.freeze()
    }

    /// The same content without a base.
    pub(super) fn flat(&self) -> Self {
        let mut blocks = self.base.as_ref().map(|base| base.flat().blocks).unwrap_or_default();
        blocks.extend(self.blocks.iter().map(|(index, block)| (*index, block.clone())));
        blocks.retain(|_, block| block.iter().any(|byte| *byte != 0));
        Self { blocks, base: None }
    }

    /// Cuts off what lies behind `length`.
    pub(super) fn truncate(&mut self, length: u64) {
        *self = self.flat();
        self.blocks.retain(|index, _| index.saturating_mul(BLOCK) < length);
        let tail = usize::try_from((BLOCK - length % BLOCK) % BLOCK).unwrap_or(0);
        if tail > 0 && self.blocks.contains_key(&(length / BLOCK)) {
            self.write(length, &vec![0; tail]);
        }
    }

    /// How much room its own blocks take.
    pub(super) fn stored(&self) -> u64 {
        u64::try_from(self.blocks.len()).unwrap_or(u64::MAX).saturating_mul(BLOCK)
    }

    /// How much room the blocks take that are not the same in `before`.
    pub(super) fn changed_since(&self, before: &Self) -> u64 {
        let (now, before) = (self.flat(), before.flat());
        let kept = now.blocks.iter().filter(|(index, block)| before.blocks.get(index) == Some(block)).count();
        let gone = before.blocks.keys().filter(|index| !now.blocks.contains_key(index)).count();
        let changed = now.blocks.len() - kept + gone;
        u64::try_from(changed).unwrap_or(u64::MAX).saturating_mul(BLOCK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn behaves_like_one_long_array(
            writes in proptest::collection::vec((0u64..200_000, 1usize..70_000, 0u8..3), 1..6),
            cut in 0usize..260_000,
        ) {
            let mut plain = vec![0_u8; 300_000];
            let mut content = Content::default();
            for (index, (offset, length, byte)) in writes.into_iter().enumerate() {
                if index == 2 {
                    content = Content::on(content);
                }
                content.write(offset, &vec![byte; length]);
                let start = usize::try_from(offset).unwrap();
                plain[start..start + length].fill(byte);
            }
            prop_assert!(content.read(0, plain.len()) == plain);
            prop_assert!(content.flat().read(1, 1000) == plain[1..1001]);
            content.truncate(u64::try_from(cut).unwrap());
            plain[cut..].fill(0);
            prop_assert!(content.read(0, plain.len()) == plain);
        }
    }

    #[test]
    fn holes_take_no_room() {
        let mut content = Content::default();
        content.write(10 * BLOCK, b"x");
        assert_eq!(content.stored(), BLOCK);
        let before = content.clone();
        content.write(10 * BLOCK, b"\0");
        assert_eq!(content.stored(), 0);
        assert_eq!(content.changed_since(&before), BLOCK);
    }
}
