//! How the answers are declared: fields that must be there (`must`), and fields that read as nothing where they are missing or `null`
//! (`may`).

macro_rules! answers {
    ($(
        $(#[$meta:meta])*
        $name:ident {
            $( must { $( $(#[$must_meta:meta])* $must:ident: $must_type:ty, )* } )?
            $( may { $( $(#[$may_meta:meta])* $may:ident: $may_type:ty, )* } )?
        }
    )*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, serde::Deserialize)]
        #[non_exhaustive]
        pub struct $name {
            $( $( $(#[$must_meta])* #[serde(deserialize_with = "soft::field")] pub $must: $must_type, )* )?
            $( $( $(#[$may_meta])* #[serde(default, deserialize_with = "soft::field")] pub $may: $may_type, )* )?
        }
    )* };
}

/// Chain setters of what is optional in a request.
macro_rules! chain {
    ($( $field:ident: $type:ty; )*) => { $(
        #[doc = concat!("Sets `", stringify!($field), "`.")]
        #[must_use]
        pub fn $field(mut self, $field: impl Into<$type>) -> Self {
            self.$field = $field.into();
            self
        }
    )* };
}
