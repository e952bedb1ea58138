//! The lines: from a state's lower edge through the bends to the upper edge of its goal. Hides ports, curves, and the
//! way back along the side.

use super::{Chain, Grid, Item, MARKER_RADIUS, Placed, Point, Routed, Segment};
use crate::graph::chart::{Goal, Scope};

/// Pixels between the ends of lines that share an edge of a box.
const PORT_GAP: f64 = 18.0;
/// Radius of a corner of a line that runs back.
const CORNER: f64 = 9.0;

pub(super) fn routes(
    scope: &Scope,
    grid: &Grid,
    nodes: &[Placed],
    xs: &[f64],
    ys: &[(f64, f64)],
) -> Vec<Routed> {
    let router = Router::new(grid, nodes, xs, ys);
    let mut lines: Vec<Routed> = grid
        .chains
        .iter()
        .enumerate()
        .map(|(at, chain)| {
            if chain.back {
                router.back(at, chain)
            } else {
                router.forward(at, chain)
            }
        })
        .collect();
    for (at, edge) in scope.edges.iter().enumerate() {
        if edge.to == Goal::Node(edge.from) {
            lines.push(own_loop(at, &nodes[edge.from], &edge.label));
        }
    }
    lines
}

struct Router<'a> {
    grid: &'a Grid,
    nodes: &'a [Placed],
    xs: &'a [f64],
    ys: &'a [(f64, f64)],
    /// For each item the lines down that leave it and those that enter it: where they come from or go to, and their
    /// chains, sorted.
    leaving: Vec<Vec<(f64, usize)>>,
    entering: Vec<Vec<(f64, usize)>>,
    /// For each node the chains that lead back from it or to it.
    backs: Vec<Vec<usize>>,
}

impl<'a> Router<'a> {
    fn new(grid: &'a Grid, nodes: &'a [Placed], xs: &'a [f64], ys: &'a [(f64, f64)]) -> Self {
        let mut router = Self {
            grid,
            nodes,
            xs,
            ys,
            leaving: vec![Vec::new(); grid.items.len()],
            entering: vec![Vec::new(); grid.items.len()],
            backs: vec![Vec::new(); nodes.len()],
        };
        for (at, chain) in grid.chains.iter().enumerate() {
            let items = &chain.items;
            let (first, last) = (items[0], items[items.len() - 1]);
            if chain.back {
                let (from, to) = (router.owner(first), router.owner(last));
                router.backs[from].push(at);
                if to != from {
                    router.backs[to].push(at);
                }
            } else {
                router.leaving[first].push((xs[items[1]], at));
                router.entering[last].push((xs[items[items.len() - 2]], at));
            }
        }
        for sharing in router.leaving.iter_mut().chain(&mut router.entering) {
            sharing.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        }
        router
    }

    fn forward(&self, at: usize, chain: &Chain) -> Routed {
        let (first, last) = (chain.items[0], chain.items[chain.items.len() - 1]);
        let out = self.port(at, first, true);
        let mut path = vec![Segment::Move(out)];
        let mut here = Point {
            x: out.x,
            y: self.bottom(first),
        };
        if here.y > out.y {
            path.push(Segment::Line(here));
        }
        for item in &chain.items[1..chain.items.len() - 1] {
            here = bow(
                &mut path,
                here,
                Point {
                    x: self.xs[*item],
                    y: self.ys[self.grid.layer[*item]].0,
                },
            );
            let through = Point {
                x: here.x,
                y: self.bottom(*item),
            };
            if through.y > here.y {
                path.push(Segment::Line(through));
                here = through;
            }
        }
        let goal = self.port(at, last, false);
        here = bow(
            &mut path,
            here,
            Point {
                x: goal.x,
                y: self.ys[self.grid.layer[last]].0,
            },
        );
        if goal.y > here.y {
            path.push(Segment::Line(goal));
        }
        Routed {
            edge: chain.edge,
            path,
            label: self.label(chain),
        }
    }

    /// Leaves the state at its side, climbs, and enters the goal at its side.
    fn back(&self, at: usize, chain: &Chain) -> Routed {
        let (from, to) = (
            self.owner(chain.items[0]),
            self.owner(chain.items[chain.items.len() - 1]),
        );
        let lower = self.lane(at, chain.items[0], from, 1.0);
        let upper = self.lane(at, chain.items[chain.items.len() - 1], to, -1.0);
        let mut path = vec![
            Segment::Move(lower.port),
            Segment::Line(lower.before_corner),
        ];
        let turned = Point {
            x: lower.x,
            y: lower.port.y - CORNER,
        };
        path.push(Segment::Curve(lower.corner(), lower.corner(), turned));
        let mut here = Point {
            x: lower.x,
            y: self.ys[self.grid.layer[chain.items[0]]].0.min(turned.y),
        };
        path.push(Segment::Line(here));
        for item in &chain.items[1..chain.items.len() - 1] {
            here = bow(
                &mut path,
                here,
                Point {
                    x: self.xs[*item],
                    y: self.bottom(*item),
                },
            );
            here = Point {
                x: here.x,
                y: self.ys[self.grid.layer[*item]].0,
            };
            path.push(Segment::Line(here));
        }
        let foot = Point {
            x: upper.x,
            y: self.bottom(chain.items[chain.items.len() - 1]),
        };
        bow(&mut path, here, foot);
        path.push(Segment::Line(Point {
            x: upper.x,
            y: upper.port.y + CORNER,
        }));
        path.push(Segment::Curve(
            upper.corner(),
            upper.corner(),
            upper.before_corner,
        ));
        path.push(Segment::Line(upper.port));
        Routed {
            edge: chain.edge,
            path,
            label: self.label(chain),
        }
    }

