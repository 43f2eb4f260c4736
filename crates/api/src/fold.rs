//! Field names in whatever case: Go's decoder takes `hostconfig` for `HostConfig`, and some clients rely on it.
//!
//! [`Folded`] stands between a format and the types of this crate. Every struct says which names it knows when it is read;
//! a key that it does not know, but for its case, is handed to it as the name that it does. Keys of maps (labels,
//! ports, …) belong to their users and stay as they are. A key that is spelled right costs one look at the list.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor,
    value::BorrowedStrDeserializer,
};

/// A value whose fields, and those of everything in it, may be spelled in any case.
#[derive(Debug)]
pub struct Folded<T>(pub T);

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Folded<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::deserialize(Fold(from)).map(Self)
    }
}

type Names = &'static [&'static str];

/// A deserializer, a list or a map of one, or a seed for what is in it: all handed on with the same reading of names.
pub(crate) struct Fold<T>(pub(crate) T);

/// Hands each kind of value on to the one that waits for it.
struct Reader<V> {
    visitor: V,
    names: Names,
}

macro_rules! forward {
    ($($method:ident)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(Reader { visitor, names: &[] })
        }
    )* };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Fold<D> {
    type Error = D::Error;

    forward! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option
        deserialize_unit deserialize_seq deserialize_map deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: Names,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, names, Reader { visitor, names })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, Reader { visitor, names: &[] })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, Reader { visitor, names: &[] })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(length, Reader { visitor, names: &[] })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple_struct(name, length, Reader { visitor, names: &[] })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: Names,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, Reader { visitor, names: &[] })
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident($type:ty))*) => { $(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )* };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Reader<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    visit! {
        visit_bool(bool) visit_i64(i64) visit_i128(i128) visit_u64(u64) visit_u128(u128) visit_f64(f64) visit_char(char)
        visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inside: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Fold(inside))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inside: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Fold(inside))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Fold(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Fields { map, names: self.names, seen: Vec::new() })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, choice: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(choice)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Fold<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        self.0.next_element_seed(Fold(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Fold<T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T::Value, D::Error> {
        self.0.deserialize(Fold(from))
    }
}

/// The members of an object: of a struct if there are names.
struct Fields<A> {
    map: A,
    names: Names,
    /// Those that have come.
    seen: Vec<&'static str>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.map.next_key_seed(Key { seed, names: self.names, seen: &mut self.seen })
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.map.next_value_seed(Fold(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.map.size_hint()
    }
}

/// Stands for a key, whoever it is for.
struct Key<'a, K> {
    seed: K,
    names: Names,
    seen: &'a mut Vec<&'static str>,
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<'_, K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<K::Value, D::Error> {
        if self.names.is_empty() {
            return self.seed.deserialize(from);
        }
        from.deserialize_str(KeyReader(self))
    }
}

struct KeyReader<'a, K>(Key<'a, K>);

/// Not the name of any field: what a struct gets for a second spelling of a field that it has already.
const NOBODY: &str = "";

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for KeyReader<'_, K> {
    type Value = K::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<K::Value, E> {
        let Key { seed, names, seen } = self.0;
        let exact = names.iter().find(|name| **name == text);
        match exact.or_else(|| names.iter().find(|name| name.eq_ignore_ascii_case(text))) {
            None => seed.deserialize(text.into_deserializer()),
            Some(name) if seen.contains(name) => seed.deserialize(BorrowedStrDeserializer::new(NOBODY)),
            Some(name) => {
                seen.push(name);
                seed.deserialize(BorrowedStrDeserializer::new(name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{ContainerCreateRequest, ContainerUpdateRequest};

    fn read(text: &str) -> ContainerCreateRequest {
        serde_json::from_str::<Folded<ContainerCreateRequest>>(text).unwrap().0
    }

    #[test]
    fn fields_are_known_in_any_case_and_keys_of_maps_stay() {
        let exact = r#"{"Image":"busybox","Env":["A=b"],"Labels":{"Image":"x","image":"y"},"Healthcheck":{"Test":["NONE"]},
            "HostConfig":{"Binds":["/a:/b"],"Memory":7,"Ulimits":[{"Name":"nofile","Soft":1,"Hard":2}],
            "PortBindings":{"80/tcp":[{"HostPort":"8080"}]},"RestartPolicy":{"Name":"always"}},
            "NetworkingConfig":{"EndpointsConfig":{"Net":{"Aliases":["x"]}}}}"#;
        let any = r#"{"image":"busybox","ENV":["A=b"],"labels":{"Image":"x","image":"y"},"healthCheck":{"test":["NONE"]},
            "hostconfig":{"binds":["/a:/b"],"memory":7,"ulimits":[{"name":"nofile","soft":1,"hard":2}],
            "portbindings":{"80/tcp":[{"hostport":"8080"}]},"restartpolicy":{"name":"always"}},
            "networkingconfig":{"endpointsconfig":{"Net":{"aliases":["x"]}}}}"#;
        assert_eq!(read(any), read(exact));
        assert_eq!(read(exact), serde_json::from_str::<ContainerCreateRequest>(exact).unwrap());
        assert_eq!(read(exact).host_config.unwrap().resources.memory, 7);
        let update =
            serde_json::from_str::<Folded<ContainerUpdateRequest>>(r#"{"memory":5,"restartpolicy":{"NAME":"no"}}"#);
        let update = update.unwrap().0;
        assert_eq!((update.resources.memory, update.restart_policy.name.as_str()), (5, "no"));
    }

    #[test]
    fn the_second_spelling_of_a_field_is_no_error() {
        assert_eq!(read(r#"{"image":"a","Image":"b"}"#).config.image, "b");
        assert_eq!(read(r#"{"Image":"a","image":"b"}"#).config.image, "a");
        assert_eq!(read(r#"{"Image":"a","":1,"other":2}"#).config.image, "a");
        let exec = r#"{"cmd":["a"],"Cmd":["b"],"tty":true,"TTY":false}"#;
        let exec = serde_json::from_str::<Folded<crate::container::ExecCreateRequest>>(exec).unwrap().0;
        assert!(exec.tty && exec.cmd.is_some());
    }
}
