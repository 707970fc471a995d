//! What is on disks must stay readable: these bytes were written by the first version.

use jiff::Timestamp;
use uuid::Uuid;

use super::StoredOperation;
use crate::model::access::AccessRule;
use crate::model::instance::{Endpoint, Name, NewInstance, Spec};
use crate::model::operation::{Claim, StepRecord, StepState};
use crate::model::policy::{BackupSchedule, LogsPolicy, Policy};
use crate::model::resources::{DEFAULT_STORAGE_CLASS, NodeSize, Reservation};
use crate::model::{
    Alias, Digest, Instance, InstanceId, NodeName, Operation, OperationId, OperationKind,
    OperationStatus, Phase, ProjectId,
};
use crate::store::repo::encoding::{Stored, decode, encode};
use crate::store::view::OperationBrief;

const INSTANCE_V1: &str = "\
    000110000000000000000000000000000000010b64625f303132336162636410000000000000000000000000\
    00000002076d61696e20646206656e67696e65023136d00f8080808010320301047573657201086461746162\
    617365010773657474696e670576616c756504706c616e06726567696f6e06746172676574046e6f64650864\
    656c6574696e6701100000000000000000000000000000000301076661696c75726502d936da3601d2090108\
    656e64706f696e74066d656d62657204706f7274076164647265737304686f7374db360265310264318aa8d6\
    b9078ad0acf30e018af882ad16";
const INSTANCE_MORE_V2: &str = "\
    0104696e697405666978656405636c6173730101dc360103746167010b0c010d01010e010f010d323030313a\
    6462383a3a2f33320472756c65";
const INSTANCE_MORE_V3: &str = "050101";
const OPERATION_V1: &str = "\
    0001100000000000000000000000000000000310000000000000000000000000000000011000000000000000\
    0000000000000000020664656c65746509756e77696e64696e67018ab8b5fa510c04036f6e6506756e646f6e\
    6501018aa8d6b907000374776f04646f6e6502018ad0acf30e00057468726565077374617274656403018af8\
    82ad160004666f75720770656e64696e6704018aa0d9e61d000e7b2261223a5b312c6e756c6c5d7d01046e6f\
    646510000000000000000000000000000000048ac8afa025018af085da2c018a98dc93340101100000000000\
    000000000000000000000801056572726f7201076661696c7572650107726571756573748ae88887438a90df\
    c04a";

fn at(second: i64) -> Timestamp {
    Timestamp::new(second, 5).unwrap()
}

/// Every field set, and none like another.
fn instance() -> Instance {
    let new = NewInstance {
        project: ProjectId(Uuid::from_u128(2)),
        spec: Spec {
            name: Name::parse("main db").unwrap(),
            engine: "engine".to_owned(),
            version: "16".to_owned(),
            size: NodeSize {
                cpu_millis: 2000,
                memory_bytes: 1 << 32,
            },
            storage_gb: 50,
            replicas: 3,
            shards: 5,
            user: Some("user".to_owned()),
            database: Some("database".to_owned()),
            settings: vec![("setting".to_owned(), "value".to_owned())],
            init_settings: vec![("init".to_owned(), "fixed".to_owned())],
        },
        plan: "plan".to_owned(),
        region: "region".to_owned(),
        target: "target".to_owned(),
        storage_class: "class".to_owned(),
        policy: Policy {
            tags: vec!["tag".to_owned()],
            backup_schedule: BackupSchedule {
                disabled: true,
                frequency_hours: 11,
                retention_days: 12,
                start_hour: Some(13),
            },
            backup_same_region: true,
            logs: LogsPolicy {
                max_age_days: Some(14),
                max_total_bytes: Some(15),
            },
            access: vec![AccessRule {
                network: "2001:db8::/32".parse().unwrap(),
                description: "rule".to_owned(),
            }],
        },
        node: NodeName::new("node"),
        engine_digest: Digest::from_hex("e1"),
        target_digest: Digest::from_hex("d1"),
    };
    let alias = Alias::parse("db_0123abcd").unwrap();
    let id = InstanceId(Uuid::from_u128(1));
    let mut instance = Instance::recorded(new, id, alias, Phase::Deleting, at(1));
    instance.operation = Some(OperationId(Uuid::from_u128(3)));
    instance.failure = Some("failure".to_owned());
    instance.reservation = Reservation {
        ports: vec![7001, 7002],
        uid: Some(1234),
    };
    instance.endpoints = vec![Endpoint {
        name: "endpoint".to_owned(),
        member: "member".to_owned(),
        port_name: "port".to_owned(),
        bind_address: "address".to_owned(),
        host: "host".to_owned(),
        port: 7003,
        inner_port: Some(7004),
        for_members: true,
    }];
    instance.updated_at = at(2);
    instance.deleted_at = Some(at(3));
    instance
}