    fn lane(&self, at: usize, item: usize, owner: usize, slant: f64) -> Lane {
        let node = &self.nodes[owner];
        let x = self.xs[item];
        let right = x >= node.x + node.width / 2.0;
        let side = if right { node.x + node.width } else { node.x };
        let shared = self.backs[owner].iter().filter(|other| **other < at);
        let head = node.height.min(super::NODE_HEIGHT);
        let y =
            node.y + head / 2.0 + slant * (6.0 + 7.0 * shared.count() as f64).min(head / 2.0 - 6.0);
        let bend = if right { x - CORNER } else { x + CORNER };
        Lane {
            x,
            port: Point { x: side, y },
            before_corner: Point { x: bend, y },
        }
    }

    fn owner(&self, item: usize) -> usize {
        match self.grid.items[item] {
            Item::Side {
                beside: Some(owner),
            }
            | Item::Node(owner) => owner,
            Item::Side { beside: None } | Item::Start | Item::End | Item::Bend => 0,
        }
    }

    fn bottom(&self, item: usize) -> f64 {
        let (y, height) = self.ys[self.grid.layer[item]];
        y + height
    }

    /// Where a line leaves (`out`) or enters an item: lines that share an edge stand side by side, in the order of
    /// where they come from or go to.
    fn port(&self, chain_at: usize, item: usize, out: bool) -> Point {
        let (y, height) = self.ys[self.grid.layer[item]];
        let node = match self.grid.items[item] {
            Item::Node(node) => &self.nodes[node],
            Item::Start | Item::End | Item::Bend | Item::Side { .. } => {
                let middle = y + height / 2.0;
                return Point {
                    x: self.xs[item],
                    y: if out {
                        middle + MARKER_RADIUS
                    } else {
                        middle - MARKER_RADIUS
                    },
                };
            }
        };
        let sharing = if out {
            &self.leaving[item]
        } else {
            &self.entering[item]
        };
        let place = sharing
            .iter()
            .position(|(_, at)| *at == chain_at)
            .unwrap_or(0) as f64;
        let count = sharing.len() as f64;
        let gap = PORT_GAP.min((node.width - 24.0) / count);
        let x = self.xs[item] + (place - (count - 1.0) / 2.0) * gap;
        Point {
            x,
            y: if out { node.y + node.height } else { node.y },
        }
    }

    fn label(&self, chain: &Chain) -> Option<Point> {
        let item = chain.items[chain.label?];
        let (y, height) = self.ys[self.grid.layer[item]];
        Some(Point {
            x: self.xs[item],
            y: y + height / 2.0,
        })
    }
}

/// The upright part of a line that runs back, with its end at a state's side.
struct Lane {
    x: f64,
    port: Point,
    before_corner: Point,
}

impl Lane {
    fn corner(&self) -> Point {
        Point {
            x: self.x,
            y: self.port.y,
        }
    }
}

/// Adds a line between two points that leaves and arrives upright.
fn bow(path: &mut Vec<Segment>, from: Point, to: Point) -> Point {
    if (from.x - to.x).abs() < 0.5 {
        path.push(Segment::Line(to));
    } else {
        let middle = (from.y + to.y) / 2.0;
        path.push(Segment::Curve(
            Point {
                x: from.x,
                y: middle,
            },
            Point { x: to.x, y: middle },
            to,
        ));
    }
    to
}

/// A transition from a state to itself, with its label right of it.
fn own_loop(edge: usize, node: &Placed, label: &str) -> Routed {
    let (x, y) = (node.x + node.width, node.y + super::NODE_HEIGHT / 2.0);
    let reach = x + 34.0;
    let path = vec![
        Segment::Move(Point { x, y: y + 10.0 }),
        Segment::Curve(
            Point {
                x: reach,
                y: y + 18.0,
            },
            Point {
                x: reach,
                y: y - 18.0,
            },
            Point { x, y: y - 10.0 },
        ),
    ];
    let center = x + 30.0 + super::label_size(label).0 / 2.0;
    let label = (!label.is_empty()).then_some(Point { x: center, y });
    Routed {
        edge: Some(edge),
        path,
        label,
    }
}
