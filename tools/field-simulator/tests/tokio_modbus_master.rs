//! A master of another library finds in the simulator what `expected` says, over TCP and over a serial line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the whole file is a test"
)]

use std::path::Path;
use std::time::{Duration, SystemTime};

use field_simulator::{
    Device, Expected, Fault, Order, Plan, Point, Reach, SerialEndpoint, Simulator, Table,
    TcpEndpoint, ValueType, expected,
};
use tokio::time::timeout;
use tokio_modbus::client::{Context, rtu, tcp};
use tokio_modbus::prelude::*;

const DEADLINE: Duration = Duration::from_secs(10);

fn point(name: &str, table: Table, address: u16, value_type: ValueType) -> Point {
    Point {
        name: name.to_owned(),
        table,
        address,
        value_type,
        order: Order::BigEndian,
        scale: None,
        offset: None,
        length: None,
        bit: None,
        writable: false,
    }
}

/// The step is so long that all requests of a test fall into one, except around one moment in months.
fn plan(devices: Vec<Device>) -> Plan {
    Plan {
        step: Duration::from_secs(10_000_000),
        strict_addresses: false,
        devices,
    }
}

fn device(name: &str, unit: u8, points: Vec<Point>) -> Device {
    let tcp = Some(TcpEndpoint {
        listen: ([127, 0, 0, 1], 0).into(),
    });
    Device {
        name: name.to_owned(),
        tcp,
        serial: None,
        unit,
        points,
    }
}

async fn master(simulator: &Simulator, name: &str) -> Context {
    let (device, reach) = simulator
        .devices()
        .find(|(device, _)| device.device().name == name)
        .unwrap();
    let unit = Slave(device.device().unit);
    match reach {
        Reach::Listen(address) => tcp::connect_slave(*address, unit).await.unwrap(),
        Reach::Link(link) => rtu::attach_slave(open(link), unit),
    }
}

fn open(link: &Path) -> tokio_serial::SerialStream {
    tokio_serial::SerialStream::open(&tokio_serial::new(link.to_string_lossy(), 19200)).unwrap()
}

async fn read_holding(
    master: &mut Context,
    address: u16,
    quantity: u16,
) -> Result<Vec<u16>, ExceptionCode> {
    timeout(DEADLINE, master.read_holding_registers(address, quantity))
        .await
        .expect("no answer")
        .unwrap()
}

fn all_types() -> Vec<Point> {
    let types = [
        ValueType::U16,
        ValueType::I16,
        ValueType::U32,
        ValueType::I32,
        ValueType::U64,
        ValueType::I64,
        ValueType::F32,
        ValueType::F64,
    ];
    let orders = [
        Order::BigEndian,
        Order::WordSwapped,
        Order::ByteSwapped,
        Order::LittleEndian,
    ];
    let mut points = Vec::new();
    let mut address = 0;
    for value_type in types {
        for order in orders {
            let point = Point {
                order,
                ..point(
                    &format!("{value_type:?}-{order:?}"),
                    Table::HoldingRegister,
                    address,
                    value_type,
                )
            };
            address += point.width();
            points.push(point);
        }
    }
    points
}

/// Undoes the order by its definition, letter by letter.
fn big_endian(registers: &[u16], order: Order) -> Vec<u8> {
    let mut words: Vec<[u8; 2]> = registers
        .iter()
        .map(|register| register.to_be_bytes())
        .collect();
    if matches!(order, Order::WordSwapped | Order::LittleEndian) {
        words.reverse();
    }
    if matches!(order, Order::ByteSwapped | Order::LittleEndian) {
        words.iter_mut().for_each(|word| word.reverse());
    }
    words.concat()
}

fn decode(bytes: &[u8], value_type: ValueType) -> Expected {
    match value_type {
        ValueType::U16 => Expected::UInt(u16::from_be_bytes(bytes.try_into().unwrap()).into()),
        ValueType::I16 => Expected::Int(i16::from_be_bytes(bytes.try_into().unwrap()).into()),
        ValueType::U32 => Expected::UInt(u32::from_be_bytes(bytes.try_into().unwrap()).into()),
        ValueType::I32 => Expected::Int(i32::from_be_bytes(bytes.try_into().unwrap()).into()),
        ValueType::U64 => Expected::UInt(u64::from_be_bytes(bytes.try_into().unwrap())),
        ValueType::I64 => Expected::Int(i64::from_be_bytes(bytes.try_into().unwrap())),
        ValueType::F32 => Expected::Single(f32::from_be_bytes(bytes.try_into().unwrap())),
        ValueType::F64 => Expected::Double(f64::from_be_bytes(bytes.try_into().unwrap())),
        ValueType::Bool | ValueType::String => unreachable!(),
    }
}

#[tokio::test]
async fn every_type_and_order_reads_as_expected() {
    let plan = plan(vec![device("press", 7, all_types())]);
    let simulator = Simulator::start(&plan).await.unwrap();
    let mut master = master(&simulator, "press").await;
    let registers = read_holding(&mut master, 0, 112).await.unwrap();
    let step = plan.step_at(SystemTime::now());
    for point in &plan.devices[0].points {
        let first = usize::from(point.address);
        let raw = big_endian(
            &registers[first..first + usize::from(point.width())],
            point.order,
        );
        assert_eq!(
            decode(&raw, point.value_type),
            expected(&plan.devices[0], point, step),
            "{}",
            point.name
        );
    }
    simulator.stop().await;
}