fn operation() -> StoredOperation {
    let step = |name: &str, state, number: u32| StepRecord {
        name: name.to_owned(),
        state,
        attempts: number,
        started_at: Some(at(i64::from(number))),
        finished_at: None,
    };
    let operation = Operation {
        id: OperationId(Uuid::from_u128(3)),
        instance: InstanceId(Uuid::from_u128(1)),
        project: ProjectId(Uuid::from_u128(2)),
        kind: OperationKind::Delete,
        status: OperationStatus::Unwinding,
        steps: vec![
            step("one", StepState::Undone, 1),
            step("two", StepState::Done, 2),
            step("three", StepState::Started, 3),
            step("four", StepState::Pending, 4),
        ],
        state: serde_json::json!({ "a": [1, null] }),
        claim: Some(Claim {
            node: NodeName::new("node"),
            process: Uuid::from_u128(4),
            until: at(5),
        }),
        not_before: Some(at(6)),
        deadline: Some(at(7)),
        cancel_requested: true,
        after: Some(OperationId(Uuid::from_u128(8))),
        last_error: Some("error".to_owned()),
        failure: Some("failure".to_owned()),
        request_id: Some("request".to_owned()),
        trace: Some("trace".to_owned()),
        created_at: at(9),
        updated_at: at(10),
        finished_at: Some(at(11)),
    };
    StoredOperation {
        journal: 12,
        operation,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

#[test]
fn an_instance_is_written_and_read_as_ever() {
    // Each form is the one before and more.
    let second = format!("0002{}{INSTANCE_MORE_V2}", &INSTANCE_V1[4..]);
    let now = format!("0003{}{INSTANCE_MORE_V3}", &second[4..]);
    assert_eq!(
        hex(&encode(&instance()).unwrap()),
        now,
        "what is written has changed: raise SCHEMA, and keep reading the old form"
    );
    let read: Instance = decode("key", &bytes(&now)).unwrap();
    assert_eq!(read, instance());
    let mut first = instance();
    first.spec.shards = 1;
    first.endpoints[0].for_members = false;
    let read: Instance = decode("key", &bytes(&second)).unwrap();
    assert_eq!(read, first);
    first.spec.init_settings.clear();
    first.storage_class = DEFAULT_STORAGE_CLASS.to_owned();
    first.policy = Policy::default();
    first.endpoints[0].inner_port = None;
    let read: Instance = decode("key", &bytes(INSTANCE_V1)).unwrap();
    assert_eq!(read, first);
}

#[test]
fn an_operation_is_written_and_read_as_ever() {
    // The second form is the first and one thing more.
    let now = format!("0002{}0105{}", &OPERATION_V1[4..], hex(b"trace"));
    assert_eq!(
        hex(&encode(&operation()).unwrap()),
        now,
        "what is written has changed: raise SCHEMA, and keep reading the old form"
    );
    let read: StoredOperation = decode("key", &bytes(&now)).unwrap();
    assert_eq!(read, operation());
    let mut first = operation();
    first.operation.trace = None;
    let read: StoredOperation = decode("key", &bytes(OPERATION_V1)).unwrap();
    assert_eq!(read, first);
    for form in [OPERATION_V1, &now] {
        let brief: OperationBrief = decode("key", &bytes(form)).unwrap();
        assert_eq!(brief, OperationBrief::from(&operation().operation));
    }
    assert_eq!(OperationBrief::SCHEMA, StoredOperation::SCHEMA);
}

#[test]
fn every_variant_can_be_read_back() {
    for phase in Phase::ALL {
        let Instance { spec, .. } = instance();
        let new = NewInstance {
            spec,
            project: ProjectId(Uuid::nil()),
            plan: String::new(),
            region: String::new(),
            target: String::new(),
            storage_class: String::new(),
            policy: Policy::default(),
            node: NodeName::new(""),
            engine_digest: Digest::from_hex(""),
            target_digest: Digest::from_hex(""),
        };
        let id = InstanceId(Uuid::nil());
        let instance = Instance::recorded(new, id, Alias::generate(), phase, at(0));
        let read: Instance = decode("key", &encode(&instance).unwrap()).unwrap();
        assert_eq!(read, instance);
    }
    for (kind, status) in OperationKind::ALL
        .into_iter()
        .flat_map(|kind| OperationStatus::ALL.map(|status| (kind, status)))
    {
        let mut stored = operation();
        stored.operation.kind = kind;
        stored.operation.status = status;
        let read: StoredOperation = decode("key", &encode(&stored).unwrap()).unwrap();
        assert_eq!(read, stored);
    }
}
