/// The cases of an area: each a function of this name, with the capabilities and the settings that it needs.
macro_rules! area {
    ($area:literal: $($case:ident [$($need:expr),* $(,)?] $({$($setting:ident),+})?;)*) => {
        pub(super) fn cases() -> Vec<$crate::conformance::case::Case> {
            vec![$($crate::conformance::case::Case::new(
                $area,
                concat!($area, "::", stringify!($case)),
                vec![$($need.into()),*],
                vec![$($($crate::conformance::settings::Setting::$setting),+)?],
                |context| Box::pin($case(context)),
            ),)*]
        }
    };
}

pub(super) use area;
