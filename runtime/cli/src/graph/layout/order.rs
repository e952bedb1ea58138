//! The order within layers: few crossings. Hides the sweeps.

use super::{Grid, Item};

/// Passes over all layers, down and up in turn (ours; pictures stop changing earlier).
const SWEEPS: usize = 16;

/// Orders each layer by the barycenters of its neighbours and keeps the best order met.
pub(super) fn order(grid: &mut Grid) {
    let mut keys: Vec<f64> = vec![0.0; grid.items.len()];
    let mut position = keys.clone();
    (0..grid.rows.len()).for_each(|layer| cling(grid, layer, &keys));
    let mut best = (crossings(grid), grid.rows.clone());
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        for step in 1..grid.rows.len() {
            let layer = if down {
                step
            } else {
                grid.rows.len() - 1 - step
            };
            sort_row(grid, layer, down, &mut position, &mut keys);
        }
        let count = crossings(grid);
        if count < best.0 {
            best = (count, grid.rows.clone());
        }
    }
    grid.rows = best.1;
}

/// Sorts one layer by the one that was sorted before it. `position` and `key` are room to work in, one place an item: only
/// those of the two layers are read.
fn sort_row(grid: &mut Grid, layer: usize, down: bool, position: &mut [f64], key: &mut [f64]) {
    let beside = if down { layer - 1 } else { layer + 1 };
    for (at, item) in grid.rows[beside].iter().enumerate() {
        position[*item] = at as f64;
    }
    for (at, item) in grid.rows[layer].iter().enumerate() {
        let neighbours = if down {
            &grid.above[*item]
        } else {
            &grid.below[*item]
        };
        key[*item] = if neighbours.is_empty() {
            at as f64
        } else {
            mean(neighbours.iter().map(|link| position[link.to]))
        };
    }
    grid.rows[layer].sort_by(|a, b| key[*a].total_cmp(&key[*b]));
    cling(grid, layer, key);
}

/// Puts the ends of lines that run back right beside their states, on the side to which the line goes.
fn cling(grid: &mut Grid, layer: usize, key: &[f64]) {
    let owner_of = |item: usize| match grid.items[item] {
        Item::Side { beside } => beside,
        Item::Node(_) | Item::Start | Item::End | Item::Bend => None,
    };
    let (sides, mut row): (Vec<usize>, Vec<usize>) = grid.rows[layer]
        .iter()
        .partition(|item| owner_of(**item).is_some());
    for side in sides {
        let Some(owner) = owner_of(side) else {
            continue;
        };
        let at = row
            .iter()
            .position(|item| *item == owner)
            .unwrap_or(row.len());
        let left = key[side] < key[owner];
        row.insert(if left { at } else { (at + 1).min(row.len()) }, side);
    }
    grid.rows[layer] = row;
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / f64::max(count, 1.0)
}

fn crossings(grid: &Grid) -> usize {
    let mut position = vec![0; grid.items.len()];
    for row in &grid.rows {
        row.iter()
            .enumerate()
            .for_each(|(at, item)| position[*item] = at);
    }
    grid.rows
        .iter()
        .map(|row| row_crossings(grid, row, &position))
        .sum()
}

/// Crossings of the lines below one row: for each line, how many of those that begin left of it end right of it.
fn row_crossings(grid: &Grid, row: &[usize], position: &[usize]) -> usize {
    let mut ends: Vec<(usize, usize)> = row
        .iter()
        .flat_map(|item| {
            grid.below[*item]
                .iter()
                .map(|link| (position[*item], position[link.to]))
        })
        .collect();
    ends.sort_unstable();
    let places = ends.iter().map(|(_, lower)| lower + 1).max().unwrap_or(0);
    let mut seen = Counts(vec![0; places + 1]);
    let mut crossings = 0;
    let mut total = 0;
    for same in ends.chunk_by(|a, b| a.0 == b.0) {
        // Lines from one item do not cross each other.
        let before = same.iter().map(|(_, lower)| total - seen.up_to(*lower));
        crossings += before.sum::<usize>();
        same.iter().for_each(|(_, lower)| seen.add(*lower));
        total += same.len();
    }
    crossings
}

/// How often each place was met, with sums over the first ones in logarithmic time (a Fenwick tree).
struct Counts(Vec<usize>);

impl Counts {
    fn add(&mut self, place: usize) {
        let mut at = place + 1;
        while let Some(count) = self.0.get_mut(at) {
            *count += 1;
            at += at & at.wrapping_neg();
        }
    }

    fn up_to(&self, place: usize) -> usize {
        let mut at = place + 1;
        let mut sum = 0;
        while at > 0 {
            sum += self.0[at];
            at &= at - 1;
        }
        sum
    }
}
