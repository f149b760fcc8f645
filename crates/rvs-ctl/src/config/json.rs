//! Values of columns as JSON: numbers are numbers, sets arrays, maps objects, and what may be absent is null.

use rvs_ovsdb::schema::ColumnType;
use rvs_ovsdb::value::{Atom, Datum};
use serde_json::{json, Map, Value};

/// The value of a column of type `ty`.
pub fn plain(datum: &Datum, ty: &ColumnType) -> Value {
    match datum {
        Datum::Map(pairs) => {
            let pair = |(k, v): &(Atom, Atom)| (key(k), atom(v));
            Value::Object(pairs.iter().map(pair).collect::<Map<_, _>>())
        }
        Datum::Set(atoms) if ty.max == 1 => atoms.first().map_or(Value::Null, atom),
        Datum::Set(atoms) => atoms.iter().map(atom).collect(),
    }
}

pub fn atom(a: &Atom) -> Value {
    match a {
        Atom::Integer(n) => json!(n),
        Atom::Real(n) => json!(n),
        Atom::Boolean(b) => json!(b),
        Atom::String(s) => json!(&**s),
        Atom::Uuid(u) => json!(u.to_string()),
    }
}

fn key(a: &Atom) -> String {
    match atom(a) {
        Value::String(s) => s,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rvs_ovsdb::schema::Schema;

    use super::*;

    #[test]
    fn values_keep_their_types() {
        let schema = Schema::open_vswitch();
        let port = schema.table("Port");
        let ty = |c: &str| port.and_then(|t| t.column(c)).map(|(_, c)| c.ty.clone());
        let said = |column: &str, d: Datum| ty(column).map(|t| plain(&d, &t));
        assert_eq!(said("tag", Datum::scalar(5i64)), Some(json!(5)));
        assert_eq!(said("tag", Datum::empty_set()), Some(Value::Null));
        assert_eq!(said("trunks", Datum::set([2i64, 1])), Some(json!([1, 2])));
        assert_eq!(said("name", Datum::scalar("p")), Some(json!("p")));
        let map = Datum::map([("a", "1")]);
        assert_eq!(said("other_config", map), Some(json!({"a": "1"})));
    }
}
