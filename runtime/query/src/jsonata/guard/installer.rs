//! Puts guards around what a function, a constructor or an operator builds. Hides which arguments and results matter.

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};

use super::super::tree::each_child_mut;
use super::shapes::{compound_parts, has_placeholder, is_scalar, may_be_array, may_have_parts};
use super::{
    BUILT, CALLABLE, GIVEN, ITEMS, LAST, MATCH, NARROW, NOTE, PAIRS, PARTIAL, PARTIAL_TIME,
    PICTURE, REPLACEMENT, SEPARATOR, SIZE, TEXT, TEXTS, WEIGHT, WIDTH, survey,
};

/// Puts the guards in; gives the names of those that are.
pub(super) fn install(tree: &mut AstNode) -> Vec<&'static str> {
    let mut installer = Installer {
        growth: survey::grows(tree),
        used: Vec::new(),
    };
    installer.visit(tree);
    installer.used
}

/// What the result of a function is to be counted as.
enum Built {
    Text,
    Parts,
    Little,
}

/// Functions of the engine that take a function, and keep it no longer than they run.
const TAKE_FUNCTIONS: [&str; 8] = [
    "each", "filter", "map", "reduce", "replace", "sift", "single", "sort",
];

/// Functions that build a list or an object.
const PARTS: [&str; 17] = [
    "append",
    "each",
    "filter",
    "keys",
    "map",
    "match",
    "merge",
    "partition",
    "range",
    "reduce",
    "reverse",
    "shuffle",
    "sift",
    "sort",
    "split",
    "spread",
    "zip",
];

struct Installer {
    /// Whether concatenations, array constructors and comparisons are guarded.
    growth: bool,
    used: Vec<&'static str>,
}

impl Installer {
    fn visit(&mut self, node: &mut AstNode) {
        // `a ~> $f(b)` is `$f(a, b)`.
        if let AstNode::Binary {
            op: BinaryOp::ChainPipe,
            lhs,
            rhs,
        } = node
            && let AstNode::Function {
                name,
                args,
                is_builtin: true,
            } = &mut **rhs
            && !has_placeholder(args)
        {
            self.visit(lhs);
            args.iter_mut().for_each(|argument| self.visit(argument));
            let mut arguments: Vec<&mut AstNode> =
                std::iter::once(&mut **lhs).chain(args.iter_mut()).collect();
            let result = self.call(name, &mut arguments);
            self.wrap_result(result, node);
            return;
        }
        if let AstNode::Binary {
            op: BinaryOp::ChainPipe,
            lhs,
            rhs,
        } = node
        {
            // What stands to the right gets the left side as an argument: it has to stay what it is.
            self.visit(lhs);
            match &mut **rhs {
                AstNode::Path { steps } => self.visit_steps(steps),
                rhs => each_child_mut(rhs, &mut |child| self.visit(child)),
            }
            return;
        }
        if let AstNode::Path { steps } = node {
            self.visit_steps(steps);
            return;
        }
        each_child_mut(node, &mut |child| self.visit(child));
        if self.growth {
            self.weigh_parts(node);
        }
        self.guard_node(node);
    }

    /// Guards a node whose children are guarded.
    fn guard_node(&mut self, node: &mut AstNode) {
        match node {
            AstNode::Function {
                name,
                args,
                is_builtin: true,
            } if !has_placeholder(args) => {
                let mut arguments: Vec<&mut AstNode> = args.iter_mut().collect();
                let result = self.call(name, &mut arguments);
                self.wrap_result(result, node);
            }
            AstNode::Function { args, .. } | AstNode::Call { args, .. }
                if has_placeholder(args) =>
            {
                self.wrap(PARTIAL, node);
            }
            AstNode::Binary {
                op: BinaryOp::Concatenate,
                ..
            } if self.growth => self.wrap(TEXT, node),
            AstNode::Binary {
                op: BinaryOp::Equal | BinaryOp::NotEqual | BinaryOp::In,
                lhs,
                rhs,
            } if self.growth && !is_scalar(lhs) && !is_scalar(rhs) => {
                self.wrap(SIZE, lhs);
                self.wrap(SIZE, rhs);
            }
            AstNode::Array(elements) if self.growth => {
                elements
                    .iter_mut()
                    .filter(|element| may_be_array(element))
                    .for_each(|item| self.wrap(ITEMS, item));
            }
            _ => {}
        }
    }

