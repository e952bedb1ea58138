//! Where the boxes and lines of a picture go: a layered layout. Hides its steps: back transitions are set aside, states
//! are layered by their longest path from the start, long transitions get a bend a layer, layers are ordered by
//! barycenters, and each layer is placed by least squares against its neighbours.

use super::chart::{Goal, Node, Scope};
use super::text;

mod order;
mod place;
mod route;

pub(super) const FONT_NAME: f64 = 13.0;
pub(super) const FONT_SMALL: f64 = 11.0;
/// Height of a state's box, or of the head of a nested one, in pixels.
pub(super) const NODE_HEIGHT: f64 = 46.0;
/// Room for the icon left of the text.
pub(super) const ICON_ROOM: f64 = 44.0;
/// Room around nested flows.
pub(super) const NEST_PADDING: f64 = 16.0;
/// Height of a nested flow's caption.
pub(super) const CAPTION_HEIGHT: f64 = 18.0;
pub(super) const MARKER_RADIUS: f64 = 7.0;
pub(super) const LABEL_LINE: f64 = 15.0;
/// Characters of one line of a label; the whole text is shown when the pointer rests on it.
pub(super) const LABEL_CHARS_MAX: usize = 34;
/// Lines of a label.
pub(super) const LABEL_LINES_MAX: usize = 3;
pub(super) const NAME_CHARS_MAX: usize = 36;
const NODE_WIDTH_MIN: f64 = 136.0;
const LAYER_GAP: f64 = 30.0;
/// Bends of all lines of a flow, a bend a layer that a line crosses (ours). Beyond it the longest lines go straight: among
/// so many nobody follows one, and the time that the layout takes grows with them.
const BENDS_MAX: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// A piece of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Segment {
    Move(Point),
    Line(Point),
    Curve(Point, Point, Point),
}

/// A placed flow, its coordinates from its own upper left corner, in pixels.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) width: f64,
    pub(super) height: f64,
    /// One a node of the scope, in its order.
    pub(super) nodes: Vec<Placed>,
    pub(super) lines: Vec<Routed>,
    pub(super) start: Option<Point>,
    pub(super) end: Option<Point>,
}

/// A placed state.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    /// Nested flows with the places of their upper left corners, from that of the node.
    pub(super) inner: Vec<(Point, Plan)>,
}

/// A routed transition.
#[derive(Debug)]
pub(super) struct Routed {
    /// Index among the scope's edges; `None` for the line from the start marker.
    pub(super) edge: Option<usize>,
    pub(super) path: Vec<Segment>,
    /// Center of the label.
    pub(super) label: Option<Point>,
}

/// What takes a place in a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Item {
    Node(usize),
    Start,
    End,
    /// A transition passes; with the label's size where it carries one.
    Bend,
    /// A transition back to an earlier layer passes beside; at both its ends it clings to its state.
    Side {
        beside: Option<usize>,
    },
}

/// The items of a scope with their connections, by layer.
struct Grid {
    items: Vec<Item>,
    /// Width and height of each item.
    sizes: Vec<(f64, f64)>,
    layer: Vec<usize>,
    /// Connections to the layer above and below.
    above: Vec<Vec<Link>>,
    below: Vec<Vec<Link>>,
    /// Items of each layer from left to right.
    rows: Vec<Vec<usize>>,
    /// The items along each line, from its source to its goal.
    chains: Vec<Chain>,
}

/// A connection to an item of a neighbouring layer; the heavier, the straighter it becomes.
#[derive(Clone, Copy)]
struct Link {
    to: usize,
    weight: f64,
}

/// A line's way through the items.
struct Chain {
    edge: Option<usize>,
    items: Vec<usize>,
    back: bool,
    /// Position of the label's item within `items`.
    label: Option<usize>,
}

