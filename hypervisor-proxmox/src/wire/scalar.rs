//! Scalars as Proxmox sends them: the same field is a number here and a string there, and booleans are `0` and `1`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A type that can be made of whatever scalar the server sent. `None` where it says nothing (`"N/A"`, `""`).
pub trait Scalar: Sized {
    /// Of a JSON boolean.
    fn from_bool(value: bool) -> Option<Self>;
    /// Of a whole number.
    fn from_integer(value: i128) -> Option<Self>;
    /// Of a number with a fraction.
    fn from_float(value: f64) -> Option<Self>;
    /// Of text.
    fn from_text(text: &str) -> Option<Self>;
}

impl Scalar for u64 {
    fn from_bool(value: bool) -> Option<Self> {
        Some(value.into())
    }

    fn from_integer(value: i128) -> Option<Self> {
        value.try_into().ok()
    }

    fn from_float(value: f64) -> Option<Self> {
        // Averages of byte counts come with fractions; the text form avoids a lossy cast.
        (value.is_finite() && value >= 0.0).then(|| format!("{:.0}", value.trunc()).parse().ok()).flatten()
    }

    fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        text.parse().ok().or_else(|| text.parse().ok().and_then(Self::from_float))
    }
}

impl Scalar for f64 {
    fn from_bool(value: bool) -> Option<Self> {
        Some(f64::from(u8::from(value)))
    }

    fn from_integer(value: i128) -> Option<Self> {
        match u32::try_from(value) {
            Ok(small) => Some(f64::from(small)),
            Err(_) => value.to_string().parse().ok(),
        }
    }

    fn from_float(value: f64) -> Option<Self> {
        value.is_finite().then_some(value)
    }

    fn from_text(text: &str) -> Option<Self> {
        text.trim().parse().ok().and_then(Self::from_float)
    }
}

impl Scalar for bool {
    fn from_bool(value: bool) -> Option<Self> {
        Some(value)
    }

    fn from_integer(value: i128) -> Option<Self> {
        Some(value != 0)
    }

    fn from_float(value: f64) -> Option<Self> {
        Some(value != 0.0)
    }

    fn from_text(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" | "enabled" => Some(true),
            "0" | "false" | "no" | "off" | "disabled" => Some(false),
            _ => None,
        }
    }
}

impl Scalar for String {
    fn from_bool(value: bool) -> Option<Self> {
        Some(u8::from(value).to_string())
    }

    fn from_integer(value: i128) -> Option<Self> {
        Some(value.to_string())
    }

    fn from_float(value: f64) -> Option<Self> {
        Some(value.to_string())
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

/// A scalar read from any JSON value. Objects and arrays give `None`: one odd field must not cost the whole list.
#[derive(Debug, Clone, PartialEq)]
pub struct Soft<T>(pub Option<T>);

impl<'de, T: Scalar> Deserialize<'de> for Soft<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen<T>(PhantomData<T>);

        impl<'de, T: Scalar> Visitor<'de> for Seen<T> {
            type Value = Soft<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a scalar")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Soft<T>, E> {
                Ok(Soft(T::from_bool(value)))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Soft<T>, E> {
                Ok(Soft(T::from_integer(value.into())))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Soft<T>, E> {
                Ok(Soft(T::from_integer(value.into())))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Soft<T>, E> {
                Ok(Soft(T::from_float(value)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Soft<T>, E> {
                Ok(Soft(T::from_text(text)))
            }

            fn visit_unit<E>(self) -> Result<Soft<T>, E> {
                Ok(Soft(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Soft<T>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Soft(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Soft<T>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Soft(None))
            }
        }

        deserializer.deserialize_any(Seen(PhantomData))
    }
}

/// Text of whatever scalar the server sent, borrowed from the answer where it can be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SoftText<'de>(pub(crate) Option<Cow<'de, str>>);

impl<'de> Deserialize<'de> for SoftText<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = SoftText<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a scalar")
            }

            fn visit_bool<E>(self, value: bool) -> Result<SoftText<'de>, E> {
                Ok(SoftText(String::from_bool(value).map(Cow::Owned)))
            }

            fn visit_i64<E>(self, value: i64) -> Result<SoftText<'de>, E> {
                Ok(SoftText(Some(Cow::Owned(value.to_string()))))
            }

            fn visit_u64<E>(self, value: u64) -> Result<SoftText<'de>, E> {
                Ok(SoftText(Some(Cow::Owned(value.to_string()))))
            }

            fn visit_f64<E>(self, value: f64) -> Result<SoftText<'de>, E> {
                Ok(SoftText(String::from_float(value).map(Cow::Owned)))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<SoftText<'de>, E> {
                Ok(SoftText(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<SoftText<'de>, E> {
                Ok(SoftText(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_unit<E>(self) -> Result<SoftText<'de>, E> {
                Ok(SoftText(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SoftText<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(SoftText(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SoftText<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(SoftText(None))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

/// For `#[serde(deserialize_with = …)]`: a scalar of any JSON type, `None` where it says nothing.
///
/// # Errors
/// Broken JSON only.
pub fn soft<'de, T: Scalar, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Soft::deserialize(deserializer).map(|soft| soft.0)
}

/// A value of a field as text, `None` where it is `null`, an object or an array.
#[must_use]
pub fn text_of(value: &Value) -> Option<String> {
    serde_json::from_value::<Soft<String>>(value.clone()).ok()?.0
}

/// What can be a field of an answer.
pub trait Field: Sized {
    /// Reads it; `None` where the server sent `null` or something that says nothing.
    ///
    /// # Errors
    /// Broken JSON, or an object of the wrong shape.
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Self>, A::Error>;
}

macro_rules! scalar_fields {
    ($($type:ty)*) => { $(
        impl Field for $type {
            fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Self>, A::Error> {
                Ok(map.next_value::<Soft<$type>>()?.0)
            }
        }
    )* };
}

scalar_fields! { u64 f64 bool String }

impl Field for Value {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Self>, A::Error> {
        Ok(Some(map.next_value::<Value>()?).filter(|value| !value.is_null()))
    }
}

impl<T: for<'a> Deserialize<'a>> Field for Vec<T> {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Self>, A::Error> {
        map.next_value()
    }
}

/// A key of an object, borrowed from the text where it can be.
pub(crate) struct Key<'de>(pub(crate) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl<'de> Visitor<'de> for Name {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(Name)
    }
}

/// Rows of the server's answers: every field optional and lenient, unknown ones kept in `rest`.
///
/// Not `#[serde(flatten)]`, which would copy every object once before reading it.
macro_rules! row {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty = $key:literal $(| $alias:literal)*,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$fmeta])* pub $field: Option<$type>,)*
            /// What this version does not know, as it came.
            pub rest: serde_json::Map<String, serde_json::Value>,
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Row;

                impl<'de> serde::de::Visitor<'de> for Row {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let mut row = $name::default();
                        while let Some(key) = map.next_key::<$crate::wire::scalar::Key<'de>>()? {
                            match &*key.0 {
                                $($key $(| $alias)* => {
                                    let value = <$type as $crate::wire::scalar::Field>::read(&mut map)?;
                                    // Of two names for one thing the first that says something counts.
                                    if row.$field.is_none() {
                                        row.$field = value;
                                    }
                                })*
                                _ => {
                                    row.rest.insert(key.0.into_owned(), map.next_value()?);
                                }
                            }
                        }
                        Ok(row)
                    }
                }

                deserializer.deserialize_map(Row)
            }
        }
    };
}