    /// The steps of a path. The result of a function has to stay what it is there: a list of one item is one as long as `[]`
    /// may follow.
    fn visit_steps(&mut self, steps: &mut [PathStep]) {
        for PathStep { node, stages, .. } in steps {
            if let AstNode::Function {
                name,
                args,
                is_builtin: true,
            } = node
                && PARTS.contains(&name.as_str())
                && !has_placeholder(args)
            {
                args.iter_mut().for_each(|argument| self.visit(argument));
                let mut arguments: Vec<&mut AstNode> = args.iter_mut().collect();
                self.call(name, &mut arguments);
            } else {
                self.visit(node);
            }
            for stage in stages {
                if let Stage::Filter(filter) = stage {
                    self.visit(filter);
                }
            }
        }
    }

    /// Weighs what may be put into a new value many times over, or walked to its leaves.
    fn weigh_parts(&mut self, node: &mut AstNode) {
        let shares = compound_parts(node);
        match node {
            AstNode::Array(parts) | AstNode::ArrayGroup(parts) => {
                for part in parts.iter_mut().filter(|part| may_have_parts(part)) {
                    self.weigh_part(part, shares);
                }
            }
            AstNode::Object(pairs) | AstNode::ObjectTransform { pattern: pairs, .. } => {
                for (_, part) in pairs.iter_mut().filter(|(_, part)| may_have_parts(part)) {
                    self.weigh_part(part, shares);
                }
            }
            AstNode::Binary {
                op: BinaryOp::ColonEqual,
                rhs,
                ..
            } => {
                if matches!(**rhs, AstNode::Lambda { .. }) {
                    // The function gets the variable's name: it has to stay where it is.
                    self.weigh(node, 1);
                } else if may_have_parts(rhs) {
                    self.weigh(rhs, 1);
                }
            }
            AstNode::Binary {
                op: BinaryOp::Concatenate | BinaryOp::And | BinaryOp::Or,
                lhs,
                rhs,
            } => {
                for side in [lhs, rhs] {
                    self.weigh_path(side);
                }
            }
            AstNode::Conditional { condition, .. } => self.weigh_path(condition),
            AstNode::Function { name, args, .. } if TAKE_FUNCTIONS.contains(&name.as_str()) => {
                args.iter_mut()
                    .for_each(|argument| self.weigh_path(argument));
            }
            AstNode::Function { args, .. } | AstNode::Call { args, .. } => {
                for argument in args {
                    if matches!(argument, AstNode::Lambda { .. }) {
                        self.weigh(argument, 1);
                    } else {
                        self.weigh_path(argument);
                    }
                }
            }
            AstNode::Lambda { body, .. } => self.weigh_functions(body),
            _ => {}
        }
    }

    /// Weighs what is put into a list or an object. A list within it has to stay where it is, or its items would be spliced
    /// into the one around it: its own parts get smaller shares.
    fn weigh_part(&mut self, part: &mut AstNode, shares: usize) {
        match part {
            AstNode::Array(parts) | AstNode::ArrayGroup(parts) => {
                for part in parts {
                    self.weigh_part(part, shares);
                }
            }
            AstNode::Function { name, args, .. } if name == WEIGHT => {
                if let Some(AstNode::Number(own)) = args.get_mut(1) {
                    *own *= shares as f64;
                }
            }
            part if may_have_parts(part) => self.weigh(part, shares),
            _ => {}
        }
    }

    /// Weighs the functions that a function answers with: each may keep the one before it.
    fn weigh_functions(&mut self, body: &mut AstNode) {
        match body {
            AstNode::Lambda { .. } => self.weigh(body, 1),
            AstNode::Block(nodes) => {
                if let Some(last) = nodes.last_mut() {
                    self.weigh_functions(last);
                }
            }
            AstNode::Conditional {
                then_branch,
                else_branch,
                ..
            } => {
                self.weigh_functions(then_branch);
                if let Some(last) = else_branch {
                    self.weigh_functions(last);
                }
            }
            _ => {}
        }
    }

    /// A path's result holds one part as often as the path leads to it.
    fn weigh_path(&mut self, node: &mut AstNode) {
        if matches!(node, AstNode::Path { .. }) {
            self.weigh(node, 1);
        }
    }

    fn weigh(&mut self, node: &mut AstNode, shares: usize) {
        let inner = std::mem::replace(node, AstNode::Null);
        *node = self.guard(WEIGHT, vec![inner, AstNode::Number(shares as f64)]);
    }