#[tokio::test]
async fn bits_strings_and_gaps_read_as_expected() {
    let mut points = vec![Point {
        length: Some(7),
        ..point(
            "serial-number",
            Table::InputRegister,
            300,
            ValueType::String,
        )
    }];
    points.extend((0..16).map(|bit| Point {
        bit: Some(bit),
        ..point(
            &format!("bit-{bit}"),
            Table::HoldingRegister,
            5,
            ValueType::Bool,
        )
    }));
    points.extend((0..20).map(|at| {
        point(
            &format!("input-{at}"),
            Table::DiscreteInput,
            100 + at,
            ValueType::Bool,
        )
    }));
    let plan = plan(vec![device("press", 1, points)]);
    let simulator = Simulator::start(&plan).await.unwrap();
    let mut master = master(&simulator, "press").await;
    let step = plan.step_at(SystemTime::now());
    let press = &plan.devices[0];
    let value = |name: &str| expected(press, press.point(name).unwrap(), step);

    let text = master.read_input_registers(300, 4).await.unwrap().unwrap();
    let text = big_endian(&text, Order::BigEndian);
    assert_eq!(
        Expected::Text(String::from_utf8(text[..7].to_vec()).unwrap()),
        value("serial-number")
    );
    assert_eq!(text[7], 0);

    let register = read_holding(&mut master, 4, 3).await.unwrap();
    assert_eq!((register[0], register[2]), (0, 0), "nothing lives there");
    for bit in 0..16 {
        assert_eq!(
            Expected::Bool(register[1] >> bit & 1 == 1),
            value(&format!("bit-{bit}"))
        );
    }
    let inputs = master.read_discrete_inputs(99, 22).await.unwrap().unwrap();
    assert!(!inputs[0] && !inputs[21]);
    for at in 0..20 {
        assert_eq!(
            Expected::Bool(inputs[at + 1]),
            value(&format!("input-{at}"))
        );
    }
    assert_eq!(
        master.read_coils(0, 2000).await.unwrap().unwrap(),
        vec![false; 2000]
    );
}

#[tokio::test]
async fn writable_points_hold_what_was_written_and_others_refuse() {
    let points = vec![
        point("measured", Table::HoldingRegister, 10, ValueType::U16),
        Point {
            writable: true,
            ..point("setpoint", Table::HoldingRegister, 20, ValueType::F32)
        },
        Point {
            writable: true,
            ..point("start", Table::Coil, 3, ValueType::Bool)
        },
    ];
    let simulator = Simulator::start(&plan(vec![device("press", 1, points)]))
        .await
        .unwrap();
    let mut master = master(&simulator, "press").await;
    let bits = 21.5f32.to_bits();
    master
        .write_multiple_registers(20, &[(bits >> 16) as u16, bits as u16])
        .await
        .unwrap()
        .unwrap();
    master.write_single_coil(3, true).await.unwrap().unwrap();
    assert_eq!(
        read_holding(&mut master, 20, 2).await.unwrap(),
        [(bits >> 16) as u16, bits as u16]
    );
    assert_eq!(
        master.read_coils(2, 3).await.unwrap().unwrap(),
        [false, true, false]
    );
    let held = simulator.device("press").unwrap().held();
    assert_eq!(
        (held[0].raw.clone(), held[1].raw.clone()),
        (21.5.into(), true.into())
    );

    assert_eq!(
        master.write_single_register(10, 1).await.unwrap(),
        Err(ExceptionCode::IllegalDataAddress)
    );
    master
        .write_multiple_coils(2, &[true, false, true])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        master.read_coils(2, 3).await.unwrap().unwrap(),
        [true, false, true]
    );
    master
        .write_single_register(21, 0x1234)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read_holding(&mut master, 21, 1).await.unwrap(), [0x1234]);
    assert_eq!(simulator.device("press").unwrap().counters().writes, 4);
}

#[tokio::test]
async fn a_strict_device_refuses_addresses_without_points() {
    let mut plan = plan(vec![device(
        "press",
        1,
        vec![point("a", Table::HoldingRegister, 10, ValueType::U16)],
    )]);
    plan.strict_addresses = true;
    let simulator = Simulator::start(&plan).await.unwrap();
    let mut master = master(&simulator, "press").await;
    assert!(read_holding(&mut master, 10, 1).await.is_ok());
    for (address, quantity) in [(9, 2), (10, 2), (11, 1), (65535, 1)] {
        assert_eq!(
            read_holding(&mut master, address, quantity).await,
            Err(ExceptionCode::IllegalDataAddress)
        );
    }
}

