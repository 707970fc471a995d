//! Engines and node types as the dialect lists them.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::GB;
use crate::api::rdb::moments;
use crate::model::plugin::{EngineVersion, Stage};
use crate::model::resources::NodeSize;
use crate::model::setting::{SettingKind, SettingSchema};
use crate::service::catalogue::{Generation, NodeType as Configured, Stock};

/// In what steps a volume that is no part of a node comes, and how large one may be.
pub const CHUNK: u64 = 5 * GB;
pub const LARGEST: u64 = 10_000 * GB;

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::Engines)]
pub struct Engines {
    pub engines: Vec<DatabaseEngine>,
    pub total_count: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::DatabaseEngine)]
pub struct DatabaseEngine {
    pub name: String,
    pub logo_url: String,
    pub versions: Vec<Version>,
    pub region: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::EngineVersion)]
pub struct Version {
    version: String,
    name: String,
    #[serde(serialize_with = "moments::write_some")]
    end_of_life: Option<Timestamp>,
    #[serde(serialize_with = "moments::write_some")]
    release_date: Option<Timestamp>,
    available_settings: Vec<Setting>,
    available_init_settings: Vec<Setting>,
    /// Not offered, or not installed on this machine.
    disabled: bool,
    beta: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::EngineSetting)]
pub struct Setting {
    name: String,
    default_value: String,
    /// It takes effect without a restart.
    hot_configurable: bool,
    description: String,
    property_type: PropertyType,
    unit: Option<String>,
    /// A regular expression for the whole value.
    string_constraint: Option<String>,
    int_min: Option<i32>,
    int_max: Option<i32>,
    float_min: Option<f64>,
    float_max: Option<f64>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = rdb::PropertyType)]
pub enum PropertyType {
    Boolean,
    Int,
    String,
    Float,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::NodeTypes)]
pub struct NodeTypes {
    pub node_types: Vec<NodeType>,
    pub total_count: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::NodeType)]
pub struct NodeType {
    pub name: String,
    stock_status: StockStatus,
    description: String,
    vcpus: u32,
    /// In bytes.
    memory: u64,
    volume_constraint: Option<VolumeConstraint>,
    is_bssd_compatible: bool,
    disabled: bool,
    beta: bool,
    available_volume_types: Vec<VolumeType>,
    is_ha_required: bool,
    generation: GenerationName,
    instance_range: String,
    region: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = rdb::NodeTypeStock)]
pub enum StockStatus {
    LowStock,
    OutOfStock,
    Available,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = rdb::NodeTypeGeneration)]
pub enum GenerationName {
    UnknownGeneration,
    GenerationV1,
    GenerationV2,
    GenerationV3,
}

/// Sizes in bytes.
#[derive(Serialize, ToSchema)]
#[schema(as = rdb::VolumeConstraint)]
pub struct VolumeConstraint {
    min_size: u64,
    max_size: u64,
}

/// Sizes in bytes.
#[derive(Serialize, ToSchema)]
#[schema(as = rdb::NodeTypeVolumeType)]
pub struct VolumeType {
    r#type: &'static str,
    description: &'static str,
    min_size: u64,
    max_size: u64,
    chunk_size: u64,
    class: &'static str,
}

impl Version {
    pub fn of(version: &EngineVersion, title: &str, offered: bool) -> Self {
        let (init, later): (Vec<_>, Vec<_>) = version
            .settings
            .iter()
            .partition(|setting| setting.init_only);
        // Only what can run here has settings that can be tried.
        let shown = |settings: Vec<&SettingSchema>| {
            let settings = settings.into_iter().filter(|_| offered);
            settings.map(Setting::of).collect()
        };
        Self {
            version: version.label.clone(),
            name: format!("{title}-{}", version.label),
            end_of_life: moments::day(&version.end_of_life),
            release_date: moments::day(&version.released),
            available_settings: shown(later),
            available_init_settings: shown(init),
            disabled: !offered,
            beta: version.stage == Stage::Beta,
        }
    }
}

impl Setting {
    fn of(schema: &SettingSchema) -> Self {
        let mut setting = Self {
            name: schema.name.clone(),
            default_value: schema.default.clone(),
            hot_configurable: schema.live,
            description: schema.description.clone(),
            property_type: PropertyType::Boolean,
            unit: schema.unit.clone(),
            string_constraint: None,
            int_min: None,
            int_max: None,
            float_min: None,
            float_max: None,
        };
        match &schema.kind {
            SettingKind::Boolean => {}
            SettingKind::Integer { minimum, maximum } => {
                setting.property_type = PropertyType::Int;
                setting.int_min = Some(narrow(*minimum));
                setting.int_max = Some(narrow(*maximum));
            }
            SettingKind::Number { minimum, maximum } => {
                setting.property_type = PropertyType::Float;
                setting.float_min = Some(*minimum);
                setting.float_max = Some(*maximum);
            }
            SettingKind::Text(pattern) => {
                setting.property_type = PropertyType::String;
                let pattern = pattern.as_ref();
                setting.string_constraint =
                    pattern.map(|pattern| format!("^({})$", pattern.as_str()));
            }
        }
        setting
    }
}

impl NodeType {
    /// `block` says whether there is storage beside the nodes.
    pub fn of(name: &str, node: &Configured, region: &str, block: bool) -> Self {
        let local = node.local_gb.map(|gb| u64::from(gb) * GB);
        let beside = block.then_some(VolumeType {
            r#type: "bssd",
            description: "Storage beside the node",
            min_size: CHUNK,
            max_size: LARGEST,
            chunk_size: CHUNK,
            class: "bssd",
        });
        let own = local.map(|size| VolumeType {
            r#type: "lssd",
            description: "Storage of the node's own",
            min_size: size,
            max_size: size,
            chunk_size: 0,
            class: "lssd",
        });
        Self {
            name: name.to_owned(),
            stock_status: match node.stock {
                Stock::Available => StockStatus::Available,
                Stock::LowStock => StockStatus::LowStock,
                Stock::OutOfStock => StockStatus::OutOfStock,
            },
            description: node.description.clone(),
            vcpus: node.vcpus,
            memory: node.size.memory_bytes,
            volume_constraint: local.map(|size| VolumeConstraint {
                min_size: size,
                max_size: size,
            }),
            is_bssd_compatible: block,
            disabled: node.disabled,
            beta: node.beta,
            available_volume_types: own.into_iter().chain(beside).collect(),
            is_ha_required: false,
            generation: match node.generation {
                Generation::V1 => GenerationName::GenerationV1,
                Generation::V2 => GenerationName::GenerationV2,
                Generation::V3 => GenerationName::GenerationV3,
            },
            instance_range: node.range.clone(),
            region: region.to_owned(),
        }
    }

    /// A plan of the other dialect, which tells less of its own.
    pub fn of_plan(name: &str, size: NodeSize, region: &str, block: bool) -> Self {
        let node = Configured {
            size,
            vcpus: size.cpu_millis.div_ceil(1000),
            local_gb: None,
            description: String::new(),
            generation: Generation::V1,
            range: String::new(),
            disabled: false,
            beta: false,
            stock: Stock::Available,
        };
        Self {
            generation: GenerationName::UnknownGeneration,
            ..Self::of(name, &node, region, block)
        }
    }
}

/// What does not fit is cut off: it is a bound, not a value.
fn narrow(number: i64) -> i32 {
    let bounded = number.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
    i32::try_from(bounded).unwrap_or(i32::MAX)
}