    fn wrap_result(&mut self, result: Built, node: &mut AstNode) {
        match result {
            Built::Text => self.wrap(TEXT, node),
            Built::Parts if self.growth => self.wrap(BUILT, node),
            Built::Parts | Built::Little => {}
        }
    }

    /// Guards the arguments of a function that builds much or works long; says what its result is to be counted as.
    fn call(&mut self, name: &mut String, args: &mut [&mut AstNode]) -> Built {
        match (name.as_str(), args) {
            ("pad", args) => args
                .iter_mut()
                .for_each(|argument| self.wrap(WIDTH, argument)),
            ("string", [value] | [value, _]) if self.growth => self.wrap(SIZE, value),
            ("join", [value]) => self.wrap(SIZE, value),
            ("join", [list, between]) => {
                self.wrap(NOTE, list);
                self.wrap(SEPARATOR, between);
            }
            ("replace", [_, with]) => {
                self.lambda_results(with);
                // The text is the context.
                self.wrap_with_context(REPLACEMENT, with);
            }
            ("replace", [text, pattern, last] | [text, pattern, last, _]) => {
                self.lambda_results(last);
                self.wrap(NOTE, text);
                self.wrap(NOTE, pattern);
                // The context is the text when the third argument is the limit.
                self.wrap_with_context(LAST, last);
            }
            ("distinct", [list]) => {
                self.wrap(PAIRS, list);
                return Built::Parts;
            }
            ("formatInteger", [picture]) => self.wrap_with_context(PICTURE, picture),
            ("formatInteger", [number, picture]) => {
                self.wrap(NOTE, number);
                self.wrap(PICTURE, picture);
            }
            ("toMillis", [_, _]) => {
                // What the picture leaves out comes from the given time, not from a clock.
                *name = PARTIAL_TIME.to_owned();
                self.used.push(PARTIAL_TIME);
                return Built::Little;
            }
            ("formatNumber" | "fromMillis" | "parseInteger", args) => {
                args.iter_mut()
                    .filter(|argument| !is_scalar(argument))
                    .for_each(|argument| self.wrap(NARROW, argument));
            }
            (name, _) if self.growth && TEXTS.contains(&name) => {}
            (name, _) if PARTS.contains(&name) => return Built::Parts,
            _ => return Built::Little,
        }
        Built::Text
    }

    /// Counts the strings that a function gives to `$replace`.
    fn lambda_results(&mut self, node: &mut AstNode) {
        if let AstNode::Lambda { body, thunk, .. } = node {
            self.wrap(TEXT, body);
            *thunk = false;
        } else if !is_scalar(node) {
            self.function_results(node);
        }
    }

    /// The same of what may turn out to be a function: another one around it.
    fn function_results(&mut self, node: &mut AstNode) {
        let given = || AstNode::variable(GIVEN);
        let mut counted = AstNode::Function {
            name: GIVEN.into(),
            args: vec![AstNode::variable(MATCH)],
            is_builtin: true,
        };
        self.wrap(TEXT, &mut counted);
        let around = AstNode::Lambda {
            params: vec![MATCH.into()],
            body: Box::new(counted),
            signature: None,
            thunk: false,
        };
        let bound = AstNode::Binary {
            op: BinaryOp::ColonEqual,
            lhs: Box::new(given()),
            rhs: Box::new(std::mem::replace(node, AstNode::Null)),
        };
        let chosen = AstNode::Conditional {
            condition: Box::new(self.guard(CALLABLE, vec![given()])),
            then_branch: Box::new(around),
            else_branch: Some(Box::new(given())),
        };
        *node = AstNode::Block(vec![bound, chosen]);
    }

    fn wrap(&mut self, guard: &'static str, node: &mut AstNode) {
        let inner = std::mem::replace(node, AstNode::Null);
        *node = self.guard(guard, vec![inner]);
    }

    /// As [`Self::wrap`], with `$` as a second argument.
    fn wrap_with_context(&mut self, guard: &'static str, node: &mut AstNode) {
        let inner = std::mem::replace(node, AstNode::Null);
        *node = self.guard(guard, vec![inner, AstNode::Variable(String::new())]);
    }

    fn guard(&mut self, guard: &'static str, args: Vec<AstNode>) -> AstNode {
        if !self.used.contains(&guard) {
            self.used.push(guard);
        }
        AstNode::Function {
            name: guard.into(),
            args,
            is_builtin: true,
        }
    }
}