pub(crate) use row;

#[cfg(test)]
mod tests {
    #![allow(unreachable_pub, reason = "the macro makes public rows, and the sample is one")]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    row! {
        /// A row of the tests.
        Sample {
            /// A number.
            count: u64 = "count" | "maxcount",
            /// A flag.
            flag: bool = "flag",
            /// A fraction.
            load: f64 = "load",
            /// Text.
            name: String = "name",
        }
    }

    fn sample(value: Value) -> Sample {
        serde_json::from_str(&value.to_string()).unwrap()
    }

    #[test]
    fn every_spelling_of_a_scalar_is_read() {
        for one in [json!(1), json!("1"), json!(1.0), json!(true), json!("1.0")] {
            assert_eq!(sample(json!({ "count": one })).count, Some(1), "{one}");
            assert_eq!(sample(json!({ "load": one })).load, Some(1.0), "{one}");
        }
        for yes in [json!(1), json!("1"), json!(true), json!("true"), json!("yes"), json!("on"), json!(1.0)] {
            assert_eq!(sample(json!({ "flag": yes })).flag, Some(true), "{yes}");
        }
        for no in [json!(0), json!("0"), json!(false), json!("no")] {
            assert_eq!(sample(json!({ "flag": no })).flag, Some(false), "{no}");
        }
        for nothing in [json!(null), json!("N/A"), json!(""), json!([1, 2]), json!({ "a": 1 })] {
            let row = sample(json!({ "count": nothing, "load": nothing, "flag": nothing, "after": 7 }));
            assert_eq!((row.count, row.load, row.flag), (None, None, None), "{nothing}");
            assert_eq!(row.rest["after"], 7);
        }
        assert_eq!(sample(json!({ "name": 5 })).name.as_deref(), Some("5"));
        assert_eq!(sample(json!({ "count": 1431655765.33333 })).count, Some(1_431_655_765));
        assert_eq!(sample(json!({ "count": -1 })).count, None);
    }

    #[test]
    fn unknown_fields_stay_and_escaped_keys_are_read() {
        let row: Sample = serde_json::from_str(r#"{"co\u0075nt": 3, "new\"field": [1]}"#).unwrap();
        assert_eq!(row.count, Some(3));
        assert_eq!(row.rest["new\"field"], json!([1]));
        assert_eq!(sample(json!({ "maxcount": 2, "count": null })).count, Some(2));
    }

    proptest! {
        #[test]
        fn whole_numbers_survive_both_spellings(n in any::<u64>()) {
            prop_assert_eq!(sample(json!({ "count": n })).count, Some(n));
            prop_assert_eq!(sample(json!({ "count": n.to_string() })).count, Some(n));
        }

        #[test]
        fn no_text_breaks_a_scalar(text in ".{0,20}") {
            let row = sample(json!({ "count": text, "flag": text, "load": text, "name": text }));
            prop_assert_eq!(row.name, Some(text));
        }
    }
}
