//! [`Datum`]: construction, set and map operations, differences.

use std::cmp::Ordering;

use super::Atom;

/// The value of a column: a scalar is a set of one atom, an absent optional an empty set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Datum {
    /// Strictly ascending atoms.
    Set(Vec<Atom>),
    /// Pairs with strictly ascending keys.
    Map(Vec<(Atom, Atom)>),
}

/// Why atoms do not make a datum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatumError {
    /// A set names one element twice.
    #[error("set contains duplicate")]
    DuplicateElement,
    /// A map names one key twice.
    #[error("map contains duplicate key")]
    DuplicateKey,
}

impl Datum {
    /// The empty set.
    pub const fn empty_set() -> Datum {
        Datum::Set(Vec::new())
    }

    /// The empty map.
    pub const fn empty_map() -> Datum {
        Datum::Map(Vec::new())
    }

    /// A set of one atom.
    pub fn scalar(atom: impl Into<Atom>) -> Datum {
        Datum::Set(vec![atom.into()])
    }

    /// A set of one or no atom.
    pub fn optional(atom: Option<impl Into<Atom>>) -> Datum {
        Datum::Set(atom.into_iter().map(Into::into).collect())
    }

    /// A set of any atoms; duplicates are merged.
    pub fn set<A: Into<Atom>>(atoms: impl IntoIterator<Item = A>) -> Datum {
        let mut atoms: Vec<Atom> = atoms.into_iter().map(Into::into).collect();
        atoms.sort_unstable();
        atoms.dedup();
        Datum::Set(atoms)
    }

