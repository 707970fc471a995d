//! What is listed of a live server, paged, ordered and filtered, against a plain list that is filtered and sorted each
//! time. Instances have the same in `api::rdb::lists`.

use std::cmp::Ordering;

use berth_tests::real::{DataDir, Host, psql};
use serde_json::{Value, json};

use crate::access::{rdb, running, uuid};
use crate::lifecycle::{credentials, destroy};

type Compare = fn(&Value, &Value) -> Ordering;
type Fits = fn(&Value) -> bool;

/// A list, by its name: orders that it has, and filters.
struct List {
    name: &'static str,
    orders: &'static [(&'static str, Compare)],
    filters: &'static [(&'static str, Fits)],
}

const LISTS: [List; 3] = [
    List {
        name: "users",
        orders: &[
            ("", |_, _| Ordering::Equal),
            ("name_asc", |a, b| text(a, "name").cmp(text(b, "name"))),
            ("name_desc", |a, b| text(b, "name").cmp(text(a, "name"))),
            ("is_admin_asc", |a, b| {
                flag(a, "is_admin").cmp(&flag(b, "is_admin"))
            }),
            ("is_admin_desc", |a, b| {
                flag(b, "is_admin").cmp(&flag(a, "is_admin"))
            }),
        ],
        filters: &[
            ("", |_| true),
            ("&name=user-3", |user| text(user, "name") == "user-3"),
            ("&name=user", |_| false),
        ],
    },
    List {
        name: "databases",
        orders: &[
            ("", |_, _| Ordering::Equal),
            ("name_asc", |a, b| text(a, "name").cmp(text(b, "name"))),
            ("name_desc", |a, b| text(b, "name").cmp(text(a, "name"))),
            ("size_asc", |a, b| size(a).cmp(&size(b))),
            ("size_desc", |a, b| size(b).cmp(&size(a))),
        ],
        filters: &[
            ("", |_| true),
            ("&name=shop-1", |database| {
                text(database, "name") == "shop-1"
            }),
            ("&managed=true", |database| flag(database, "managed")),
            ("&managed=false", |database| !flag(database, "managed")),
            ("&owner=nobody", |_| false),
        ],
    },
    List {
        name: "privileges",
        orders: &[
            ("", |_, _| Ordering::Equal),
            ("user_name_asc", |a, b| {
                text(a, "user_name").cmp(text(b, "user_name"))
            }),
            ("user_name_desc", |a, b| {
                text(b, "user_name").cmp(text(a, "user_name"))
            }),
            ("database_name_asc", |a, b| {
                text(a, "database_name").cmp(text(b, "database_name"))
            }),
            ("database_name_desc", |a, b| {
                text(b, "database_name").cmp(text(a, "database_name"))
            }),
        ],
        filters: &[
            ("", |_| true),
            ("&user_name=user-2", |privilege| {
                text(privilege, "user_name") == "user-2"
            }),
            ("&database_name=shop-0", |privilege| {
                text(privilege, "database_name") == "shop-0"
            }),
            ("&user_name=user-2&database_name=shop-0", |privilege| {
                text(privilege, "user_name") == "user-2"
                    && text(privilege, "database_name") == "shop-0"
            }),
            // Who is not there has none.
            ("&user_name=nobody", |_| false),
            ("&database_name=nothing", |_| false),
        ],
    },
];

#[tokio::test]
async fn lists_of_a_live_server_are_those_of_a_plain_list() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = running(&host, "listed", json!({})).await;
    let path = format!(
        "/rdb/v1/regions/fr-par/instances/{}",
        uuid(&host, "listed").await
    );
    make(&host, &path, &credentials(&host, &id).await).await;
    for list in &LISTS {
        let all = page(&host, &path, list.name, "page_size=1000").await;
        let all = all[list.name].as_array().unwrap();
        assert!(all.len() > 5, "{all:?}");
        for (order, compare) in list.orders {
            for (filter, fits) in list.filters {
                let expected: Vec<&Value> = all.iter().filter(|item| fits(item)).collect();
                let mut query = format!("page_size=6{filter}");
                if !order.is_empty() {
                    query.push_str(&format!("&order_by={order}"));
                }
                let mut found = Vec::new();
                for number in 1.. {
                    let shown =
                        page(&host, &path, list.name, &format!("{query}&page={number}")).await;
                    assert_eq!(shown["total_count"], expected.len(), "{query}");
                    let items = shown[list.name].as_array().unwrap();
                    found.extend(items.iter().cloned());
                    if items.len() < 6 {
                        break;
                    }
                }
                let in_order = found.is_sorted_by(|a, b| compare(a, b) != Ordering::Greater);
                assert!(in_order, "{query}: {found:?}");
                // The same ones, each once.
                let key = |item: &Value| item.to_string();
                let mut found: Vec<String> = found.iter().map(key).collect();
                let mut expected: Vec<String> = expected.into_iter().map(key).collect();
                found.sort();
                expected.sort();
                assert_eq!(found, expected, "{query}");
            }
        }
    }
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

async fn make(host: &Host, path: &str, login: &Value) {
    for number in 0..7 {
        let user = json!({
            "name": format!("user-{number}"), "password": "Correct-horse-7", "is_admin": number % 3 == 0,
        });
        send(host, "POST", &format!("{path}/users"), &user).await;
    }
    for number in 0..4 {
        let database = json!({ "name": format!("shop-{number}") });
        send(host, "POST", &format!("{path}/databases"), &database).await;
    }
    psql(login, "create database \"by-hand\"").unwrap();
    let words = ["readonly", "readwrite", "all", "none"];
    // Those who are no admins.
    for number in 0..8 {
        let privilege = json!({
            "database_name": format!("shop-{}", number % 4), "user_name": format!("user-{}", [1, 2, 4, 5][number / 2]),
            "permission": words[number % words.len()],
        });
        send(host, "PUT", &format!("{path}/privileges"), &privilege).await;
    }
}

async fn send(host: &Host, method: &str, path: &str, body: &Value) {
    let (status, answer) = rdb(host, method, path, body).await;
    assert_eq!(status, 200, "{body}: {answer}");
}

async fn page(host: &Host, path: &str, list: &str, query: &str) -> Value {
    let (status, shown) = rdb(host, "GET", &format!("{path}/{list}?{query}"), &Value::Null).await;
    assert_eq!(status, 200, "{query}: {shown}");
    shown
}

fn text<'a>(item: &'a Value, field: &str) -> &'a str {
    item[field].as_str().unwrap()
}

fn flag(item: &Value, field: &str) -> bool {
    item[field].as_bool().unwrap()
}

fn size(item: &Value) -> u64 {
    item["size"].as_u64().unwrap()
}