#[tokio::test]
async fn devices_on_one_listener_differ_by_unit_and_a_missing_one_is_reported() {
    let one = device(
        "one",
        1,
        vec![point("value", Table::InputRegister, 0, ValueType::U64)],
    );
    let two = Device {
        name: "two".to_owned(),
        unit: 2,
        ..one.clone()
    };
    let simulator = Simulator::start(&plan(vec![one, two])).await.unwrap();
    let reaches: Vec<_> = simulator
        .devices()
        .map(|(_, reach)| reach.clone())
        .collect();
    assert_eq!(reaches[0], reaches[1], "one port for both");
    let mut master = master(&simulator, "one").await;
    let first = master.read_input_registers(0, 4).await.unwrap().unwrap();
    master.set_slave(Slave(2));
    assert_ne!(
        master.read_input_registers(0, 4).await.unwrap().unwrap(),
        first
    );
    master.set_slave(Slave(3));
    assert_eq!(
        master.read_input_registers(0, 4).await.unwrap(),
        Err(ExceptionCode::GatewayTargetDevice)
    );
}

#[tokio::test]
async fn a_serial_line_carries_several_units_and_survives_its_masters() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("below/line-1");
    let serial = Some(SerialEndpoint { link: link.clone() });
    let one = Device {
        tcp: None,
        serial,
        ..device("one", 1, all_types())
    };
    let two = Device {
        name: "two".to_owned(),
        unit: 2,
        ..one.clone()
    };
    let simulator = Simulator::start(&plan(vec![one, two])).await.unwrap();
    let mut seen = Vec::new();
    for _master in 0..2 {
        let mut master = master(&simulator, "one").await;
        seen.push(read_holding(&mut master, 0, 112).await.unwrap());
        master.set_slave(Slave(2));
        seen.push(read_holding(&mut master, 0, 112).await.unwrap());
        assert_eq!(
            read_holding(&mut master, 65535, 2).await,
            Err(ExceptionCode::IllegalDataAddress)
        );
        master.set_slave(Slave(3));
        let silence = timeout(
            Duration::from_millis(200),
            master.read_holding_registers(0, 1),
        )
        .await;
        assert!(silence.is_err(), "nobody answers for unit 3");
    }
    assert_eq!(seen[0], seen[2]);
    assert_eq!(seen[1], seen[3]);
    assert_ne!(seen[0], seen[1]);
    simulator.stop().await;
    assert!(!link.is_symlink(), "the link goes with the line");
}

#[tokio::test]
async fn a_broadcast_is_carried_out_by_all_and_answered_by_none() {
    let folder = tempfile::tempdir().unwrap();
    let serial = Some(SerialEndpoint {
        link: folder.path().join("line"),
    });
    let setpoint = Point {
        writable: true,
        ..point("setpoint", Table::HoldingRegister, 0, ValueType::U16)
    };
    let one = Device {
        tcp: None,
        serial,
        ..device("one", 1, vec![setpoint])
    };
    let two = Device {
        name: "two".to_owned(),
        unit: 2,
        ..one.clone()
    };
    let simulator = Simulator::start(&plan(vec![one, two])).await.unwrap();
    let mut master = master(&simulator, "one").await;
    master.set_slave(Slave(0));
    assert!(
        timeout(
            Duration::from_millis(200),
            master.write_single_register(0, 77)
        )
        .await
        .is_err()
    );
    for unit in [1, 2] {
        master.set_slave(Slave(unit));
        assert_eq!(read_holding(&mut master, 0, 1).await.unwrap(), [77]);
    }
}

#[tokio::test]
async fn faults_come_go_and_expire() {
    let plan = plan(vec![device(
        "press",
        1,
        vec![point("a", Table::HoldingRegister, 0, ValueType::U16)],
    )]);
    let simulator = Simulator::start(&plan).await.unwrap();
    let press = simulator.device("press").unwrap();
    let mut line = master(&simulator, "press").await;

    press.start_fault(Fault::Exception { code: 6 }, None);
    assert_eq!(
        read_holding(&mut line, 0, 1).await,
        Err(ExceptionCode::ServerDeviceBusy)
    );
    press.clear_faults();
    press.start_fault(
        Fault::Slow { milliseconds: 50 },
        Some(Duration::from_secs(60)),
    );
    let start = tokio::time::Instant::now();
    read_holding(&mut line, 0, 1).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(press.faults().len(), 1);
    press.clear_faults();

    for fault in [Fault::Disconnect, Fault::Corrupt, Fault::WrongTransaction] {
        press.start_fault(fault, None);
        let answer = timeout(DEADLINE, line.read_holding_registers(0, 1))
            .await
            .expect("it answers somehow");
        assert!(answer.is_err(), "{fault:?} is noticed: {answer:?}");
        press.clear_faults();
        line = master(&simulator, "press").await;
        assert!(read_holding(&mut line, 0, 1).await.is_ok());
    }

    press.start_fault(Fault::Silent, Some(Duration::from_millis(100)));
    assert!(
        timeout(Duration::from_millis(50), line.read_holding_registers(0, 1))
            .await
            .is_err()
    );
    let mut line = master(&simulator, "press").await;
    while !press.faults().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(read_holding(&mut line, 0, 1).await.is_ok());
}
