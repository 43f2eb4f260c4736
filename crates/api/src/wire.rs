//! How every type of this crate reads and prints JSON: tolerant like Go's decoder, exact like its
//! encoder.
//!
//! Go leaves a field alone when the input says `null`, so `null` means "default" for any field. A
//! nil slice prints as `null` (`Option<Vec<_>>` here), an empty one as `[]`, and what Go marks
//! `omitempty` is left out when it is the default.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Structs that are JSON objects with Go's field names: `PascalCase`, defaults for what is missing
/// or `null`. `flatten` names a field whose members stand beside the others.
macro_rules! wire {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident: $type:ty, )*
            $( flatten $(#[$flat_meta:meta])* pub $flat:ident: $flat_type:ty, )?
        }
    )*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(deserialize_with = "crate::wire::null_is_default")]
                pub $field: $type,
            )*
            $( $(#[$flat_meta])* #[serde(flatten)] pub $flat: $flat_type, )?
        }
    )* };
}

/// One struct with the members of another beside its own, as clients send it. serde's `flatten` knows no names and so
/// cannot read them in any case (see `fold`): here each half reads the whole object for itself.
macro_rules! wire_beside {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident: $type:ty, )*
            beside pub $flat:ident: $flat_type:ty,
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
        #[serde(rename_all = "PascalCase")]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
            #[serde(flatten)]
            pub $flat: $flat_type,
        }

        const _: () = {
            #[derive(Default, serde::Deserialize)]
            #[serde(rename_all = "PascalCase", default)]
            struct Own {
                $(
                    $(#[$field_meta])*
                    #[serde(deserialize_with = "crate::wire::null_is_default")]
                    $field: $type,
                )*
            }

            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    let value = serde_json::Value::deserialize(from)?;
                    let half = <D::Error as serde::de::Error>::custom::<serde_json::Error>;
                    let own = Own::deserialize(crate::fold::Fold(&value)).map_err(half)?;
                    let $flat = <$flat_type>::deserialize(crate::fold::Fold(&value)).map_err(half)?;
                    Ok(Self { $( $field: own.$field, )* $flat })
                }
            }
        };
    };
}

/// Reads a value, taking `null` for its default.
pub(crate) fn null_is_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// Go's `omitempty`.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Names to values, in the order of the names.
pub type Map = BTreeMap<String, String>;

/// The value of a Go `map[string]struct{}`: prints `{}`, reads anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Empty;

impl Serialize for Empty {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(std::iter::empty::<((), ())>())
    }
}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        de::IgnoredAny::deserialize(from).map(|_| Self)
    }
}

/// A list of words that may also come as one string, which is then its only word: `Cmd` and
/// `Entrypoint`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StringList(pub Vec<String>);

impl From<Vec<String>> for StringList {
    fn from(words: Vec<String>) -> Self {
        Self(words)
    }
}

impl<'de> Deserialize<'de> for StringList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Word(String),
            Words(Vec<String>),
        }
        Ok(Self(match Either::deserialize(from)? {
            Either::Word(word) => vec![word],
            Either::Words(words) => words,
        }))
    }
}
