//! Generated from `wit/`. Plugin authors name what the other modules re-export.

/// The world of engines.
pub mod engine {
    wit_bindgen::generate!({
        path: "../wit",
        world: "engine",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_engine",
        default_bindings_module: "berth_sdk::bindings::engine",
        additional_derives: [PartialEq],
    });
}

/// The ability `settings` of an engine.
pub mod settings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "engine-settings",
        pub_export_macro: true,
        export_macro_name: "export_settings",
        default_bindings_module: "berth_sdk::bindings::settings",
        with: {
            "berth:plugin/types@0.1.0": crate::bindings::engine::berth::plugin::types,
        },
    });
}

/// The ability `users` of an engine.
pub mod users {
    wit_bindgen::generate!({
        path: "../wit",
        world: "engine-users",
        pub_export_macro: true,
        export_macro_name: "export_users",
        default_bindings_module: "berth_sdk::bindings::users",
        additional_derives: [PartialEq],
        with: {
            "berth:plugin/types@0.1.0": crate::bindings::engine::berth::plugin::types,
        },
    });
}

/// The world of targets.
pub mod target {
    wit_bindgen::generate!({
        path: "../wit",
        world: "target",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_target",
        default_bindings_module: "berth_sdk::bindings::target",
        additional_derives: [PartialEq],
        with: {
            "berth:plugin/types@0.1.0": crate::bindings::engine::berth::plugin::types,
            "berth:plugin/log@0.1.0": crate::bindings::engine::berth::plugin::log,
        },
    });
}
