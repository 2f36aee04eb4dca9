/// The cases of an area as a table: each a function of this name, with the capabilities and the settings that it needs.
macro_rules! area {
    ($area:literal: $($case:ident [$($need:expr),* $(,)?] $({$($setting:ident),+})?;)*) => {
        pub(super) fn cases() -> Vec<$crate::conformance::case::Case> {
            vec![$(case!(
                $area,
                $case,
                [$($need),*],
                [$($($crate::conformance::settings::Setting::$setting),+)?]
            ),)*]
        }
    };
}

pub(super) use area;
