//! The one line that turns a type into a component.

/// Export a type that implements the traits of [`engine`](crate::engine) as an engine component, with
/// its manifest, a TOML file named relative to the crate's root.
///
/// ```ignore
/// berth_sdk::engine!(Mine, manifest = "plugin.toml");
/// ```
///
/// What it can do besides is named, and its trait implemented:
///
/// ```ignore
/// berth_sdk::engine!(Mine, manifest = "plugin.toml", abilities = [settings, users]);
/// ```
#[macro_export]
macro_rules! engine {
    ($plugin:ident, manifest = $manifest:literal $(, abilities = [$($ability:ident),* $(,)?])? $(,)?) => {
        #[cfg(target_family = "wasm")]
        $crate::bindings::engine::export_engine!($plugin with_types_in $crate::bindings::engine);
        $crate::__manifest!($manifest);
        // Natively nothing is exported, but the type is checked and counts as used.
        const _: fn() = $crate::engine::implemented_by::<$plugin>;
        $($($crate::__ability!($plugin, $ability);)*)?
    };
}

/// Export one ability of an engine.
#[doc(hidden)]
#[macro_export]
macro_rules! __ability {
    ($plugin:ident, settings) => {
        #[cfg(target_family = "wasm")]
        $crate::bindings::settings::export_settings!($plugin with_types_in $crate::bindings::settings);
        const _: fn() = $crate::engine::has_settings::<$plugin>;
    };
    ($plugin:ident, users) => {
        #[cfg(target_family = "wasm")]
        $crate::bindings::users::export_users!($plugin with_types_in $crate::bindings::users);
        const _: fn() = $crate::engine::has_users::<$plugin>;
    };
}

/// Export a type that implements [`Infrastructure`](crate::target::Infrastructure) as a target
/// component, with its manifest, a TOML file named relative to the crate's root.
///
/// ```ignore
/// berth_sdk::target!(Mine, manifest = "plugin.toml");
/// ```
#[macro_export]
macro_rules! target {
    ($plugin:ident, manifest = $manifest:literal) => {
        #[cfg(target_family = "wasm")]
        $crate::bindings::target::export_target!($plugin with_types_in $crate::bindings::target);
        $crate::__manifest!($manifest);
        const _: fn() = $crate::target::implemented_by::<$plugin>;
    };
}

/// Put the manifest into the component, as the custom section that the host reads before it runs anything.
#[doc(hidden)]
#[macro_export]
macro_rules! __manifest {
    ($manifest:literal) => {
        const _: () = {
            const TEXT: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $manifest));
            #[allow(unsafe_code)]
            #[cfg_attr(target_family = "wasm", unsafe(link_section = "berth:manifest"))]
            #[used]
            static MANIFEST: [u8; TEXT.len()] = {
                let mut bytes = [0; TEXT.len()];
                bytes.copy_from_slice(TEXT);
                bytes
            };
        };
    };
}
