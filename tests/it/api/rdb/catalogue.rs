//! Engines and node types, as the plugins and the configuration have them.

use serde_json::{Value, json};

use super::{get, start};

#[tokio::test]
async fn engines_are_those_that_are_installed() {
    let berth = start().await;
    let listed = get(&berth, "/database-engines").await.expect(200);
    assert_eq!(listed["total_count"], 1);
    let engine = &listed["engines"][0];
    assert_eq!(engine["name"], "Fake");
    assert_eq!(engine["region"], "fr-par");
    let versions = engine["versions"].as_array().unwrap();
    let shown: Vec<(&str, bool, bool)> = versions
        .iter()
        .map(|version| {
            (
                version["name"].as_str().unwrap(),
                version["disabled"].as_bool().unwrap(),
                version["beta"].as_bool().unwrap(),
            )
        })
        .collect();
    // One is not on this machine, and one is not offered any more.
    let expected = [
        ("Fake-5", false, true),
        ("Fake-4", true, false),
        ("Fake-3", false, false),
        ("Fake-2", false, false),
        ("Fake-1", true, false),
    ];
    assert_eq!(shown, expected);
    assert_eq!(versions[2]["version"], "3");
    assert_eq!(versions[2]["end_of_life"], "2099-01-01T00:00:00.000000Z");
    let setting = &versions[2]["available_settings"][0];
    assert_eq!(setting["property_type"], "INT");
    assert_eq!(
        (&setting["int_min"], &setting["int_max"]),
        (&json!(0), &json!(100))
    );
    assert_eq!(setting["float_min"], Value::Null);
    for (query, count) in [
        ("name=fake", 1),
        ("name=fak", 0),
        ("version=3", 1),
        ("version=33", 0),
        ("page=2", 0),
    ] {
        let listed = get(&berth, &format!("/database-engines?{query}"))
            .await
            .expect(200);
        assert_eq!(
            listed["engines"].as_array().unwrap().len(),
            count,
            "{query}"
        );
    }
}

#[tokio::test]
async fn node_types_are_those_of_the_configuration() {
    let berth = start().await;
    let names = async |query: &str| {
        let listed = get(&berth, &format!("/node-types{query}"))
            .await
            .expect(200);
        let types = listed["node_types"].as_array().unwrap().clone();
        let names = types
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), listed["total_count"].clone())
    };
    let offered = ["block", "node", "rare", "small"];
    assert_eq!(
        names("").await,
        (offered.map(str::to_owned).into(), json!(4))
    );
    let all = ["block", "node", "old", "rare", "small"];
    let with_disabled = names("?include_disabled_types=True").await;
    assert_eq!(with_disabled, (all.map(str::to_owned).into(), json!(5)));
    assert_eq!(names("?page=2&page_size=3").await.0, ["small"]);
    let listed = get(&berth, "/node-types").await.expect(200);
    let [block, node, rare, small] = [0, 1, 2, 3].map(|at| &listed["node_types"][at]);
    assert_eq!(node["vcpus"], 2);
    assert_eq!(node["memory"], 2_000_000_000_u64);
    assert_eq!(node["generation"], "generation_v1");
    assert_eq!(node["instance_range"], "Cost Optimized");
    assert_eq!(node["stock_status"], "available");
    let size = 5_000_000_000_u64;
    assert_eq!(
        node["volume_constraint"],
        json!({ "min_size": size, "max_size": size })
    );
    assert_eq!(node["available_volume_types"][0]["type"], "lssd");
    assert_eq!(node["available_volume_types"][1]["type"], "bssd");
    assert_eq!(block["volume_constraint"], Value::Null);
    assert_eq!(block["stock_status"], "low_stock");
    assert_eq!(block["beta"], true);
    assert_eq!(block["available_volume_types"][0]["chunk_size"], size);
    assert_eq!(rare["stock_status"], "out_of_stock");
    // A plan of the other dialect.
    assert_eq!(small["generation"], "unknown_generation");
    assert_eq!(small["memory"], 1_u64 << 30);
}
