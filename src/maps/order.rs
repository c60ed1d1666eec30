//! The order of a binary search laid out as a tree: the root first, then its two children, and so on.
//!
//! The node at position `i` has its children at `2i + 1` and `2i + 2`. A search reads the first nodes again
//! and again, so they stay in the cache. It is the order of Eytzinger, as in
//! <https://algorithmica.org/en/eytzinger>. This file counts nodes from 1, as the literature does.

/// The positions of the nodes in the order of their keys.
#[derive(Debug, Clone)]
pub(super) struct InOrder {
    node: usize,
    count: usize,
}

impl InOrder {
    pub(super) fn new(count: usize) -> Self {
        Self { node: if count == 0 { 0 } else { leftmost(1, count) }, count }
    }
}

/// The node with the smallest key below `node`, itself included.
fn leftmost(mut node: usize, count: usize) -> usize {
    while node <= count / 2 {
        node *= 2;
    }
    node
}

/// The node where a search last went left. 0 if it never did.
pub(super) fn last_left(node: usize) -> usize {
    node.checked_shr(node.trailing_ones() + 1).unwrap_or(0)
}

impl Iterator for InOrder {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let found = self.node.checked_sub(1)?;
        let has_right = self.node <= self.count.saturating_sub(1) / 2;
        self.node = if has_right { leftmost(2 * self.node + 1, self.count) } else { last_left(self.node) };
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_comes_once_and_between_its_children() {
        for count in 0..200 {
            let order: Vec<_> = InOrder::new(count).collect();
            let mut rank = vec![usize::MAX; count];
            for (at, node) in order.iter().enumerate() {
                assert_eq!(std::mem::replace(&mut rank[*node], at), usize::MAX);
            }
            assert_eq!(order.len(), count);
            for node in 0..count {
                assert!(rank.get(2 * node + 1).is_none_or(|left| *left < rank[node]));
                assert!(rank.get(2 * node + 2).is_none_or(|right| *right > rank[node]));
            }
        }
    }
}