/// Places a scope. `top` says whether it has markers for its start and its end.
pub(super) fn plan(scope: &Scope, top: bool) -> Plan {
    let mut nodes: Vec<Placed> = scope.nodes.iter().map(measure).collect();
    let mut grid = grid(scope, &nodes, top);
    order::order(&mut grid);
    let xs = place::columns(&grid);
    let ys = rows(&grid);
    for (at, item) in grid.items.iter().enumerate() {
        if let Item::Node(node) = *item {
            let row = &ys[grid.layer[at]];
            nodes[node].x = xs[at] - nodes[node].width / 2.0;
            nodes[node].y = row.0 + (row.1 - nodes[node].height) / 2.0;
        }
    }
    let lines = route::routes(scope, &grid, &nodes, &xs, &ys);
    let marker = |wanted: Item| {
        let at = grid.items.iter().position(|item| *item == wanted)?;
        let (y, height) = ys[grid.layer[at]];
        Some(Point {
            x: xs[at],
            y: y + height / 2.0,
        })
    };
    let width = grid
        .items
        .iter()
        .enumerate()
        .map(|(at, _)| xs[at] + grid.sizes[at].0 / 2.0)
        .fold(0.0, f64::max);
    let height = ys.last().map_or(0.0, |(y, height)| y + height);
    Plan {
        width,
        height,
        start: marker(Item::Start),
        end: marker(Item::End),
        nodes,
        lines,
    }
}

/// Size of a state's box with what is nested in it; the place comes later.
fn measure(node: &Node) -> Placed {
    let name = text::width(&text::clip(&node.name, NAME_CHARS_MAX), FONT_NAME, true);
    let note = node
        .mark
        .as_ref()
        .map_or(0, |mark| mark.note.chars().count());
    let detail_chars = text::clip(&node.detail, NAME_CHARS_MAX);
    let detail = text::width(&detail_chars, FONT_SMALL, false)
        + if note == 0 {
            0.0
        } else {
            note as f64 * 5.6 + 22.0
        };
    let head = (ICON_ROOM + name.max(detail) + 16.0).max(NODE_WIDTH_MIN);
    if node.inner.is_empty() {
        return Placed {
            x: 0.0,
            y: 0.0,
            width: head,
            height: NODE_HEIGHT,
            inner: Vec::new(),
        };
    }
    let mut inner = Vec::new();
    let mut x = NEST_PADDING;
    let mut deepest: f64 = 0.0;
    for scope in &node.inner {
        let caption = if scope.caption.is_empty() {
            0.0
        } else {
            CAPTION_HEIGHT
        };
        let plan = plan(scope, false);
        let (width, height) = (
            plan.width + 2.0 * NEST_PADDING,
            plan.height + caption + 2.0 * NEST_PADDING,
        );
        deepest = deepest.max(height);
        inner.push((
            Point {
                x: x + NEST_PADDING,
                y: NODE_HEIGHT + caption + NEST_PADDING,
            },
            plan,
        ));
        x += width + NEST_PADDING;
    }
    let shift = ((head - x) / 2.0).max(0.0);
    inner.iter_mut().for_each(|(at, _)| at.x += shift);
    Placed {
        x: 0.0,
        y: 0.0,
        width: head.max(x),
        height: NODE_HEIGHT + deepest + NEST_PADDING,
        inner,
    }
}

/// The lines of a label, cut to what fits.
pub(super) fn label_lines(label: &str) -> Vec<String> {
    let all: Vec<&str> = label.split('\n').collect();
    let shown = if all.len() > LABEL_LINES_MAX {
        LABEL_LINES_MAX - 1
    } else {
        all.len()
    };
    let mut lines: Vec<String> = all[..shown]
        .iter()
        .map(|line| text::clip(line, LABEL_CHARS_MAX))
        .collect();
    if shown < all.len() {
        lines.push(format!("or {} more", all.len() - shown));
    }
    lines
}

fn label_size(label: &str) -> (f64, f64) {
    let lines = label_lines(label);
    let width = lines
        .iter()
        .map(|line| text::width(line, FONT_SMALL, false))
        .fold(0.0, f64::max);
    (width + 12.0, lines.len() as f64 * LABEL_LINE)
}

/// Top and height of each layer.
fn rows(grid: &Grid) -> Vec<(f64, f64)> {
    let mut y = 0.0;
    let mut rows = Vec::new();
    for row in &grid.rows {
        let height = row
            .iter()
            .map(|item| grid.sizes[*item].1)
            .fold(0.0, f64::max);
        rows.push((y, height));
        y += height + LAYER_GAP;
    }
    rows
}

/// A transition between vertices: the nodes, then the start, then the end.
struct Arc {
    from: usize,
    to: usize,
    edge: Option<usize>,
    back: bool,
}

