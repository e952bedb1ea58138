//! The columns: where each item of a layer stands. Hides the relaxation: each layer in turn is moved to where its
//! neighbours want it, as near as the distances within the layer allow, in the sense of least squares.

use super::{Grid, Item};

const PASSES: usize = 24;
const NODE_GAP: f64 = 34.0;
const BEND_GAP: f64 = 16.0;

/// The center of each item; the leftmost item begins at 0.
pub(super) fn columns(grid: &Grid) -> Vec<f64> {
    let mut xs = vec![0.0; grid.items.len()];
    for row in &grid.rows {
        let mut x = 0.0;
        for (at, item) in row.iter().enumerate() {
            x += if at == 0 {
                0.0
            } else {
                distance(grid, row[at - 1], *item)
            };
            xs[*item] = x;
        }
        row.iter().for_each(|item| xs[*item] -= x / 2.0);
    }
    for pass in 0..PASSES {
        let last = pass + 2 >= PASSES;
        for step in 0..grid.rows.len() {
            let row = if pass % 2 == 0 {
                step
            } else {
                grid.rows.len() - 1 - step
            };
            settle(
                grid,
                row,
                &mut xs,
                if last {
                    Pull::Both
                } else if pass % 2 == 0 {
                    Pull::Above
                } else {
                    Pull::Below
                },
            );
        }
    }
    let left = (0..xs.len())
        .map(|at| xs[at] - grid.sizes[at].0 / 2.0)
        .fold(f64::INFINITY, f64::min);
    xs.iter_mut().for_each(|x| *x -= left);
    xs
}

#[derive(Clone, Copy, PartialEq)]
enum Pull {
    Above,
    Below,
    Both,
}

fn distance(grid: &Grid, left: usize, right: usize) -> f64 {
    let gap = match (grid.items[left], grid.items[right]) {
        (Item::Node(_), Item::Node(_)) => NODE_GAP,
        (Item::Node(_) | Item::Start | Item::End | Item::Bend | Item::Side { .. }, _) => BEND_GAP,
    };
    (grid.sizes[left].0 + grid.sizes[right].0) / 2.0 + gap
}

/// Moves the items of one row to the places nearest to those wanted that keep their distances: pools neighbours that
/// want to overlap and gives each pool the mean of its wishes.
fn settle(grid: &Grid, row: usize, xs: &mut [f64], pull: Pull) {
    struct Pool {
        sum: f64,
        weight: f64,
        count: usize,
    }
    let items = &grid.rows[row];
    let mut pools: Vec<Pool> = Vec::with_capacity(items.len());
    let mut offsets = Vec::with_capacity(items.len());
    let mut offset = 0.0;
    for (at, item) in items.iter().enumerate() {
        offset += if at == 0 {
            0.0
        } else {
            distance(grid, items[at - 1], *item)
        };
        offsets.push(offset);
        let (wish, weight) = wish(grid, *item, xs, pull);
        pools.push(Pool {
            sum: (wish - offset) * weight,
            weight,
            count: 1,
        });
        while let [.., left, right] = &pools[..] {
            if left.sum / left.weight <= right.sum / right.weight {
                break;
            }
            let merged = Pool {
                sum: left.sum + right.sum,
                weight: left.weight + right.weight,
                count: left.count + right.count,
            };
            pools.truncate(pools.len() - 2);
            pools.push(merged);
        }
    }
    let mut at = 0;
    for pool in pools {
        for _ in 0..pool.count {
            xs[items[at]] = pool.sum / pool.weight + offsets[at];
            at += 1;
        }
    }
}

/// Where an item would stand by its neighbours, and how strongly: long and plain lines are kept straight.
fn wish(grid: &Grid, item: usize, xs: &[f64], pull: Pull) -> (f64, f64) {
    if let Item::Side {
        beside: Some(owner),
    } = grid.items[item]
    {
        let reach = (grid.sizes[owner].0 + grid.sizes[item].0) / 2.0 + BEND_GAP;
        return (
            if xs[item] < xs[owner] {
                xs[owner] - reach
            } else {
                xs[owner] + reach
            },
            0.5,
        );
    }
    let above = grid.above[item].iter().filter(|_| pull != Pull::Below);
    let below = grid.below[item].iter().filter(|_| pull != Pull::Above);
    let (mut sum, mut weight) = (0.0, 0.0);
    for link in above.chain(below) {
        sum += xs[link.to] * link.weight;
        weight += link.weight;
    }
    if weight == 0.0 {
        (xs[item], 0.3)
    } else {
        (sum / weight, f64::max(weight, 0.5))
    }
}