    /// A map of any pairs; the last of two pairs with one key counts.
    pub fn map<K: Into<Atom>, V: Into<Atom>>(pairs: impl IntoIterator<Item = (K, V)>) -> Datum {
        let mut pairs: Vec<(Atom, Atom)> = pairs
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|a, b| a.0 == b.0);
        Datum::Map(pairs)
    }

    /// A set whose elements must be distinct.
    pub(crate) fn strict_set(mut atoms: Vec<Atom>) -> Result<Datum, DatumError> {
        atoms.sort_unstable();
        if atoms.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(DatumError::DuplicateElement);
        }
        Ok(Datum::Set(atoms))
    }

    /// A map whose keys must be distinct.
    pub(crate) fn strict_map(mut pairs: Vec<(Atom, Atom)>) -> Result<Datum, DatumError> {
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        if pairs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(DatumError::DuplicateKey);
        }
        Ok(Datum::Map(pairs))
    }

    /// Elements or pairs.
    pub fn len(&self) -> usize {
        match self {
            Datum::Set(atoms) => atoms.len(),
            Datum::Map(pairs) => pairs.len(),
        }
    }

    /// No element, no pair.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements of a set or the keys of a map, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &Atom> + '_ {
        let (atoms, pairs): (&[Atom], &[(Atom, Atom)]) = match self {
            Datum::Set(atoms) => (atoms, &[]),
            Datum::Map(pairs) => (&[], pairs),
        };
        atoms.iter().chain(pairs.iter().map(|(key, _)| key))
    }

    /// The pairs of a map, by key; nothing for a set.
    pub fn pairs(&self) -> &[(Atom, Atom)] {
        match self {
            Datum::Set(_) => &[],
            Datum::Map(pairs) => pairs,
        }
    }

    /// The only element of a set of one.
    pub fn as_scalar(&self) -> Option<&Atom> {
        match self {
            Datum::Set(atoms) => match atoms.as_slice() {
                [atom] => Some(atom),
                _ => None,
            },
            Datum::Map(_) => None,
        }
    }

    /// The value of `key` in a map.
    pub fn value_of(&self, key: &Atom) -> Option<&Atom> {
        let pairs = self.pairs();
        pairs
            .binary_search_by(|pair| pair.0.cmp(key))
            .ok()
            .and_then(|i| pairs.get(i))
            .map(|p| &p.1)
    }

    /// Whether a set has this element or a map this key.
    pub fn contains_key(&self, key: &Atom) -> bool {
        match self {
            Datum::Set(atoms) => atoms.binary_search(key).is_ok(),
            Datum::Map(_) => self.value_of(key).is_some(),
        }
    }

    /// Whether every element (pair) of `other` is in `self`: the `includes` function.
    pub fn includes(&self, other: &Datum) -> bool {
        match other {
            Datum::Set(atoms) => atoms.iter().all(|atom| self.contains_key(atom)),
            Datum::Map(pairs) => pairs.iter().all(|(k, v)| self.value_of(k) == Some(v)),
        }
    }

    /// Whether no element (pair) of `other` is in `self`: the `excludes` function.
    pub fn excludes(&self, other: &Datum) -> bool {
        match other {
            Datum::Set(atoms) => !atoms.iter().any(|atom| self.contains_key(atom)),
            Datum::Map(pairs) => !pairs.iter().any(|(k, v)| self.value_of(k) == Some(v)),
        }
    }

    /// Adds the elements of `other`; a key that a map already has keeps its value.
    pub fn insert_all(&mut self, other: &Datum) {
        match (self, other) {
            (Datum::Set(into), Datum::Set(from)) => merge(into, from, |atom| atom),
            (Datum::Map(into), Datum::Map(from)) => merge(into, from, |pair| &pair.0),
            _ => {}
        }
    }

    /// Removes the elements of `other`: from a map, equal pairs if `other` is a map, keys if it is a set.
    pub fn delete_all(&mut self, other: &Datum) {
        match (self, other) {
            (Datum::Set(from), Datum::Set(_)) => from.retain(|atom| !other.contains_key(atom)),
            (Datum::Map(from), Datum::Set(_)) => from.retain(|(k, _)| !other.contains_key(k)),
            (Datum::Map(from), Datum::Map(_)) => from.retain(|(k, v)| other.value_of(k) != Some(v)),
            (Datum::Set(_), Datum::Map(_)) => {}
        }
    }

    /// What turns `self` into `new` in the terms of `update2` and of the log: for a set, the elements
    /// in exactly one of both; for a map, removed pairs with their old and other changed pairs with
    /// their new value.
    pub fn difference(&self, new: &Datum) -> Datum {
        let mut atoms = Vec::new();
        let mut pairs = Vec::new();
        self.compare(new, |change| match change {
            Change::Removed(k, None) | Change::Added(k, None) => atoms.push(k.clone()),
            Change::Removed(k, Some(v)) | Change::Added(k, Some(v)) => {
                pairs.push((k.clone(), v.clone()));
            }
            Change::Value(k, _, v) => pairs.push((k.clone(), v.clone())),
        });
        match new {
            Datum::Set(_) => Datum::Set(atoms),
            Datum::Map(_) => Datum::Map(pairs),
        }
    }

    /// Applies a [`difference`](Datum::difference) to `self`.
    pub fn apply_difference(&self, difference: &Datum) -> Datum {
        match (self, difference) {
            (Datum::Set(_), Datum::Set(_)) => self.difference(difference),
            (Datum::Map(old), Datum::Map(changes)) => {
                let mut pairs: Vec<(Atom, Atom)> = old
                    .iter()
                    .filter(|(k, _)| difference.value_of(k).is_none())
                    .cloned()
                    .collect();
                let kept = |(k, v): &&(Atom, Atom)| self.value_of(k) != Some(v);
                pairs.extend(changes.iter().filter(kept).cloned());
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                Datum::Map(pairs)
            }
            _ => self.clone(),
        }
    }

    /// Calls `visit` for each element, pair or value in which `self` and `new` differ, by key.
    pub fn compare<'a>(&'a self, new: &'a Datum, mut visit: impl FnMut(Change<'a>)) {
        match (self, new) {
            (Datum::Set(old), Datum::Set(new)) => walk(
                old,
                new,
                |atom| atom,
                |left, right| match (left, right) {
                    (Some(atom), None) => visit(Change::Removed(atom, None)),
                    (None, Some(atom)) => visit(Change::Added(atom, None)),
                    _ => {}
                },
            ),
            (Datum::Map(old), Datum::Map(new)) => walk(
                old,
                new,
                |pair| &pair.0,
                |left, right| match (left, right) {
                    (Some((k, v)), None) => visit(Change::Removed(k, Some(v))),
                    (None, Some((k, v))) => visit(Change::Added(k, Some(v))),
                    (Some((k, from)), Some((_, to))) if from != to => {
                        visit(Change::Value(k, from, to));
                    }
                    _ => {}
                },
            ),
            _ => {}
        }
    }
}