fn grid(scope: &Scope, nodes: &[Placed], top: bool) -> Grid {
    let (start, end) = (scope.nodes.len(), scope.nodes.len() + 1);
    let mut arcs = Vec::new();
    if top {
        arcs.push(Arc {
            from: start,
            to: scope.start,
            edge: None,
            back: false,
        });
    }
    for (at, edge) in scope.edges.iter().enumerate() {
        match edge.to {
            Goal::Node(to) if to != edge.from => arcs.push(Arc {
                from: edge.from,
                to,
                edge: Some(at),
                back: false,
            }),
            Goal::End if top => arcs.push(Arc {
                from: edge.from,
                to: end,
                edge: Some(at),
                back: false,
            }),
            Goal::Node(_) | Goal::End => {}
        }
    }
    let vertices = if top {
        scope.nodes.len() + 2
    } else {
        scope.nodes.len()
    };
    let finished = set_back(&mut arcs, vertices, if top { start } else { scope.start });
    let has_label = |arc: &Arc| {
        arc.edge
            .is_some_and(|edge| !scope.edges[edge].label.is_empty())
    };
    let mut layer = vec![0_usize; vertices];
    for vertex in finished.iter().rev() {
        for arc in arcs.iter().filter(|arc| !arc.back && arc.from == *vertex) {
            layer[arc.to] = layer[arc.to].max(layer[*vertex] + if has_label(arc) { 2 } else { 1 });
        }
    }
    if top {
        layer[end] = layer
            .iter()
            .enumerate()
            .filter(|(v, _)| *v != end)
            .map(|(_, l)| l + 1)
            .max()
            .unwrap_or(1)
            .max(layer[end]);
    }
    let mut grid = Grid::new(nodes, scope, &layer, top);
    let bent_max = bent_layers_max(&arcs, &layer);
    for arc in &arcs {
        grid.connect(
            arc,
            scope,
            layer[arc.from].abs_diff(layer[arc.to]) <= bent_max,
        );
    }
    grid.fill_rows();
    grid
}

/// Layers between the ends of the longest lines that get a bend in each: all of them, or as many as have room.
fn bent_layers_max(arcs: &[Arc], layer: &[usize]) -> usize {
    let span = |arc: &Arc| layer[arc.from].abs_diff(layer[arc.to]);
    let mut spans: Vec<usize> = arcs.iter().map(span).collect();
    spans.sort_unstable();
    let mut bends = 0;
    let mut longest = 0;
    for same in spans.chunk_by(|a, b| a == b) {
        bends += same[0] * same.len();
        if bends > BENDS_MAX {
            break;
        }
        longest = same[0];
    }
    longest
}

/// Marks the arcs that lead back; gives the vertices in the order in which a depth-first walk leaves them.
fn set_back(arcs: &mut [Arc], vertices: usize, start: usize) -> Vec<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Open,
        Done,
    }
    let leaving: Vec<Vec<usize>> = (0..vertices)
        .map(|v| (0..arcs.len()).filter(|a| arcs[*a].from == v).collect())
        .collect();
    let mut seen = vec![Seen::No; vertices];
    let mut finished = Vec::with_capacity(vertices);
    for root in std::iter::once(start).chain(0..vertices) {
        if seen[root] != Seen::No {
            continue;
        }
        seen[root] = Seen::Open;
        let mut stack = vec![(root, 0)];
        while let Some((vertex, next)) = stack.pop() {
            let Some(arc) = leaving[vertex].get(next) else {
                seen[vertex] = Seen::Done;
                finished.push(vertex);
                continue;
            };
            stack.push((vertex, next + 1));
            let to = arcs[*arc].to;
            match seen[to] {
                Seen::No => {
                    seen[to] = Seen::Open;
                    stack.push((to, 0));
                }
                Seen::Open => arcs[*arc].back = true,
                Seen::Done => {}
            }
        }
    }
    finished
}

impl Grid {
    fn new(nodes: &[Placed], scope: &Scope, layer: &[usize], top: bool) -> Grid {
        let mut items: Vec<Item> = (0..nodes.len()).map(Item::Node).collect();
        let mut sizes: Vec<(f64, f64)> =
            nodes.iter().map(|node| (node.width, node.height)).collect();
        for edge in &scope.edges {
            if edge.to == Goal::Node(edge.from) {
                sizes[edge.from].0 =
                    nodes[edge.from].width + 2.0 * (label_size(&edge.label).0 + 34.0);
            }
        }
        if top {
            items.extend([Item::Start, Item::End]);
            sizes.extend([(2.0 * MARKER_RADIUS, 2.0 * MARKER_RADIUS); 2]);
        }
        let none = vec![Vec::new(); items.len()];
        Grid {
            items,
            sizes,
            layer: layer.to_vec(),
            above: none.clone(),
            below: none,
            rows: Vec::new(),
            chains: Vec::new(),
        }
    }

