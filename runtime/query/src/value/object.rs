//! Arrays and objects as shared allocations. Hides how members are found and what is cached beside them.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Value, write};
use crate::limits::OBJECT_LINEAR_MAX;

/// A shared JSON array; dereferences to its elements.
#[derive(Clone, Default)]
pub struct Array(Arc<ArrayBody>);

#[derive(Default)]
struct ArrayBody {
    items: Box<[Value]>,
    depth: u32,
    bytes: CachedBytes,
}

/// A shared JSON object that keeps the order of its keys.
#[derive(Clone, Default)]
pub struct Object(Arc<ObjectBody>);

#[derive(Default)]
struct ObjectBody {
    entries: Box<[(Arc<str>, Value)]>,
    /// Positions of the entries in the order of their keys; empty for small objects.
    index: Box<[u32]>,
    depth: u32,
    bytes: CachedBytes,
}

/// Length of the JSON text, counted when first asked for; 0 means not yet counted.
#[derive(Default)]
struct CachedBytes(AtomicUsize);

impl CachedBytes {
    fn get_or(&self, count: impl FnOnce() -> usize) -> usize {
        match self.0.load(Ordering::Relaxed) {
            0 => {
                let bytes = count();
                self.0.store(bytes, Ordering::Relaxed);
                bytes
            }
            bytes => bytes,
        }
    }
}

impl Array {
    pub(super) fn depth(&self) -> u32 {
        self.0.depth.max(1)
    }

    pub(super) fn ptr_id(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<u8>() as usize
    }

    pub(super) fn json_bytes(&self) -> usize {
        self.0.bytes.get_or(|| write::array_bytes(self))
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for Array {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.0.items
    }
}

impl From<Vec<Value>> for Array {
    fn from(items: Vec<Value>) -> Self {
        let depth = 1 + items.iter().map(Value::depth).max().unwrap_or(0);
        Self(Arc::new(ArrayBody {
            items: items.into(),
            depth,
            bytes: CachedBytes::default(),
        }))
    }
}

impl FromIterator<Value> for Array {
    fn from_iter<I: IntoIterator<Item = Value>>(items: I) -> Self {
        items.into_iter().collect::<Vec<_>>().into()
    }
}

impl<'a> IntoIterator for &'a Array {
    type Item = &'a Value;
    type IntoIter = std::slice::Iter<'a, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Object {
    /// Number of members.
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// Whether it is `{}`.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }

    /// The value of the member of that name.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key)
            .map(|position| &self.0.entries[position].1)
    }

    /// Whether there is a member of that name.
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_some()
    }

    /// The members in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Value)> + DoubleEndedIterator {
        self.0.entries.iter().map(|(key, value)| (key, value))
    }

    /// The names in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.0.entries.iter().map(|(key, _)| key)
    }

    /// The values in order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.0.entries.iter().map(|(_, value)| value)
    }

    /// A copy with this member replaced in its place, or added at the end.
    pub fn with(&self, key: impl Into<Arc<str>>, value: Value) -> Self {
        let mut builder = ObjectBuilder::from(self.clone());
        builder.insert(key, value);
        builder.build()
    }

    pub(super) fn depth(&self) -> u32 {
        self.0.depth.max(1)
    }

    pub(super) fn ptr_id(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<u8>() as usize
    }

    pub(super) fn json_bytes(&self) -> usize {
        self.0.bytes.get_or(|| write::object_bytes(self))
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn position(&self, key: &str) -> Option<usize> {
        let body = &*self.0;
        if body.index.is_empty() {
            return body.entries.iter().position(|(name, _)| &**name == key);
        }
        let found = body
            .index
            .binary_search_by(|position| (*body.entries[*position as usize].0).cmp(key));
        found.ok().map(|place| body.index[place] as usize)
    }
}

/// Collects the members of an object. A member inserted again keeps its place and takes the new value.
#[derive(Default)]
pub struct ObjectBuilder {
    entries: Vec<(Arc<str>, Value)>,
    /// Positions by key, kept once there are more members than are searched one by one.
    index: std::collections::BTreeMap<Arc<str>, u32>,
}

impl ObjectBuilder {
    /// An empty builder with room for this many members.
    pub fn with_capacity(members: usize) -> Self {
        Self {
            entries: Vec::with_capacity(members),
            index: std::collections::BTreeMap::new(),
        }
    }

    /// Adds or replaces a member.
    pub fn insert(&mut self, key: impl Into<Arc<str>>, value: impl Into<Value>) -> &mut Self {
        let (key, value) = (key.into(), value.into());
        match self.position(&key) {
            Some(position) => self.entries[position].1 = value,
            None => self.push(key, value),
        }
        self
    }

    /// Removes a member and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let position = self.position(key)?;
        self.index.clear();
        let (_, value) = self.entries.remove(position);
        if self.entries.len() > OBJECT_LINEAR_MAX {
            self.reindex();
        }
        Some(value)
    }

    /// The value of a member so far.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key).map(|position| &self.entries[position].1)
    }

    /// Number of members so far.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was inserted yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The finished object.
    pub fn build(self) -> Object {
        let depth = 1 + self
            .entries
            .iter()
            .map(|(_, value)| value.depth())
            .max()
            .unwrap_or(0);
        let index = self.index.into_values().collect();
        Object(Arc::new(ObjectBody {
            entries: self.entries.into(),
            index,
            depth,
            bytes: CachedBytes::default(),
        }))
    }

    fn position(&self, key: &str) -> Option<usize> {
        if self.index.is_empty() {
            return self.entries.iter().position(|(name, _)| &**name == key);
        }
        self.index.get(key).map(|position| *position as usize)
    }

    fn push(&mut self, key: Arc<str>, value: Value) {
        self.entries.push((key, value));
        match self.entries.len() {
            len if len <= OBJECT_LINEAR_MAX => {}
            len if self.index.is_empty() => {
                debug_assert_eq!(len, OBJECT_LINEAR_MAX + 1);
                self.reindex();
            }
            len => {
                let key = self.entries[len - 1].0.clone();
                self.index.insert(key, (len - 1) as u32);
            }
        }
    }

    fn reindex(&mut self) {
        let positions = self.entries.iter().enumerate();
        self.index = positions
            .map(|(position, (key, _))| (key.clone(), position as u32))
            .collect();
    }
}

impl From<Object> for ObjectBuilder {
    fn from(object: Object) -> Self {
        let entries = match Arc::try_unwrap(object.0) {
            Ok(body) => body.entries.into_vec(),
            Err(shared) => shared.entries.to_vec(),
        };
        let mut builder = Self {
            entries,
            index: std::collections::BTreeMap::new(),
        };
        if builder.entries.len() > OBJECT_LINEAR_MAX {
            builder.reindex();
        }
        builder
    }
}

impl<K: Into<Arc<str>>> FromIterator<(K, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(members: I) -> Self {
        let mut builder = ObjectBuilder::default();
        for (key, value) in members {
            builder.insert(key, value);
        }
        builder.build()
    }
}