/// One step of [`Datum::compare`]; the second member is the value in a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Only in the old datum.
    Removed(&'a Atom, Option<&'a Atom>),
    /// Only in the new datum.
    Added(&'a Atom, Option<&'a Atom>),
    /// A map's key whose value changed: key, old value, new value.
    Value(&'a Atom, &'a Atom, &'a Atom),
}

/// Walks two ascending slices in step and reports each item, or both if their keys are equal.
fn walk<'a, T>(
    old: &'a [T],
    new: &'a [T],
    key: impl Fn(&T) -> &Atom,
    mut report: impl FnMut(Option<&'a T>, Option<&'a T>),
) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => key(a).cmp(key(b)),
        };
        match order {
            Ordering::Less => report(old.next(), None),
            Ordering::Greater => report(None, new.next()),
            Ordering::Equal => report(old.next(), new.next()),
        }
    }
}

/// Merges the ascending `from` into the ascending `into`, which wins where keys are equal.
fn merge<T: Clone>(into: &mut Vec<T>, from: &[T], key: impl Fn(&T) -> &Atom) {
    let added: Vec<T> = from
        .iter()
        .filter(|item| {
            into.binary_search_by(|have| key(have).cmp(key(item)))
                .is_err()
        })
        .cloned()
        .collect();
    match added.as_slice() {
        [] => {}
        [one] => {
            let at = into.partition_point(|have| key(have) < key(one));
            into.insert(at, one.clone());
        }
        _ => {
            into.extend(added);
            into.sort_by(|a, b| key(a).cmp(key(b)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_of_sets_and_maps() {
        let old = Datum::set([1, 2, 3]);
        let new = Datum::set([2, 3, 4]);
        let diff = old.difference(&new);
        assert_eq!(diff, Datum::set([1, 4]));
        assert_eq!(old.apply_difference(&diff), new);

        let old = Datum::map([("a", "1"), ("b", "2"), ("c", "3")]);
        let new = Datum::map([("a", "1"), ("b", "9"), ("d", "4")]);
        let diff = old.difference(&new);
        assert_eq!(diff, Datum::map([("b", "9"), ("c", "3"), ("d", "4")]));
        assert_eq!(old.apply_difference(&diff), new);
    }

    #[test]
    fn map_construction_keeps_the_last_value() {
        let map = Datum::map([("k", "old"), ("j", "x"), ("k", "new")]);
        assert_eq!(map.value_of(&Atom::from("k")), Some(&Atom::from("new")));
        assert_eq!(map.len(), 2);
    }

    #[test]
    fn insert_keeps_the_value_a_map_has() {
        let mut map = Datum::map([("a", "1")]);
        map.insert_all(&Datum::map([("a", "2"), ("b", "3")]));
        assert_eq!(map, Datum::map([("a", "1"), ("b", "3")]));
        map.delete_all(&Datum::map([("a", "2")]));
        assert_eq!(map.len(), 2);
        map.delete_all(&Datum::set(["a"]));
        assert_eq!(map, Datum::map([("b", "3")]));
    }
}