    fn add(&mut self, item: Item, layer: usize, size: (f64, f64)) -> usize {
        self.items.push(item);
        self.sizes.push(size);
        self.layer.push(layer);
        self.above.push(Vec::new());
        self.below.push(Vec::new());
        self.items.len() - 1
    }

    /// Lays one transition through the layers between its states, or past them when it is not to be bent.
    fn connect(&mut self, arc: &Arc, scope: &Scope, bent: bool) {
        let label = arc
            .edge
            .map(|edge| scope.edges[edge].label.as_str())
            .filter(|label| bent && !label.is_empty());
        let caught = arc.edge.is_some_and(|edge| scope.edges[edge].caught);
        let (items, label) = if arc.back {
            self.back_items(arc, label, bent)
        } else {
            self.forward_items(arc, label, bent)
        };
        if bent {
            for pair in items.windows(2) {
                let (upper, lower) = if arc.back {
                    (pair[1], pair[0])
                } else {
                    (pair[0], pair[1])
                };
                self.link(upper, lower, caught);
            }
        }
        self.chains.push(Chain {
            edge: arc.edge,
            items,
            back: arc.back,
            label,
        });
    }

    /// The items of a transition down, and the place of the one with the label.
    fn forward_items(
        &mut self,
        arc: &Arc,
        label: Option<&str>,
        bent: bool,
    ) -> (Vec<usize>, Option<usize>) {
        let (from, to) = (self.layer[arc.from], self.layer[arc.to]);
        let mut items = vec![arc.from];
        let mut label_at = None;
        for layer in (from + 1..to).filter(|_| bent) {
            let labelled = label.filter(|_| layer == from + 1);
            if labelled.is_some() {
                label_at = Some(items.len());
            }
            items.push(self.add(Item::Bend, layer, labelled.map_or((6.0, 0.0), label_size)));
        }
        items.push(arc.to);
        (items, label_at)
    }

    /// The same for one that leads back.
    fn back_items(
        &mut self,
        arc: &Arc,
        label: Option<&str>,
        bent: bool,
    ) -> (Vec<usize>, Option<usize>) {
        let (from, to) = (self.layer[arc.from], self.layer[arc.to]);
        let mut items = Vec::new();
        let mut label_at = None;
        for layer in (to..=from).rev() {
            let beside = if layer == from {
                Some(arc.from)
            } else {
                (layer == to).then_some(arc.to)
            };
            if !bent && beside.is_none() {
                continue;
            }
            let labelled = label.filter(|_| {
                layer == (from + to).div_ceil(2) && beside.is_none()
                    || from - to == 1 && layer == from
            });
            if labelled.is_some() {
                label_at = Some(items.len());
            }
            let size = labelled.map_or((6.0, 0.0), label_size);
            items.push(self.add(Item::Side { beside }, layer, size));
        }
        (items, label_at)
    }

    fn link(&mut self, upper: usize, lower: usize, caught: bool) {
        let passes = |item: usize| matches!(self.items[item], Item::Bend | Item::Side { .. });
        let weight = match (passes(upper) && passes(lower), caught) {
            (true, _) => 5.0,
            (false, false) => 2.0,
            (false, true) => 0.3,
        };
        self.below[upper].push(Link { to: lower, weight });
        self.above[lower].push(Link { to: upper, weight });
    }

    /// The first order: as a walk from the top meets the items.
    fn fill_rows(&mut self) {
        let depth = self.layer.iter().max().map_or(0, |deepest| deepest + 1);
        self.rows = vec![Vec::new(); depth];
        let mut seen = vec![false; self.items.len()];
        let mut roots: Vec<usize> = (0..self.items.len()).collect();
        roots.sort_by_key(|item| (self.layer[*item], !matches!(self.items[*item], Item::Start)));
        for root in roots {
            let mut stack = vec![root];
            while let Some(item) = stack.pop() {
                if !std::mem::replace(&mut seen[item], true) {
                    self.rows[self.layer[item]].push(item);
                    stack.extend(
                        self.below[item]
                            .iter()
                            .rev()
                            .map(|link| link.to)
                            .filter(|next| !seen[*next]),
                    );
                }
            }
        }
    }
}
